"""Workers that share a national service, on an event loop whose time is made: it jumps to what is due next."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from minispine.domain.lanes import Lane
from minispine.domain.operations import NationalService
from minispine.provider.admission import Admission
from minispine.provider.admission.book import SECOND, Book, decode, encode
from minispine.provider.admission.store import Reading
from minispine.spine.http import TransportFailure
from minispine.spine.ports import CallResult, ClientGone, NoSlot, ServiceShut, Slot, Turns
from minispine.storage import StorageUnavailable
from minispine.vocabulary.budgets import Limit, ServiceBudget

T = TypeVar("T")

ASID = "200000000999"
OTHER_ASID = "200000000888"
EPOCH_US = 1_700_000_000 * SECOND
"""What the shared clock is ahead of the loop's: they have nothing to do with each other."""
SHARES: dict[Lane, float] = {"unattended": 0.1, "batch": 0.05}


class _JumpingSelector(selectors.SelectSelector):
    """Waits for nothing: time goes on by as much as would have been waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 5000.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everybody waits, and nothing will ever happen"
        self.now_s += max(0.0, timeout)
        return super().select(0)


class MadeTime(asyncio.SelectorEventLoop):
    """An event loop on which waiting takes no time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Give the time that was made."""
        return self._jumping.now_s

    def stand_still(self, for_s: float) -> None:
        """Let time pass while nothing runs, as when the processor is somebody else's."""
        self._jumping.now_s += for_s


class _Thread(Executor):
    """Does what it is given at once; the result is there after `takes_s`."""

    def __init__(self, loop: MadeTime) -> None:
        self._loop = loop
        self.takes_s = 0.001

    def submit(self, work: Any, /, *values: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            result, failure = work(*values, **named), None
        except Exception as raised:
            result, failure = None, raised

        def tell() -> None:
            if done.set_running_or_notify_cancel():
                done.set_result(result) if failure is None else done.set_exception(failure)

        if self.takes_s:
            self._loop.call_later(self.takes_s, tell)
        else:
            tell()
        return done


class SharedBook:
    """A book in memory, in the place of the one in the database."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self.book = Book()
        self.away = False
        self.looks = 0
        self.blurred_s = 0.0
        """How far apart the two readings of our own clock are, between which the shared one is read."""

    def now(self) -> int:
        """What the shared clock says."""
        return EPOCH_US + int(self._now_s() * SECOND)

    def change(self, change: Callable[[Book, int], T], *, distrust: Callable[[Book, int], None]) -> tuple[T, Reading]:
        """Change the book, on a copy as the store does."""
        self.looks += 1
        if self.away:
            raise StorageUnavailable("away")
        book = decode(encode(self.book))
        result = change(book, self.now())
        self.book = decode(encode(book))
        now_s = self._now_s()
        return result, Reading(now=self.now(), before_s=now_s - self.blurred_s / 2, after_s=now_s + self.blurred_s / 2)

    def close(self) -> None:
        """Nothing is open."""


class Worker:
    """One worker's admission, with what the port would tell it."""

    def __init__(self, scene: "Scene", name: str, max_in_flight: int, max_waiting: int) -> None:
        self.name = name
        self.thread = _Thread(scene.loop)
        self.connections = 1000
        """How many may be open."""
        self.idle = 0
        self.failure: BaseException | None = None
        """Why no connection can be made."""
        self.connecting_s = 0.0
        self.prepared: list[int] = []
        self.is_shut = False
        self.admission = Admission(
            scene.store,
            service=NationalService.PDS,
            instance=name,
            budget=lambda: scene.budget,
            prepare=self._prepare,
            shut=lambda: self.is_shut,
            max_in_flight=max_in_flight,
            max_waiting=max_waiting,
            monotonic=scene.loop.time,
            thread=self.thread,
        )
        self.watching = scene.loop.create_task(self.admission.watch())

    async def _prepare(self, calls: int) -> int:
        if self.idle < calls:
            self.prepared.append(calls)
            if self.connecting_s:
                await asyncio.sleep(self.connecting_s)
            if self.failure is not None and not self.idle:
                raise self.failure
            self.idle = max(self.idle, min(calls, self.connections))
        return self.idle

    def die(self) -> None:
        """Stand still for ever, as a killed process does: its wants stay in the book."""
        self.watching.cancel()


class Left:
    """A call that left."""

    def __init__(self, name: str, at_s: float, from_s: float) -> None:
        self.name = name
        self.at_s = at_s
        self.from_s = from_s
        """The first moment at which its slot could be used."""


class Scene:
    """Workers, and calls that wait at them. What left is in `left`, and how each exchange ended in `ends`."""

    def __init__(
        self, *, per_second: float = 10.0, burst: int = 1, clients: dict[str, Limit] | None = None, workers: int = 1,
        max_in_flight: int = 1000, max_waiting: int = 1000,
    ) -> None:  # fmt: skip
        self.loop = MadeTime()
        self.store = SharedBook(self.loop.time)
        self.budget = ServiceBudget(
            default=Limit(per_second=per_second, burst=burst), clients=clients or {}, shares=SHARES
        )
        self.workers = [Worker(self, f"worker {n}", max_in_flight, max_waiting) for n in range(workers)]
        self.left: list[Left] = []
        self.ends: dict[str, str] = {}
        self.refused: dict[str, NoSlot] = {}

    @property
    def admission(self) -> Admission:
        """The admission of the first worker."""
        return self.workers[0].admission

    @property
    def order(self) -> list[str]:
        """Whose calls left, in order."""
        return [left.name for left in self.left]

    def run(self, scene: Coroutine[Any, Any, T]) -> T:
        """Play a scene, and leave nothing behind."""
        try:
            return self.loop.run_until_complete(scene)
        finally:
            everything = asyncio.all_tasks(self.loop)
            for task in everything:
                task.cancel()
            if everything:
                self.loop.run_until_complete(asyncio.wait(everything))
            self.loop.close()

    def turns(
        self, *, asid: str = ASID, lane: Lane = "attended", client: str = "ward", patience_s: float = 60.0,
        worker: int = 0, gone: Callable[[], bool] | None = None,
    ) -> Turns:  # fmt: skip
        """Get in line."""
        admission = self.workers[worker].admission
        return admission.turns(asid=asid, lane=lane, client=client, deadline_s=self.loop.time() + patience_s, gone=gone)

    async def exchange(
        self, name: str, *, asid: str = ASID, lane: Lane = "attended", client: str = "ward", patience_s: float = 60.0,
        worker: int = 0, calls: int = 1, answer_s: float = 0.02, result: CallResult = "succeeded",
        late_s: Sequence[float] = (), gone: Callable[[], bool] | None = None,
    ) -> str:  # fmt: skip
        """Make calls one after another, each by a slot of its own; the first ones use theirs so much too late."""
        turns = self.turns(asid=asid, lane=lane, client=client, patience_s=patience_s, worker=worker, gone=gone)
        lateness = list(late_s)
        end = "answered"
        try:
            for _ in range(calls):
                slot = await turns.wait()
                if lateness:
                    await asyncio.sleep(lateness.pop(0))
                while not slot.use():
                    slot = await turns.wait()
                await self._call(name, slot, self.workers[worker], answer_s, result)
        except NoSlot as busy:
            end, self.refused[name] = "busy", busy
        except ClientGone:
            end = "gone"
        except ServiceShut:
            end = "shut"
        except TransportFailure:
            end = "failed"
        except asyncio.CancelledError:
            self.ends[name] = "cancelled"
            raise
        self.ends[name] = end
        return end

    async def _call(self, name: str, slot: Slot, worker: Worker, answer_s: float, result: CallResult) -> None:
        self.left.append(Left(name, self.loop.time(), slot.from_s))  # type: ignore[attr-defined]
        worker.idle -= 1
        try:
            await asyncio.sleep(answer_s)
        finally:
            worker.idle += result == "succeeded"
            slot.finish(result)

    def start(self, name: str, **what: Any) -> asyncio.Task[str]:
        """Begin an exchange."""
        return self.loop.create_task(self.exchange(name, **what), name=name)

    def start_many(self, names: Sequence[str], **what: Any) -> list[asyncio.Task[str]]:
        """Begin several at one moment, in this order."""
        return [self.start(name, **what) for name in names]


def over_the_limit(left: Sequence[Left], per_second: float, burst: int = 1) -> list[tuple[float, int]]:
    """Give the windows that hold more slots than the limit allows, of those that were used."""
    moments = sorted(one.from_s for one in left)
    found = []
    for first, begin_s in enumerate(moments):
        for count, end_s in enumerate(moments[first:], 1):
            if count > per_second * (end_s - begin_s) + burst + 1e-3:
                found.append((end_s - begin_s, count))
    return found
