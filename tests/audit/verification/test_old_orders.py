"""An order to destroy payloads that is older than a restore names no record that came after it."""

import io

import pytest

from minispine.audit import evidence, redaction, verification
from minispine.audit.checkpointing import Checkpointer
from minispine.audit.declaration import in_force, next_epoch
from minispine.audit.events import Entry, Event, EventType
from minispine.audit.evidence import Upheld
from minispine.audit.log import AuditLog
from minispine.audit.verification import Broken, Verified
from minispine.storage import Database, Store
from tests.audit.conftest import SIGNER, START, VAULT, note, received
from tests.audit.long_log import disarm, order
from tests.audit.samples import ACTOR

RESTORED = 3
"""The record by which the log went on from a backup of two records."""


@pytest.fixture
def restored(database: Database, log: AuditLog) -> Database:
    """Three records: the first, an exchange, and that others were lost; then three exchanges of the next epoch."""
    log.append_now(received("e2"))
    declared = in_force(database)
    assert declared is not None
    fresh, stated = next_epoch(declared, SIGNER.private_key)
    lost = {"checkpoint": None, "first_lost": RESTORED, "last_lost": None}
    told = {"actor": ACTOR.as_data(), "declaration": stated, "approved_by": "the board"} | lost
    event = Event(type=EventType.AUDIT_RESTORED, at=START, data=told, private={"reason": "the disk was lost"})
    with log.holding() as hold:
        log.declare_in(hold, Entry(events=(event,)), epoch=fresh.epoch)
    for number in (4, 5, 6):
        log.append_now(received(f"e{number}"))
    return database


def carry_out(database: Database, log: AuditLog, removed: int, *, records: list[int]) -> None:
    """What somebody with the database in hand makes of an order from before the restore."""
    told = {"actor": ACTOR.as_data(), "records": str(removed), "reference": "KB 12/2026", "request": order(records)}
    event = Event(type=EventType.AUDIT_PAYLOAD_REMOVED, at=START, data=told)
    record = log.append_now(Entry(events=(event,))).sequence
    log.append_now(note("so that the log goes on"))
    disarm(database)
    with database.session(Store.AUDIT) as session:
        session.begin()
        session.run("DELETE FROM audit_payload WHERE sequence = ?", (removed,))
        session.run("INSERT INTO audit_removal (sequence, record) VALUES (?, ?)", (removed, record))
        session.commit()


def taken(database: Database) -> io.BytesIO:
    """All of the log as evidence."""
    Checkpointer(database, SIGNER.private_key, now=lambda: START).make()
    file = io.BytesIO()
    evidence.write(database, 1, 7, file, vault=VAULT, checkpoint=None, disclose=False)
    file.seek(0)
    return file


@pytest.mark.requirement("SMSP-AUDIT-001", "d")
def test_an_order_says_nothing_of_records_after_the_restore(restored: Database, log: AuditLog) -> None:
    carry_out(restored, log, 5, records=[2, 5])
    found = verification.verify(restored)
    assert isinstance(found, Broken)
    assert (found.sequence, found.check) == (5, "removal")


def test_nor_does_it_in_evidence(restored: Database, log: AuditLog) -> None:
    carry_out(restored, log, 5, records=[2, 5])
    found = evidence.verify(taken(restored))
    assert isinstance(found, Broken)
    assert (found.sequence, found.check) == (5, "payload")


def test_what_it_names_of_before_is_destroyed_rightly(restored: Database, log: AuditLog) -> None:
    redaction.redact(restored, log, order([2, 5]), actor=ACTOR.as_data())
    assert isinstance(verification.verify(restored), Verified)
    assert isinstance(evidence.verify(taken(restored)), Upheld)
