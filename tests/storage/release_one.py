"""A database as the first release left it: its tables, and rows that its own code has written (`release_one.json`).

The log has eight records, chained, with payloads in the clear: the start of a provider, two changes of a registration,
two exchanges with one message id, and one exchange that was never closed.
"""

import json
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

import minispine.storage
from minispine.storage import Database, Store

RECORDS = 8
PATIENT = "9434765919"
_MIGRATIONS = Path(minispine.storage.__file__).parent / "migrations"
_REVISIONS = {Store.AUDIT: "audit_0001", Store.REGISTRY: "registry_0001"}
_ROWS = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
_MADE_WITH_THE_TABLES = ("audit_head", "registry_state")


def make(database: Database) -> None:
    """Make the first release's tables with its rows in a database that has none; on SQLite its folder too."""
    if database.folder is not None:
        database.folder.mkdir()
        for store in Store:
            (database.folder / f"{store}.db").touch(0o600)
    for store in Store:
        with database.engine_connection(store) as connection:
            connection.exec_driver_sql("BEGIN")
            _make_tables(store, connection)
            connection.exec_driver_sql("COMMIT")
        with database.session(store) as session:
            session.begin()
            for table, rows in _ROWS.items():
                if table.startswith(store):
                    if table in _MADE_WITH_THE_TABLES:
                        session.run(f"DELETE FROM {table}")
                    for row in rows:
                        places = ", ".join("?" for _ in row)
                        session.run(
                            f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})",
                            [_value(v) for v in row.values()],
                        )
            session.commit()


def records() -> list[tuple[int, str | None, bytes, bytes]]:
    """The rows of `audit_record`."""
    return [
        tuple(_value(row[name]) for name in ("sequence", "exchange", "hash", "leaf")) for row in _ROWS["audit_record"]
    ]


def payloads() -> list[tuple[int, bytes, bytes, bytes]]:
    """The rows of `audit_payload`."""
    return [
        tuple(_value(row[name]) for name in ("sequence", "salt", "private", "bodies")) for row in _ROWS["audit_payload"]
    ]


def _make_tables(store: Store, connection: Any) -> None:
    scripts = ScriptDirectory(str(_MIGRATIONS / store))

    def steps(revision: Any, _: Any) -> Any:
        return scripts._upgrade_revs(_REVISIONS[store], revision)

    with EnvironmentContext(Config(), scripts, fn=steps) as environment:
        environment.configure(connection=connection, version_table=f"{store}_schema", transactional_ddl=False)
        environment.run_migrations()


def _value(value: Any) -> Any:
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value
