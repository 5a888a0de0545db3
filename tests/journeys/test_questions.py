"""A client developer asks all five questions about people of every kind, and the trail tells what became of each."""

import itertools
import time
from pathlib import Path
from typing import Any

import pytest

from minispine.audit.encoding import iso_time
from minispine.domain.operations import Operation
from minispine.domain.patient import Patient
from minispine.domain.request import LocalIdentifier
from minispine.vocabulary.codes import shipped_vocabulary
from minispine.wire import pds
from tests.conftest import SHARED
from tests.journeys.house import House, Spine
from tests.journeys.messages import BY_NUMBER, BY_SEARCH, EITHER, FIND, LOCAL_ROOT, ROBOT, VERIFY, Answer, Message

CORPUS = SHARED / "corpus" if (SHARED / "corpus").is_dir() else None
CROSS_CHECK, TRACE, RETRIEVAL = "QUPA_IN000014UK01", "QUPA_IN000005UK01", "QUPA_IN000008UK02"

_FINE = (
    "plain temporary-address correspondence-address every-telecom no-telecom deceased partial-death death-with-time "
    "successor sensitive no-practice diacritics apostrophe hyphenated former-name twin neighbour"
)
KINDS: dict[str, tuple[str, str, str, str, str]] = dict.fromkeys(_FINE.split(), ("SMSP-0000",) * 5) | {
    "wrong-death": ("SMSP-0000", "SMSP-0000", "SMSP-0002", "SMSP-0002", "SMSP-0002"),
    "partial-birth": ("SMSP-0001",) * 5,
    "wrong-birth": ("SMSP-0001",) * 5,
    "invalidated": ("DEMOG-0022", "DEMOG-0001", "DEMOG-0022", "DEMOG-0001", "DEMOG-0022"),
    "superseded": ("DEMOG-0017", "SMSP-0000", "DEMOG-0017", "SMSP-0000", "DEMOG-0017"),
    "double": ("SMSP-0000", "DEMOG-0007", "SMSP-0000", "DEMOG-0007", "SMSP-0000"),
}
"""The five answers for somebody of each kind, in the order of `five`; the searches name no postcode."""


def five(person: dict[str, Any], **more: Any) -> list[Message]:
    """The five questions about somebody, as a client asks who knows what Spine knows."""
    number = {"nhs_number": person["nhs_number"], "birth_date": person["birth_date"]}
    search = {key: person[key] for key in ("family", "birth_date", "gender")}
    if person["given"]:
        search["given"] = person["given"][0]
    return [
        Message(VERIFY, **number),
        Message(FIND, **search, **more),
        Message(BY_NUMBER, **number, **more),
        Message(BY_SEARCH, **search, **more),
        Message(EITHER, **number, **more),
    ]


def details(answer: Answer, operation: Operation = BY_NUMBER) -> Patient:
    assert answer.payload is not None
    patient = pds.read_response(operation, answer.payload).patient
    assert patient is not None
    return patient


def ask_all(house: House, messages: list[Message]) -> list[Answer]:
    with house.line() as line:
        answers = [line.ask(message) for message in messages]
    for answer in answers:
        answer.must_be_valid(CORPUS)
    return answers


def opentest(spine: Spine, corpus: Path, number: str) -> dict[str, Any]:
    """A person of the OpenTest list. Takes `corpus` so that a test without it skips."""
    everybody = itertools.chain(spine.people("opentest", 1000), spine.people("superseded"))
    return next(person for person in everybody if person["nhs_number"] == number)


@pytest.mark.requirement("SERVICE-PDS", "a")
@pytest.mark.requirement("SMSP-ERR-006", "i")
def test_each_operation_answers_with_success(house: House, spine: Spine) -> None:
    person = spine.people("plain", 1)[0]
    before = len(spine.calls())
    answers = ask_all(house, five(person))
    assert [answer.code for answer in answers] == ["SMSP-0000"] * 5
    assert [answer.status for answer in answers] == [200] * 5
    assert {answer.number for answer in answers} == {person["nhs_number"]}
    assert answers[0].verified is True
    for answer in answers[2:]:
        patient = details(answer)
        assert patient.name is not None
        assert (patient.name.family, list(patient.name.given)[:2]) == (person["family"], person["given"][:2])
        assert (patient.birth_date, patient.gender) == (person["birth_date"], person["gender"])
        assert person["postcode"] in [address.postcode for address in patient.addresses]
    asked = [call["interaction"] for call in spine.calls()[before:]]
    assert asked == [CROSS_CHECK, TRACE, CROSS_CHECK, RETRIEVAL, TRACE, RETRIEVAL, CROSS_CHECK, RETRIEVAL]


def test_every_kind_of_person_gets_five_valid_answers(house: House, spine: Spine) -> None:
    for kind, expected in KINDS.items():
        for person in spine.people(kind, 2):
            answers = ask_all(house, five(person))
            assert tuple(answer.code for answer in answers) == expected, kind


@pytest.mark.requirement("SMSP-ERR-006", "j", "l")
def test_over_long_data_are_cut_and_the_trail_says_how(house: House, spine: Spine) -> None:
    altered = set()
    for person in spine.people("over-long", 5):
        message = Message(BY_NUMBER, nhs_number=person["nhs_number"], birth_date=person["birth_date"])
        (answer,) = ask_all(house, [message])
        assert answer.code == "SMSP-0000"
        for event in house.exchange(message.message_id):
            if event["type"] == "exchange.altered":
                altered.add(event["data"]["rule"])
                assert set(event["private"]) == {"before", "after"}
                assert event["private"]["before"] != event["private"]["after"]
    assert len(altered) >= 3


def test_nothing_that_locates_a_sensitive_person_is_told(house: House, spine: Spine) -> None:
    for person in spine.people("sensitive", 6):
        for message in five(person)[2:]:
            (answer,) = ask_all(house, [message])
            patient = details(answer)
            assert patient.name is not None
            assert patient.name.family == person["family"]
            assert (patient.addresses, patient.telecoms, patient.practice) == ((), (), None)


def test_a_superseded_number_is_answered_with_its_replacement_and_nothing_else(house: House, spine: Spine) -> None:
    for person in spine.people("superseded", 6):
        verify, _, by_number, _, either = ask_all(house, five(person))
        for answer in (verify, by_number, either):
            assert answer.number not in (None, person["nhs_number"])
            assert not answer.texts("//v3:patient/v3:name | //v3:patient/v3:addr | //v3:patient/v3:patientPerson")
        assert verify.verified is False


@pytest.mark.requirement("SMSP-ERR-001", "c")
@pytest.mark.requirement("SMSP-ERR-005", "a")
def test_each_outcome_has_a_code_of_its_own(house: House, spine: Spine) -> None:
    def code(operation: Operation, **parameters: Any) -> str | None:
        (answer,) = ask_all(house, [Message(operation, **parameters)])
        assert (answer.status, answer.fault) == (200, None)
        return answer.code

    def numbered(kind: str) -> dict[str, Any]:
        person = spine.people(kind, 1)[0]
        return {"nhs_number": person["nhs_number"], "birth_date": person["birth_date"]}

    double = spine.people("double", 1)[0]
    codes = [
        code(VERIFY, **numbered("plain")),
        code(VERIFY, nhs_number="9434765919", birth_date="20090310"),
        code(FIND, **{key: double[key] for key in ("family", "birth_date", "gender")}, given=double["given"][0]),
        code(VERIFY, **numbered("superseded")),
        code(VERIFY, **numbered("invalidated")),
        code(VERIFY, **(numbered("plain") | {"birth_date": "18990101"})),
    ]
    spine.faults({"action": "reset"})
    codes.append(code(VERIFY, **numbered("plain")))
    assert codes == ["SMSP-0000", "DEMOG-0001", "DEMOG-0007", "DEMOG-0017", "DEMOG-0022", "DEMOG-0040", "SMSP-0004"]
    texts = shipped_vocabulary("pds").texts
    assert len({texts[each] for each in codes if each}) == len(codes)


def test_the_local_identifier_comes_back_beside_the_number(house: House, spine: Spine) -> None:
    person = spine.people("plain", 1)[0]
    local = LocalIdentifier(root=LOCAL_ROOT, extension="RXX:00042")
    for message, answer in zip(
        five(person, local_identifier=local)[1:],
        ask_all(house, five(person, local_identifier=local)[1:]),
        strict=True,
    ):
        assert answer.texts("//v3:patient/v3:id[2]/@extension") == ["RXX:00042"], message.operation


def test_every_path_serves_every_operation(house: House, spine: Spine) -> None:
    person = spine.people("plain", 1)[0]
    with house.line() as line:
        for path in [f"/interoperability.toolkit/HL7v3/{operation}-v1-0" for operation in Operation]:
            for message in five(person):
                assert line.ask(message, path).code == "SMSP-0000"


@pytest.mark.requirement("SMSP-AUDIT-004", "a", "b", "c", "d")
@pytest.mark.requirement("SMSP-AUDIT-006", "a")
def test_the_trail_of_one_question_leads_to_spine_and_back(house: House, spine: Spine) -> None:
    person = spine.people("plain", 1)[0]
    message = Message(EITHER, nhs_number=person["nhs_number"], birth_date=person["birth_date"])
    before = len(spine.calls())
    answer = house.ask(message)
    calls = spine.calls()[before:]
    events = house.exchange(message.message_id)
    told = [event["type"] for event in events if event["type"] != "exchange.altered"]
    assert told == [
        "exchange.received",
        "exchange.asked",
        "exchange.reserved",
        "exchange.spine-answered",
        "exchange.spine-answered",
        "exchange.replied",
    ]
    assert {event["client_message_id"] for event in events} == {message.message_id}
    assert len({event["sequence"] for event in events}) == 2
    received, asked, reserved = (event["data"] for event in events[:3])
    assert received["tracking_id"] == message.tracking_id
    assert [identity["uri"] for identity in received["audit_identity"]] == ["urn:nhs-uk:identity:ods:RXX:jsmith"]
    assert (received["access_method"], received["organisation"], received["user_code"]) == (2, "RXX", "jsmith")
    answered = [event["data"] for event in events if event["type"] == "exchange.spine-answered"]
    assert [(a["interaction"], a["message_id"]) for a in answered] == [
        (call["interaction"], call["message_id"]) for call in calls
    ]
    assert {call["asid"] for call in calls} == {"200000000999"}
    durable_before = {asked["message_id"], *(ids["message_id"] for ids in reserved["ids"])}
    assert {call["message_id"] for call in calls} <= durable_before
    assert events[0]["sealed_at"] < calls[0]["time"]
    replied = events[-1]
    assert (replied["data"]["code"], replied["data"]["source"]) == ("SMSP-0000", "spine")
    assert replied["private"] == {"nhs_number": person["nhs_number"]}
    assert answer.texts("//wsa:MessageID/text()") == [replied["data"]["message_id"]]
    assert answer.texts("//wsa:RelatesTo/text()") == [message.message_id]


@pytest.mark.requirement("IG-3.9.4", "c")
def test_each_row_has_the_time_of_its_event(house: House, spine: Spine) -> None:
    person = spine.people("plain", 1)[0]
    message = Message(VERIFY, nhs_number=person["nhs_number"], birth_date=person["birth_date"])
    before = iso_time(time.time_ns() // 1000)
    assert house.ask(message).code == "SMSP-0000"
    after = iso_time(time.time_ns() // 1000)
    at = {event["type"]: event["at"] for event in house.exchange(message.message_id)}
    asking = [at["exchange.received"], at["exchange.asked"]]
    answering = [at["exchange.spine-answered"], at["exchange.replied"]]
    times = [before, *asking, spine.calls()[-1]["time"], *answering, after]
    assert times == sorted(times)


@pytest.mark.requirement("ACCESS-1", "a")
def test_an_automated_function_is_recorded_as_one(house: House, spine: Spine) -> None:
    person = spine.people("plain", 1)[0]
    message = Message(FIND, identity=ROBOT, **{key: person[key] for key in ("family", "birth_date", "gender")})
    assert house.ask(message).code == "SMSP-0000"
    received = house.exchange(message.message_id)[0]["data"]
    assert (received["access_method"], received["function"], received["user_code"]) == (1, "nightly", None)


@pytest.mark.requirement("ACCESS-2", "c")
def test_a_message_at_spine_leads_back_to_the_user(house: House, spine: Spine) -> None:
    person = spine.people("plain", 1)[0]
    message = Message(VERIFY, nhs_number=person["nhs_number"], birth_date=person["birth_date"])
    house.ask(message)
    found = house.trail(identifier=spine.calls()[-1]["message_id"])
    assert {event["client_message_id"] for event in found} == {message.message_id}
    assert found[0]["data"]["user_code"] == "jsmith"


def test_the_log_has_no_gap(house: House) -> None:
    last = house.last()
    assert sorted({event["sequence"] for event in house.trail(last=last)}) == list(range(1, last + 1))


@pytest.mark.requirement("SMSP-ERR-006", "b")
@pytest.mark.parametrize(
    "changed", [{"nhs_number": "123"}, {"nhs_number": "9449310468"}, {"birth_date": "20100931"}, {"birth_date": "2010"}]
)
def test_input_that_cannot_be_right_is_not_sent_to_spine(house: House, spine: Spine, changed: dict[str, str]) -> None:
    before = len(spine.calls())
    message = Message(VERIFY, **({"nhs_number": "9449310467", "birth_date": "20090310"} | changed))
    (answer,) = ask_all(house, [message])
    assert (answer.code, answer.number) == ("SMSP-0001", None)
    assert len(spine.calls()) == before
    assert [e["type"] for e in house.exchange(message.message_id)] == [
        "exchange.received",
        "exchange.refused",
        "exchange.replied",
    ]


@pytest.mark.parametrize("changed", [{"family": "SM*"}, {"birth_date": "1980"}, {"birth_date": "198002"}])
def test_what_needs_the_advanced_trace_is_refused_without_a_call(
    house: House, spine: Spine, changed: dict[str, str]
) -> None:
    before = len(spine.calls())
    message = Message(FIND, **({"family": "SMITH", "birth_date": "19800229", "gender": "1"} | changed))
    assert house.ask(message).code == "SMSP-0001"
    assert len(spine.calls()) == before


# ── OpenTest ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_opentest_somebody_whom_everybody_knows(house: House, spine: Spine, corpus: Path) -> None:
    langan = opentest(spine, corpus, "9449310467")
    assert [answer.code for answer in ask_all(house, five(langan))] == ["SMSP-0000"] * 5
    (answer,) = ask_all(house, five(langan)[4:])
    patient = details(answer)
    assert patient.name is not None
    assert (patient.name.family, patient.name.given[0]) == ("LANGAN", "LAURENCE")


def test_opentest_invalidated_numbers(house: House, spine: Spine, corpus: Path) -> None:
    for number in ("9449310378", "9449310718", "9449310599", "9449310408"):
        answers = ask_all(house, five(opentest(spine, corpus, number)))
        assert {answers[at].code for at in (0, 2, 4)} == {"DEMOG-0022"}
        assert {answer.number for answer in answers} == {None}


def test_opentest_sensitive_people(house: House, spine: Spine, corpus: Path) -> None:
    for number in ("9449310610", "9449310475"):
        for answer in ask_all(house, five(opentest(spine, corpus, number)))[2:]:
            assert answer.code == "SMSP-0000"
            patient = details(answer)
            assert (patient.addresses, patient.telecoms, patient.practice) == ((), (), None)


def test_opentest_superseded_number(house: House, spine: Spine, corpus: Path) -> None:
    verify, _, by_number, _, either = ask_all(house, five(opentest(spine, corpus, "9449310424")))
    assert [answer.code for answer in (verify, by_number, either)] == ["DEMOG-0017"] * 3
    assert [answer.number for answer in (verify, by_number, either)] == ["9449310416"] * 3
    wrong_date = Message(VERIFY, nhs_number="9449310424", birth_date="20070329")
    (refused,) = ask_all(house, [wrong_date])
    assert (refused.code, refused.number) == ("DEMOG-0040", None)


def test_opentest_unknown_number(house: House, spine: Spine) -> None:
    for operation in (VERIFY, BY_NUMBER, EITHER):
        (answer,) = ask_all(house, [Message(operation, nhs_number="9434765919", birth_date="20090310")])
        assert (answer.code, answer.number) == ("DEMOG-0001", None)


QUICK = {
    "QUICK-DODWITHTIME": "SMSP-0000",
    "QUICK-FIRSTNAMELONG": "SMSP-0000",
    "QUICK-ADDRESSLINESLONG": "SMSP-0000",
    "QUICK-ADDRESSTYPEINV": "SMSP-0000",
    "QUICK-TELTYPEMISSING": "SMSP-0000",
    "QUICK-TELSUBTYPEMISSING": "SMSP-0000",
    "QUICK-ADDRESSMISSINGMAN": "SMSP-0000",
    "QUICK-INVALIDNHSNO": "SMSP-0002",
    "QUICK-INVALID-GEN": "SMSP-0002",
    "QUICK-POSTCODELONG": "SMSP-0000",
    "QUICK-INVALIDPCCODE": "SMSP-0000",
    "QUICK-INVALID-POSTCODE": "SMSP-0000",
    "QUICK-INVALID-SFLAG": "SMSP-0000",
    "QUICK-INVALID-REGORD": "SMSP-0000",
}


@pytest.mark.requirement("SMSP-VAL-004", "a")
@pytest.mark.requirement("SMSP-ERR-006", "f")
@pytest.mark.parametrize("fault", QUICK)
def test_opentest_dirty_data(house: House, spine: Spine, corpus: Path, fault: str) -> None:
    (person,) = spine.people(fault)
    messages = five(person)[2:]
    for message, answer in zip(messages, ask_all(house, messages), strict=True):
        assert answer.code == QUICK[fault], message.operation
        altered = [e for e in house.exchange(message.message_id) if e["type"] == "exchange.altered"]
        if answer.code == "SMSP-0002":
            assert not answer.texts("//v3:patient")
        else:
            assert altered, "data were changed and the trail does not say so"
