"""Who looked at a patient, when, what they did and what they saw; and the record as it was answered on a date."""

import datetime
import itertools
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert

from minispine.audit.actor import Actor
from minispine.audit.as_answered import Answered, Gone, as_answered, details_of
from minispine.audit.events import Body, Entry, Event, EventType
from minispine.audit.log import AuditLog
from minispine.audit.looking import looked
from minispine.audit.reading import Absent
from minispine.audit.search import Query
from minispine.audit.subject_access import Access, accesses, report, unnamed_looks
from minispine.audit.words import UK
from minispine.domain.operations import Operation
from minispine.domain.patient import Address, Name, Patient, Practice, Telecom
from minispine.storage import Database, Store
from minispine.storage.tables import audit_archive
from tests.audit.checkpoints import remove_triggers
from tests.audit.conftest import START, VAULT, Clock, note
from tests.audit.samples import sample
from tests.audit.stories import BY_SEARCH, Call, act, person

PATIENT, OTHER = "9449310467", "9434765919"
DAY_US = 86_400_000_000
NURSE = person("a.nurse", "Ann Nurse", role_profile="R8001")
BOB, CYD, DAN = person("b", "Bob"), person("c", "Cyd", authority="dr.x"), person("d", "Dan", organisation="RYY")


def details(family: str, postcode: str = "LS1 4BT", number: str = PATIENT) -> Patient:
    return Patient(
        nhs_number=number,
        name=Name(prefix="Mrs", given=("Jane", "Marie"), family=family),
        gender="2",
        birth_date="19800102",
        addresses=(Address(use="H", lines=("", "1 High Street", "", "Leeds", ""), postcode=postcode),),
        telecoms=(Telecom(use="H", value="tel:01130000000"),),
        practice=Practice(ods_code="A12345"),
    )


def day(number: float) -> int:
    return START + round(number * DAY_US)


Happen = Callable[..., None]


@pytest.fixture
def happen(log: AuditLog, clock: Clock) -> Happen:
    """Have entries written on some day."""

    def write(when: int, *entries: Entry) -> None:
        clock.us = when
        for entry in entries:
            log.append_now(entry)

    return write


def call(name: str, **told: Any) -> Call:
    return Call(**{"name": name, "patient": PATIENT, "found": PATIENT} | told)


def found(database: Database, **bounds: int) -> list[Access]:
    return list(accesses(database, VAULT, PATIENT, **bounds))


# ── who did what ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("IG-3.9.2", "b", "c")
def test_display_print_download_and_change_are_told_apart_with_who_when_and_what(
    database: Database, happen: Happen
) -> None:
    shown = {"family": "OLD-NAME", "address": {"lines": ["1 High Street", "Leeds"]}}
    happen(day(1), act(EventType.RECORD_DISPLAYED, NURSE, PATIENT, at=day(1), private={"shown": shown}))
    happen(day(2), act(EventType.RECORD_PRINTED, BOB, PATIENT, at=day(2), private={"shown": {"family": "OLD-NAME"}}))
    happen(day(3), act(EventType.RECORD_DOWNLOADED, CYD, PATIENT, at=day(3), private={"shown": {"gender": "2"}}))
    change = {"before": {"family": "OLD-NAME"}, "after": {"family": "NEW-NAME"}, "reason": "she married"}
    happen(day(4), act(EventType.RECORD_CHANGED, DAN, PATIENT, at=day(4), private=change))
    happen(day(4), act(EventType.RECORD_DISPLAYED, NURSE, OTHER, at=day(4)))
    told = found(database)
    assert [(each.who, each.did, each.at) for each in told] == [
        ("Ann Nurse (a.nurse)", "displayed your data on a screen", day(1)),
        ("Bob (b)", "printed your data", day(2)),
        ("Cyd (c)", "downloaded your data as a file", day(3)),
        ("Dan (d)", "changed your data", day(4)),
    ]
    assert set(told[0].shown) == {("family", "OLD-NAME"), ("address lines", "1 High Street, Leeds")}
    assert told[1].shown == (("family", "OLD-NAME"),)
    assert told[3].shown == (("before, family", "OLD-NAME"), ("after, family", "NEW-NAME"))
    assert (told[0].role, told[0].organisation, told[0].device) == ("R8001", "RXX", "WS-17")
    assert (told[2].authority, told[3].organisation, told[3].reason) == ("dr.x", "RYY", "she married")


@pytest.mark.requirement("IG-3.9.3", "b")
def test_a_report_of_a_month_names_all_who_acted_in_it_and_nobody_else(database: Database, happen: Happen) -> None:
    march = [datetime.datetime(2027, 3, d, 10, tzinfo=datetime.UTC) for d in (1, 15, 31)]
    april = datetime.datetime(2027, 4, 1, 0, 30, tzinfo=UK)
    kinds = (EventType.RECORD_DISPLAYED, EventType.RECORD_CHANGED, EventType.RECORD_ARCHIVED)
    for when, kind, who in zip([*march, april], [*kinds, kinds[0]], (NURSE, BOB, CYD, DAN), strict=True):
        us = round(when.timestamp() * 1_000_000)
        happen(us, act(kind, who, PATIENT, at=us))
    bounds = [datetime.datetime(2027, month, 1, tzinfo=UK) for month in (3, 4)]
    from_, to = (round(when.timestamp() * 1_000_000) for when in bounds)
    assert [(each.who, each.did) for each in found(database, from_=from_, to=to)] == [
        ("Ann Nurse (a.nurse)", "displayed your data on a screen"),
        ("Bob (b)", "changed your data"),
        ("Cyd (c)", "archived your data"),
    ]
    assert [each.who for each in found(database, from_=to)] == ["Dan (d)"]


def test_refused_attempts_and_functions_are_told_apart(database: Database, happen: Happen) -> None:
    happen(day(1), act(EventType.FUNCTION_USED, NURSE, PATIENT, function="merge"))
    happen(day(1), act(EventType.FUNCTION_REFUSED, BOB, PATIENT, function="break-glass", reason="no-right"))
    assert [each.did for each in found(database)] == [
        "used the function merge about you",
        "tried to use the function break-glass about you, and was not allowed to",
    ]


@pytest.mark.requirement("IG-3.9.3", "c")
def test_looks_at_the_trail_about_a_patient_are_in_the_next_report(database: Database, happen: Happen) -> None:
    officer = Actor(user_id="p.officer", name="Pat Officer").as_data()
    told: dict[str, Any] = {"actor": officer, "at": day(1), "private_shown": True}
    query = Query(patient="944 931 0467", from_=5)
    happen(day(1), looked(query, command="audit search", **told))
    happen(day(1), looked(query, command="audit export", form="csv", **told))
    happen(day(1), looked(Query(patient=OTHER), command="audit search", **told))
    assert [(each.who, each.did) for each in found(database)] == [
        ("Pat Officer (p.officer)", "looked at the audit trail about you"),
        ("Pat Officer (p.officer)", "took a copy of the audit trail about you"),
    ]


# ── questions ───────────────────────────────────────────────────────────────────────────────────────────────────────

OPERATIONS = {
    Operation.VERIFY_NHS_NUMBER: ("asked whether your NHS number is yours", (("nhs number", "confirmed"),)),
    Operation.GET_NHS_NUMBER: ("traced you to find out your NHS number", (("nhs number", PATIENT),)),
    Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER: ("asked for your details by your NHS number", None),
    Operation.GET_PATIENT_DETAILS_BY_SEARCH: ("traced you to find out your details", None),
    Operation.GET_PATIENT_DETAILS: ("asked for your details", None),
}


@pytest.mark.parametrize("operation", Operation)
def test_a_question_is_one_entry_that_says_what_was_answered(
    database: Database, happen: Happen, operation: Operation
) -> None:
    did, shown = OPERATIONS[operation]
    shown_details = details("MARKERBY") if shown is None else None
    one = call("one", operation=operation, shown=shown_details, spine=("found", "found"), at=day(1))
    happen(day(1), one.asked, note(), one.replied)
    (access,) = found(database)
    assert (access.did, access.outcome) == (did, "It was answered (SMSP-0000).")
    assert (access.who, access.organisation, access.system, access.at) == ("jsmith", "RXX", "ward", day(1))
    if shown is not None:
        assert access.shown == shown
    else:
        assert dict(access.shown) == {
            "nhs number": PATIENT,
            "name prefix": "Mrs",
            "name given": "Jane, Marie",
            "name family": "MARKERBY",
            "gender": "2",
            "birth date": "19800102",
            "addresses use": "H",
            "addresses lines": "1 High Street, Leeds",
            "addresses postcode": "LS1 4BT",
            "telecoms use": "H",
            "telecoms value": "tel:01130000000",
            "practice ods code": "A12345",
        }


def with_events(entry: Entry, *events: Event, keep: bool = True) -> Entry:
    """An entry whose last event is another, or that has one more."""
    kept = entry.events if keep else entry.events[:-1]
    return msgspec.structs.replace(entry, events=(*kept, *events))


def outcome_of(database: Database) -> str:
    (access,) = found(database)
    assert access.shown == ()
    return access.outcome


def test_a_question_that_gave_nothing_about_the_patient_says_so(database: Database, happen: Happen) -> None:
    """Asked about by number, and not verified."""
    one = call("one", found=None, code="DEMOG-0007", spine=("no-match",))
    happen(day(1), *one.entries)
    assert outcome_of(database) == "It was answered (DEMOG-0007). Nothing about you was given."


def test_a_question_about_somebody_else_that_found_the_patient_shows_only_that(
    database: Database, happen: Happen
) -> None:
    """Spine found her; the client was told of another."""
    one = Call(name="one", operation=BY_SEARCH, patient=None, found=OTHER, shown=details("OTHERBY", number=OTHER))
    spied = sample(EventType.EXCHANGE_SPINE_ANSWERED, private={"nhs_number": PATIENT})
    happen(day(1), one.asked, with_events(one.replied, spied))
    assert outcome_of(database) == "It was answered (SMSP-0000). Nothing about you was given."


def test_a_refused_question_says_so(database: Database, happen: Happen) -> None:
    one = call("one")
    refused = sample(EventType.EXCHANGE_REFUSED, reason="busy")
    happen(day(1), with_events(one.asked, refused))
    assert outcome_of(database) == "It was refused (busy). Nothing about you was given."


def test_a_fault_says_so(database: Database, happen: Happen) -> None:
    one = call("one")
    fault = sample(EventType.EXCHANGE_REPLIED, fault="2200", audit_identity=one.identity)
    happen(day(1), with_events(one.asked, fault))
    assert outcome_of(database) == "It failed (2200). Nothing about you was given."


def test_an_open_an_abandoned_and_an_interrupted_question_say_so(database: Database, happen: Happen) -> None:
    one = call("one")
    happen(day(1), one.asked)
    assert outcome_of(database) == "No answer to it is recorded."
    unknown = sample(EventType.EXCHANGE_OUTCOME_UNKNOWN, reason="process-died")
    happen(day(1), Entry(events=(unknown,), exchange=one.exchange))
    assert outcome_of(database) == "It was interrupted, and it is not known whether it was answered."


def test_an_answer_from_the_cache_and_one_that_nobody_took_say_so(database: Database, happen: Happen) -> None:
    one = call("one", source="cache", operation=Operation.GET_NHS_NUMBER)
    happen(day(1), one.asked, with_events(one.replied, sample(EventType.EXCHANGE_UNDELIVERED)))
    (access,) = found(database)
    assert access.outcome == (
        "It was answered (SMSP-0000). The answer was a copy kept here from before."
        " Nobody was there any more to take the answer."
    )


def test_what_was_archived_is_said_to_be_there(database: Database, happen: Happen) -> None:
    one = call("one", operation=Operation.GET_NHS_NUMBER)
    happen(day(1), *one.entries)
    archive(database, 2, 3)
    assert outcome_of(database) == "What was said is no longer here, it was moved to the archive 2026-09.zip."


def archive(database: Database, first: int, last: int) -> None:
    remove_triggers(database, "audit_archive")  # the record that it asks for is of no interest here
    with database.session(Store.AUDIT) as session:
        row = {"first": first, "last": last, "name": "2026-09.zip", "digest": b"", "record": 1}
        session.execute(insert(audit_archive).values(row))
        session.run("DELETE FROM audit_payload WHERE sequence BETWEEN ? AND ?", (first, last))


# ── in words ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_report_is_in_plain_words_with_times_of_the_united_kingdom(database: Database, happen: Happen) -> None:
    summer, winter = (datetime.datetime(2026, 10, 25, hour, 30, tzinfo=datetime.UTC) for hour in (0, 1))
    for when in (summer, winter):
        us = round(when.timestamp() * 1_000_000)
        happen(us, act(EventType.RECORD_PRINTED, NURSE, PATIENT, at=us, private={"shown": {"family": "MARKERBY"}}))
    lines = list(report(PATIENT, accesses(database, VAULT, PATIENT), period="all that is recorded"))
    assert lines[0] == "Who has looked at or changed data about NHS number 944 931 0467"
    said = [line for line in lines if re.match(r"\d{4}-", line)]
    assert said == [
        "2026-10-25 01:30:00 +01:00  Ann Nurse (a.nurse) printed your data.",
        "2026-10-25 01:30:00 +00:00  Ann Nurse (a.nurse) printed your data.",
    ]
    assert lines[4:11] == [
        "  Organisation: RXX",
        "  Role: R8001",
        "  System: SMSP-1",
        "  Workstation: WS-17",
        "  Record of the audit trail: 2",
        "  What was shown:",
        "    family: MARKERBY",
    ]
    assert lines[-1] == "2 entries."


def test_the_report_has_words_and_days_where_the_record_has_codes(database: Database, happen: Happen) -> None:
    one = call("one", operation=Operation.GET_PATIENT_DETAILS, shown=details("MARKERBY"), spine=("found", "found"))
    happen(day(1), one.asked, note(), one.replied)
    lines = list(report(PATIENT, accesses(database, VAULT, PATIENT), period="x"))
    for said in ("gender: female", "birth date: 2 January 1980", "addresses use: home", "telecoms use: home"):
        assert f"    {said}" in lines


def test_a_report_about_a_patient_of_whom_nothing_is_recorded_says_so(database: Database, log: AuditLog) -> None:
    assert list(report(PATIENT, accesses(database, VAULT, PATIENT), period="x"))[2:] == ["", "Nothing is recorded."]


# ── as it was answered ──────────────────────────────────────────────────────────────────────────────────────────────


def family(database: Database, when: int) -> str | None:
    answered = as_answered(database, VAULT, PATIENT, at=when)
    assert not isinstance(answered, Gone)
    return None if answered is None else dict(details_of(answered.details)).get("name family")


@pytest.mark.requirement("IG-3.9.2", "h")
def test_a_record_is_rebuilt_as_it_was_answered_on_a_date(database: Database, happen: Happen) -> None:
    """Answered on days 1, 5 and 9 with other details each time, by number and by search, among other answers."""
    answers = {1: ("FIRST", BY_SEARCH), 5: ("SECOND", Operation.GET_PATIENT_DETAILS), 9: ("THIRD", BY_SEARCH)}
    for number, (name, operation) in answers.items():
        one = call(f"on day {number}", shown=details(name), operation=operation, at=day(number))
        happen(day(number), *one.entries)
        other = call(f"other {number}", patient=OTHER, found=OTHER, shown=details("OTHERBY", number=OTHER))
        verified = call(f"verified {number}", operation=Operation.VERIFY_NHS_NUMBER, at=day(number) + 1)
        missed = call(f"missed {number}", found=None, code="DEMOG-0007", spine=("no-match",))
        happen(day(number) + 1, *other.entries, *verified.entries, *missed.entries)
    assert [family(database, day(n)) for n in (3, 7, 10)] == ["FIRST", "SECOND", "THIRD"]
    assert family(database, day(1) - 1) is None
    answered = as_answered(database, VAULT, "944 931 0467", at=day(7))
    assert isinstance(answered, Answered)
    assert (answered.at, answered.event) == (day(5) + 500_000, "exchange.replied")
    assert answered.details == msgspec.to_builtins(details("SECOND"))


@pytest.mark.requirement("IG-3.9.2", "h")
def test_a_record_held_here_is_rebuilt_as_it_was_changed(database: Database, happen: Happen) -> None:
    """Created on day 1, changed on days 5 and 9."""
    states = {1: {"family": "FIRST"}, 5: {"family": "SECOND"}, 9: {"family": "THIRD", "gender": "2"}}
    before = None
    for number, after in states.items():
        change = {"before": before, "after": after}
        happen(day(number), act(EventType.RECORD_CHANGED, NURSE, PATIENT, at=day(number), private=change))
        before = after
    for asked, expected in ((3, states[1]), (7, states[5]), (10, states[9])):
        answered = as_answered(database, VAULT, PATIENT, at=day(asked))
        assert isinstance(answered, Answered)
        assert answered.details == expected
    assert as_answered(database, VAULT, PATIENT, at=day(1) - 1) is None
    removed = {"before": before, "after": None}
    happen(day(11), act(EventType.RECORD_CHANGED, NURSE, PATIENT, at=day(11), private=removed))
    gone = as_answered(database, VAULT, PATIENT, at=day(12))
    assert isinstance(gone, Answered)
    assert gone.details is None


@pytest.mark.requirement("IG-3.9.2", "c")
def test_what_was_displayed_stays_what_it_was_after_the_record_changed(database: Database, happen: Happen) -> None:
    shown = msgspec.to_builtins(details("OLD-NAME"))
    for kind in (EventType.RECORD_DISPLAYED, EventType.RECORD_PRINTED):
        happen(day(1), act(kind, NURSE, PATIENT, at=day(1), private={"shown": shown}))
    change = {"before": shown, "after": msgspec.to_builtins(details("NEW-NAME"))}
    happen(day(2), act(EventType.RECORD_CHANGED, BOB, PATIENT, at=day(2), private=change))
    displayed, printed, changed = found(database)
    assert displayed.shown == printed.shown == tuple(details_of(shown))
    assert ("name family", "OLD-NAME") in displayed.shown
    assert ("after, name family", "NEW-NAME") in changed.shown


def test_the_front_lines_own_trail_is_read_from_the_answers_it_got(database: Database, happen: Happen) -> None:
    one = call("one", shown=details("MARKERBY"), at=day(1))
    answer = sample(EventType.EXCHANGE_SPINE_ANSWERED, at=day(1), private={"nhs_number": PATIENT})
    happen(day(1), Entry(events=(answer,), exchange="e", bodies=(Body("spine-answer-1", one.reply),)))
    assert family(database, day(2)) == "MARKERBY"


def test_an_answer_that_was_archived_is_not_passed_over_for_an_older_one(database: Database, happen: Happen) -> None:
    for number, name in ((1, "FIRST"), (5, "SECOND")):
        happen(day(number), *call(name, shown=details(name), at=day(number)).entries)
    archive(database, 5, 5)
    assert family(database, day(3)) == "FIRST"
    assert as_answered(database, VAULT, PATIENT, at=day(7)) == Gone(
        sequence=5, sealed_at=day(5), absent=Absent("archived", 1, "2026-09.zip")
    )


@pytest.mark.parametrize("body", [b"", b"<not xml", b"<x/>", b"{}"])
def test_a_message_that_is_no_answer_gives_no_record(database: Database, happen: Happen, body: bytes) -> None:
    replied = call("one").replied
    bodies = (*itertools.islice(replied.bodies, 2), Body("reply", body))
    happen(day(1), msgspec.structs.replace(replied, bodies=bodies))
    assert as_answered(database, VAULT, PATIENT, at=day(2)) is None


def test_a_message_about_somebody_else_gives_no_record(database: Database, happen: Happen) -> None:
    other = call("other", found=OTHER, shown=details("OTHERBY", number=OTHER))
    replied = call("one").replied
    happen(day(1), msgspec.structs.replace(replied, bodies=(Body("reply", other.reply),)))
    assert as_answered(database, VAULT, PATIENT, at=day(2)) is None


def test_a_date_is_held_to_when_a_record_was_told_whatever_the_clock_did_later(
    database: Database, happen: Happen
) -> None:
    """Answered on day 5, while the sealed time stood on day 400 because the clock had been there; then on day 6."""
    happen(day(400), note())
    happen(day(5), *call("five", shown=details("FIFTH"), at=day(5)).entries)
    happen(day(6), *call("six", shown=details("SIXTH"), at=day(6)).entries)
    assert [family(database, day(n)) for n in (4, 5.75, 7)] == [None, "FIFTH", "SIXTH"]


def test_an_act_about_somebody_else_in_the_same_exchange_is_not_in_the_report(
    database: Database, happen: Happen
) -> None:
    both = [sample(EventType.RECORD_DISPLAYED, private={"nhs_number": number}) for number in (OTHER, PATIENT)]
    happen(day(1), Entry(events=tuple(both), exchange="e"))
    assert [each.did for each in found(database)] == ["displayed your data on a screen"]


def test_looks_that_did_not_name_the_patient_are_told_at_the_end(database: Database, happen: Happen) -> None:
    """Whoever searches by another way than the number is in the report all the same."""
    for shown, private in ((True, {}), (False, {}), (True, {"nhs_number": PATIENT})):
        look = sample(EventType.AUDIT_READ, at=day(1), private=private)
        look = msgspec.structs.replace(look, data=look.data | {"private_shown": shown})
        happen(day(1), Entry(events=(look,)))
    looks = list(unnamed_looks(database, VAULT, PATIENT))
    assert [each.sequence for each in looks] == [2]
    text = list(report(PATIENT, [], period="all", unnamed=looks))
    assert text[-2] == "Your data may have been seen then:"
    assert text[-1].endswith("record 2")
    assert "may have been seen" not in " ".join(report(PATIENT, [], period="all"))
