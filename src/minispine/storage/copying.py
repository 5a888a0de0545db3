"""Copying both stores as they are at one moment: into SQLite files while they are used, and from such files back.

What is copied is the rows; what keeps them as they are (triggers, grants) is made by the migrations of whoever has
them. Nothing here knows what the rows mean. What is only true for the moment is left out on either way: an answer that
was kept, and deleted after the copy because it was wrong, must not come back with it, nor a moment at which a call to
Spine may leave.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

from sqlalchemy import MetaData, Table

from minispine.storage.database import Database, Session
from minispine.storage.errors import StorageMisconfigured, StorageUnavailable
from minispine.storage.tables import AUDIT, REGISTRY, Store, cache_entry, spine_slots

TABLES: Final[dict[Store, MetaData]] = {Store.AUDIT: AUDIT, Store.REGISTRY: REGISTRY}
_WITH_A_ROW: Final = ("audit_head", "registry_state")
"""Tables in which a migration puts the row that there always is."""
PASSING: Final = (spine_slots, cache_entry)
"""Tables whose rows are only true for the moment: no copy has them, and none are taken from one."""
_ATTEMPTS: Final = 20
_VERSION: Final = "SELECT version FROM registry_state WHERE id = 1"


def copy_out(database: Database, folder: Path) -> None:
    """Copy both stores, as they are at one moment, into the files of an SQLite database in an empty folder.

    Neither readers nor writers wait for it. Raises `StorageUnavailable`, `StorageMisconfigured`, `SchemaOutdated`.
    """
    database.check_schema()
    if database.folder is not None:
        with contextlib.ExitStack() as stack:
            _copy_files(_one_moment(database, stack), folder)
        _leave_out_passing(folder)
        return
    with Database.open(f"sqlite:{folder}") as target, database.session(Store.AUDIT) as source:
        target.migrate()
        source.begin_reading()
        source.run("SET LOCAL idle_in_transaction_session_timeout = 0")  # the files may be slow to write
        for store in Store:
            with target.session(store) as session:
                session.begin()
                copy_rows(source, session, store)
                session.commit()
                session.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        source.commit()


def copy_rows(source: Session, target: Session, store: Store) -> None:
    """Copy every row of a store but what is passing into tables that have only what a migration put there.

    Within both transactions.
    """
    for table in TABLES[store].tables.values():
        if table in PASSING:
            continue
        if table.name in _WITH_A_ROW:
            target.run(f"DELETE FROM {table.name}")  # noqa: S608
        insert = _insert(table)
        for page in source.pages(_select(table)):
            target.run_many(insert, page)


def is_empty(session: Session, store: Store) -> bool:
    """Whether a store holds nothing but what a migration put there."""
    tables = (table.name for table in TABLES[store].tables.values() if table.name not in _WITH_A_ROW)
    return not any(session.rows(f"SELECT 1 FROM {table} LIMIT 1") for table in tables)  # noqa: S608


def _one_moment(database: Database, stack: contextlib.ExitStack) -> dict[Store, Session]:
    """Both files, each in a transaction that sees it as at one moment between two changes of the registry."""
    for _ in range(_ATTEMPTS):
        with contextlib.ExitStack() as attempt:
            sessions = {store: attempt.enter_context(database.session(store)) for store in Store}
            for session, first_look in (
                (sessions[Store.REGISTRY], _VERSION),
                (sessions[Store.AUDIT], "SELECT sequence FROM audit_head"),
            ):
                session.begin_reading()
                session.rows(first_look)  # only from the first reading on does a transaction see one state
            with database.session(Store.REGISTRY) as now:
                if now.rows(_VERSION) == sessions[Store.REGISTRY].rows(_VERSION):
                    stack.push(attempt.pop_all())
                    return sessions
    raise StorageUnavailable("the registry is being changed all the time")


def _copy_files(sessions: dict[Store, Session], folder: Path) -> None:
    for store, session in sessions.items():
        file = folder / f"{store}.db"
        try:
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StorageMisconfigured(f"{file}: {error.strerror}") from None
        session.copy_file(file)
        session.commit()


def _leave_out_passing(folder: Path) -> None:
    """Delete what is passing from a copy that was made page by page; SQLite overwrites it there."""
    with Database.open(f"sqlite:{folder}") as copy, copy.session(Store.REGISTRY) as session:
        session.begin()
        for table in PASSING:
            session.run(f"DELETE FROM {table.name}")  # noqa: S608
        session.commit()
        session.rows("PRAGMA wal_checkpoint(TRUNCATE)")


def _select(table: Table) -> str:
    key = ", ".join(column.name for column in table.primary_key)
    return f"SELECT {_columns(table)} FROM {table.name} ORDER BY {key}"  # noqa: S608


def _insert(table: Table) -> str:
    places = ", ".join("?" for _ in table.columns)
    return f"INSERT INTO {table.name} ({_columns(table)}) VALUES ({places})"  # noqa: S608


def _columns(table: Table) -> str:
    return ", ".join(column.name for column in table.columns)
