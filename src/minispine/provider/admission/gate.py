"""One worker's part in sharing a national service's budget: what waits here, when the book is looked at, who leaves.

The book (`book.py`) says whose a slot is, over all workers. Here it is looked at when somebody comes and shortly before
the next slot is due; what it gives is handed, at its moment, to the call that has waited longest where it belongs.

**Moments.** A slot's instant is on the clock that all share. It is used from the latest moment of our own clock that it
can be until `USABLE_S` after the earliest, less `TO_WIRE_S`; after that it is lost, and who had it waits again, in the
place it had. The event loop's clock may be a millisecond behind, so it only wakes us, and `monotonic` decides.

**Room.** No more slots are taken than there are calls that could leave: as many connections must be open, and no more
calls may be in flight than `concurrency.py` allows. Connections are opened beside everything else, before a slot is
taken for them.

**Blocks.** Where slots are taken in blocks and nobody has to wait, a look also takes about as many as calls have come
in such a time of late. Whoever comes next has one of those at once, so that a look is made for many calls. Where no
other worker has taken any for a while they are a few more, and spread over the block, so that they last as long.

The store works in a thread of its own. While it is away nothing leaves (Law 2), and whoever waits does so until its
time is over.
"""

import asyncio
import heapq
import itertools
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Final, Literal, Protocol, TypeVar

import msgspec

from minispine.domain.lanes import LANES, ROOM_TO_WAIT, Lane
from minispine.domain.operations import NationalService
from minispine.provider.admission.book import (
    BLOCK_US,
    LEAD_US,
    SECOND,
    Book,
    Desk,
    Grant,
    Taken,
    Want,
    distrust,
    forecast_s,
    in_blocks,
    most_at_once,
    take,
)
from minispine.provider.admission.concurrency import Concurrency
from minispine.provider.admission.store import Reading
from minispine.provider.admission.telling import TELL_EVERY_S, Telling
from minispine.provider.admission.timing import LookTime, SharedClock
from minispine.provider.admission.waiting import Call, Place, Queue, Queues
from minispine.spine.http import TransportFailure
from minispine.spine.ports import CallResult, ClientGone, NoSlot, ServiceShut, Slot, Turns
from minispine.storage import StorageUnavailable
from minispine.vocabulary.budgets import ServiceBudget

T = TypeVar("T")

USABLE_S: Final = 0.020
"""How long after its instant a call's first byte may leave (Law 3)."""
TO_WIRE_S: Final = 0.005
"""How much of that is kept for the way from `Slot.use` to the wire."""
SHOW_EVERY_S: Final = 0.25
"""How often a worker in which calls wait shows itself in the book, and looks whether the service is shut."""
OTHERS_TURN_S: Final = 0.003
"""How long after a slot's moment we look again that we left to somebody else."""
SHOWN_WITHIN_US: Final = LEAD_US + 5000
"""Who has not shown itself since so long before that slot is then not waited for."""
OTHERS_LAST_TURN_S: Final = 0.005
"""How long after that we take it, whoever waits."""
MORE_COME_S: Final = 0.020
"""How soon after a look the next is made for newcomers, where others wait already and will be looked for anyway."""
FREED_S: Final = 0.005
"""How soon after a look the next is made when a call has ended and so made room."""
CONNECTING_S: Final = 0.002
"""How long a look waits for the first connection before it goes on without one."""
VIEW_S: Final = 2.0
"""How old what was last seen of the book may be to judge a newcomer by it."""
JUDGE_EVERY_S: Final = 0.1
AWAY_S: Final = 0.1
LONGEST_AWAY_S: Final = 1.0
MOST_RETRY_AFTER_S: Final = 300
RATE_OVER_S: Final = 1.0
ALONE_AFTER_S: Final = 1.0
"""After how long in which only we took slots we take them as if nobody else would."""
SPARE_WHEN_ALONE: Final = 1.5
"""How many slots are then spread over a block, for each call that is expected in it."""
REFILL_S: Final = 0.010
"""How long before the last of them is over more are taken, if calls still come: so nobody waits for a look."""
SPREAD_FROM: Final = 5.0
"""How many must be expected for that: where fewer come it saves little, and a sudden crowd would wait for the block."""
_ANSWER_S: Final = 0.1
_BLOCK_S: Final = BLOCK_US / SECOND
_LEAD_S: Final = LEAD_US / SECOND
_LEAST_TIMER_S: Final = 0.001


class Slots(Protocol):
    """The part of the store of slots that is needed here (`store.SlotStore`). Every call is made in one thread."""

    def change(self, change: Callable[[Book, int], T], *, distrust: Callable[[Book, int], None]) -> tuple[T, Reading]:
        """Change the book. Raises `StorageUnavailable`."""

    def close(self) -> None:
        """Give the connection up."""


class _Part(msgspec.Struct, frozen=True):
    """What a look wants for one ASID: of each queue how many calls wait, and since when on our clock."""

    asid: str
    queues: list[tuple[Place, int, float]]
    shown_since: int | None
    alone: bool
    spare: int
    spread: bool
    until: int


class _Seen(msgspec.Struct, frozen=True):
    """What a look found: the book as it was put back, for each ASID what was taken, and where others had taken some."""

    book: Book
    taken: dict[str, Taken]
    by_others: set[str]


class _Line:
    """What is known here of the slots of one ASID."""

    def __init__(self, now_s: float) -> None:
        self.next_s: float | None = None
        """When the next slot of what waits is; None where that is not known."""
        self.look_s = math.inf
        """When it is worth to look for it."""
        self.left_at: int | None = None
        """The instant of a slot that was left to others."""
        self.left_until = 0
        """What the bucket was then: while it is the same nobody has taken that slot."""
        self.last_turn = False
        """Whether those who had not shown themselves have been passed over already, and nobody is waited for next."""
        self.until = 0
        """What the bucket was after our last look: while it is the same nobody else has taken a slot."""
        self.others_s = -math.inf
        """When somebody else was last seen to have taken one."""
        self.granted_s = -math.inf
        self.crowded = False
        """Whether somebody still waited here after the last look, so that there will be another."""
        self.spread = False
        """Whether slots for whoever comes were spread over the block: then more are taken before the last has gone."""
        self.refill = False
        """Whether it is time for that."""
        self.open: deque[_Slot] = deque()
        """Slots for whoever comes, by their moments."""
        self._rate_per_s = 0.0
        self._used = 0
        self._counted_s = now_s

    def used(self) -> None:
        """Count a call that left."""
        self._used += 1

    def expected(self, now_s: float) -> float:
        """Give how many calls may come in the time of a block: as many as of late, or as since the last look."""
        over_s = now_s - self._counted_s
        latest_per_s = self._used / max(over_s, _BLOCK_S)
        if over_s > 0:
            share = 1 - math.exp(-over_s / RATE_OVER_S)
            self._rate_per_s += share * (self._used / over_s - self._rate_per_s)
            self._used = 0
            self._counted_s = now_s
        return max(self._rate_per_s, latest_per_s) * _BLOCK_S


class _Slot:
    """A `spine.ports.Slot`; `queue` is where it belongs, None while it is for whoever comes."""

    __slots__ = ("_admission", "asid", "from_s", "left_s", "queue", "state", "until_s")

    def __init__(self, admission: "Admission", asid: str, from_s: float, until_s: float) -> None:
        self._admission = admission
        self.asid = asid
        self.from_s = from_s
        self.until_s = until_s
        self.queue: Queue | None = None
        self.state: Literal["coming", "given", "used", "answered", "lost"] = "coming"
        self.left_s = 0.0

    def use(self) -> bool:
        return self._admission._use(self)

    def finish(self, result: CallResult) -> None:
        self._admission._finish(self, result)


class _Turns:
    """A `spine.ports.Turns`."""

    def __init__(self, admission: "Admission", place: Place, deadline_s: float, gone: Callable[[], bool]) -> None:
        self._admission = admission
        self._place = place
        self._gone = gone
        self._deadline_s = deadline_s
        self._patience_s: float | None = None
        self._arrived_s: float | None = None
        """When the call that waits now, or has a slot it did not use yet, came."""
        self._number = 0
        self._slot: _Slot | None = None

    async def wait(self) -> Slot:
        now_s = self._admission.monotonic()
        if self._patience_s is None:
            self._patience_s = max(0.0, self._deadline_s - now_s)
        if self._slot is not None:
            if self._slot.state in ("used", "answered"):
                self._place = msgspec.structs.replace(self._place, again=True)
                self._gone = _never
                self._arrived_s = None
            else:
                self._admission._lose(self._slot)
            self._slot = None
        if self._arrived_s is None:
            self._arrived_s = now_s
            self._number = self._admission.number()
        leave_by_s = self._deadline_s - self._admission.answer_s(self._patience_s)
        self._slot = await self._admission._wait(self._place, self._number, self._arrived_s, leave_by_s, self._gone)
        return self._slot


class Admission:
    """The slots of one national service, for the calls of one worker. Belongs to one event loop.

    Invariant: whoever waits gets a slot within its time, or an exception by the moment from which it would be too late
    to leave; and no call leaves without a slot.
    """

    def __init__(
        self,
        store: Slots,
        *,
        service: NationalService,
        instance: str,
        budget: Callable[[], ServiceBudget],
        prepare: Callable[[int], Awaitable[int]],
        shut: Callable[[], bool],
        max_in_flight: int,
        max_waiting: int,
        monotonic: Callable[[], float] = time.monotonic,
        thread: Executor | None = None,
    ) -> None:
        """Make the admission of the worker `instance`, which is the name that no other worker has.

        `budget` gives what is in force. `prepare` and `shut` are those of the port. `monotonic` is the event loop's
        clock, without its delay, and the one by which the store reads. The store is closed by `close`.
        """
        self.monotonic = monotonic
        self._store = store
        self._service = service
        self._instance = instance
        self._budget = budget
        self._prepare = prepare
        self._shut = shut
        self._max_waiting = max_waiting
        self._thread = thread or ThreadPoolExecutor(1, thread_name_prefix="slots")
        self._closed = False

        self._clock = SharedClock()
        self._look_time = LookTime()
        self._concurrency = Concurrency(max_in_flight)
        self._in_flight = 0
        self._answer_s = _ANSWER_S
        self._telling = Telling(service)
        self._telling_soon: asyncio.TimerHandle | None = None

        self._queues = Queues()
        self._waiting = 0
        self._fresh: list[tuple[Queue, Call]] = []
        """Who was not judged yet."""
        self._lines: dict[str, _Line] = {}
        self._coming: list[tuple[float, int, _Slot]] = []
        self._given: set[_Slot] = set()
        self._order = itertools.count()
        self._departing: asyncio.TimerHandle | None = None
        self._departing_s = math.inf

        self._ready = 0
        """How many connections are open and idle, as far as is known."""
        self._connecting: asyncio.Future[int] | None = None
        self._defect: BaseException | None = None
        """What went wrong in connecting and is no failure of the network; whoever watches is told."""
        self._defective = False
        """Whether a defect ended the watch, and no look has succeeded since."""
        self._short_of_room = False

        self._look_s = -math.inf
        """When the next look is due."""
        self._looked_s = -math.inf
        self._woken: asyncio.Future[None] | None = None
        self._view: Book | None = None
        self._viewed_s = -math.inf
        self._desk_stale = False
        self._shown = False
        """Whether the book says that somebody waits here."""
        self._judged_s = -math.inf
        self._away_s = 0.0
        """How long after the last failure of the store it is tried again; 0 while it works."""
        self._not_before_s = -math.inf
        self._pulsing: asyncio.TimerHandle | None = None
        self._tell()

    # ── what callers see ────────────────────────────────────────────────────────────────────────────────────────────

    def refusal(self, *, asid: str, lane: Lane, client: str, calls: int, time_left_s: float) -> NoSlot | None:
        """Say whether a newcomer's calls cannot all leave in time, or the queue is full: then it is refused at once.

        It is not full for a client that waits with fewer calls than another one, whose newest then makes room.
        """
        place = Place(asid=asid, lane=LANES.index(lane), client=client, again=False)
        forecast_s = self._forecast_s(place, calls)
        answers_s = min(calls * self._answer_s, time_left_s / 4)
        if (self._full(place) and self._crowding(place) is None) or forecast_s > time_left_s - answers_s:
            return NoSlot(_retry_after_s(forecast_s - time_left_s))
        return None

    def turns(
        self, *, asid: str, lane: Lane, client: str, deadline_s: float, gone: Callable[[], bool] | None = None
    ) -> Turns:
        """Give the slots of one exchange, which has to be over by `deadline_s` on the event loop's clock.

        Before anything has left, a call of which `gone` says that nobody is there any more to be answered waits no
        longer. It is asked at every look, and when the slot comes.
        """
        place = Place(asid=asid, lane=LANES.index(lane), client=client, again=False)
        return _Turns(self, place, deadline_s, gone or _never)

    async def watch(self) -> None:
        """Look at the book whenever there is cause, for as long as the worker serves."""
        self._look_s = self.monotonic()
        while True:
            await self._until_due()
            try:
                await self._look()
                if self._defect is not None:
                    defect, self._defect = self._defect, None
                    raise defect
            except Exception:
                self._defective = True
                raise

    def warnings(self) -> list[str]:
        """Say what somebody should look at: that no call can leave because no slots can be taken, and why."""
        cannot, found = f"slots of {self._service} cannot be taken", []
        if self._away_s:
            found.append(f"{cannot}, since the database does not do its work: no call leaves")
        if self._defective:
            found.append(f"{cannot} because of a defect of our own: see the log")
        return found

    def close(self) -> None:
        """Take what this worker wants out of the book, if that can be done soon, and let the store go."""
        self._closed = True
        for queue in self._queues:
            self._end_all(queue, lambda: NoSlot(1))
        for timer in (self._departing, self._telling_soon, self._connecting):
            if timer is not None:
                timer.cancel()
        self._tell()
        leaving = self._thread.submit(self._withdraw, self._budget())
        self._thread.shutdown(wait=False)
        wait([leaving], timeout=LONGEST_AWAY_S)

    def _withdraw(self, budget: ServiceBudget) -> None:
        def change(book: Book, now: int) -> None:
            book.desks.pop(self._instance, None)

        try:
            if self._shown:
                with suppress(StorageUnavailable):
                    self._store.change(change, distrust=lambda book, now: distrust(book, now, budget))
        finally:
            self._store.close()

    def _full(self, place: Place) -> bool:
        """Whether there is no room to wait for one more; lower lanes leave some to those before them."""
        return self._waiting >= max(1, round(self._max_waiting * ROOM_TO_WAIT[LANES[place.lane]]))

    def _crowding(self, place: Place) -> Queue | None:
        """Give the queue whose newest call should make room for a newcomer at a place, if one should.

        It is that of the client that waits with most calls in this lane or a later one, where those are at least two
        more than the newcomer's client waits with in all. What has to go on and what has a slot coming do not count.
        """
        waits = 0
        others: dict[str, list[Queue]] = {}
        for queue in self._queues:
            if queue.place.client == place.client:
                waits += len(queue.calls)
            elif queue.unmet and not queue.place.again and queue.place.lane >= place.lane:
                others.setdefault(queue.place.client, []).append(queue)
        most = max(others.values(), key=_unmet, default=[])
        if _unmet(most) < waits + 2:
            return None
        return max(most, key=lambda queue: queue.calls[-1].number)

    def _make_room(self, place: Place) -> bool:
        """See that there is room for one more to wait at a place; gives whether there is."""
        if not self._full(place):
            return True
        crowding = self._crowding(place)
        if crowding is None:
            return False
        self._give_up(crowding, crowding.calls[-1])
        self._desk_stale = True
        return True

    def answer_s(self, patience_s: float) -> float:
        """Say how long an answer takes, for somebody who had so much time when it came."""
        return min(self._answer_s, patience_s / 4)

    def number(self) -> int:
        """Number a call that comes."""
        return next(self._order)

    # ── a call ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _wait(
        self, place: Place, number: int, arrived_s: float, leave_by_s: float, gone: Callable[[], bool]
    ) -> _Slot:
        """Wait for a slot at a place; see `Turns.wait`."""
        now_s = self.monotonic()
        if gone():
            raise ClientGone
        if self._shut():
            raise ServiceShut
        if self._closed or now_s >= leave_by_s or not (place.again or self._make_room(place)):
            raise NoSlot(_retry_after_s(self._forecast_s(place, 1) - max(0.0, leave_by_s - now_s)))
        slot = self._open_slot(place, now_s)
        if slot is not None and slot.from_s <= now_s and not (self._waiting and self._queues.at(place).calls):
            self._give(slot)
        else:
            call = Call(number, arrived_s, leave_by_s, asyncio.get_running_loop().create_future(), gone)
            slot = await self._wait_in(self._queues.at(place), slot, call)
            now_s = self.monotonic()
        self._telling.waited_s[place.lane].append(now_s - arrived_s)
        self._tell_soon()
        return slot

    async def _wait_in(self, queue: Queue, slot: _Slot | None, call: Call) -> _Slot:
        now_s = self.monotonic()
        queue.add(call)
        self._waiting += 1
        self._desk_stale = True
        self._tell_soon()
        ending = asyncio.get_running_loop().call_later(call.leave_by_s - now_s, self._give_up, queue, call)
        if slot is not None:
            self._assign(slot, queue)
            self._depart_soon()
        else:
            self._fresh.append((queue, call))
            self._look_by(self._looked_s + MORE_COME_S if self._line(queue.place.asid).crowded else now_s)
        try:
            given: Slot = await call.future
        except BaseException:
            if call.future.done() and not call.future.cancelled() and call.future.exception() is None:
                self._hand_on(call.future.result(), queue)  # cancelled just as its slot came
            raise
        finally:
            ending.cancel()
            self._waiting -= 1
            self._desk_stale = True
            queue.discard(call)
            if self._shown and not self._waiting:
                self._look_by(self.monotonic())  # so that nobody leaves a slot for it
        assert isinstance(given, _Slot)
        return given

    def _give_up(self, queue: Queue, call: Call) -> None:
        queue.discard(call)
        self._refuse(queue.place, call)

    def _refuse(self, place: Place, call: Call) -> None:
        if not call.future.done():
            left_s = max(0.0, call.leave_by_s - self.monotonic())
            call.future.set_exception(NoSlot(_retry_after_s(self._forecast_s(place, 1) - left_s)))

    def _end_all(self, queue: Queue, why: Callable[[], Exception]) -> None:
        while (call := queue.pop()) is not None:
            call.future.set_exception(why())

    def _drop_gone(self) -> None:
        """Let nobody wait who would not be there to be answered, and take no slots for them."""
        for queue in self._queues:
            for call in [call for call in queue.calls if call.gone()]:
                queue.discard(call)
                if not call.future.done():
                    call.future.set_exception(ClientGone())

    def _next(self, queue: Queue) -> Call | None:
        """Take the first call of a queue that is still of use to somebody."""
        while (call := queue.pop()) is not None and call.gone():
            call.future.set_exception(ClientGone())
        return call

    def _shut_out(self) -> bool:
        """Where the service is shut, tell everybody who waits; gives whether it is."""
        if not self._shut():
            return False
        for queue in self._queues:
            self._end_all(queue, ServiceShut)
        return True

    # ── a slot ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _use(self, slot: _Slot) -> bool:
        now_s = self.monotonic()
        if slot.state != "given":
            return False
        if not slot.from_s <= now_s <= slot.until_s:
            self._lose(slot)
            return False
        self._given.discard(slot)
        slot.state = "used"
        slot.left_s = now_s
        self._in_flight += 1
        self._ready -= 1
        self._telling.used[slot.asid] += 1
        self._tell_soon()
        self._line(slot.asid).used()
        if self._departing is not None and not self._given and not self._coming:
            self._departing.cancel()
            self._departing = None
        return True

    def _finish(self, slot: _Slot, result: CallResult) -> None:
        if slot.state != "used":
            return
        slot.state = "answered"
        now_s = self.monotonic()
        if result == "succeeded":
            self._ready += 1
            self._answer_s += 0.05 * (now_s - slot.left_s - self._answer_s)
            taken = self._in_flight + len(self._coming) + len(self._given)  # by calls, and by slots of calls to come
            self._concurrency.succeeded(left_s=slot.left_s, now_s=now_s, in_flight=taken)
        elif result == "failed":
            self._concurrency.failed(left_s=slot.left_s, now_s=now_s)
            self._shut_out()
        self._in_flight -= 1
        self._tell_soon()
        self._room_freed()

    def _tell_soon(self) -> None:
        if self._telling_soon is None and not self._closed:
            self._telling_soon = asyncio.get_running_loop().call_later(TELL_EVERY_S, self._tell)

    def _tell(self) -> None:
        self._telling_soon = None
        waiting: dict[int, int] = {}
        for queue in self._queues:
            waiting[queue.place.lane] = waiting.get(queue.place.lane, 0) + queue.unmet
        self._telling.tell(in_flight=self._in_flight, concurrency=self._concurrency.limit, waiting=waiting)

    def _lose(self, slot: _Slot) -> None:
        """Count a slot by which nothing left."""
        if slot.state in ("coming", "given"):
            slot.state = "lost"
            self._given.discard(slot)
            self._telling.lost[slot.asid] += 1
            self._tell_soon()
            self._room_freed()

    def _room_freed(self) -> None:
        if self._short_of_room:
            self._look_by(self._looked_s + FREED_S)

    def _open_slot(self, place: Place, now_s: float) -> _Slot | None:
        """Take the first of the slots that are for whoever comes, if there is room for a call."""
        line = self._lines.get(place.asid)
        if line is None or not line.open:
            return None
        while line.open and line.open[0].until_s < now_s:
            self._lose(line.open.popleft())
        if not line.open or self._room() <= 0 or place.client in self._budget().clients:
            return None
        if line.spread and line.open[-1].until_s - now_s < REFILL_S:
            line.spread, line.refill = False, True
            self._look_by(now_s)
        return line.open.popleft()

    def _assign(self, slot: _Slot, queue: Queue) -> None:
        """Let a slot be that of a queue, whose first call gets it when its moment comes."""
        slot.queue = queue
        queue.coming += 1
        heapq.heappush(self._coming, (slot.from_s, next(self._order), slot))

    def _give(self, slot: _Slot) -> None:
        slot.state = "given"
        self._given.add(slot)

    def _hand_on(self, slot: Slot, queue: Queue) -> None:
        """Give a slot that its call no longer takes to the next in the queue, if it has no other coming."""
        assert isinstance(slot, _Slot)
        if slot.state != "given":
            return
        self._given.discard(slot)
        slot.state = "coming"
        self._assign(slot, queue)
        self._depart()

    def _depart_soon(self) -> None:
        """See that somebody is there when the next slot's moment comes, or one that was given is over."""
        next_s = self._coming[0][0] if self._coming else math.inf
        if self._given:
            next_s = min(next_s, min(slot.until_s for slot in self._given))
        if self._departing is not None:
            if self._departing_s <= next_s:
                return
            self._departing.cancel()
            self._departing = None
        if next_s < math.inf:
            self._departing_s = next_s
            delay_s = max(_LEAST_TIMER_S, next_s - self.monotonic())
            self._departing = asyncio.get_running_loop().call_later(delay_s, self._depart)

    def _depart(self) -> None:
        """Give the slots whose moment has come to whoever has waited longest for them."""
        if self._departing is not None:
            self._departing.cancel()
            self._departing = None
        now_s = self.monotonic()
        while self._coming and self._coming[0][0] <= now_s:
            slot = heapq.heappop(self._coming)[2]
            queue = slot.queue
            assert queue is not None
            queue.coming -= 1
            call = self._next(queue) if now_s <= slot.until_s else None
            if call is None:
                self._lose(slot)
                if queue.unmet:
                    self._look_by(now_s)
            else:
                self._give(slot)
                call.future.set_result(slot)
        for slot in [slot for slot in self._given if slot.until_s < now_s]:
            self._lose(slot)
        self._depart_soon()

    # ── when to look ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _until_due(self) -> None:
        loop = asyncio.get_running_loop()
        while (left_s := max(self._look_s, self._not_before_s) - self.monotonic()) > 0:
            self._woken = loop.create_future()
            timer = None
            if left_s < math.inf:
                timer = loop.call_later(max(_LEAST_TIMER_S, left_s), self._wake)
            try:
                await self._woken
            finally:
                if timer is not None:
                    timer.cancel()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def _look_by(self, moment_s: float) -> None:
        if moment_s < self._look_s:
            self._look_s = moment_s
            self._wake()

    def _plan(self, now_s: float) -> None:
        """Set when the next look is due, unless one is due sooner for whoever came meanwhile."""
        asids = {queue.place.asid for queue in self._queues.unmet()}
        for asid, line in self._lines.items():
            line.crowded = asid in asids
            if line.crowded:
                self._look_by(min(line.look_s, now_s + SHOW_EVERY_S))
        if not asids and self._shown:
            self._look_by(now_s)
        if asids and self._short_of_room and self._room() > 0:
            self._look_by(now_s + FREED_S)
        self._short_of_room = bool(asids) and (self._short_of_room or self._room() <= 0)

    def _plan_line(self, line: _Line, part: _Part, seen: _Seen, now_s: float, *, room: bool) -> None:
        """Set when to look for the next slot of one ASID."""
        taken = seen.taken[part.asid]
        planned_s, line.look_s = line.look_s, math.inf
        if taken.next_at is None:
            line.next_s = line.left_at = None
            return
        line.next_s = self._clock.latest_s(taken.next_at)
        if not taken.left_to_others:
            line.left_at = None
            line.look_s = line.next_s - _LEAD_S
            if line.look_s <= now_s:
                # It could be taken now: one look does not take all, or there is no room, of which we shall hear.
                line.look_s = now_s if taken.grants and room else math.inf
        elif line.left_at is None or line.left_until != line.until:
            line.left_at, line.left_until = taken.next_at, line.until
            line.last_turn = False
            line.look_s = max(line.next_s, now_s) + OTHERS_TURN_S
        elif part.shown_since is None:
            line.look_s = planned_s  # we looked for another reason, and it is still theirs
        else:
            line.last_turn = True
            line.look_s = now_s + OTHERS_LAST_TURN_S

    # ── a look ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _look(self) -> None:
        self._shut_out()
        self._drop_gone()
        budget = self._budget()
        await self._connect(budget)
        self._look_s = math.inf  # whoever came until now is in this look
        parts = self._parts(budget)
        if not parts and not self._shown:
            return
        fresh, self._fresh = self._fresh, []
        look = self._looking(parts, budget)
        loop = asyncio.get_running_loop()
        self._pulse_later()
        done = False
        try:
            seen, reading = await loop.run_in_executor(self._thread, look)
            self._away_s = 0.0
            self._take_over(parts, seen, reading, budget)
            self._judge(fresh, budget)
            done = True
        except StorageUnavailable:
            self._away_s = min(LONGEST_AWAY_S, max(AWAY_S, 2 * self._away_s))
            self._not_before_s = self.monotonic() + self._away_s
            self._look_by(self._not_before_s)
            return
        finally:
            if self._pulsing is not None:
                self._pulsing.cancel()
            if not done:
                self._shown = self._shown or bool(parts)  # for all that we know
                self._fresh[:0] = [(queue, call) for queue, call in fresh if not call.future.done()]
        if self._connecting is None and self._defect is None:
            self._defective = False
        self._looked_s = self.monotonic()
        self._plan(self._looked_s)

    def _pulse(self) -> None:
        """See that nobody waits for a service that is shut, however long the store takes."""
        self._shut_out()
        self._pulse_later()

    def _pulse_later(self) -> None:
        self._pulsing = asyncio.get_running_loop().call_later(SHOW_EVERY_S, self._pulse)

    def _room(self) -> int:
        """How many more calls could leave at once."""
        free = min(self._concurrency.limit - self._in_flight, self._ready)
        return max(0, free - len(self._coming) - len(self._given))

    async def _connect(self, budget: ServiceBudget) -> None:
        """Have connections opened for what a look could give, and wait for the first a little."""
        reserved = len(self._coming) + len(self._given)
        free = self._concurrency.limit - self._in_flight - reserved
        wanted = self._wanted(budget)
        calls = reserved + min(wanted, free)
        if wanted and free > 0:
            with suppress(TransportFailure):
                self._ready = await self._prepare(0)
            if self._ready < calls and self._connecting is None:
                self._connecting = asyncio.ensure_future(self._prepare(calls))
                self._connecting.add_done_callback(self._connected)
            if self._connecting is not None and self._ready <= reserved:
                await asyncio.wait({self._connecting}, timeout=CONNECTING_S)
        self._short_of_room = bool(wanted) and self._room() <= 0

    def _connected(self, connecting: asyncio.Future[int]) -> None:
        self._connecting = None
        if connecting.cancelled():
            return
        failure = connecting.exception()
        if failure is None:
            if connecting.result() > self._ready:
                self._look_by(self.monotonic())
            self._ready = connecting.result()
        elif isinstance(failure, TransportFailure):
            self._not_connected(failure)
            self._look_by(self._looked_s + FREED_S)
        else:
            self._defect = failure
            self._look_by(self.monotonic())

    def _not_connected(self, failure: TransportFailure) -> None:
        """Tell those who wait that no connection can be made: all of them, unless one that is in use may come free.

        While calls are under way only the first in line is told, and what they leave is for the others. Else it would
        be the same for each of them, and whoever is not told would only hear of it after as many attempts.
        """
        if not self._in_flight:
            self._ready = 0
            for queue in self._queues:
                self._end_all(queue, lambda: type(failure)(*failure.args))
        elif unmet := self._queues.unmet():
            call = unmet[0].oldest
            unmet[0].discard(call)
            if not call.future.done():
                call.future.set_exception(failure)

    def _wanted(self, budget: ServiceBudget) -> int:
        """How many slots one look could give us, if all were ours."""
        unmet: dict[str, int] = {}
        for queue in self._queues:
            unmet[queue.place.asid] = unmet.get(queue.place.asid, 0) + queue.unmet
        return sum(min(count, most_at_once(budget.limit(asid))) for asid, count in unmet.items())

    def _parts(self, budget: ServiceBudget) -> list[_Part]:
        """Put together what waits here, for each ASID; first the one that got a slot longest ago, if room is short."""
        now_s = self.monotonic()
        self._queues.tidy()
        waiting: dict[str, list[tuple[Place, int, float]]] = {}
        for queue in self._queues.unmet():
            shown = queue.place, queue.unmet, queue.oldest.arrived_s
            waiting.setdefault(queue.place.asid, []).append(shown)
        for asid, line in self._lines.items():
            if line.refill:
                waiting.setdefault(asid, [])
        parts = []
        for asid in sorted(waiting, key=lambda asid: self._line(asid).granted_s):
            self._telling.tell_limit(asid, budget.limit(asid).per_second)
            line = self._line(asid)
            expected = line.expected(now_s) if in_blocks(budget.limit(asid)) else 0.0
            line.refill = False
            spread = line.spread = now_s - line.others_s >= ALONE_AFTER_S and expected >= SPREAD_FROM
            spare = min(most_at_once(budget.limit(asid)), round(expected * SPARE_WHEN_ALONE if spread else expected))
            due = line.left_at is not None and now_s >= line.look_s
            part = _Part(
                asid=asid,
                queues=waiting[asid],
                shown_since=line.left_at - SHOWN_WITHIN_US if due and line.left_at is not None else None,
                alone=due and line.last_turn,
                spare=spare,
                spread=spread,
                until=line.until,
            )
            parts.append(part)
        return parts

    def _looking(self, parts: list[_Part], budget: ServiceBudget) -> Callable[[], tuple[_Seen, Reading]]:
        """Make the work of a look, which is done in the store's thread and uses nothing that changes meanwhile."""
        instance, room, ahead, monotonic = self._instance, self._room(), self._look_time.ahead_us, self.monotonic

        def change(book: Book, now: int) -> _Seen:
            now_s = monotonic()
            left = room
            taken: dict[str, Taken] = {}
            still: list[Want] = []
            by_others = {part.asid for part in parts if _until(book, part.asid) != part.until}
            for part in parts:
                wants = [
                    Want(
                        asid=part.asid,
                        lane=place.lane,
                        client=place.client,
                        again=place.again,
                        # One more than there is room for: so we hear when the next slot after those is.
                        count=min(waiting, left + 1) if left > 0 else 0,
                        waiting=waiting,
                        since=now - int((now_s - since_s) * SECOND),
                    )
                    for place, waiting, since_s in part.queues
                ]
                # Slots for whoever comes need no room now. They are only taken when all that waits has got its own.
                all_fit = sum(want.waiting for want in wants) <= left
                found = taken[part.asid] = take(
                    book,
                    now=now,
                    instance=instance,
                    wants=wants,
                    budget=budget,
                    room=left + part.spare if all_fit else left,
                    ahead=ahead,
                    shown_since=part.shown_since,
                    alone=part.alone,
                    spare={part.asid: part.spare} if all_fit and part.spare else None,
                    spread=part.spread and part.asid not in by_others,
                )
                left -= sum(grant.client is not None for grant in found.grants)
                still += _still(wants, found.grants)
            # Who has a slot no longer waits: others must not leave the next one for it.
            book.desks.pop(instance, None)
            if still:
                book.desks[instance] = Desk(seen=now, wants=still)
            return _Seen(book=book, taken=taken, by_others=by_others)

        def distrusted(book: Book, now: int) -> None:
            distrust(book, now, budget)

        return lambda: self._store.change(change, distrust=distrusted)

    def _take_over(self, parts: list[_Part], seen: _Seen, reading: Reading, budget: ServiceBudget) -> None:
        """Put what was taken in its place, and set when to look for more."""
        now_s = self.monotonic()
        self._clock.learn(reading)
        self._look_time.learn(now_s - reading.before_s)
        self._view, self._viewed_s, self._desk_stale = seen.book, now_s, True
        self._shown = self._instance in seen.book.desks
        for part in parts:
            line = self._line(part.asid)
            line.until = _until(seen.book, part.asid)
            if part.asid in seen.by_others:
                line.others_s = now_s
            for grant in seen.taken[part.asid].grants:
                self._granted(line, grant, now_s)
            self._use_open(part.asid, line, budget)
        room = self._room() > 0
        for part in parts:
            self._plan_line(self._line(part.asid), part, seen, now_s, room=room)
        self._depart()

    def _granted(self, line: _Line, grant: Grant, now_s: float) -> None:
        from_s = self._clock.latest_s(grant.instant)
        slot = _Slot(self, grant.asid, from_s, self._clock.earliest_s(grant.instant) + USABLE_S - TO_WIRE_S)
        line.granted_s = now_s
        if grant.client is None:
            line.open.append(slot)
        else:
            place = Place(asid=grant.asid, lane=grant.lane, client=grant.client, again=grant.again)
            self._assign(slot, self._queues.at(place))

    def _use_open(self, asid: str, line: _Line, budget: ServiceBudget) -> None:
        """Let those who came while the look was made have what is for whoever comes."""
        if not line.open:
            return
        for queue in self._queues.unmet():
            if queue.place.asid == asid and queue.place.client not in budget.clients:
                while queue.unmet and line.open and self._room() > 0:
                    self._assign(line.open.popleft(), queue)

    def _line(self, asid: str) -> _Line:
        line = self._lines.get(asid)
        if line is None:
            line = self._lines[asid] = _Line(self.monotonic())
        return line

    # ── who cannot be served in time ────────────────────────────────────────────────────────────────────────────────

    def _judge(self, fresh: list[tuple[Queue, Call]], budget: ServiceBudget) -> None:
        """Refuse newcomers that have no hope, by the book in which they have just been put; others now and then."""
        newcomers: dict[Place, tuple[Queue, set[Call]]] = {}
        for queue, call in fresh:
            if not call.future.done():
                newcomers.setdefault(queue.place, (queue, set()))[1].add(call)
        for queue, calls in newcomers.values():
            self._judge_newcomers(queue, calls)
        now_s = self.monotonic()
        if now_s - self._judged_s >= JUDGE_EVERY_S:
            self._judged_s = now_s
            for queue in self._queues.unmet():
                self._judge_waiting(queue, budget, now_s)

    def _judge_newcomers(self, queue: Queue, newcomers: set[Call]) -> None:
        self._desk_stale = True
        before, shown = 0, len(queue.calls)
        for call in list(queue.calls):
            if call in newcomers and before >= queue.coming:
                # The forecast is for one more behind all that wait here; whoever is behind this one does not count.
                wait_s = self._forecast_s(queue.place, before + 1 - shown)
                left_s = call.leave_by_s - self.monotonic()
                if wait_s > left_s:
                    queue.discard(call)
                    call.future.set_exception(NoSlot(_retry_after_s(wait_s - left_s)))
                    continue
            before += 1

    def _judge_waiting(self, queue: Queue, budget: ServiceBudget, now_s: float) -> None:
        """Give up those who would be too late if every slot from now on were for their queue."""
        limits = [budget.limit(queue.place.asid)]
        if queue.place.client in budget.clients:
            limits.append(budget.clients[queue.place.client])
        per_second = min(limit.per_second for limit in limits)
        burst = min(limit.burst for limit in limits)
        from_s = max(now_s, self._line(queue.place.asid).next_s or now_s)
        before = 0
        for call in list(queue.calls)[queue.coming :]:
            if from_s + max(0, before + 1 - burst) / per_second > call.leave_by_s:
                queue.discard(call)
                self._refuse(queue.place, call)
            else:
                before += 1

    def _forecast_s(self, place: Place, calls: int) -> float:
        """Estimate how long until the last of so many more calls could leave, by what is known."""
        now_s = self.monotonic()
        now = self._clock.shared(now_s)
        if self._view is None or now_s - self._viewed_s > VIEW_S:
            self._view, self._viewed_s, self._desk_stale = Book(), now_s, True
        if self._desk_stale:
            self._desk_stale = False
            self._view.desks[self._instance] = Desk(
                seen=now,
                wants=[
                    Want(queue.place.asid, queue.place.lane, queue.place.client, queue.place.again, 0, queue.unmet, now)
                    for queue in self._queues.unmet()
                ],
            )
        self._view.desks[self._instance].seen = now
        return forecast_s(
            self._view,
            self._budget(),
            asid=place.asid,
            lane=place.lane,
            client=place.client,
            calls=calls,
            now=now,
        )


def _still(wants: list[Want], grants: list[Grant]) -> list[Want]:
    """Give what still waits once so many of it have got a slot."""
    granted: dict[tuple[int, str | None, bool], int] = {}
    for grant in grants:
        key = grant.lane, grant.client, grant.again
        granted[key] = granted.get(key, 0) + 1
    still = []
    for want in wants:
        given = granted.get((want.lane, want.client, want.again), 0)
        if want.waiting > given:
            count = max(0, want.count - given)
            still.append(msgspec.structs.replace(want, count=count, waiting=want.waiting - given))
    return still


def _until(book: Book, asid: str) -> int:
    """Give until when the bucket of an ASID is in use; it changes with every slot that is taken."""
    return book.lines[asid].bucket.until if asid in book.lines else 0


def _unmet(queues: list[Queue]) -> int:
    return sum(queue.unmet for queue in queues)


def _never() -> bool:
    return False


def _retry_after_s(wait_s: float) -> int:
    return max(1, min(MOST_RETRY_AFTER_S, math.ceil(wait_s)))
