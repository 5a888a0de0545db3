"""A payload goes only when a record of the right kind says so: the database itself sees to it."""

import pytest

from minispine.audit.events import Entry, Event, EventType
from minispine.audit.log import AuditLog
from minispine.storage import Database, StorageUnavailable, Store
from tests.audit.conftest import START, LogMaker, note, received
from tests.audit.samples import ACTOR

HELD = 2
"""The record that has a payload."""
ROWS = {
    "audit_removal": f"INSERT INTO audit_removal (sequence, record) VALUES ({HELD}, ?)",
    "audit_archive": "INSERT INTO audit_archive (first, last, name, digest, record)"
    f" VALUES (1, {HELD}, 'x', (SELECT hash FROM audit_record WHERE sequence = 1), ?)",
}
SAID = {
    "audit_removal": Event(
        type=EventType.AUDIT_PAYLOAD_REMOVED,
        at=START,
        data={"actor": ACTOR.as_data(), "records": "2", "reference": "KB 12/2026", "request": "as signed"},
    ),
    "audit_archive": Event(
        type=EventType.AUDIT_ARCHIVED,
        at=START,
        data={"actor": ACTOR.as_data(), "first": 1, "last": 2, "name": "x", "sha256": "00"},
    ),
}


@pytest.fixture
def log(database: Database, make_log: LogMaker) -> AuditLog:
    log = make_log(database)
    log.append_now(received("e2"))
    return log


def run(database: Database, statement: str, *values: object) -> None:
    with database.session(Store.AUDIT) as session:
        session.begin()
        session.run(statement, values)
        session.commit()


def payloads(database: Database) -> int:
    with database.reading(Store.AUDIT) as session:
        return int(session.rows("SELECT COUNT(*) FROM audit_payload WHERE sequence = ?", (HELD,))[0][0])


@pytest.mark.parametrize("table", ROWS)
@pytest.mark.requirement("SMSP-AUDIT-001", "d")
def test_another_record_is_no_reason(database: Database, log: AuditLog, table: str) -> None:
    quoting = log.append_now(note('"type":"audit.payload-removed","type":"audit.archived"')).sequence
    for record in (1, HELD, quoting, quoting + 1):
        with pytest.raises(StorageUnavailable):
            run(database, ROWS[table], record)
    with pytest.raises(StorageUnavailable):
        run(database, "DELETE FROM audit_payload WHERE sequence = ?", HELD)
    assert payloads(database) == 1


@pytest.mark.parametrize("table", ROWS)
def test_the_record_that_says_so_is_one(database: Database, log: AuditLog, table: str) -> None:
    run(database, ROWS[table], log.append_now(Entry(events=(SAID[table],))).sequence)
    run(database, "DELETE FROM audit_payload WHERE sequence = ?", HELD)
    assert payloads(database) == 0
