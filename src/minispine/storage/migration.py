"""Making the tables and bringing them to this release, with alembic, from inside an installed package.

The revisions are in ``migrations/STORE/versions``; each store has its own line of them and its own version table, so
that they can share a database (PostgreSQL) or have a file each (SQLite). A revision never rewrites an audit record.

The audit store is always made first, so that a registry without it tells of a log that was lost.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy.engine import Connection

from minispine.storage import role
from minispine.storage.errors import SchemaOutdated, StorageMisconfigured, StoreLost
from minispine.storage.tables import Store
from minispine.storage.turns import Turn

if TYPE_CHECKING:
    from minispine.storage.database import Database

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_MAY_STAND_MS: Final = 60_000
"""How long the transaction of a migration may be idle on PostgreSQL before the server ends it."""


def migrate(database: "Database") -> None:
    """See `Database.migrate`."""
    if database.folder is None:
        if _is_of_this_release(database):
            return  # the account that serves may not even try
        with database.session(Store.AUDIT) as session:
            if not role.owns(session):
                raise SchemaOutdated(
                    "the tables are not those of this release, and this account may not change them;"
                    " run: minispine migrate --owner-url"
                )
        for store in Store:
            with database.engine_connection(store) as connection:
                connection.exec_driver_sql("BEGIN")
                # A serving process may not stand still with a lock; one that makes tables works between statements.
                connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = {_MAY_STAND_MS}")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({Turn.MIGRATION.value})")
                if store is Store.AUDIT:
                    _refuse_a_lost_store({s: f"the {s} tables" for s in Store}, dict.fromkeys(Store, connection))
                _upgrade(store, connection)
                connection.exec_driver_sql("COMMIT")
        return
    with _folder_locked(database.folder):
        files = {store: database.folder / f"{store}.db" for store in Store}
        with ExitStack() as opened:
            found = {
                store: opened.enter_context(database.engine_connection(store))
                for store, file in files.items()
                if file.exists()
            }
            _refuse_a_lost_store({store: str(file) for store, file in files.items()}, found)
        for store, file in files.items():
            _make_file(file)
            with database.engine_connection(store) as connection:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                _upgrade(store, connection)
                connection.exec_driver_sql("COMMIT")


def check(database: "Database") -> None:
    """See `Database.check_schema`."""
    for store in Store:
        with database.engine_connection(store) as connection:
            if _revision(store, connection) != _scripts(store).get_current_head():
                raise SchemaOutdated(f"the {store} tables are not those of this release; run: minispine migrate")


def _is_of_this_release(database: "Database") -> bool:
    try:
        check(database)
    except SchemaOutdated:
        return False
    return True


def _refuse_a_lost_store(called: dict[Store, str], found: dict[Store, Connection]) -> None:
    """Raise `StoreLost` where tables would be made beside others that have been in use with those now gone.

    Without its log nobody could tell any more what was asked and changed; without the registry that the log speaks of,
    its changes would be numbered from the beginning again. `found` has the stores that may have tables.
    """
    made = {store for store, connection in found.items() if _revision(store, connection) is not None}
    if made == {Store.REGISTRY}:
        raise StoreLost(
            f"{called[Store.AUDIT]}: the audit log is gone, and its registry is not: restore it from a backup; "
            "a new log is not begun in its place"
        )
    if made == {Store.AUDIT} and found[Store.AUDIT].exec_driver_sql("SELECT 1 FROM audit_change LIMIT 1").first():
        raise StoreLost(
            f"{called[Store.REGISTRY]}: the registry is gone, and the audit log of its changes is not: "
            "restore it from a backup"
        )


def _revision(store: Store, connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": _version_table(store)})
    return context.get_current_revision()


def _upgrade(store: Store, connection: Connection) -> None:
    scripts = _scripts(store)
    version_table = _version_table(store)

    def steps(revision: Any, _: MigrationContext) -> Any:
        return scripts._upgrade_revs("head", revision)

    # The transaction is begun and ended by the caller, around everything.
    with EnvironmentContext(Config(), scripts, fn=steps) as environment:
        environment.configure(connection=connection, version_table=version_table, transactional_ddl=False)
        try:
            environment.run_migrations()
        except CommandError:
            raise SchemaOutdated(f"the {store} tables are of another release than this one") from None


def _scripts(store: Store) -> ScriptDirectory:
    return ScriptDirectory(str(_MIGRATIONS / store))


def _version_table(store: Store) -> str:
    return f"{store}_schema"


@contextmanager
def _folder_locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        lock = os.open(folder / "migration.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageMisconfigured(f"{folder}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _make_file(file: Path) -> None:
    """An empty database readable by its owner alone; SQLite gives its -wal and -shm the same mode.

    A file that is there is not opened: to close it again would undo every lock that this process has on it, by POSIX,
    and another process could then take SQLite's -wal away from under our connections.
    """
    try:
        if not file.exists():
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        file.chmod(0o600)
    except OSError as error:
        raise StorageMisconfigured(f"{file}: {error.strerror}") from None
