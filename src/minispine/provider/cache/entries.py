"""The table of kept answers: reading and changing it, in short transactions. What may be in it is decided elsewhere.

Besides entries it holds **marks**: of a number that had to be forgotten, that it was. While a mark stands nothing is
kept of that number. An answer that Spine gave before the one that made us forget may arrive after it, by another
exchange or another worker, and would bring back what has to be gone. A mark has no client and nothing sealed in it.

Who keeps and who forgets something of the same number do so one after the other. On SQLite all who write do; on
PostgreSQL the number has an advisory lock (of two integers, so that it cannot be one of those of ``storage/turns.py``).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from minispine.provider.cache.keys import CacheKeys
from minispine.storage import Database, Session, Store

MARK_S: Final = 300
"""For how long nothing is kept of a number that was forgotten: longer than any exchange lasts."""
NEVER: Final = 2**62
"""The time at which nothing has to be taken out of an entry any more."""

_MARKED: Final = ""
_AT_ONCE: Final = 500

_COLUMNS: Final = "key, patient, client, operation, service, fetched_at, strip_at, gone_at, sealed"
_READ: Final = f"SELECT {_COLUMNS} FROM cache_entry WHERE key = ? AND client <> ''"  # noqa: S608
_PUT: Final = (
    f"INSERT INTO cache_entry ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"  # noqa: S608
    " patient = excluded.patient, client = excluded.client, operation = excluded.operation,"
    " service = excluded.service, fetched_at = excluded.fetched_at, strip_at = excluded.strip_at,"
    " gone_at = excluded.gone_at, sealed = excluded.sealed"
)
_STANDS: Final = "SELECT 1 FROM cache_entry WHERE key = ? AND gone_at > ?"
_FORGET: Final = "DELETE FROM cache_entry WHERE patient = ? AND client <> '' RETURNING key"
_FORGET_KEY: Final = "DELETE FROM cache_entry WHERE key = ? RETURNING key"
_FORGET_EXACTLY: Final = "DELETE FROM cache_entry WHERE key = ? AND sealed = ? RETURNING key"
_LOCK: Final = "SELECT pg_advisory_xact_lock(?, ?)"
_COUNT: Final = "SELECT COUNT(*) FROM cache_entry WHERE client = ? AND operation = ?"
_OLDEST: Final = (
    "DELETE FROM cache_entry WHERE key IN (SELECT key FROM cache_entry WHERE client = ? AND operation = ?"
    " ORDER BY fetched_at LIMIT ?) RETURNING key"
)
_SOME: Final = "DELETE FROM cache_entry WHERE key IN (SELECT key FROM cache_entry WHERE {} LIMIT ?) RETURNING key"
_GONE: Final = _SOME.format("gone_at < ?")
_OF_OPERATION: Final = _SOME.format("client = ? AND operation = ?")
_OLDER: Final = _SOME.format("client = ? AND operation = ? AND fetched_at < ?")
_NEWER: Final = _SOME.format("client = ? AND operation = ? AND fetched_at > ?")
_OF_CLIENT: Final = _SOME.format("client = ? AND client <> ''")
_ALL: Final = _SOME.format("client <> ''")
_TO_STRIP: Final = f"SELECT {_COLUMNS} FROM cache_entry WHERE strip_at < ? ORDER BY strip_at LIMIT ?"  # noqa: S608
_STRIP: Final = "UPDATE cache_entry SET sealed = ?, strip_at = ? WHERE key = ? AND sealed = ?"
_STRIP_SOONER: Final = (
    "UPDATE cache_entry SET strip_at = 0 WHERE client = ? AND operation = ? AND fetched_at < ?"
    " AND strip_at > 0 AND strip_at < ?"
)
_BY_OPERATION: Final = (
    "SELECT client, operation, COUNT(*), MIN(fetched_at), MAX(fetched_at) FROM cache_entry WHERE client <> ''"
    " GROUP BY client, operation ORDER BY client, operation"
)
_ANYTHING: Final = "SELECT 1 FROM cache_entry LIMIT 1"


class Row(msgspec.Struct, frozen=True):
    """One row. Times are UTC microseconds; `key` and `patient` are keyed digests, `sealed` is encrypted."""

    key: bytes
    patient: bytes
    client: str
    operation: str
    service: str
    fetched_at: int
    strip_at: int
    gone_at: int
    sealed: bytes

    @property
    def bound(self) -> bytes:
        """What of the row is sealed with the entry, so that neither can be had with another's.

        `strip_at` and `gone_at` are not: they only say when to look, and what may be given does not depend on them.
        """
        told = (self.key, self.patient, self.client, self.operation, self.service, self.fetched_at)
        return _encode(("minispine cache entry 1", *told))


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """How many entries one operation of a client has, and when the first and the last of them were fetched."""

    client: str
    operation: str
    count: int
    oldest_at: int
    newest_at: int


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What one answer changes: numbers to forget and to mark, by their digests, entries to delete, one to put."""

    forget: tuple[bytes, ...] = ()
    forget_keys: tuple[bytes, ...] = ()
    forget_exactly: tuple[Row, ...] = ()
    put: Row | None = None


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it."""

    forgotten: int = 0
    kept: bool = False


_encode: Final = msgspec.msgpack.Encoder().encode


class Entries:
    """The table. Every method is one or more transactions and raises `StorageUnavailable`. For threads, not for loops.

    `mark` gives the key of the mark of a patient's digest.
    """

    def __init__(self, database: Database, keys: CacheKeys) -> None:
        self._database = database
        self._keys = keys

    def read(self, keys: Sequence[bytes]) -> list[Row]:
        """Give those of these entries that there are."""
        with self._database.session(Store.REGISTRY) as session:
            return [row for key in keys for row in _rows(session, _READ, (key,))]

    def change(self, changes: Sequence[Change], now: int) -> list[Changed]:
        """Make changes, all in one transaction and in this order, and say what became of each."""
        with self._writing() as session:
            return self.change_in(session, changes, now)

    def change_in(self, session: Session, changes: Sequence[Change], now: int) -> list[Changed]:
        """Do the same within a transaction."""
        patients = {each for change in changes for each in change.forget}
        patients |= {change.put.patient for change in changes if change.put is not None}
        _take_turns(session, patients)
        return [self._change(session, change, now) for change in changes]

    def forget(self, session: Session, patient: bytes, now: int) -> int:
        """Within a transaction that has the number's turn: delete what is kept of it, and mark it as forgotten."""
        gone = len(session.rows(_FORGET, (patient,)))
        gone_at = now + MARK_S * 1_000_000
        session.run(_PUT, (self._mark(patient), patient, _MARKED, _MARKED, _MARKED, now, NEVER, gone_at, b""))
        return gone

    def forget_in_turn(self, session: Session, patient: bytes, now: int) -> int:
        """Do the same within any transaction."""
        _take_turns(session, {patient})
        return self.forget(session, patient, now)

    def count(self, client: str, operation: str) -> int:
        """Count the entries of one operation of a client."""
        with self._database.session(Store.REGISTRY) as session:
            found: int = session.rows(_COUNT, (client, operation))[0][0]
            return found

    def delete_oldest(self, client: str, operation: str, many: int) -> int:
        """Delete so many entries of an operation of a client, the oldest first."""
        with self._writing() as session:
            return len(session.rows(_OLDEST, (client, operation, many)))

    def delete_gone(self, now: int) -> int:
        """Delete entries and marks whose time is over."""
        return self._delete(_GONE, now)

    def delete_operation(self, client: str, operation: str) -> int:
        """Delete all that one operation of a client has kept."""
        return self._delete(_OF_OPERATION, client, operation)

    def delete_older(self, client: str, operation: str, before: int) -> int:
        """Delete what was fetched before a time."""
        return self._delete(_OLDER, client, operation, before)

    def delete_newer(self, client: str, operation: str, after: int) -> int:
        """Delete what was fetched after a time."""
        return self._delete(_NEWER, client, operation, after)

    def delete_most(self, client: str | None) -> int:
        """Delete the entries of one client or of all, in several transactions."""
        return self._delete(_ALL) if client is None else self._delete(_OF_CLIENT, client)

    def delete_rest(self, session: Session, client: str | None) -> int:
        """Within a transaction: delete what `delete_most` has left, because it came meanwhile."""
        most = 2**31 - 1
        return len(session.rows(_ALL, (most,)) if client is None else session.rows(_OF_CLIENT, (client, most)))

    def strip_sooner(self, client: str, operation: str, before: int) -> None:
        """Have whereabouts taken out of what was fetched before a time, at the next opportunity."""
        with self._writing() as session:
            session.run(_STRIP_SOONER, (client, operation, before, NEVER))

    def to_strip(self, now: int) -> list[Row]:
        """Give some of the entries out of which whereabouts have to be taken."""
        with self._database.session(Store.REGISTRY) as session:
            return _rows(session, _TO_STRIP, (now, _AT_ONCE))

    def strip(self, stripped: Sequence[tuple[Row, bytes]], unreadable: Sequence[Row]) -> None:
        """Seal entries anew, unless they have changed meanwhile, and delete those that cannot be read."""
        with self._writing() as session:
            session.run_many(_STRIP, [(sealed, NEVER, row.key, row.sealed) for row, sealed in stripped])
            for row in unreadable:
                session.rows(_FORGET_EXACTLY, (row.key, row.sealed))

    def by_operation(self) -> list[Group]:
        """Count the entries of each operation of each client."""
        with self._database.session(Store.REGISTRY) as session:
            return [
                Group(client=client, operation=operation, count=count, oldest_at=oldest, newest_at=newest)
                for client, operation, count, oldest, newest in session.rows(_BY_OPERATION)
            ]

    def is_empty(self) -> bool:
        """Tell whether there is neither an entry nor a mark."""
        with self._database.session(Store.REGISTRY) as session:
            return not session.rows(_ANYTHING)

    def _change(self, session: Session, change: Change, now: int) -> Changed:
        forgotten = sum(self.forget(session, patient, now) for patient in change.forget)
        forgotten += sum(len(session.rows(_FORGET_KEY, (key,))) for key in change.forget_keys)
        forgotten += sum(len(session.rows(_FORGET_EXACTLY, (row.key, row.sealed))) for row in change.forget_exactly)
        put = change.put
        if put is None:
            return Changed(forgotten=forgotten)
        if session.rows(_STANDS, (self._mark(put.patient), now)):
            # What stood in its place is no better: it is older than this.
            forgotten += len(session.rows(_FORGET_KEY, (put.key,)))
            return Changed(forgotten=forgotten)
        session.run(_PUT, msgspec.structs.astuple(put))
        return Changed(forgotten=forgotten, kept=True)

    def _delete(self, statement: str, *parameters: object) -> int:
        deleted = 0
        while True:
            with self._writing() as session:
                some = len(session.rows(statement, (*parameters, _AT_ONCE)))
            deleted += some
            if some < _AT_ONCE:
                return deleted

    def _mark(self, patient: bytes) -> bytes:
        return self._keys.digest("mark", patient.hex())

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with self._database.session(Store.REGISTRY) as session:
            session.begin()
            yield session
            session.commit()


def _rows(session: Session, statement: str, parameters: Sequence[object]) -> list[Row]:
    return [
        Row(bytes(key), bytes(patient), client, operation, service, fetched_at, strip_at, gone_at, bytes(sealed))
        for key, patient, client, operation, service, fetched_at, strip_at, gone_at, sealed in session.rows(
            statement, parameters
        )
    ]


def _take_turns(session: Session, patients: set[bytes]) -> None:
    """Be the only one who changes anything about these numbers until the transaction ends."""
    if session.kind == "postgresql":
        for pair in sorted({(_signed(each[:4]), _signed(each[4:8])) for each in patients}):
            session.run(_LOCK, pair)


def _signed(four: bytes) -> int:
    return int.from_bytes(four, signed=True)
