"""What admission costs a call: CPU of a process in which calls wait for slots, less that of the same without slots.

One worker's admission with its real store on SQLite, at a limit at which slots are taken in blocks, and calls that come
at random moments whatever has become of those before. Both ways in turn in one process (``python -m
benchmarks.gate_cost``), so that what a microsecond is worth at the time is the same for both. All threads count.
"""

import asyncio
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from benchmarks.clients import random_moments
from minispine.domain.operations import NationalService
from minispine.observe.metrics import MULTIPROCESS_DIRECTORY
from minispine.provider.admission import Admission
from minispine.provider.admission.store import SlotStore
from minispine.storage import Database
from minispine.vocabulary.budgets import Limit, ServiceBudget

LIMIT_PER_S: Final = 2000.0
OFFERED_PER_S: Final = 400.0
ANSWER_S: Final = 0.02
"""How long Spine takes for an answer."""
CONNECTIONS: Final = 50
"""How many connections to Spine are open and idle."""
PATIENCE_S: Final = 10.0
ASID: Final = "200000000999"


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, round by round: microseconds of CPU for a call with and without admission."""

    with_us: list[float]
    without_us: list[float]
    calls: int
    slots_lost: int

    @property
    def us_per_call(self) -> float:
        """What admission costs a call: the median of the rounds."""
        return statistics.median(w - wo for w, wo in zip(self.with_us, self.without_us, strict=True))


def measured(*, seconds: float, rounds: int = 5) -> Cost:
    """Measure in a process of its own; `seconds` is how long each way lasts in all."""
    command = [sys.executable, "-m", "benchmarks.gate_cost", str(seconds / rounds), str(rounds)]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {MULTIPROCESS_DIRECTORY: folder}  # metrics cost what they do in a worker
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1], env=environment
        )
    if done.returncode:
        raise SystemExit(f"what admission costs cannot be measured: {done.stderr[-2000:]}")
    return msgspec.json.decode(done.stdout, type=Cost)


def told(cost: Cost) -> str:
    """Say what was measured."""
    return (
        f"admission: {cost.us_per_call:.0f} us of CPU a call at {OFFERED_PER_S:g} calls/s of {LIMIT_PER_S:g}/s;"
        f" with it {statistics.median(cost.with_us):.0f}, without {statistics.median(cost.without_us):.0f};"
        f" {cost.slots_lost} slots lost by {cost.calls} calls"
    )


class _Bench:
    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.lost = 0

    async def admitted(self) -> None:
        loop = asyncio.get_running_loop()
        turns = self._admission.turns(asid=ASID, lane="attended", client="ward", deadline_s=loop.time() + PATIENCE_S)
        while not (slot := await turns.wait()).use():
            self.lost += 1
        await asyncio.sleep(ANSWER_S)
        slot.finish("succeeded")

    async def free(self) -> None:
        await asyncio.sleep(ANSWER_S)

    async def offer(self, seconds: float, *, admitted: bool, chance: random.Random) -> tuple[int, float]:
        """Give how many calls there were, and the CPU that all threads took for one, in microseconds."""
        call = self.admitted if admitted else self.free
        since_s = time.time()
        used_ns = time.process_time_ns()
        calls = 0
        async with asyncio.TaskGroup() as group:
            for moment_s in random_moments(chance, OFFERED_PER_S, since_s, since_s + seconds):
                await asyncio.sleep(moment_s - time.time())
                group.create_task(call())
                calls += 1
        return calls, (time.process_time_ns() - used_ns) / 1000 / calls


async def _measure(seconds: float, rounds: int) -> Cost:
    budget = ServiceBudget(default=Limit(per_second=LIMIT_PER_S))

    async def prepare(calls: int) -> int:
        return max(calls, CONNECTIONS)

    with tempfile.TemporaryDirectory() as folder, Database.open(f"sqlite:{folder}/data") as database:
        database.migrate()
        store = SlotStore(database, NationalService.PDS)
        admission = Admission(
            store,
            service=NationalService.PDS,
            instance="benchmark",
            budget=lambda: budget,
            prepare=prepare,
            shut=lambda: False,
            max_in_flight=1000,
            max_waiting=1000,
        )
        watching = asyncio.ensure_future(admission.watch())
        bench = _Bench(admission)
        chance = random.Random(1)
        await bench.offer(0.5, admitted=True, chance=chance)  # everything has been used once
        bench.lost = 0
        costs: dict[bool, list[float]] = {True: [], False: []}
        all_calls = 0
        for _, admitted in itertools.product(range(rounds), (True, False)):
            calls, used_us = await bench.offer(seconds, admitted=admitted, chance=chance)
            costs[admitted].append(used_us)
            all_calls += calls if admitted else 0
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        admission.close()
        store.close()
    return Cost(with_us=costs[True], without_us=costs[False], calls=all_calls, slots_lost=bench.lost)


if __name__ == "__main__":
    print(json.dumps(msgspec.to_builtins(uvloop.run(_measure(float(sys.argv[1]), int(sys.argv[2]))))))
