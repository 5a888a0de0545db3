"""Who may go on to Spine now, who waits, and who gets the busy tone.

One gate for each worker: so many exchanges at once, so many waiting for their turn, in the order they came. Nothing is
kept waiting past its deadline. (Lanes and the budget shared by all workers are a later issue's; the gate is its place.)
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from minispine.observe import metrics


class Busy(Exception):
    """No turn can be had before the deadline; `retry_after_s` is when to try again, in whole seconds."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("busy")
        self.retry_after_s = retry_after_s


class Admission:
    """A bounded gate with a bounded queue.

    Invariant: at most `max_in_flight` turns are held and at most `max_waiting` are waited for.
    """

    def __init__(self, *, max_in_flight: int, max_waiting: int) -> None:
        self._free = max_in_flight
        self._max_waiting = max_waiting
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._turn_s = 0.1
        """How long a turn lasts, as a moving average: what Retry-After is computed from."""
        self._max_in_flight = max_in_flight

    @property
    def full(self) -> bool:
        """Whether a newcomer would be turned away at once."""
        return self._free == 0 and len(self._waiting) >= self._max_waiting

    def busy(self) -> Busy:
        """Give the refusal for now: when the queue as it stands should have been worked off."""
        wait_s = (len(self._waiting) + 1) * self._turn_s / self._max_in_flight
        return Busy(max(1, min(60, round(wait_s + 0.5))))

    @asynccontextmanager
    async def turn(self, deadline_s: float) -> AsyncIterator[None]:
        """Hold a turn; `deadline_s` is on the event loop's clock.

        Raises:
            Busy: the queue is full, or no turn came before the deadline.
        """
        await self._enter(deadline_s)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        metrics.IN_FLIGHT.inc()
        try:
            yield
        finally:
            metrics.IN_FLIGHT.dec()
            self._turn_s += 0.05 * (loop.time() - began_s - self._turn_s)
            self._leave()

    async def _enter(self, deadline_s: float) -> None:
        if self._free:
            self._free -= 1
            return
        if len(self._waiting) >= self._max_waiting:
            raise self.busy()
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        metrics.WAITING.inc()
        try:
            async with asyncio.timeout_at(deadline_s):
                await mine
        except BaseException as stopped:
            if mine.done() and not mine.cancelled():
                self._leave()  # the turn was handed over just as the wait ended
            else:
                with suppress(ValueError):  # whoever left at this moment may have passed over us already
                    self._waiting.remove(mine)
            if isinstance(stopped, TimeoutError):
                raise self.busy() from None
            raise
        finally:
            metrics.WAITING.dec()

    def _leave(self) -> None:
        while self._waiting:
            following = self._waiting.popleft()
            if not following.done():
                following.set_result(None)
                return
        self._free += 1
