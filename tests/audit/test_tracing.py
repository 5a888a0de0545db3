"""An exchange is told step by step: sent, answered or silent, and what is outstanding."""

import pytest

from minispine.audit.events import Entry, Event, EventType
from minispine.audit.log import AuditLog
from minispine.audit.reading import Record
from minispine.audit.search import Exchange, Query, exchanges
from minispine.audit.tracing import Step, steps
from minispine.storage import Database
from tests.audit.conftest import START, VAULT, note
from tests.audit.samples import full_sample, sample
from tests.audit.stories import BY_SEARCH, Call

ANSWERED = Call(name="answered")
TWICE = Call(name="twice", operation=BY_SEARCH, patient=None, spine=("found", "found"))
SILENT = Call(name="silent", found=None, code="SMSP-0004", spine=("unavailable",))


def traced(database: Database, call: Call) -> list[Step]:
    (exchange,) = exchanges(database, VAULT, Query(identifier=call.message_id))
    return list(steps(exchange))


@pytest.mark.requirement("IG-3.9.15", "a")
@pytest.mark.requirement("SMSP-AUDIT-004", "a", "b", "c", "d")
def test_a_question_that_was_answered_is_told_in_order_with_times_and_ids(database: Database, log: AuditLog) -> None:
    for entry in TWICE.entries:
        log.append_now(entry)
    told = traced(database, TWICE)
    assert [(step.sequence, step.act) for step in told] == [
        (2, "received"),
        (2, "asked"),
        (2, "reserved"),
        (3, "answered"),
        (3, "answered"),
        (3, "replied"),
    ]
    times = [step.at for step in told if step.at is not None]
    assert times == sorted(times)
    assert len(times) == len(told)
    received, asked, reserved, first, second, replied = (step.text for step in told)
    assert TWICE.message_id in received
    assert TWICE.tracking_id in received
    assert TWICE.identity[0]["uri"] in received
    assert TWICE.spine_id(1) in asked
    assert TWICE.spine_id(2) in reserved
    assert (TWICE.spine_id(1) in first, TWICE.answer_id(1) in first) == (True, True)
    assert (TWICE.spine_id(2) in second, TWICE.answer_id(2) in second) == (True, True)
    assert "after 0.050 s" in first
    assert replied.startswith("SMSP-0000, ")


@pytest.mark.requirement("IG-3.9.15", "a")
def test_a_question_without_an_answer_says_so(database: Database, log: AuditLog) -> None:
    for entry in SILENT.entries:
        log.append_now(entry)
    told = traced(database, SILENT)
    assert [step.act for step in told] == ["received", "asked", "no answer", "replied"]
    assert f"to message {SILENT.spine_id()}, given up after 0.050 s" in told[2].text


@pytest.mark.requirement("IG-3.9.15", "a")
def test_what_is_awaited_is_outstanding_at_the_end(database: Database, log: AuditLog) -> None:
    log.append_now(ANSWERED.asked)
    told = traced(database, ANSWERED)
    assert [step.act for step in told] == ["received", "asked", "outstanding", "outstanding"]
    assert told[2] == Step("outstanding", f"message {ANSWERED.spine_id()}: no record says what became of it")
    assert told[3] == Step("outstanding", "the reply to the client")
    log.append_now(ANSWERED.replied)
    assert not [step for step in traced(database, ANSWERED) if step.act == "outstanding"]


def test_an_exchange_that_a_dead_process_left_is_over_but_its_message_outstanding(
    database: Database, log: AuditLog
) -> None:
    log.append_now(ANSWERED.asked)
    unknown = Event(type=EventType.EXCHANGE_OUTCOME_UNKNOWN, at=START, data={"reason": "process-died"})
    log.append_now(Entry(events=(unknown,), exchange=ANSWERED.exchange, closes=True))
    told = traced(database, ANSWERED)
    assert [step.act for step in told] == ["received", "asked", "outcome unknown", "outstanding"]
    assert "result process-died" in told[2].text


@pytest.mark.parametrize("type_", [t for t in EventType if t.startswith(("exchange.", "directory.", "session."))])
def test_every_event_of_an_exchange_can_be_told(type_: EventType) -> None:
    """With all that may stand in it, and with the least, as long fields leave it."""
    author = {"user_id": "u", "role_profile_id": "r", "role_id": "x"}
    full = full_sample(type_)
    known = {"author": author, "ids": [{"message_id": "m"}], "audit_identity": [{"uri": "urn:x"}], "sent_at": START}
    data = {name: known.get(name, value) for name, value in full.data.items()}
    least = dict.fromkeys(sample(type_).data)
    for told in (data, least):
        record = Record(
            sequence=2,
            hash=b"",
            sealed_at=START,
            system="S",
            instance="i",
            exchange="e",
            client=None,
            client_message_id=None,
            repeats=None,
            events=({"type": type_.value, "at": START, "data": told},),
        )
        step = next(steps(Exchange(2, (record,))))
        assert (step.at, step.sequence) == (START, 2)
        assert step.act


def test_a_record_of_no_exchange_is_one_step(database: Database, log: AuditLog) -> None:
    log.append_now(note("no-certificate"))
    (exchange,) = exchanges(database, VAULT, Query(first=2))
    assert [(s.act, s.text) for s in steps(exchange)] == [("refused", "peer.refused, result no-certificate")]
