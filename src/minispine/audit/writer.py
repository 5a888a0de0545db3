"""The writer of a process: one thread that gathers what is waiting and commits it in one transaction (Law 9).

Whoever hands something over waits for the outcome of its own batch. What a transaction does is `sealing.Sealer`'s work.

A commit costs about as much for four entries as for one. So while entries come in company the writer waits a moment
for others before it commits; whoever comes alone does not wait.
"""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

from minispine.audit.encoding import Prepared
from minispine.audit.events import AuditUnavailable, Receipt
from minispine.audit.sealing import Outcome, Sealer
from minispine.storage import StorageUnavailable

_BATCH_ENTRIES: Final = 256
_BATCH_BYTES: Final = 16 * 1024 * 1024
_PROBE_INTERVAL_S: Final = 0.5
_COMPANY_WAIT_S: Final = 0.002


class _Waiting:
    """An entry handed over, and who waits for it. `given_up` is set by the loop, read by the writer."""

    __slots__ = ("future", "given_up", "loop", "prepared")

    def __init__(self, prepared: Prepared, loop: asyncio.AbstractEventLoop) -> None:
        self.prepared = prepared
        self.loop = loop
        self.future: asyncio.Future[Receipt] = loop.create_future()
        self.given_up = False

    def settle(self, outcome: "Outcome | AuditUnavailable") -> None:
        """Called in the loop."""
        if self.future.done():  # cancelled, or given up after its time
            return
        if isinstance(outcome, Receipt):
            self.future.set_result(outcome)
        else:
            self.future.set_exception(outcome)

    def expire(self) -> None:
        """Called in the loop when the time is over. The writer may be committing it at this moment."""
        self.given_up = True
        self.settle(AuditUnavailable("the entry was not durable in time"))


_Settled = list[tuple[_Waiting, "Outcome | AuditUnavailable"]]


class Writer:
    """Group commit. `reason` is None while the store works, else why it does not; then it is tried until it does.

    `timeout_s` bounds how long anyone waits; `queue` bounds how many do, before further ones are refused at once.
    `pause` lets seconds go by in the thread.
    """

    def __init__(
        self, sealer: Sealer, *, timeout_s: float, queue: int, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.reason: str | None = None
        self._sealer = sealer  # used by the thread alone
        self._timeout_s = timeout_s
        self._limit = queue
        self._pause = pause
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="audit-writer", daemon=True)
        self._thread.start()

    async def write(self, prepared: Prepared) -> Receipt:
        """Wait until an entry is durable. Raises `AuditUnavailable`, `GuardFailed`.

        A caller that is cancelled while it waits leaves its entry to be written all the same.
        """
        if self._closed:
            raise AuditUnavailable("the log is closed")
        if self._queue.qsize() >= self._limit:
            raise AuditUnavailable("too many entries are waiting")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(prepared, loop)
        timer = loop.call_later(self._timeout_s, waiting.expire)
        self._queue.put(waiting)
        try:
            return await waiting.future
        finally:
            timer.cancel()

    def close(self) -> None:
        """Write what is waiting, then stop. Later entries are refused."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        in_company = False
        while True:
            try:
                first = self._queue.get(timeout=None if self.reason is None else _PROBE_INTERVAL_S)
            except Empty:
                self._try(self._sealer.probe)
                continue
            if first is None:
                break
            if in_company:
                self._pause(_COMPANY_WAIT_S)
            batch, last = self._gather(first)
            in_company = len(batch) > 1
            self._commit(batch)
            if last:
                break
        self._sealer.disconnect()

    def _gather(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """What is waiting now, up to a batch, without what was given up; and whether the end was among it."""
        batch = [first]
        size = 0
        while len(batch) < _BATCH_ENTRIES and size < _BATCH_BYTES:
            try:
                waiting = self._queue.get_nowait()
            except Empty:
                break
            if waiting is None:
                return [w for w in batch if not w.given_up], True
            batch.append(waiting)
            if (payload := waiting.prepared.payload) is not None:
                size += len(payload.bodies or b"") + len(payload.private or b"")
        return [w for w in batch if not w.given_up], False

    def _commit(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        outcomes: list[Outcome] = []
        if self._try(lambda: outcomes.extend(self._sealer.seal([w.prepared for w in batch]))):
            _deliver(list(zip(batch, outcomes, strict=True)))
        else:
            reason = self.reason or "the store does not work"
            _deliver([(w, AuditUnavailable(reason)) for w in batch])

    def _try(self, work: Callable[[], None]) -> bool:
        """Do something with the store, and take note of whether it works."""
        try:
            work()
        except StorageUnavailable as error:
            self.reason = str(error)
            return False
        except Exception as error:
            # A defect of ours. The thread has to live on, and nobody may be told that an entry is durable.
            self._sealer.disconnect()
            self.reason = f"the writer failed ({type(error).__name__})"
            return False
        self.reason = None
        return True


def _deliver(settled: _Settled) -> None:
    """Wake every waiter of a batch, with one call into each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, _Settled] = defaultdict(list)
    for waiting, outcome in settled:
        by_loop[waiting.loop].append((waiting, outcome))
    for loop, its in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, its)
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _settle(settled: _Settled) -> None:
    for waiting, outcome in settled:
        waiting.settle(outcome)
