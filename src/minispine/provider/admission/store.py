"""The book of a national service in the database: read, changed, and put back unless somebody else was first.

What is in a book and how it changes is in ``book.py``. Here is only how a change of it becomes everybody's:

- **No lock is held between statements.** A look is one SELECT, which also reads the clock that all share; putting the
  book back is one UPDATE that does nothing where `version` has moved on, and then all is done anew. A process that
  stands still between the two therefore holds nobody up, and what it would write when it goes on is refused.
- **No flush to the disk is waited for**, since a slot is worth nothing a second later. What a failure of the database
  can undo by that is less than `book.LOST_US`: PostgreSQL flushes by itself within three times ``wal_writer_delay``
  (where that is set too long, we wait for it after all), and on SQLite we flush every half of that time. Whoever was
  connected loses the connection by such a failure, and the first change on a new connection counts every bucket as
  emptied (`distrust`). The setting is this connection's own, which never goes back to the pool: the audit log's
  commits stay as durable as they were.
- **The clock** is the server's on PostgreSQL. On SQLite, where one process serves (Law 9), it is the machine's
  monotonic clock, which outlives the process; after a restart of the machine it begins anew, which `take` sets right.
  There the clock needs no statement, so the book that was put back last is changed again without reading the row:
  where another process was there meanwhile `version` tells, and all is done anew from what it left.

A row that is missing counts as emptied too: at the very first start, or when somebody has deleted it, which loses what
the last minute held. Of one that is there and cannot be read it is clear that something was lost: the minute before it
counts as full.
"""

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from minispine.provider.admission.book import LOST_US, SECOND, Book, decode, encode
from minispine.storage import ConnectionLost, Database, Session, StorageUnavailable, Store

T = TypeVar("T")

_TRIES: Final = 50
_FLUSH_EVERY_S: Final = LOST_US / SECOND / 2
_SERVER_FLUSHES_WITHIN: Final = 3
"""PostgreSQL: a commit that nobody waits for is flushed within so many times ``wal_writer_delay``."""

_CLOCK: Final = {
    "postgresql": "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    "sqlite": "0",
}
# From one row that is always there: the clock is told also where the book is not there yet.
_READ: Final = "SELECT s.state, s.version, {clock} FROM (SELECT 1) AS one LEFT JOIN spine_slots AS s ON s.service = ?"
_REPLACE: Final = (
    "UPDATE spine_slots SET version = version + 1, state = ? WHERE service = ? AND version = ? RETURNING version"
)
_INSERT: Final = (
    "INSERT INTO spine_slots (service, version, state) VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING version"
)


class Reading(msgspec.Struct, frozen=True):
    """One look at the clock that all workers share.

    `now` is what it said, in microseconds; `before_s` and `after_s` are what this process's monotonic clock said just
    before and just after.
    """

    now: int
    before_s: float
    after_s: float


class SlotStore:
    """The shared book of one national service, by one connection of its own. Used by one thread at a time."""

    def __init__(self, database: Database, service: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._service = service
        self._monotonic = monotonic
        self._read_sql = _READ.format(clock=_CLOCK[database.kind])
        self._session: Session | None = None
        self._trusted = False
        """Whether a change was put back on this connection, and with it that the buckets are as they were left."""
        self._flushed_s: float | None = None
        self._kept: tuple[bytes, int] | None = None
        """SQLite: the state and the version that we put back last."""

    def change(self, change: Callable[[Book, int], T], *, distrust: Callable[[Book, int], None]) -> tuple[T, Reading]:
        """Read the book, have it changed, and put it back unless somebody else has changed it meanwhile; then again.

        `change` is given the book and the shared clock's time, and may be called several times, each time with a book
        that was read anew: what it gave before counts for nothing. So does `distrust`, before the first change on a new
        connection and where there was no book. What `change` gave last is the result, with the reading it went by.

        Raises:
            StorageUnavailable: the database did not do its work, or others were first every time. Whether the last
                change was made is not known: what it took must not be used.
        """
        known = self._session is not None
        try:
            return self._change(change, distrust)
        except ConnectionLost:
            if not known:
                raise
        return self._change(change, distrust)  # it had broken while nobody used it: that is worth one new one

    def look(self) -> tuple[Book, Reading]:
        """Read the book as it is; one that is not there or cannot be read is empty. Raises `StorageUnavailable`."""
        self._kept = None
        try:
            book, _, reading = self._read(self._connected())
        except BaseException:
            self.close()
            raise
        return book or Book(), reading

    def close(self) -> None:
        """Give the connection up; whatever is called next makes a new one."""
        session, self._session = self._session, None
        self._trusted = False
        self._flushed_s = None
        self._kept = None
        if session is not None:
            session.discard()  # not to the pool: it does not wait for the disk

    def _change(self, change: Callable[[Book, int], T], distrust: Callable[[Book, int], None]) -> tuple[T, Reading]:
        try:
            session = self._connected()
            for _ in range(_TRIES):
                book, version, reading = self._read(session)
                if book is None:
                    book = Book(lost_at=0 if version is None else reading.now)
                    distrust(book, reading.now)
                elif not self._trusted:
                    distrust(book, reading.now)
                result = change(book, reading.now)
                state = encode(book)
                self._kept = None
                put_back = self._put_back(session, state, version, reading.now)
                if put_back is not None:
                    self._trusted = True
                    self._kept = (state, put_back) if session.kind == "sqlite" else None
                    return result, reading
        except BaseException:
            # Also after a defect of `change`: it is not known how far things went, and a new connection is cheap.
            self.close()
            raise
        raise StorageUnavailable(f"others were first {_TRIES} times")

    def _connected(self) -> Session:
        if self._session is None:
            self._session = self._database.session(Store.REGISTRY)
            if self._session.kind == "postgresql" and self._flushes_in_time(self._session):
                self._session.run("SET synchronous_commit = off")
        return self._session

    @staticmethod
    def _flushes_in_time(session: Session) -> bool:
        delay_ms = session.rows("SELECT setting::bigint FROM pg_settings WHERE name = 'wal_writer_delay'")[0][0]
        return bool(_SERVER_FLUSHES_WITHIN * delay_ms * 1000 < LOST_US)

    def _read(self, session: Session) -> tuple[Book | None, int | None, Reading]:
        session.check_in_place()
        before_s = self._monotonic()
        state, version, now = (*self._kept, 0) if self._kept else session.rows(self._read_sql, (self._service,))[0]
        after_s = self._monotonic()
        if session.kind == "sqlite":
            now = int(after_s * SECOND)
            before_s, after_s = now / SECOND, (now + 1) / SECOND
        return _decoded(state), version, Reading(now=now, before_s=before_s, after_s=after_s)

    def _put_back(self, session: Session, state: bytes, version: int | None, now: int) -> int | None:
        """Replace the row, if it is the one that was read; gives its version then, None where it was not."""
        statement: str = _REPLACE
        values: tuple[object, ...] = (state, self._service, version)
        if version is None:
            # Numbered from the clock, and so not like a row that was here once: nobody takes it for that one.
            statement, values = _INSERT, (self._service, now, state)
        if session.kind == "postgresql" or not self._flush_due():
            return _number(session.rows(statement, values))
        session.run("PRAGMA synchronous = FULL")
        done = _number(session.rows(statement, values))
        session.run("PRAGMA synchronous = NORMAL")
        if done is not None:
            self._flushed_s = self._monotonic()
        return done

    def _flush_due(self) -> bool:
        return self._flushed_s is None or self._monotonic() - self._flushed_s >= _FLUSH_EVERY_S


def _number(rows: list[tuple[Any, ...]]) -> int | None:
    return rows[0][0] if rows else None


def _decoded(state: bytes | None) -> Book | None:
    if state is None:
        return None
    try:
        return decode(state)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
