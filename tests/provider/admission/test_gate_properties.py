"""Whatever happens to workers, the store, the service and those who wait, the budget holds and nobody is forgotten."""

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from minispine.domain.lanes import LANES, Lane
from minispine.spine.http import Unreachable
from minispine.spine.ports import CallResult
from tests.provider.admission.scene import Scene, over_the_limit

ANSWER_S = 0.5
RESULTS: tuple[CallResult, ...] = ("succeeded", "failed", "given up")


class Waiting(RuleBasedStateMachine):
    """Every slot is used within 20 ms of its moment, none beyond the limit, and every wait ends by its deadline."""

    @initialize(
        per_second=st.sampled_from([2.0, 20.0, 90.0, 150.0]),
        burst=st.integers(1, 3),
        workers=st.integers(1, 3),
        most=st.sampled_from([1, 3, 100]),
    )
    def begin(self, per_second: float, burst: int, workers: int, most: int) -> None:
        self.scene = Scene(per_second=per_second, burst=burst, workers=workers, max_in_flight=most, max_waiting=20)
        self.per_second, self.burst = per_second, burst
        self.tasks: dict[str, asyncio.Task[str]] = {}
        self.over: list[str] = []
        self.gone: set[str] = set()

    @rule(
        count=st.integers(1, 5),
        worker=st.integers(0, 2),
        lane=st.sampled_from(LANES),
        client=st.sampled_from(["a", "b"]),
        patience_s=st.sampled_from([0.05, 1.0, 5.0]),
        calls=st.integers(1, 2),
        result=st.sampled_from(RESULTS),
        late_s=st.sampled_from([(), (0.01,), (0.03,), (2.0,)]),
    )
    def come(self, count: int, worker: int, lane: Lane, client: str, patience_s: float, **what: Any) -> None:
        for _ in range(count):
            name = f"{len(self.tasks)}"
            task = self.scene.start(
                name,
                worker=worker % len(self.scene.workers),
                gone=lambda name=name: name in self.gone,  # type: ignore[misc]
                lane=lane,
                client=client,
                patience_s=patience_s,
                answer_s=ANSWER_S / 10,
                **what,
            )
            # Each lost slot may have been slept over by the caller, and every call takes its time once it has left.
            slept_s = sum(what["late_s"])
            latest_s = self.scene.loop.time() + patience_s + slept_s + what["calls"] * ANSWER_S

            def ended(task: asyncio.Task[str], latest_s: float = latest_s, name: str = name) -> None:
                if self.scene.loop.time() > latest_s:
                    self.over.append(name)

            task.add_done_callback(ended)
            self.tasks[name] = task

    @precondition(lambda self: self.tasks)
    @rule(which=st.integers(0, 1000))
    def cancel(self, which: int) -> None:
        list(self.tasks.values())[which % len(self.tasks)].cancel()

    @precondition(lambda self: self.tasks)
    @rule(which=st.integers(0, 1000))
    def hang_up(self, which: int) -> None:
        self.gone.add(f"{which % len(self.tasks)}")

    @rule(pause_s=st.sampled_from([0.0, 0.001, 0.02, 0.3, 2.0]))
    def time_passes(self, pause_s: float) -> None:
        self.scene.loop.run_until_complete(asyncio.sleep(pause_s))

    @rule(away=st.booleans())
    def store(self, away: bool) -> None:
        self.scene.store.away = away

    @rule(worker=st.integers(0, 2), shut=st.booleans())
    def service(self, worker: int, shut: bool) -> None:
        self.scene.workers[worker % len(self.scene.workers)].is_shut = shut

    @rule(worker=st.integers(0, 2), fails=st.booleans(), takes_s=st.sampled_from([0.0, 0.01, 1.0]))
    def connecting(self, worker: int, fails: bool, takes_s: float) -> None:
        one = self.scene.workers[worker % len(self.scene.workers)]
        one.failure = Unreachable("refused") if fails else None
        one.connecting_s = takes_s

    @rule(worker=st.integers(0, 2), takes_s=st.sampled_from([0.001, 0.005, 0.1]))
    def looks_take(self, worker: int, takes_s: float) -> None:
        self.scene.workers[worker % len(self.scene.workers)].thread.takes_s = takes_s

    @rule(worker=st.integers(0, 2), again=st.booleans())
    def watch_ends(self, worker: int, again: bool) -> None:
        one = self.scene.workers[worker % len(self.scene.workers)]
        one.die()
        if again:
            one.watching = self.scene.loop.create_task(one.admission.watch())

    @invariant()
    def within_the_budget(self) -> None:
        if hasattr(self, "scene"):
            assert over_the_limit(self.scene.left, self.per_second, self.burst) == []
            assert all(0 <= one.at_s - one.from_s <= 0.02 for one in self.scene.left)
            assert not self.over

    def teardown(self) -> None:
        if not hasattr(self, "scene"):
            return

        async def end() -> tuple[int, int]:
            await asyncio.sleep(20)
            still = sum(not task.done() for task in self.tasks.values())
            rooms = [worker.admission for worker in self.scene.workers]
            held = sum(len(one._coming) + len(one._given) + one._in_flight + one._waiting for one in rooms)
            return still, held

        still, held = self.scene.run(end())
        self.within_the_budget()
        assert still == 0
        assert held == 0
        failed = [task for task in self.tasks.values() if not task.cancelled() and task.exception() is not None]
        assert not failed


TestWaiting = Waiting.TestCase
TestWaiting.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
