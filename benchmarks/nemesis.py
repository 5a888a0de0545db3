"""Who does a provider harm while it is measured: processes are killed, stopped and restarted, Spine slowed and dropped.

What is done, to whom and for how long is drawn from the caller's generator. What came of it is told as `Deed`, by whose
times the benchmarks know what to leave out.
"""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import psycopg
from tests.journeys.house import House, until

from benchmarks.scene import Provider, Scene
from benchmarks.spans import Span

PATIENCE_S: Final = 60.0
"""How long a provider may take until it serves again, on a machine with other work."""
AFTER_S: Final = 5.0
"""What is left out of the figures after each recovery."""
_STEADY_S: Final = 1.0
"""For how long all workers must serve before that counts as recovery: one may yet find that the database was away."""
_STOPPED_S: Final = (1.0, 5.0)
_SPINE_ILL_S: Final = (2.0, 6.0)


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, and from when until when; seconds since 1970.

    It is over when Spine is as it was, when a stopped process goes on, or when as many workers serve as before.
    """

    what: str
    began_s: float
    recovered_s: float

    @property
    def left_out(self) -> Span:
        """The time that says nothing of how the provider is when nobody harms it."""
        return self.began_s, self.recovered_s + AFTER_S


class Nemesis:
    """Does one deed after another to a provider: each kind as often as the others, in an order that is drawn."""

    def __init__(
        self, scene: Scene, provider: Provider, chance: random.Random, report: Callable[[str], None] = lambda _: None
    ) -> None:
        self.deeds: list[Deed] = []
        self._scene = scene
        self._provider = provider
        self._chance = chance
        self._report = report
        self._kinds: dict[str, Callable[[], None]] = {
            "kill a worker": self._kill_a_worker,
            "stop a worker": self._stop_a_worker,
            "end a worker": self._end_a_worker,
            "kill a node": self._kill_a_node,
            "slow Spine": self._slow_spine,
            "Spine hangs up": self._reset_spine,
            "Spine refuses connections": lambda: self._cut_spine("refuse"),
            "Spine says nothing": lambda: self._cut_spine("swallow"),
        }
        if provider.url.startswith("postgres"):
            self._kinds["kill a process of the database"] = self._kill_a_session
        self._coming: list[str] = []

    def harm(self, until_s: float, pause_s: tuple[float, float]) -> None:
        """Go on until then; between a recovery's last moment that is left out and the next deed are pauses."""
        while time.time() < until_s:
            if not self._coming:
                self._coming = self._chance.sample(sorted(self._kinds), len(self._kinds))
            kind = self._coming.pop()
            began_s = time.time()
            with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                self._kinds[kind]()
            self.deeds.append(Deed(what=kind, began_s=began_s, recovered_s=time.time()))
            self._report(f"{kind}: {time.time() - began_s:.1f} s")
            time.sleep(max(0.0, min(AFTER_S + self._chance.uniform(*pause_s), until_s - time.time())))

    # ── processes ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _kill_a_worker(self) -> None:
        house = self._node()
        victim = self._chance.choice(house.workers())
        os.kill(victim, signal.SIGKILL)
        self._replaced(house, victim)

    def _end_a_worker(self) -> None:
        house = self._node()
        victim = self._chance.choice(house.workers())
        os.kill(victim, signal.SIGTERM)
        self._replaced(house, victim)

    def _stop_a_worker(self) -> None:
        victim = self._chance.choice(self._node().workers())
        os.kill(victim, signal.SIGSTOP)
        try:
            time.sleep(self._chance.uniform(*_STOPPED_S))
        finally:
            os.kill(victim, signal.SIGCONT)

    def _kill_a_node(self) -> None:
        house = self._node()
        assert house.process is not None
        workers = house.workers()
        os.kill(house.process.pid, signal.SIGKILL)
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        house.process.wait()
        house.start()
        self._await_workers()

    def _kill_a_session(self) -> None:
        """Kill one process of the PostgreSQL server, which then ends all connections and recovers."""
        with psycopg.connect(self._provider.url, autocommit=True) as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchall()
        os.kill(self._chance.choice(found)[0], signal.SIGKILL)
        time.sleep(_STEADY_S)
        self._await_workers()

    def _node(self) -> House:
        return self._chance.choice(self._provider.nodes)

    def _replaced(self, house: House, victim: int) -> None:
        until(lambda: victim not in house.workers(), PATIENCE_S, "a worker has ended")
        self._await_workers()

    def _await_workers(self) -> None:
        """Wait until as many workers serve as should, and go on doing so."""
        steady_since = time.monotonic()

        def steady() -> bool:
            nonlocal steady_since
            if not all(_serves(house) for house in self._provider.nodes):
                steady_since = time.monotonic()
            return time.monotonic() - steady_since > _STEADY_S

        until(steady, PATIENCE_S, "all workers serve")

    # ── Spine ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _slow_spine(self) -> None:
        self._spine_ill({"action": "delay", "seconds": round(self._chance.uniform(0.5, 3), 1), "probability": 0.7})

    def _reset_spine(self) -> None:
        self._spine_ill({"action": "reset", "probability": 0.5})

    def _spine_ill(self, fault: dict[str, Any]) -> None:
        self._scene.spine.faults(fault)
        try:
            time.sleep(self._chance.uniform(*_SPINE_ILL_S))
        finally:
            self._scene.spine.faults()

    def _cut_spine(self, way: Any) -> None:
        self._scene.relay.turn(way)
        try:
            time.sleep(self._chance.uniform(*_SPINE_ILL_S))
        finally:
            self._scene.relay.turn("open")


def _serves(house: House) -> bool:
    process = house.process
    assert process is not None
    ready = {line["pid"] for line in process.lines() if line.get("event") == "worker ready"}
    workers = house.workers()
    return len(workers) == house.settings[""]["workers"] and set(workers) <= ready
