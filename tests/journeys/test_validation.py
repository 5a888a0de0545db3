"""An assessor goes through the clauses on validation and errors: what they say is tried on the running product."""

import re
from typing import Any

import pytest

from minispine.domain.operations import Operation
from minispine.vocabulary.codes import shipped_vocabulary
from tests.journeys.house import House, Spine
from tests.journeys.messages import (
    BY_NUMBER,
    BY_SEARCH,
    EITHER,
    FIND,
    VERIFY,
    Answer,
    Edit,
    Message,
    at,
    setting,
    twice,
    without,
)
from tests.journeys.test_questions import CORPUS, CROSS_CHECK, RETRIEVAL

NUMBERED = {"nhs_number": "9449310467", "birth_date": "20090310"}
NAMED = {"family": "LANGAN", "given": "LAURENCE", "gender": "1", "birth_date": "20090310"}
PARAMETERS: dict[Operation, dict[str, str]] = {
    VERIFY: NUMBERED,
    FIND: NAMED,
    BY_NUMBER: NUMBERED,
    BY_SEARCH: NAMED,
    EITHER: NUMBERED | NAMED,
}
MANDATORY: dict[Operation, tuple[str, ...]] = {
    VERIFY: ("DateOfBirth", "NHSNumber"),
    FIND: ("DateOfBirth", "Gender", "Name"),
    BY_NUMBER: ("DateOfBirth", "NHSNumber"),
    BY_SEARCH: ("DateOfBirth", "Gender", "Name"),
    EITHER: ("DateOfBirth",),
}
_ANY_ID = re.compile(rb"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}")


def calls_made(spine: Spine, house: House, message: Message) -> tuple[Answer, list[str]]:
    """Ask, check the answer by every schema, and give it with the interactions that Spine saw meanwhile."""
    before = len(spine.calls())
    answer = house.ask(message)
    answer.must_be_valid(CORPUS)
    return answer, [call["interaction"] for call in spine.calls()[before:]]


def _parameter(name: str) -> str:
    return f".//v3:queryEvent/v3:Person.{name}"


def _out_of_order(root: Any) -> None:
    event = at(root, ".//v3:queryEvent")
    event.append(event[0])


def _undeclared(root: Any) -> None:
    event = at(root, ".//v3:queryEvent")
    event.makeelement("{urn:hl7-org:v3}Person.Shoesize")
    event.append(event.makeelement("{urn:hl7-org:v3}Person.Shoesize"))


@pytest.mark.requirement("SMSP-VAL-001", "a")
@pytest.mark.requirement("SMSP-ERR-006", "e")
@pytest.mark.parametrize("operation", Operation)
def test_each_request_is_held_against_its_schema(house: House, spine: Spine, operation: Operation) -> None:
    parameters = PARAMETERS[operation]
    answer, calls = calls_made(spine, house, Message(operation, **parameters))
    assert answer.code in ("SMSP-0000", "DEMOG-0001", "DEMOG-0040")
    assert calls
    spoilt: list[Edit] = [without(_parameter(name)) for name in MANDATORY[operation]]
    for edit in [*spoilt, _out_of_order, _undeclared, twice(_parameter("DateOfBirth"))]:
        answer, calls = calls_made(spine, house, Message(operation, **parameters).edit(edit))
        assert (answer.status, answer.code, answer.number, calls) == (200, "SMSP-0001", None, [])


@pytest.mark.requirement("SMSP-VAL-001", "b")
@pytest.mark.requirement("SMSP-ERR-002", "a")
def test_a_validation_failure_is_told_in_the_response_message_of_the_operation(house: House, spine: Spine) -> None:
    answer, _ = calls_made(spine, house, Message(FIND, **NAMED).edit(without(_parameter("Gender"))))
    assert answer.payload is not None
    assert answer.payload.tag == "{urn:hl7-org:v3}getNHSNumberResponse-v1-0"
    assert answer.texts("//itk:payload/*/v3:value/@*") == ["SMSP-0001", "2.16.840.1.113883.2.1.3.2.4.17.285"]
    assert shipped_vocabulary("pds").text("SMSP-0001") == "Input message validation error"


@pytest.mark.requirement("SMSP-VAL-002", "a")
@pytest.mark.parametrize("operation", [VERIFY, BY_NUMBER, EITHER])
def test_each_nhs_number_passes_modulus_11_before_it_goes_to_spine(
    house: House, spine: Spine, operation: Operation
) -> None:
    for number in ("9449310467", "9449310440"):
        _, calls = calls_made(spine, house, Message(operation, nhs_number=number, birth_date="20090310"))
        assert calls[:1] == [CROSS_CHECK]
    for number in ("9449310468", "9449310530"):
        answer, calls = calls_made(spine, house, Message(operation, nhs_number=number, birth_date="20090310"))
        assert (answer.code, calls) == ("SMSP-0001", [])


@pytest.mark.requirement("SMSP-VAL-003", "a")
@pytest.mark.parametrize("operation", [FIND, BY_SEARCH])
def test_each_coded_value_is_held_against_the_vocabulary(house: House, spine: Spine, operation: Operation) -> None:
    for gender in "0129":
        _, calls = calls_made(spine, house, Message(operation, **(NAMED | {"gender": gender})))
        assert calls
    value = _parameter("Gender") + "/v3:value"
    for attribute, wrong in (("code", "3"), ("code", ""), ("codeSystem", "2.16.840.1.113883.2.1.3.2.4.16.24")):
        answer, calls = calls_made(spine, house, Message(operation, **NAMED).edit(setting(value, attribute, wrong)))
        assert (answer.code, calls) == ("SMSP-0001", [])


@pytest.mark.requirement("SMSP-VAL-004", "b", "c")
@pytest.mark.requirement("SMSP-ERR-006", "f")
@pytest.mark.parametrize("date", ["20100931", "20230229", "2010093", "20101301", "2010-09-30"])
def test_a_date_that_the_calendar_does_not_have_never_leaves(house: House, spine: Spine, date: str) -> None:
    person = spine.people("plain", 1)[0]
    spine.faults({"interaction": RETRIEVAL, "set": {"birth_time": date}})
    message = Message(BY_NUMBER, nhs_number=person["nhs_number"], birth_date=person["birth_date"])
    answer, _ = calls_made(spine, house, message)
    assert (answer.code, answer.texts("//v3:patient")) == ("SMSP-0002", [])
    assert date.encode() not in answer.body
    (noted,) = (e["data"] for e in house.exchange(message.message_id) if e["type"] == "exchange.unusable")
    assert noted["field"] == "birth-date"
    assert noted["reason"]


@pytest.mark.requirement("SMSP-VAL-004", "b")
def test_the_leap_day_leaves_unchanged(house: House, spine: Spine) -> None:
    person = spine.people("plain", 1)[0]
    spine.faults({"interaction": RETRIEVAL, "set": {"birth_time": "20240229"}})
    numbered = {"nhs_number": person["nhs_number"], "birth_date": person["birth_date"]}
    answer, _ = calls_made(spine, house, Message(BY_NUMBER, **numbered))
    assert answer.code == "SMSP-0000"
    assert answer.texts("//v3:birthTime/@value") == ["20240229"]


@pytest.mark.requirement("SMSP-VAL-004", "d")
@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        ({"address_lines": ["", "9 " + "LONG " * 20, "", "TOWN", ""]}, ()),
        ({"telecom_use": "QQ"}, ("telecom",)),
        ({"postcode": "KT21 2PN ENGLAND"}, ("postcode",)),
        ({"address_use": "XXX"}, ("addr",)),
        ({"given": ["A", "B", "C", "D"]}, ()),
        ({"deceased_time": "201001011230"}, ()),
    ],
)
def test_damage_that_can_be_mended_costs_no_other_field(
    house: House, spine: Spine, damage: dict[str, Any], lost: tuple[str, ...]
) -> None:
    person = spine.people("every-telecom", 1)[0]
    message = Message(BY_NUMBER, nhs_number=person["nhs_number"], birth_date=person["birth_date"])
    spine.faults({"interaction": RETRIEVAL, "set": damage})
    answer, _ = calls_made(spine, house, message)
    assert answer.code == "SMSP-0000"
    assert answer.texts("//v3:name/v3:family/text()") == [person["family"]]
    assert answer.texts("//v3:birthTime/@value") == [person["birth_date"]]
    if "addr" not in lost:
        assert answer.texts("//v3:patient/v3:addr/v3:streetAddressLine")
    assert answer.texts("//v3:patient/v3:telecom/@value")
    assert [e for e in house.exchange(message.message_id) if e["type"] == "exchange.altered"]


@pytest.mark.requirement("SMSP-ERR-004", "a")
@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("1", "DEMOG-0001"),
        ("7", "DEMOG-0007"),
        ("17", "DEMOG-0017"),
        ("22", "DEMOG-0022"),
        ("40", "DEMOG-0040"),
        ("42", "DEMOG-0042"),
        ("4711", "DEMOG-9999"),
    ],
)
@pytest.mark.parametrize("operation", Operation)
def test_what_spine_says_reaches_the_client_in_the_vocabulary_s_words(
    house: House, spine: Spine, operation: Operation, reason: str, code: str
) -> None:
    spine.faults({"action": "reason", "code": reason})
    answer, _ = calls_made(spine, house, Message(operation, **PARAMETERS[operation]))
    assert (answer.status, answer.code, answer.texts("//v3:patientPerson")) == (200, code, [])


@pytest.mark.requirement("SMSP-ERR-006", "c", "d")
def test_nobody_can_tell_who_found_the_input_wrong(house: House, spine: Spine) -> None:
    ours, _ = calls_made(spine, house, Message(FIND, **NAMED).edit(without(_parameter("Gender"))))
    spine.faults({"action": "reason", "code": "AT002"})
    theirs, calls = calls_made(spine, house, Message(FIND, **NAMED))
    assert (ours.code, theirs.code, len(calls)) == ("SMSP-0001", "SMSP-0001", 1)
    assert _ANY_ID.sub(b"ID", ours.body) == _ANY_ID.sub(b"ID", theirs.body)


@pytest.mark.requirement("SMSP-ERR-005", "b")
def test_the_retrieval_s_error_decides_after_a_good_trace(house: House, spine: Spine) -> None:
    person = spine.people("plain", 1)[0]
    spine.faults({"action": "reason", "code": "22", "interaction": RETRIEVAL})
    message = Message(BY_SEARCH, **{key: person[key] for key in ("family", "birth_date", "gender")})
    answer, calls = calls_made(spine, house, message)
    assert (answer.code, answer.texts("//v3:patient"), len(calls)) == ("DEMOG-0022", [], 2)


@pytest.mark.parametrize(
    ("operation", "interaction"),
    [
        (VERIFY, CROSS_CHECK),
        (BY_NUMBER, CROSS_CHECK),
        (BY_NUMBER, RETRIEVAL),
        (BY_SEARCH, RETRIEVAL),
        (EITHER, CROSS_CHECK),
        (EITHER, RETRIEVAL),
    ],
)
def test_an_answer_about_another_number_is_taken_for_its_replacement_and_tells_nothing_more(
    house: House, spine: Spine, operation: Operation, interaction: str
) -> None:
    person, other = spine.people("plain", 2)
    spine.faults({"interaction": interaction, "set": {"nhs_number": other["nhs_number"]}})
    number = {"nhs_number": person["nhs_number"], "birth_date": person["birth_date"]}
    search = {key: person[key] for key in ("family", "birth_date", "gender")} | {"given": person["given"][0]}
    answer, _ = calls_made(spine, house, Message(operation, **(search if operation is BY_SEARCH else number)))
    assert (answer.code, answer.number) == ("DEMOG-0017", other["nhs_number"])
    assert answer.verified in (None, False)
    assert not answer.texts("//v3:patient/v3:name | //v3:patient/v3:patientPerson | //v3:patient/v3:addr")
