"""Every way to change a written log is noticed, and the test says by which check."""

from collections.abc import Callable

import pytest

from minispine.audit.changes import change_document
from minispine.audit.encoding import GENESIS, chain
from minispine.audit.events import EventType
from minispine.audit.log import AuditLog
from minispine.audit.verification import Broken, Unrecorded, Verified, verify
from minispine.storage import Database, Session, Store
from tests.audit.conftest import LogMaker, note, received, replied

RECORDS = 6


@pytest.fixture
def written(database: Database, log: AuditLog) -> Database:
    """A log of six records, with the triggers taken away, as somebody with the database in hand could."""
    for n in range(1, 4):
        log.append_now(received(f"e{n}", f"m{n}"))
        log.append_now(replied(f"e{n}", f"m{n}"))
    with database.session(Store.AUDIT) as session:
        for table in ("audit_record", "audit_payload"):
            if database.kind == "postgresql":
                session.run(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
                continue
            for action in ("update", "delete"):
                session.run(f"DROP TRIGGER {table}_refuses_{action}")
    return database


def flip(session: Session, table: str, column: str, sequence: int, at: int = 20) -> None:
    content = bytearray(session.rows(f"SELECT {column} FROM {table} WHERE sequence = ?", (sequence,))[0][0])
    content[at] ^= 1
    session.run(f"UPDATE {table} SET {column} = ? WHERE sequence = ?", (bytes(content), sequence))


def swap(session: Session, table: str, one: int, other: int) -> None:
    for here, there in ((one, -1), (other, one), (-1, other)):
        session.run(f"UPDATE {table} SET sequence = ? WHERE sequence = ?", (there, here))


def rewrite(session: Session, sequence: int, change: Callable[[bytes], bytes]) -> None:
    """Change a leaf and make the chain good from there to the end, head included."""
    rows = session.rows("SELECT sequence, leaf, hash FROM audit_record ORDER BY sequence")
    previous = GENESIS
    for number, leaf, _ in rows:
        leaf = change(bytes(leaf)) if number == sequence else bytes(leaf)
        previous = chain(previous, leaf)
        session.run("UPDATE audit_record SET leaf = ?, hash = ? WHERE sequence = ?", (leaf, previous, number))
    session.run("UPDATE audit_head SET hash = ?", (previous,))


TAMPERING: dict[str, tuple[Callable[[Session], None], Broken]] = {
    "a bit of a leaf": (lambda s: flip(s, "audit_record", "leaf", 3), Broken(3, "chain")),
    "a bit of a hash": (lambda s: flip(s, "audit_record", "hash", 3), Broken(3, "chain")),
    "a bit of a private part": (lambda s: flip(s, "audit_payload", "private", 3), Broken(3, "payload")),
    "a bit of a body": (lambda s: flip(s, "audit_payload", "bodies", 5), Broken(5, "payload")),
    "a bit of a salt": (lambda s: flip(s, "audit_payload", "salt", 1, at=0), Broken(1, "payload")),
    "a payload removed": (lambda s: s.run("DELETE FROM audit_payload WHERE sequence = 3"), Broken(3, "payload")),
    "a payload added": (
        lambda s: s.run(
            "INSERT INTO audit_payload SELECT 2, salt, private, bodies FROM audit_payload WHERE sequence = 1"
        ),
        Broken(2, "payload"),
    ),
    "a payload of no record": (
        lambda s: s.run(
            "INSERT INTO audit_payload SELECT 9, salt, private, bodies FROM audit_payload WHERE sequence = 1"
        ),
        Broken(9, "payload"),
    ),
    "payloads swapped": (lambda s: swap(s, "audit_payload", 1, 3), Broken(1, "payload")),
    "a record removed": (lambda s: s.run("DELETE FROM audit_record WHERE sequence = 4"), Broken(4, "sequence")),
    "the first record removed": (lambda s: s.run("DELETE FROM audit_record WHERE sequence = 1"), Broken(1, "sequence")),
    "the last record removed": (lambda s: s.run("DELETE FROM audit_record WHERE sequence = 6"), Broken(6, "sequence")),
    "everything removed": (lambda s: s.run("DELETE FROM audit_record"), Broken(1, "sequence")),
    "the end cut off, with the head": (
        lambda s: (
            s.run("UPDATE audit_head SET sequence = 5"),
            s.run("DELETE FROM audit_record WHERE sequence = 6"),
        )[0],
        Broken(5, "head"),
    ),
    "records swapped": (lambda s: swap(s, "audit_record", 2, 5), Broken(2, "chain")),
    "a record added": (
        lambda s: s.run("INSERT INTO audit_record SELECT 7, exchange, hash, leaf FROM audit_record WHERE sequence = 6"),
        Broken(7, "head"),
    ),
    "an exchange renamed": (
        lambda s: s.run("UPDATE audit_record SET exchange = 'e9' WHERE sequence = 2"),
        Broken(2, "exchange"),
    ),
    "the head's hash": (lambda s: s.run("UPDATE audit_head SET hash = ?", (GENESIS,)), Broken(6, "head")),
    "the head's time": (lambda s: s.run("UPDATE audit_head SET sealed_at = 1"), Broken(6, "head")),
    "the head removed": (lambda s: s.run("DELETE FROM audit_head"), Broken(0, "head")),
    "a clock set back, chain made good": (
        lambda s: rewrite(s, 4, lambda leaf: leaf.replace(b'"sealed_at":1790', b'"sealed_at":1690')),
        Broken(4, "sealed-time"),
    ),
    "a number exchanged, chain made good": (
        lambda s: rewrite(s, 4, lambda leaf: leaf.replace(b'"sequence":4', b'"sequence":5')),
        Broken(4, "leaf"),
    ),
    "another version, chain made good": (lambda s: rewrite(s, 4, lambda leaf: b"\x02" + leaf[1:]), Broken(4, "leaf")),
    "no JSON, chain made good": (lambda s: rewrite(s, 4, lambda leaf: leaf[:-1]), Broken(4, "leaf")),
}


def test_a_log_as_it_was_written_verifies(written: Database) -> None:
    with written.session(Store.AUDIT) as session:
        head = bytes(session.rows("SELECT hash FROM audit_head")[0][0])
    assert verify(written) == Verified(RECORDS, head)


def test_an_empty_log_verifies(database: Database) -> None:
    assert verify(database) == Verified(0, GENESIS)


@pytest.mark.parametrize("tampering", TAMPERING)
def test_tampering_is_noticed_at_the_first_record_it_touches(written: Database, tampering: str) -> None:
    tamper, expected = TAMPERING[tampering]
    with written.session(Store.AUDIT) as session:
        tamper(session)
    assert verify(written) == expected


def test_records_written_meanwhile_are_no_fault(database: Database, make_log: LogMaker) -> None:
    log = make_log(database)
    for _ in range(3):
        log.append_now(note())
        assert isinstance(verify(database), Verified)


@pytest.fixture
def changed(database: Database, log: AuditLog) -> Database:
    """Two changes of the registry, each with its record."""
    for key in ("lab", "ward"):
        change_document(
            database,
            log,
            kind="client",
            key=key,
            body={"name": key},
            event=EventType.CLIENT_ADDED,
            actor={"account": "jo"},
            reason=None,
            expected_version=0,
        )
    return database


def test_a_log_that_lacks_the_record_of_a_change_is_not_the_log_it_was(changed: Database) -> None:
    assert isinstance(verify(changed), Verified)
    with changed.session(Store.AUDIT) as session:
        session.run("UPDATE audit_change SET sequence = 1 WHERE key = 'ward'")
    assert verify(changed) == Unrecorded("client", "ward", 1)
    with changed.session(Store.AUDIT) as session:
        session.run("DELETE FROM audit_change")
    assert verify(changed) == Unrecorded("client", "lab", 1)


def test_a_change_whose_record_is_still_owed_is_no_fault(changed: Database) -> None:
    with changed.session(Store.AUDIT) as session:
        session.run("DELETE FROM audit_change WHERE key = 'lab'")
    with changed.session(Store.REGISTRY) as session:
        session.run("INSERT INTO registry_outbox (kind, key, version, event) VALUES ('client', 'lab', 1, '{}')")
    assert isinstance(verify(changed), Verified)
