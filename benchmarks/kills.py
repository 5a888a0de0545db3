"""The crash drill: processes of a provider are killed at random points under load, and it has to go on by itself.

What is killed and when is drawn from the caller's generator. Whether anything was lost is `reckoning.py`'s question.
"""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

import msgspec
import psycopg
from tests.journeys.house import House, Spine, until

from benchmarks.reckoning import Reckoning, open_exchanges, reckon
from benchmarks.witnesses import Clients

PATIENCE_S: Final = 60.0
"""How long the provider may take until it serves again, on a machine with other work."""
LOAD_S: Final = (0.005, 0.2)
"""How long load has run again when something is killed."""
STARTING_S: Final = (0.0, 1.0)
"""How old a worker that is still starting is when it is killed."""
FAULTS: Final = (
    {"action": "reset", "probability": 0.05},
    {"action": "delay", "seconds": 0.05, "probability": 0.1},
)
"""Spine hangs up now and then, so that questions are asked again, and now and then it is slow."""


class Target(StrEnum):
    """What is killed."""

    WORKER = "worker"
    """One worker that serves."""
    STARTING = "starting"
    """A worker that may be starting still, closing what the one before it left open."""
    EVERYTHING = "everything"
    """The supervisor with all its workers; an operator starts it again."""
    SESSION = "session"
    """A process of the PostgreSQL server, which then ends all connections and recovers; not ours, so not counted."""


WEIGHTS: Final = {Target.WORKER: 75, Target.STARTING: 13, Target.EVERYTHING: 12, Target.SESSION: 8}


class Drilled(msgspec.Struct, kw_only=True):
    """What one drill did, and what came of it."""

    kills: int
    targets: dict[str, int]
    cut_off: int
    seconds: float
    reckoning: Reckoning


def drill(
    house: House,
    spine: Spine,
    *,
    kills: int,
    chance: random.Random,
    connections: int = 8,
    report: Callable[[str], None] = lambda _: None,
) -> Drilled:
    """Start a provider that has clients and organisations, kill so often, stop it, and reckon.

    `spine` has to be asked by nobody else meanwhile. Raises `AssertionError` where the provider does not come back.
    """
    began = time.monotonic()
    people = spine.people("plain", 200)
    spine.forget_calls()
    spine.faults(*FAULTS)
    killer = _Killer(house, chance)
    try:
        house.start()
        with Clients(house, people, connections) as clients:
            while killer.kills < kills:
                counted = killer.strike(clients)
                if counted and killer.kills % 20 == 0:
                    report(f"{killer.kills} of {kills} kills, {len(clients.told)} replies")
            killer.await_service(clients)
        until(lambda: open_exchanges(house) == 0, PATIENCE_S, "every exchange is closed")
        assert house.stop() == 0
    finally:
        spine.faults()
        house.stop()
    return Drilled(
        kills=killer.kills,
        targets={str(target): count for target, count in sorted(killer.struck.items())},
        cut_off=clients.cut_off,
        seconds=time.monotonic() - began,
        reckoning=reckon(house, clients.told, spine.calls()),
    )


class _Killer:
    """Kills, and knows when there is something to kill again."""

    def __init__(self, house: House, chance: random.Random) -> None:
        self.struck: Counter[Target] = Counter()
        self._house = house
        self._chance = chance
        self._workers: int = house.settings[""]["workers"]
        self._url: str = house.settings["storage"]["url"]
        targets = [t for t in Target if t is not Target.SESSION or self._url.startswith("postgres")]
        self._targets = {target: WEIGHTS[target] for target in targets}

    @property
    def kills(self) -> int:
        """How often processes of the provider were killed."""
        return sum(count for target, count in self.struck.items() if target is not Target.SESSION)

    def strike(self, clients: Clients) -> bool:
        """Choose what to kill, wait for the moment, and kill it. Gives whether that counts among the kills."""
        (target,) = self._chance.choices(list(self._targets), list(self._targets.values()))
        if target is Target.STARTING:
            until(self._all_running, PATIENCE_S, "another worker")
            time.sleep(self._chance.uniform(*STARTING_S))
        else:
            self.await_service(clients)
            time.sleep(self._chance.uniform(*LOAD_S))
        try:
            if target is Target.EVERYTHING:
                self._kill_everything()
            elif target is Target.SESSION:
                self._kill_a_session()
            else:
                self._kill_a_worker(target)
        except ProcessLookupError:  # it has just ended by itself: a worker that found the database away, say
            return False
        self.struck[target] += 1
        return target is not Target.SESSION

    def await_service(self, clients: Clients) -> None:
        """Wait until every worker serves and clients are answered."""
        until(lambda: self._all_running() and set(self._house.workers()) <= self._ready(), PATIENCE_S, "workers serve")
        answers = clients.answers
        until(lambda: clients.answers > answers, PATIENCE_S, "clients are answered")

    def _kill_a_worker(self, target: Target) -> None:
        workers = self._house.workers()
        if not workers:
            raise ProcessLookupError
        victim = max(workers) if target is Target.STARTING else self._chance.choice(workers)
        _kill(victim)
        until(lambda: victim not in self._house.workers(), PATIENCE_S, "its death is noticed")

    def _kill_everything(self) -> None:
        process = self._house.process
        assert process is not None
        workers = self._house.workers()
        _kill(process.pid)
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                _kill(pid)
        process.wait()
        self._house.start()

    def _kill_a_session(self) -> None:
        _kill(self._chance.choice(until(self._sessions, PATIENCE_S, "the server is there")))

    def _sessions(self) -> list[int]:
        """The server's processes that serve the provider; none while it recovers from the last such kill."""
        try:
            with psycopg.connect(self._url, autocommit=True) as connection:
                found = connection.execute(
                    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                ).fetchall()
        except psycopg.OperationalError:
            return []
        return [pid for (pid,) in found]

    def _all_running(self) -> bool:
        return len(self._house.workers()) == self._workers

    def _ready(self) -> set[int]:
        assert self._house.process is not None
        lines: list[dict[str, Any]] = list(self._house.process.lines())
        return {line["pid"] for line in lines if line.get("event") == "worker ready"}


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
