"""What the tests of checkpoints and witnesses share: logs of any length, their leaves, and an attacker's hand."""

from minispine.audit.encoding import prepare
from minispine.audit.events import Entry, EventType
from minispine.audit.log import AuditLog
from minispine.storage import Database, Store
from tests.audit.conftest import VAULT
from tests.audit.samples import sample


def grow(log: AuditLog, records: int) -> None:
    """Add so many records in one transaction."""
    entry = Entry(events=(sample(EventType.WORKER_STARTED),))
    with log.holding() as hold:
        hold.append([prepare(entry, instance=log.instance, vault=VAULT) for _ in range(records)])


def leaves(database: Database) -> list[bytes]:
    """Every leaf of the log."""
    with database.reading(Store.AUDIT) as session:
        return [bytes(row[0]) for row in session.rows("SELECT leaf FROM audit_record ORDER BY sequence")]


def remove_triggers(database: Database, table: str) -> None:
    """What somebody with the database in hand would do first."""
    with database.session(Store.AUDIT) as session:
        if database.kind == "postgresql":
            session.run(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            return
        named = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
        for (name,) in session.rows(named, (table,)):
            session.run(f"DROP TRIGGER {name}")


def tamper(database: Database, table: str, *statements: str) -> None:
    """Change a table as its owner can."""
    remove_triggers(database, table)
    with database.session(Store.AUDIT) as session:
        for statement in statements:
            session.run(statement)
