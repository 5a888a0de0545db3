"""Records and events are read by their sequence, page by page; private parts only when asked for."""

import json

import pytest
from sqlalchemy import insert

from minispine.audit import reading
from minispine.audit.events import Body, Entry, EventType
from minispine.audit.found_by import entries_of
from minispine.audit.log import AuditLog
from minispine.audit.reading import (
    Absent,
    RecordUnreadable,
    bodies,
    events,
    first_sealed_from,
    last_system,
    records,
)
from minispine.storage import Database, Store
from minispine.storage.tables import audit_archive, audit_removal
from tests.audit.checkpoints import remove_triggers
from tests.audit.conftest import FIRST, START, VAULT, Clock, note, received, replied
from tests.audit.samples import sample

NUMBER = "9434765919"


@pytest.fixture
def written(log: AuditLog) -> AuditLog:
    """After the record that begins the log, three: a note, and an exchange."""
    log.append_now(note("first"))
    log.append_now(received("e1", "m1"))
    log.append_now(replied("e1", "m1"))
    return log


def test_events_come_in_order_from_first_to_last(database: Database, written: AuditLog) -> None:
    assert [(e["sequence"], e["index"], e["type"]) for e in events(database)] == [
        (1, 0, "audit.begun"),
        (2, 0, "peer.refused"),
        (3, 0, "exchange.received"),
        (3, 1, "exchange.asked"),
        (4, 0, "exchange.replied"),
    ]
    assert [e["sequence"] for e in events(database, first=2, last=3)] == [2, 3, 3]
    assert [e["sequence"] for e in events(database, first=4, last=99)] == [4]
    assert list(events(database, first=99)) == list(events(database, last=0)) == []


def test_private_parts_are_shown_only_when_asked_for(database: Database, written: AuditLog) -> None:
    assert "private" not in json.dumps([e for e in events(database) if e["type"] != "audit.begun"])
    shown = list(events(database, first=FIRST, vault=VAULT))
    assert [e["private"] for e in shown] == [
        {},
        {"nhs_number": NUMBER, "family": "Markerby"},
        {"question": {"nhs_number": NUMBER}},
        {},
    ]


def test_records_come_in_the_order_asked_for(database: Database, written: AuditLog) -> None:
    assert [r.sequence for r in records(database, [4, 2, 77, 3])] == [4, 2, 3]
    third = next(records(database, [3]))
    assert (third.exchange, third.client, third.client_message_id, third.system) == ("e1", "ward", "m1", "SMSP-1")
    assert (len(third.hash), third.privates, third.absent) == (32, None, None)


def test_bodies_are_read_of_one_record(database: Database, written: AuditLog) -> None:
    assert bodies(database, 3, VAULT) == (Body("request", b"<family>Markerby</family>"),)
    assert bodies(database, 4, VAULT) == ()
    assert bodies(database, 99, VAULT) == ()


def test_a_payload_that_is_gone_is_told_with_what_accounts_for_it(database: Database, log: AuditLog) -> None:
    for n in range(4):
        log.append_now(received(f"e{n}"))
    order = sample(EventType.AUDIT_PAYLOAD_REMOVED, records=[2], reference="QB-2026-000123")
    log.append_now(Entry(events=(order,)))
    log.append_now(Entry(events=(sample(EventType.AUDIT_ARCHIVED),)))
    with database.session(Store.AUDIT) as session:
        session.execute(insert(audit_removal).values(sequence=2, record=6))
        session.execute(insert(audit_archive).values(first=3, last=3, name="2026-09.zip", digest=b"", record=7))
        session.run("DELETE FROM audit_payload WHERE sequence IN (2, 3)")
    assert [r.absent for r in records(database, range(2, 6), vault=VAULT)] == [
        Absent("removed", 6, "QB-2026-000123"),
        Absent("archived", 7, "2026-09.zip"),
        None,
        None,
    ]
    shown = {e["sequence"]: e for e in events(database, first=2, last=4, vault=VAULT)}
    assert (shown[2]["private"], shown[2]["removed"]) == (None, "QB-2026-000123")
    assert (shown[3]["private"], shown[3]["archived"]) == (None, "2026-09.zip")
    assert not {"removed", "archived", "missing"} & shown[4].keys()
    assert all(r.absent is None for r in records(database, range(2, 6)))


def test_a_payload_that_nothing_accounts_for_is_told_to_be_missing(database: Database, log: AuditLog) -> None:
    log.append_now(received("e1"))
    with database.session(Store.AUDIT) as session:
        if database.kind == "postgresql":
            session.run("ALTER TABLE audit_payload DISABLE TRIGGER ALL")
        else:
            session.run("DROP TRIGGER audit_payload_refuses_delete")
        session.run("DELETE FROM audit_payload WHERE sequence = 2")
    assert next(records(database, [2], vault=VAULT)).absent == Absent("missing")
    shown = list(events(database, first=2, vault=VAULT))
    assert [(e["private"], e["missing"]) for e in shown] == [(None, True), (None, True)]


def test_many_records_come_page_by_page(database: Database, log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAGE_RECORDS", 7)
    with log.holding() as hold:
        for n in range(40):
            log.append_in(hold, note(str(n)))
    assert [e["sequence"] for e in events(database, first=3)] == list(range(3, 42))
    assert [r.sequence for r in records(database, range(41, 1, -3))] == list(range(41, 1, -3))


def test_a_reader_does_not_see_what_is_written_while_it_reads_nor_hold_it_up(database: Database, log: AuditLog) -> None:
    log.append_now(note())
    log.append_now(note())
    read = events(database, first=FIRST)
    assert next(read)["sequence"] == 2
    log.append_now(note())
    assert [e["sequence"] for e in read] == [3]


def test_the_first_record_sealed_from_some_time_on_is_found(database: Database, log: AuditLog, clock: Clock) -> None:
    """Several are sealed at once, and the clock goes back in between."""
    for us in (10, 10, 20, 5, 30):  # sealed at 10, 10, 20, 20, 30
        clock.us = START + us
        log.append_now(note())
    assert [first_sealed_from(database, START + us) for us in (0, 1, 10, 11, 20, 21, 30, 31)] == [
        1,
        2,
        2,
        4,
        4,
        6,
        6,
        7,
    ]


def _with(**fields: object) -> bytes:
    whole: dict[str, object] = dict.fromkeys(
        ("bodies", "client", "client_message_id", "exchange", "private", "repeats")
    )
    whole |= {"events": [], "instance": "i", "sealed_at": START, "sequence": 3, "system_id": "s"}
    return b"\x02" + json.dumps(whole | fields).encode()


_UNREADABLE = [
    *(b"", b"\x02{", b"\x07{}", b"\x02[]", b'\x02{"events":[]}'),
    *(_with(client=7), _with(sealed_at=2**62), _with(events=[{"type": "x", "at": 1}])),
    _with(events=[{"type": "x", "at": -1, "data": {}}]),
]


@pytest.mark.parametrize("leaf", _UNREADABLE)
def test_a_record_that_is_not_one_any_more_is_named(database: Database, written: AuditLog, leaf: bytes) -> None:
    remove_triggers(database, "audit_record")
    with database.session(Store.AUDIT) as session:
        session.run("UPDATE audit_record SET leaf = ? WHERE sequence = 3", (leaf,))
    with pytest.raises(RecordUnreadable, match="record 3 cannot be read"):
        list(events(database))
    with pytest.raises(RecordUnreadable, match="record 3 cannot be read"):
        bodies(database, 3, VAULT)
    with pytest.raises(RecordUnreadable, match="record 3 cannot be read"):
        list(entries_of(database, VAULT)(1, 4))
    assert [e["sequence"] for e in events(database, last=2)] == [1, 2]


@pytest.mark.parametrize("leaf", [b"", b"\x02{", b'\x02{"sealed_at":"x"}'])
def test_so_is_the_last_one_and_one_that_is_come_upon_by_halving(
    database: Database, written: AuditLog, leaf: bytes
) -> None:
    assert last_system(database) == "SMSP-1"
    remove_triggers(database, "audit_record")
    with database.session(Store.AUDIT) as session:
        session.run("UPDATE audit_record SET leaf = ? WHERE sequence > 2", (leaf,))
    with pytest.raises(RecordUnreadable, match="record 4 cannot be read"):
        last_system(database)
    with pytest.raises(RecordUnreadable, match="record 3 cannot be read"):
        first_sealed_from(database, START + 1)
