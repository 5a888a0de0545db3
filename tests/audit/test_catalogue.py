"""Every event says what the catalogue lists for its type, nothing else, and each thing where it may stand."""

import re
from typing import Any

import msgspec
import pytest

from minispine.audit.actor import Actor
from minispine.audit.catalogue import CATALOGUE, EventInvalid, check
from minispine.audit.encoding import EntryInvalid
from minispine.audit.events import Entry, Event, EventType
from minispine.audit.log import AuditLog
from minispine.audit.reading import events
from minispine.domain.request import PdsRequest
from minispine.storage import Database
from tests.audit.conftest import VAULT
from tests.audit.samples import ACTOR, full_sample, sample


def written(database: Database, log: AuditLog, *told: Event) -> list[dict[str, Any]]:
    """What the log gives back of events, each in a record of its own."""
    first = min(log.append_now(Entry(events=(event,))).sequence for event in told)
    return list(events(database, first=first, vault=VAULT))


def refusal(event: Event) -> str:
    with pytest.raises(EventInvalid) as refused:
        check(event)
    return str(refused.value)


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


@pytest.mark.requirement("SMSP-AUDIT-009", "c")
@pytest.mark.requirement("IG-3.9.4", "d")
@pytest.mark.parametrize("make", [sample, full_sample], ids=["what it needs", "all that is declared"])
def test_a_record_of_each_type_carries_the_type_and_the_details_listed_for_it(
    database: Database, log: AuditLog, make: Any
) -> None:
    told = [make(type_) for type_ in EventType]
    found = written(database, log, *told)
    assert [(e["type"], e["data"], e["private"]) for e in found] == [(e.type, e.data, e.private) for e in told]
    for event in found:
        kind = CATALOGUE[EventType(event["type"])]
        assert kind.needs.keys() <= event["data"].keys()
        assert kind.private_needs.keys() <= event["private"].keys()


@pytest.mark.requirement("SMSP-AUDIT-009", "c")
@pytest.mark.requirement("IG-3.9.4", "d")
@pytest.mark.parametrize("type_", EventType)
def test_an_event_without_one_of_its_details_is_refused(type_: EventType) -> None:
    event, kind = full_sample(type_), CATALOGUE[type_]
    for name in kind.needs:
        assert refusal(msgspec.structs.replace(event, data=without(event.data, name))) == f"{type_} lacks {name}"
    for name in kind.private_needs:
        less = msgspec.structs.replace(event, private=without(event.private, name))
        assert refusal(less) == f"{type_} lacks in private {name}"
    for name in kind.may:
        check(msgspec.structs.replace(event, data=without(event.data, name)))
    for name in kind.private_may:
        check(msgspec.structs.replace(event, private=without(event.private, name)))


@pytest.mark.parametrize("type_", EventType)
def test_an_event_with_a_field_that_nobody_declared_is_refused(type_: EventType) -> None:
    event = sample(type_)
    more = msgspec.structs.replace(event, data=event.data | {"surname": "Markerby"})
    assert refusal(more) == f"{type_} may not have surname"
    more = msgspec.structs.replace(event, private=event.private | {"surname": "Markerby"})
    assert refusal(more) == f"{type_} may not have in private surname"


def test_the_log_takes_no_event_that_is_not_as_the_catalogue_says(database: Database, log: AuditLog) -> None:
    with pytest.raises(EntryInvalid, match=r"^peer\.refused lacks count$"):
        log.append_now(Entry(events=(Event(type=EventType.PEER_REFUSED, at=1, data=_peer("minute")),)))
    with pytest.raises(EntryInvalid, match=r"^exchange\.replied may not have nhs_number$"):
        log.append_now(Entry(events=(sample(EventType.EXCHANGE_REPLIED, nhs_number="9434765919"),)))
    assert not [e for e in events(database) if e["type"] != "audit.begun"]


def _peer(*names: str) -> dict[str, Any]:
    return dict.fromkeys(("peer", "reason", *names), "x")


def test_a_refusal_tells_names_of_fields_and_no_value_even_where_a_value_got_in_the_place_of_a_name() -> None:
    told = {"9434765919": "Markerby", "O'Marker": 1, "note": "Markerby"}
    said = refusal(Event(type=EventType.PEER_REFUSED, at=1, data=told, private={"Markerby": "Markerby"}))
    assert said == (
        "peer.refused lacks count, minute, peer, reason;"
        " peer.refused may not have (no name of a field), (no name of a field), note;"
        " peer.refused may not have in private (no name of a field)"
    )


@pytest.mark.parametrize(
    "actor",
    [
        "ward.clerk",
        {},
        {"user_id": "ward.clerk"},
        Actor(user_id="").as_data(),
        ACTOR.as_data() | {"nhs_number": "9434765919"},
        None,
    ],
)
def test_who_did_it_has_to_be_said_as_an_actor(actor: Any) -> None:
    assert refusal(sample(EventType.RECORD_PRINTED, actor=actor)) == (
        "record.printed has an actor that is not made as one"
    )


def test_what_no_person_did_may_have_nobody_for_an_actor() -> None:
    check(sample(EventType.USER_LOCKED, actor=None))
    assert refusal(sample(EventType.USER_LOCKED, actor={})) == "user.locked has an actor that is not made as one"


def test_the_catalogue_has_every_type_once_in_order_and_each_by_the_grammar() -> None:
    assert list(CATALOGUE) == list(EventType)
    for type_, kind in CATALOGUE.items():
        assert re.fullmatch(r"[a-z]+\.[a-z]+(-[a-z]+)*", type_)
        assert kind.meaning.endswith(".")
        for fields in (kind.needs, kind.may, kind.private_needs, kind.private_may):
            for name, meaning in fields.items():
                assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name), name
                assert meaning
                assert not meaning.endswith("."), name
        assert not kind.needs.keys() & kind.may.keys()
        assert not kind.private_needs.keys() & kind.private_may.keys()


def test_nothing_that_says_something_of_a_patient_is_declared_for_the_hashed_part() -> None:
    """Of what a question asks, only the operation is no patient's; the rest stands in the private part alone."""
    of_patients = {field.name for field in msgspec.structs.fields(PdsRequest)} - {"operation"}
    of_patients |= {"nhs_numbers", "patient_id", "question", "shown", "typed", "limited", "username", "sender_address"}
    for kind in CATALOGUE.values():
        assert not of_patients & (kind.needs | kind.may).keys()
    received = CATALOGUE[EventType.EXCHANGE_RECEIVED]
    assert {field.name for field in msgspec.structs.fields(PdsRequest)} <= received.private_may.keys()


def test_what_somebody_types_as_a_reason_is_never_hashed() -> None:
    """A `reason` in the hashed part is a word of ours; on what a person changes it is theirs, and private."""
    for type_, kind in CATALOGUE.items():
        if "reason" in kind.needs | kind.may:
            assert "reason" not in kind.private_needs | kind.private_may, type_
    for type_ in (EventType.CLIENT_EDITED, EventType.TABLE_CHANGED, EventType.AUDIT_PAYLOAD_REMOVED):
        assert "reason" in CATALOGUE[type_].private_may


# ── what those are going to write who log people in: the machinery, before there are screens ────────────────────────


def test_a_view_holds_who_in_which_role_and_organisation_on_whose_authority_and_where(
    database: Database, log: AuditLog
) -> None:
    """The machinery of IG-3.9.4 a, b, g: one user in each of two roles, with and without another's authority."""
    clerk = Actor(user_id="clerk.a", name="A Clerk", role_profile="clerk", organisation="RXX", device="WS-17")
    nurse = msgspec.structs.replace(clerk, role_profile="nurse", organisation="RYY")
    asked = msgspec.structs.replace(clerk, authority="doctor.b")
    found = written(
        database, log, *(sample(EventType.RECORD_DISPLAYED, actor=each.as_data()) for each in (clerk, nurse, asked))
    )
    who = [event["data"]["actor"] for event in found]
    assert [
        (w["user_id"], w["name"], w["role_profile"], w["organisation"], w["authority"], w["device"]) for w in who
    ] == [
        ("clerk.a", "A Clerk", "clerk", "RXX", None, "WS-17"),
        ("clerk.a", "A Clerk", "nurse", "RYY", None, "WS-17"),
        ("clerk.a", "A Clerk", "clerk", "RXX", "doctor.b", "WS-17"),
    ]


def test_failed_log_ins_hold_their_number_and_the_access_point_and_no_user_name_that_is_none(
    database: Database, log: AuditLog
) -> None:
    """The machinery of SMSP-AUDIT-008 d and 009 d."""
    came = {"reason": "password", "user": "jo", "access_point": "192.0.2.10"}
    found = written(
        database,
        log,
        *(sample(EventType.LOGIN_FAILED, attempts=n, **came) for n in (1, 2, 3)),
        sample(EventType.LOGIN_FAILED, attempts=1, access_point=None, user=None, private={"typed": "hunter2"}),
        sample(EventType.LOGIN_SUCCEEDED, actor=Actor(user_id="jo").as_data()),
        sample(EventType.LOGIN_LOGGED_OUT, actor=Actor(user_id="jo").as_data()),
    )
    failed = [(e["data"]["attempts"], e["data"]["user"], e["data"]["access_point"]) for e in found[:4]]
    assert failed == [*((n, "jo", "192.0.2.10") for n in (1, 2, 3)), (1, None, None)]
    assert [(e["type"], e["data"]["actor"]["user_id"]) for e in found[4:]] == [
        ("login.succeeded", "jo"),
        ("login.logged-out", "jo"),
    ]
    assert all(e["at"].endswith("Z") for e in found)


def test_a_changed_password_holds_who_changed_whose_and_has_no_place_for_the_password(
    database: Database, log: AuditLog
) -> None:
    """The machinery of SMSP-AUDIT-008 e and 009 e."""
    by = Actor(user_id="admin.a").as_data()
    (found,) = written(database, log, sample(EventType.USER_PASSWORD_CHANGED, actor=by, user="b", means="reset"))
    assert (found["data"]["actor"]["user_id"], found["data"]["user"]) == ("admin.a", "b")
    kind = CATALOGUE[EventType.USER_PASSWORD_CHANGED]
    assert not (kind.private_needs | kind.private_may)
    for name in ("password", "hash"):
        assert name in refusal(sample(EventType.USER_PASSWORD_CHANGED, **{name: "secret"}))
