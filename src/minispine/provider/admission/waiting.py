"""What waits in one worker for a slot: each client's calls of a lane in a queue of their own, in the order they came.

Who goes first among the queues is the book's business, for all workers together.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from minispine.spine.ports import Slot


class Call:
    """One call that waits. Its future ends with a slot, or with the exception that the caller gets.

    `number` counts calls in the order they came; one that comes back after a lost slot has the number it had. `gone`
    tells whether nobody is there any more to be answered.
    """

    __slots__ = ("arrived_s", "future", "gone", "leave_by_s", "number")

    def __init__(
        self,
        number: int,
        arrived_s: float,
        leave_by_s: float,
        future: asyncio.Future[Slot],
        gone: Callable[[], bool],
    ) -> None:
        self.number = number
        self.arrived_s = arrived_s
        self.leave_by_s = leave_by_s
        self.future = future
        self.gone = gone


class Place(msgspec.Struct, frozen=True):
    """Where calls wait. `lane` is its place in `LANES`; `again` sets apart what must go on from what begins."""

    asid: str
    lane: int
    client: str
    again: bool


class Queue:
    """The calls at one place, oldest first. The first `coming` of them have a slot whose moment has not come yet."""

    __slots__ = ("calls", "coming", "place")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.calls: deque[Call] = deque()
        self.coming = 0

    @property
    def unmet(self) -> int:
        """How many calls have no slot coming."""
        return max(0, len(self.calls) - self.coming)

    @property
    def oldest(self) -> Call:
        """The first call that has no slot coming."""
        return self.calls[self.coming]

    def add(self, call: Call) -> None:
        """Put a call where it belongs by when it came."""
        place = len(self.calls)
        while place and self.calls[place - 1].number > call.number:
            place -= 1
        self.calls.insert(place, call)

    def pop(self) -> Call | None:
        """Take the first call that still waits."""
        while self.calls:
            call = self.calls.popleft()
            if not call.future.done():
                return call
        return None

    def discard(self, call: Call) -> None:
        """Take a call out, if it is still here."""
        if call in self.calls:
            self.calls.remove(call)


class Queues:
    """All that waits in one worker. A queue is there while something waits in it or a slot is on its way to it."""

    def __init__(self) -> None:
        self._queues: dict[Place, Queue] = {}

    def __iter__(self) -> Iterator[Queue]:
        return iter(list(self._queues.values()))

    def at(self, place: Place) -> Queue:
        """Give the queue at a place, made where there is none."""
        queue = self._queues.get(place)
        if queue is None:
            queue = self._queues[place] = Queue(place)
        return queue

    def tidy(self) -> None:
        """Forget the queues that are over."""
        self._queues = {place: queue for place, queue in self._queues.items() if queue.calls or queue.coming}

    def unmet(self) -> list[Queue]:
        """Give the queues in which somebody has no slot coming, in the order of lanes; in a lane what goes on first."""
        return sorted(
            (queue for queue in self._queues.values() if queue.unmet),
            key=lambda queue: (queue.place.lane, not queue.place.again, queue.oldest.arrived_s),
        )
