"""From any one id the whole exchange is found, in order; private parts only when asked for."""

import json
from itertools import groupby

import pytest

from minispine.audit import reading
from minispine.audit.events import Body, Entry, Event, EventType
from minispine.audit.log import AuditLog
from minispine.audit.reading import bodies, events
from minispine.storage import Database
from tests.audit.conftest import START, Clock, note, received, replied

SPINE_1 = "0F0A3C0E-8F5B-4F0C-9B0E-5C2D8E1F7A01"
SPINE_2 = "1F0A3C0E-8F5B-4F0C-9B0E-5C2D8E1F7A02"
CLIENT = "7D6F23E0-AE1A-11DB-8707-B18E1E0994EF"
USER = "urn:nhs-uk:identity:ods:RXX:jsmith"


def event(type_: EventType, data: dict[str, object], private: dict[str, object] | None = None) -> Event:
    return Event(type=type_, at=START, data=data, private=private or {})


@pytest.fixture
def traced(log: AuditLog) -> AuditLog:
    """One exchange of two Spine queries in two records, among others."""
    log.append_now(note())
    log.append_now(received("other-1", "other"))
    log.append_now(
        Entry(
            events=(
                event(
                    EventType.EXCHANGE_RECEIVED,
                    {"audit_identity": [{"uri": USER}], "tracking_id": "TRACK-1", "organisation": "RXX"},
                    {"criteria": {"nhs_number": "9434765919"}},
                ),
                event(EventType.EXCHANGE_ASKED, {"message_id": SPINE_1}),
                event(EventType.EXCHANGE_RESERVED, {"message_id": SPINE_2}),
            ),
            exchange="exchange-1",
            client="ward",
            client_message_id=CLIENT,
            bodies=(Body("request", b"<request/>"),),
            opens=True,
        )
    )
    log.append_now(replied("other-1", "other"))
    log.append_now(
        Entry(
            events=(
                event(EventType.EXCHANGE_SPINE_ANSWERED, {"message_id": SPINE_1}),
                event(EventType.EXCHANGE_SPINE_ANSWERED, {"message_id": SPINE_2}, {"nhs_number": "9449310467"}),
                event(EventType.EXCHANGE_REPLIED, {"code": "SMSP-0000"}),
            ),
            exchange="exchange-1",
            client="ward",
            client_message_id=CLIENT,
            closes=True,
        )
    )
    return log


@pytest.mark.parametrize(
    "identifier",
    [CLIENT, CLIENT.lower(), f"urn:uuid:{CLIENT}", SPINE_1, SPINE_2, f"uuid:{SPINE_2}", "TRACK-1", USER, "exchange-1"],
)
def test_from_any_id_the_whole_exchange_is_shown_in_order(
    database: Database, traced: AuditLog, identifier: str
) -> None:
    found = list(events(database, identifier=identifier))
    assert [(e["sequence"], e["index"], e["type"]) for e in found] == [
        (3, 0, "exchange.received"),
        (3, 1, "exchange.asked"),
        (3, 2, "exchange.reserved"),
        (5, 0, "exchange.spine-answered"),
        (5, 1, "exchange.spine-answered"),
        (5, 2, "exchange.replied"),
    ]
    assert {e["client_message_id"] for e in found} == {CLIENT}
    assert found[0]["data"]["audit_identity"] == [{"uri": USER}]
    assert [e["data"]["message_id"] for e in found if e["type"] == "exchange.spine-answered"] == [SPINE_1, SPINE_2]


@pytest.mark.parametrize("identifier", ["RX", "jsmith", "TRACK", "exchange", CLIENT[:-1], "9434765919", '"', "%", "\\"])
def test_a_part_of_an_id_or_a_patient_number_is_not_an_id(
    database: Database, traced: AuditLog, identifier: str
) -> None:
    assert list(events(database, identifier=identifier)) == []


@pytest.mark.parametrize("number", ["9449310467", "944 931 0467"])
def test_a_patients_exchanges_are_found_by_the_private_parts(database: Database, traced: AuditLog, number: str) -> None:
    assert {e["exchange"] for e in events(database, nhs_number=number)} == {"exchange-1"}
    assert {e["exchange"] for e in events(database, nhs_number="9434765919")} == {"exchange-1", "other-1"}
    assert list(events(database, nhs_number="9434765870")) == []


def test_private_parts_are_shown_only_when_asked_for(database: Database, traced: AuditLog) -> None:
    assert "private" not in json.dumps(list(events(database)))
    shown = list(events(database, include_private=True))
    assert all("private" in e for e in shown)
    assert [e["private"] for e in shown if e["sequence"] == 3] == [{"criteria": {"nhs_number": "9434765919"}}, {}, {}]
    assert [e["private"] for e in shown if e["sequence"] == 1] == [{}]


def test_conditions_together_all_have_to_hold(database: Database, traced: AuditLog) -> None:
    assert [e["sequence"] for e in events(database, first=2, last=3)] == [2, 2, 3, 3, 3]
    assert {e["sequence"] for e in events(database, exchange="other-1")} == {2, 4}
    assert {e["sequence"] for e in events(database, exchange="other-1", first=3)} == {4}
    assert list(events(database, exchange="other-1", identifier=SPINE_1)) == []
    assert {e["sequence"] for e in events(database, nhs_number="9434765919", identifier=SPINE_1)} == {3, 5}
    assert list(events(database, first=99)) == []


def test_a_record_of_no_exchange_is_found_by_itself(database: Database, log: AuditLog) -> None:
    log.append_now(note("first"))
    log.append_now(note("second"))
    assert [e["data"]["note"] for e in events(database, identifier="second")] == ["second"]


def test_bodies_are_read_of_one_record(database: Database, traced: AuditLog) -> None:
    assert bodies(database, 3) == (Body("request", b"<request/>"),)
    assert bodies(database, 4) == ()
    assert bodies(database, 99) == ()


def test_many_records_come_page_by_page(database: Database, log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAGE_RECORDS", 7)
    monkeypatch.setattr(reading, "_SCAN_RECORDS", 5)
    with log.holding() as hold:
        for n in range(40):
            log.append_in(hold, received(f"e{n % 10}"))
    assert [e["sequence"] for e in events(database, first=3)] == [n for n in range(3, 41) for _ in range(2)]
    found = [e["sequence"] for e in events(database, nhs_number="9434765919")]
    assert [n for n, _ in groupby(found)] == list(range(1, 41))
    assert [e["sequence"] for e in events(database, identifier="SPINE-e3") if e["index"] == 0] == [4, 14, 24, 34]


def test_a_reader_does_not_see_what_is_written_while_it_reads_nor_hold_it_up(database: Database, log: AuditLog) -> None:
    log.append_now(note())
    log.append_now(note())
    read = events(database)
    assert next(read)["sequence"] == 1
    log.append_now(note())
    assert [e["sequence"] for e in read] == [2]


def test_times_across_the_end_of_summer_time_have_an_offset_and_sort_in_true_order(
    database: Database, log: AuditLog, clock: Clock
) -> None:
    """Both events are at 01:30 in London."""
    times = (1_792_888_200_000_000, 1_792_891_800_000_000)
    for at in times:
        clock.us = at
        log.append_now(Entry(events=(Event(type=EventType.PROVIDER_STARTED, at=at),)))
    told = list(events(database))
    expected = ["2026-10-25T00:30:00.000000Z", "2026-10-25T01:30:00.000000Z"]
    assert [e["at"] for e in told] == [e["sealed_at"] for e in told] == sorted(expected) == expected
