"""`AuditLog`: what the rest of the product knows of the log when it writes.

Reading is in ``reading.py`` and checking in ``verification/``.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

from minispine.audit.encoding import EntryInvalid, Prepared, iso_time, prepare
from minispine.audit.events import AuditUnavailable, Entry, Event, EventType, Receipt
from minispine.audit.reading import RecordUnreadable, leaf_of
from minispine.audit.sealing import Hold, Sealer
from minispine.audit.vault import Vault
from minispine.audit.writer import Writer
from minispine.storage import Database, StorageUnavailable

_ORPHANS_AT_ONCE: Final = 100
_MAY_HAVE_LEFT: Final = (EventType.EXCHANGE_RECEIVED, EventType.EXCHANGE_ASKED, EventType.EXCHANGE_RESERVED)


class AuditLog:
    """The append-only log of one installation, as one process writes it (Law 1).

    `system_id` is the installation (SMSP-AUDIT-009 h), `instance` a UUID of this process in text form, `now` gives UTC
    microseconds since 1970. `vault` encrypts the payloads. `timeout_s` bounds how long `append` may take, and
    `queue` how many entries may wait in it. Make it in the process that uses it: it does not survive a fork.
    """

    def __init__(
        self,
        database: Database,
        *,
        system_id: str,
        instance: str,
        vault: Vault,
        now: Callable[[], int],
        timeout_s: float = 5.0,
        queue: int = 4096,
    ) -> None:
        self.instance: Final = instance
        self.now: Final = now
        self.vault: Final = vault
        self._timeout_s = timeout_s
        self._queue = queue
        self._sealers = [
            Sealer(database, system_id=system_id, instance=instance, master_key=vault.master_key, now=now)
            for _ in range(2)
        ]
        self._lock = threading.Lock()  # held while the second sealer is in use, and while the writer is made
        self._writer: Writer | None = None
        self._closed = False

    @property
    def healthy(self) -> bool:
        """Whether the last thing tried with the store worked. When it did not, the store is tried until it does."""
        return self.reason is None

    @property
    def reason(self) -> str | None:
        """Why the log is not healthy, or None."""
        return self._writer.reason if self._writer is not None else None

    async def append(self, entry: Entry) -> Receipt:
        """Make an entry durable; when this returns it is on disk.

        Raises `AuditUnavailable` within the time allowed: then nothing may be done on the strength of the entry, though
        it may still come to be in the log. Raises `GuardFailed` if the registration it relies on is no longer in
        force: then it is not in the log. Raises `EntryInvalid` for an entry that is wrong in itself.
        """
        prepared = self._prepare(entry)
        writer = self._writer or self._start()
        return await writer.write(prepared)

    def append_now(self, entry: Entry) -> Receipt:
        """The same for a command, which has no event loop: waits in this thread. Raises as `append` does."""
        prepared = self._prepare(entry)
        with self._sealing() as sealer:
            outcome = sealer.seal([prepared])[0]
        if isinstance(outcome, Receipt):
            return outcome
        raise outcome

    @contextmanager
    def holding(self) -> Iterator[Hold]:
        """The head of the log, held for one transaction of the audit room. Raises `AuditUnavailable`."""
        with self._sealing() as sealer, sealer.hold() as hold:
            yield hold

    def append_in(self, hold: Hold, entry: Entry) -> Receipt:
        """Append within a transaction of `holding`. Raises `GuardFailed`, `EntryInvalid`."""
        outcome = hold.append([self._prepare(entry)])[0]
        if isinstance(outcome, Receipt):
            return outcome
        raise outcome

    def declare_in(self, hold: Hold, entry: Entry, *, epoch: int) -> Receipt:
        """Append the record that states the keys in force, or that begins an epoch, within a transaction of `holding`.

        Raises `EntryInvalid`.
        """
        return hold.declare(self._prepare(entry), epoch=epoch)

    def close_orphans(self, living: Callable[[set[str]], set[str]]) -> int:
        """Close every exchange left open by a process that is dead, and say how many there were.

        Each gets one record: its outcome is unknown, and it carries what was recorded when it was opened, so that the
        ids of what may have been asked are at hand; where that record is not as it was written, what is known without
        it. Called at start by whoever holds the claim to serve; `living` is
        that claim's (`Claim.living`). Raises `AuditUnavailable`.
        """
        closed = 0
        while True:
            with self.holding() as hold:
                orphans = self._orphans(hold, living)
                hold.append(orphans)
            closed += len(orphans)
            if len(orphans) < _ORPHANS_AT_ONCE:
                return closed

    async def close(self) -> None:
        """Write what is waiting and let go of the database. Nothing can be appended afterwards."""
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        """The same for a command, which has no event loop."""
        with self._lock:
            self._closed = True
            if self._writer is not None:
                self._writer.close()
            self._sealers[1].disconnect()

    @contextmanager
    def _sealing(self) -> Iterator[Sealer]:
        """The sealer of those who append without the writer, one at a time."""
        with self._lock:
            if self._closed:
                raise AuditUnavailable("the log is closed")
            try:
                yield self._sealers[1]
            except StorageUnavailable as error:
                raise AuditUnavailable(str(error)) from None

    def _start(self) -> Writer:
        with self._lock:
            if self._closed:
                raise AuditUnavailable("the log is closed")
            if self._writer is None:
                self._writer = Writer(self._sealers[0], timeout_s=self._timeout_s, queue=self._queue)
            return self._writer

    def _prepare(self, entry: Entry) -> Prepared:
        return prepare(entry, instance=self.instance, vault=self.vault)

    def _orphans(self, hold: Hold, living: Callable[[set[str]], set[str]]) -> list[Prepared]:
        instances = {row[0] for row in hold.audit.rows("SELECT DISTINCT instance FROM audit_open")} - {self.instance}
        orphans: list[Prepared] = []
        for instance in sorted(instances - living(instances)):
            opened = hold.audit.rows(
                "SELECT o.exchange, o.sequence, r.leaf FROM audit_open o"
                " LEFT JOIN audit_record r ON r.sequence = o.sequence WHERE o.instance = ?"
                " ORDER BY o.sequence LIMIT ?",
                (instance, _ORPHANS_AT_ONCE - len(orphans)),
            )
            orphans += [self._unknown(exchange, sequence, leaf, instance) for exchange, sequence, leaf in opened]
        return orphans

    def _unknown(self, exchange: str, sequence: int, leaf: bytes | None, instance: str) -> Prepared:
        """The record of an orphan. One whose opening is not as it was written must not keep the worker from serving."""
        unknown = {"reason": "process-died", "opened_by": sequence, "instance": instance, "recorded": []}
        event = Event(type=EventType.EXCHANGE_OUTCOME_UNKNOWN, at=self.now(), data=unknown)
        bare = Entry(events=(event,), exchange=exchange, closes=True)
        with suppress(RecordUnreadable, EntryInvalid):
            opening = leaf_of(sequence, leaf or b"")
            recorded = [
                {"type": each["type"], "at": iso_time(each["at"]), "data": each["data"]}
                for each in opening["events"]
                if each["type"] in _MAY_HAVE_LEFT
            ]
            told = msgspec.structs.replace(event, data=unknown | {"recorded": recorded})
            known = {"client": opening["client"], "client_message_id": opening["client_message_id"]}
            return self._prepare(msgspec.structs.replace(bare, events=(told,), **known))
        return self._prepare(bare)
