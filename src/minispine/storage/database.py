"""Opening a database, and sessions on it: transactions, time-outs, and errors in our own words.

Which tables there are is in ``tables.py``, how they are made in ``migration.py``, who may serve from it in
``claim.py``.

Connections are in the drivers' autocommit mode and transactions are begun here in so many words, because both what
a transaction locks at its start and when it ends are what the audit log stands on. The hot path talks to the driver
without SQLAlchemy in between (`Session.rows`, `Session.run`, `Session.run_many`); everything else uses Core statements.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, NoReturn, Self

import psycopg
import sqlalchemy
from sqlalchemy import Executable
from sqlalchemy.engine import Connection, Engine, Row
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from minispine.storage import claim, durability, migration
from minispine.storage.errors import ConnectionLost, StorageMisconfigured, StorageUnavailable
from minispine.storage.tables import Store

Kind = Literal["sqlite", "postgresql"]


_SQLITE_PRAGMAS: Final = (
    "PRAGMA page_size = 8192",  # a record with its message of some 4 KB then needs one overflow page, not two
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # in WAL mode: the log is flushed before a commit returns
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA trusted_schema = OFF",
    # What is deleted is overwritten, also where a page was moved within the file: a payload that was ordered destroyed
    # must not be left in a corner. It has to be so from the first row on.
    "PRAGMA secure_delete = ON",
    "PRAGMA recursive_triggers = ON",  # so that REPLACE meets the triggers that refuse a deletion
)

_DRIVER_ERRORS: Final = (sqlite3.Error, psycopg.Error)


def _unavailable(error: BaseException) -> StorageUnavailable:
    """Say what went wrong by the driver's code alone: its text may quote values."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    code = getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None)
    family = ConnectionLost if _lost(error, code) else StorageUnavailable
    return family(f"{type(error).__name__} {code}" if code else type(error).__name__)


def _not_connected(url: sqlalchemy.URL, error: BaseException) -> str:
    """Say which server cannot be reached, or that it turned us away: its words may name the user."""
    host = url.host or url.query.get("host") or "localhost"
    server = f"{host if isinstance(host, str) else ', '.join(host)}:{url.port or 5432}"
    if "FATAL" in str(error):
        return f"{server} refuses the connection: its user, its password or the name of the database is not right"
    return f"cannot reach {server}"


def _lost(error: BaseException, code: str | None) -> bool:
    """Whether PostgreSQL's connection is gone: no code at all, or one by which the server says that it ends it."""
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return isinstance(error, psycopg.errors.IdleInTransactionSessionTimeout)
    return code is None or code[:2] == "08" or code[:3] == "57P"


class Session:
    """One connection of one thread. Not to be shared; `close` gives it back.

    Statements for the driver are written with ``?`` for their parameters. Raises `StorageUnavailable` whatever goes
    wrong; the transaction is then undone and the session of no more use.
    """

    __slots__ = ("_connection", "_driver", "_file", "_inode", "kind")

    def __init__(self, connection: Connection, kind: Kind, file: Path | None) -> None:
        self.kind: Final = kind
        self._connection = connection
        self._driver: Any = connection.connection.driver_connection
        self._file = file
        self._inode = _inode(file) if file else None

    def begin(self) -> None:
        """Begin a transaction that writes. On SQLite it takes the file's write lock, waiting as long as allowed."""
        self.check_in_place()
        self.run("BEGIN IMMEDIATE" if self.kind == "sqlite" else "BEGIN")

    def check_in_place(self) -> None:
        """Raise `StorageUnavailable` if the SQLite file was moved: the connection would go on using it out of sight."""
        if self._file is not None and (self._inode is None or _inode(self._file) != self._inode):
            raise StorageUnavailable(f"{self._file.name} is no longer in its place")

    def begin_reading(self) -> None:
        """Begin a transaction that sees one state of the tables throughout and locks nobody out."""
        self.run("BEGIN" if self.kind == "sqlite" else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def commit(self) -> None:
        """Make the transaction durable; when this returns, it is on disk."""
        self.run("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, if there is one. Never raises: a broken connection has undone it by itself."""
        try:
            self._driver.rollback()
        except _DRIVER_ERRORS:
            self._connection.invalidate()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Every row a statement gives."""
        try:
            found: list[tuple[Any, ...]] = self._driver.execute(self._spoken(sql), parameters).fetchall()
        except _DRIVER_ERRORS as error:
            raise _unavailable(error) from None
        return found

    def pages(self, sql: str, parameters: Sequence[Any] = (), *, size: int = 500) -> Iterator[list[tuple[Any, ...]]]:
        """Every row a statement gives, at most `size` of them at a time; within a transaction."""
        try:
            cursor = self._driver.cursor() if self.kind == "sqlite" else self._driver.cursor(name="pages")
            with contextlib.closing(cursor):
                cursor.execute(self._spoken(sql), parameters)
                while page := cursor.fetchmany(size):
                    yield page
        except _DRIVER_ERRORS as error:
            raise _unavailable(error) from None

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """A statement whose result does not matter."""
        try:
            self._driver.execute(self._spoken(sql), parameters)
        except _DRIVER_ERRORS as error:
            raise _unavailable(error) from None

    def run_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """One statement for many rows."""
        try:
            self._driver.cursor().executemany(self._spoken(sql), rows)
        except _DRIVER_ERRORS as error:
            raise _unavailable(error) from None

    def copy_file(self, file: Path) -> None:
        """Copy the SQLite file as this transaction sees it over another, page by page."""
        try:
            with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True)) as copy:
                self._driver.backup(copy)
        except sqlite3.Error as error:
            raise _unavailable(error) from None

    def execute(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        """A Core statement, and the rows it gives if it gives any."""
        try:
            result = self._connection.execute(statement, parameters)
            return result.all() if result.returns_rows else ()
        except SQLAlchemyError as error:
            raise _unavailable(error) from None

    def close(self) -> None:
        """Give the connection back to the pool; an unfinished transaction is undone."""
        try:
            self._connection.close()
        except (SQLAlchemyError, *_DRIVER_ERRORS):
            self._connection.invalidate()

    def discard(self) -> None:
        """Give the connection up for good: after a failure it is not worth keeping."""
        try:
            self._connection.invalidate()
            self._connection.close()
        except (SQLAlchemyError, *_DRIVER_ERRORS):  # it is gone, and that was the wish
            return

    def _spoken(self, sql: str) -> str:
        return sql if self.kind == "sqlite" else sql.replace("?", "%s")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def _inode(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class Database:
    """Where the audit log and the registry are kept. Safe to use from any thread; opening it does no I/O.

    Pickled for a process of our own, it is the same database there; the password goes with it.

    `lock_timeout_s` bounds how long a statement waits for a lock. On PostgreSQL the server ends a transaction that
    stands idle for half of that, so that a process that was stopped cannot hold the others up.
    """

    def __init__(
        self,
        kind: Kind,
        engines: Mapping[Store, Engine],
        folder: Path | None,
        opening: tuple[str, str | None, float],
    ) -> None:
        self.kind: Final = kind
        self.folder: Final = folder
        self._engines = engines
        self._opening = opening

    @classmethod
    def open(cls, url: str, password: str | None = None, *, lock_timeout_s: float = 3.0) -> "Database":
        """The database at ``sqlite:DIRECTORY`` or ``postgresql://user@host:port/name``.

        Raises `StorageMisconfigured` for anything else, and for a PostgreSQL address that carries a password.
        """
        opening = url, password, lock_timeout_s
        scheme, _, rest = url.partition(":")
        if scheme == "sqlite" and rest:
            folder = Path(rest)
            engines = {store: _sqlite_engine(folder / f"{store}.db", lock_timeout_s) for store in Store}
            return cls("sqlite", engines, folder, opening)
        if scheme in ("postgresql", "postgres"):
            engine = _postgresql_engine(url, password, lock_timeout_s)
            return cls("postgresql", dict.fromkeys(Store, engine), None, opening)
        raise StorageMisconfigured("a database is sqlite:DIRECTORY or postgresql://user@host:port/name")

    @property
    def one_transaction(self) -> bool:
        """Whether both stores change in one transaction (PostgreSQL) or in one each (SQLite)."""
        return self.kind == "postgresql"

    def session(self, store: Store) -> Session:
        """A connection to a store. Raises `StorageUnavailable`."""
        connection = self._connection(store)
        file = self._file(store)
        session = Session(connection, self.kind, file)
        if file and self._moved(session, connection):
            session.discard()
            return self.session(store)
        return session

    @contextmanager
    def reading(self, store: Store) -> Iterator[Session]:
        """A session in a transaction that sees one state and blocks nobody; keep it short."""
        with self.session(store) as session:
            session.begin_reading()
            yield session
            session.commit()

    def migrate(self) -> None:
        """Make the tables, or bring them to this release; on SQLite also the folder (0700) and the files (0600).

        Safe to call from several processes at once. Raises `StorageUnavailable`, `StorageMisconfigured`,
        `SchemaOutdated` when the tables are of a later release, and `StoreLost` when there are only those of the one
        store though the other has been in use.
        """
        migration.migrate(self)

    def check_schema(self) -> None:
        """Raise `SchemaOutdated` unless the tables are those of this release."""
        migration.check(self)

    def check_durable(self) -> None:
        """Raise `StorageMisconfigured` where a power cut could undo what was committed: see ``durability.py``."""
        durability.check(self)

    def claim_for_serving(self, instance: str) -> "claim.Claim":
        """Take the right to serve from this database as `instance`, a UUID in text form, until released.

        On SQLite one process at a time has it; on PostgreSQL each serving process has its own, and it tells the others
        that the exchanges it opened are still in hand. Raises `AlreadyServed`, `StorageUnavailable`.
        """
        return claim.take(self, instance)

    @contextmanager
    def engine_connection(self, store: Store) -> Iterator[Connection]:
        """SQLAlchemy's own connection, for migrations. Raises `StorageUnavailable`."""
        try:
            with self._connection(store) as connection:
                yield connection
        except (SQLAlchemyError, *_DRIVER_ERRORS) as error:
            raise _unavailable(error) from None

    def __reduce__(self) -> tuple[Any, ...]:
        # In another process: the same database, opened anew.
        return _opened_again, self._opening

    def close(self) -> None:
        """Close every connection that is not in use."""
        for engine in set(self._engines.values()):
            engine.dispose()

    def _connection(self, store: Store) -> Connection:
        try:
            return self._engines[store].connect()
        except (SQLAlchemyError, *_DRIVER_ERRORS) as error:
            file = self._file(store)
            if file is not None and not file.exists():
                raise StorageUnavailable(f"there is no database {file}") from None
            if isinstance(trouble := _unavailable(error), ConnectionLost):
                raise ConnectionLost(_not_connected(self._engines[store].url, error)) from None
            raise trouble from None

    def _file(self, store: Store) -> Path | None:
        return self.folder / f"{store}.db" if self.folder else None

    @staticmethod
    def _moved(session: Session, connection: Connection) -> bool:
        """Whether a pooled connection belongs to a file that is no longer the one in its place."""
        info = connection.connection.info
        return bool(info.setdefault("inode", session._inode) != session._inode)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _opened_again(url: str, password: str | None, lock_timeout_s: float) -> Database:
    return Database.open(url, password, lock_timeout_s=lock_timeout_s)


def _sqlite_engine(file: Path, lock_timeout_s: float) -> Engine:
    def connect() -> sqlite3.Connection:
        # mode=rw: a log that has gone missing must not quietly begin again from nothing.
        connection = sqlite3.connect(
            f"{file.absolute().as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=lock_timeout_s,
        )
        for pragma in _SQLITE_PRAGMAS:
            connection.execute(pragma)
        return connection

    return sqlalchemy.create_engine(
        "sqlite+pysqlite://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=4,
        max_overflow=-1,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
    )


def _postgresql_engine(url: str, password: str | None, lock_timeout_s: float) -> Engine:
    try:
        address = sqlalchemy.make_url(url).set(drivername="postgresql+psycopg")
    except (SQLAlchemyError, ValueError):
        _misconfigured("the address of the database cannot be read")
    if address.password:
        _misconfigured("the password of the database belongs in a file, not in its address")
    if password is not None:
        address = address.set(password=password)
    timeout_ms = max(1, round(lock_timeout_s * 1000))
    settings = {
        "lock_timeout": timeout_ms,
        # Less than a lock is waited for: whoever waits for a process that was stopped gets the lock in the end.
        "idle_in_transaction_session_timeout": max(1, timeout_ms // 2),
        "synchronous_commit": "on",
        "timezone": "UTC",
    }
    return sqlalchemy.create_engine(
        address,
        pool_size=4,
        max_overflow=-1,
        pool_pre_ping=True,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        connect_args={
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
            "connect_timeout": max(2, round(lock_timeout_s)),
            "tcp_user_timeout": 2 * timeout_ms,
            "keepalives_idle": 5,
            "application_name": "minispine",
        },
    )


def _misconfigured(reason: str) -> NoReturn:
    raise StorageMisconfigured(reason) from None
