"""Feeding: taking the newest checkpoint to one recipient, again and again until it is there.

Each recipient has a thread of its own, so that one that is slow or dead holds up nothing but itself. A recipient is
never offered an older checkpoint than one it has taken: the newest says all that those before it said.
"""

import threading
from collections.abc import Callable
from typing import Final

from minispine.audit.checkpointing import StoredCheckpoint
from minispine.audit.witnesses.recipient import Conflict, NotTaken, Offer, Recipient, Superseded
from minispine.audit.witnesses.remembering import did_not_take, remembered, took
from minispine.observe.log import LogEvent, log, where
from minispine.storage import Database, StorageUnavailable

FIRST_WAIT_S: Final = 5.0
LONGEST_WAIT_S: Final = 60.0
DEFECT: Final = "a defect of our own; see the application log"


class Feeder:
    """Feeds one recipient. `now` gives UTC microseconds since 1970.

    `waits` gives how many seconds to wait after so many failures one after another.
    """

    def __init__(
        self,
        recipient: Recipient,
        database: Database,
        *,
        now: Callable[[], int],
        waits: Callable[[int], float] = lambda failures: min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (failures - 1)),
    ) -> None:
        self.recipient: Final = recipient
        self._database = database
        self._now = now
        self._waits = waits
        self._changed = threading.Condition()
        self._offered: StoredCheckpoint | None = None
        self._closing = False
        self._thread: threading.Thread | None = None
        self._feeding = threading.Lock()

    def offer(self, stored: StoredCheckpoint) -> None:
        """Have a checkpoint taken to the recipient, soon, unless a newer one is offered before. Does not wait."""
        with self._changed:
            self._offered = stored
            if self._thread is None and not self._closing:
                # A daemon, because it can hang in a call to the recipient when everything else has ended.
                name = f"minispine-feeder-{self.recipient.name}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self, timeout_s: float = 0.0) -> None:
        """Offer nothing any more, and wait so long at most for what is under way."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def feed(self, stored: StoredCheckpoint) -> str | None:
        """Offer a checkpoint now, in this thread; gives why it was not taken, None when it was."""
        name = self.recipient.name
        with self._feeding:
            try:
                before = remembered(self._database, name)
                if before.taken.number >= stored.number:
                    return None
                try:
                    note = self.recipient.take(Offer(self._database, stored, before.taken))
                except Superseded:
                    return None
                except NotTaken as reason:
                    conflict = isinstance(reason, Conflict)
                    did_not_take(self._database, name, stored, str(reason), conflict=conflict)
                    if str(reason) != before.problem or conflict > before.conflict:
                        said = LogEvent.WITNESS_CONFLICT if conflict else LogEvent.WITNESS_FAILS
                        log(said, recipient=self.recipient.called, reason=str(reason))
                    return str(reason)
                took(self._database, name, stored, note, at=self._now())
            except StorageUnavailable:
                return "the database is away"
            except Exception as defect:
                # Whatever a recipient makes of us, the thread has to go on with the next checkpoint.
                log(LogEvent.DEFECT, reference=name, exception=type(defect).__name__, where=where(defect))
                return DEFECT
            if before.problem is not None:
                log(LogEvent.WITNESS_RESUMED, recipient=self.recipient.called)
            return None

    def _run(self) -> None:
        wanted: StoredCheckpoint | None = None
        failures = 0
        while True:
            with self._changed:
                wait_s = None if wanted is None else self._waits(failures)
                self._changed.wait_for(lambda: self._closing or self._offered is not None, wait_s)
                if self._closing:
                    return
                if self._offered is not None:
                    wanted, self._offered = self._offered, None
            if wanted is None or self.feed(wanted) is None:
                wanted, failures = None, 0
            else:
                failures += 1
