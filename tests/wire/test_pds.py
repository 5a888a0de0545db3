"""The PDS messages: which questions may go on, and that every answer that leaves is valid."""

import datetime
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from itk_samples import HL7_ID, LOCAL, NUMBER, PREFIXES, QUESTIONS, at, setting, with_child, without
from lxml import etree

from minispine.domain import nhs_number
from minispine.domain.operations import Operation
from minispine.domain.patient import Address, Name, Patient, Practice, Telecom
from minispine.domain.request import InvalidInput, LocalIdentifier, PdsRequest, Reply
from minispine.vocabulary import oids
from minispine.vocabulary.codes import UnknownCode, load_vocabulary, shipped_document, shipped_vocabulary
from minispine.wire import pds, xml
from minispine.wire.soap import AnswerUnreadable

VERIFY = Operation.VERIFY_NHS_NUMBER
GET = Operation.GET_NHS_NUMBER
BY_NUMBER = Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER
BY_SEARCH = Operation.GET_PATIENT_DETAILS_BY_SEARCH
EITHER = Operation.GET_PATIENT_DETAILS
NUMBERED = [VERIFY, BY_NUMBER, EITHER]
SEARCHES = [GET, BY_SEARCH]

VOCABULARY = shipped_vocabulary("pds")


def payload(operation: Operation, *edits: Callable[[etree._Element], object]) -> etree._Element:
    root = pds.write_request(QUESTIONS[operation], id=HL7_ID)
    for edit in edits:
        edit(root)
    return etree.fromstring(etree.tostring(root))


def read(operation: Operation, *edits: Callable[[etree._Element], object]) -> PdsRequest | InvalidInput:
    return pds.read_request(operation, payload(operation, *edits), partial_birth_dates=True)


def field(answer: PdsRequest | InvalidInput) -> str | None:
    return answer.field if isinstance(answer, InvalidInput) else None


def saying(path: str, text: str | None) -> Callable[[etree._Element], None]:
    return lambda root: setattr(at(root, path), "text", text)


# Schema


@pytest.mark.requirement("SMSP-VAL-001", "a")
@pytest.mark.parametrize("operation", Operation)
def test_a_valid_request_is_read_whole(operation: Operation) -> None:
    assert read(operation) == QUESTIONS[operation]


def _swap_first_two(root: etree._Element) -> None:
    event = at(root, "v3:queryEvent")
    event.insert(0, event[1])


@pytest.mark.requirement("SMSP-VAL-001", "a")
@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize(
    "edit",
    [
        without("v3:queryEvent/v3:Person.DateOfBirth"),
        without("v3:id"),
        _swap_first_two,
        with_child("v3:queryEvent", "<v3:Person.Shoe/>"),
        with_child("v3:queryEvent/v3:Person.DateOfBirth", "<v3:extra/>"),
        setting(".", "classCode", "OBS"),
    ],
)
def test_a_request_against_its_schema_is_invalid(
    operation: Operation, edit: Callable[[etree._Element], object]
) -> None:
    answer = read(operation, edit)
    assert isinstance(answer, InvalidInput)
    assert answer.reason.startswith("not valid")


@pytest.mark.requirement("SMSP-VAL-001", "a")
@pytest.mark.parametrize(
    ("operation", "parameter"),
    [
        (VERIFY, "NHSNumber"),
        (GET, "Gender"),
        (GET, "Name"),
        (BY_NUMBER, "NHSNumber"),
        (BY_SEARCH, "Gender"),
        (BY_SEARCH, "Name"),
    ],
)
def test_a_mandatory_parameter_may_not_be_missing(operation: Operation, parameter: str) -> None:
    assert isinstance(read(operation, without(f"v3:queryEvent/v3:Person.{parameter}")), InvalidInput)


def test_the_request_of_another_operation_is_invalid() -> None:
    answer = pds.read_request(BY_SEARCH, payload(GET), partial_birth_dates=True)
    assert answer == InvalidInput(field="message", reason="is not the request of the operation")


def test_what_is_invalid_is_named_without_repeating_it() -> None:
    answer = read(GET, with_child("v3:queryEvent", "<v3:SECRET/>"), setting("//v3:Person.Gender/v3:value", "code", "7"))
    assert answer == InvalidInput(field="Person.Gender", reason="not valid: cvc_enumeration_valid")
    assert field(read(GET, with_child("v3:queryEvent", "<v3:SECRET/>"))) == "message"


# Check digits, codes, dates


@pytest.mark.requirement("SMSP-VAL-002", "a")
@pytest.mark.parametrize("operation", NUMBERED)
@pytest.mark.parametrize(
    ("number", "valid"),
    [
        ("9449310467", True),
        ("9449310440", True),
        ("9449310468", False),
        ("9449310530", False),
        ("123", False),
        ("94493104670", False),
        ("944 931 0467", False),
        (" 9449310467", False),
        ("٩٤٤٩٣١٠٤٦٧", False),
    ],
)
def test_a_number_has_a_correct_check_digit(operation: Operation, number: str, valid: bool) -> None:
    answer = read(operation, setting("//v3:Person.NHSNumber/v3:value", "extension", number))
    assert field(answer) == (None if valid else "Person.NHSNumber")


@given(st.text("0123456789", min_size=10, max_size=10))
def test_exactly_the_valid_numbers_pass(number: str) -> None:
    """A number passes if and only if its check digit is right."""
    answer = read(VERIFY, setting("//v3:Person.NHSNumber/v3:value", "extension", number))
    assert isinstance(answer, PdsRequest) == nhs_number.is_valid(number)


@pytest.mark.requirement("SMSP-VAL-003", "a")
@pytest.mark.parametrize("operation", [GET, BY_SEARCH, EITHER])
@pytest.mark.parametrize(
    ("attribute", "value", "valid"),
    [
        ("code", "0", True),
        ("code", "1", True),
        ("code", "2", True),
        ("code", "9", True),
        ("code", "3", False),
        ("code", "", False),
        ("code", "M", False),
        ("codeSystem", "2.16.840.1.113883.2.1.3.2.4.16.26", False),
        ("codeSystem", None, False),
    ],
)
def test_a_gender_is_a_code_of_the_vocabulary(
    operation: Operation, attribute: str, value: str | None, valid: bool
) -> None:
    answer = read(operation, setting("//v3:Person.Gender/v3:value", attribute, value))
    assert field(answer) == (None if valid else "Person.Gender")
    if valid:
        assert isinstance(answer, PdsRequest)
        assert answer.gender == value


DATES = [
    ("20090310", {VERIFY, GET, BY_NUMBER, BY_SEARCH, EITHER}),
    ("20240229", {VERIFY, GET, BY_NUMBER, BY_SEARCH, EITHER}),
    ("200903", {GET}),
    ("2009", {GET}),
    ("20100931", set()),
    ("20230229", set()),
    ("200913", set()),
    ("00000101", set()),
    ("200", set()),
    ("20090310120000", set()),
    ("2009-03-10", set()),
    ("", set()),
]


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize(("date", "accepted"), DATES)
def test_a_birth_date_is_in_the_calendar_and_full_enough(
    operation: Operation, date: str, accepted: set[Operation]
) -> None:
    answer = read(operation, setting("//v3:Person.DateOfBirth/v3:value", "value", date))
    assert field(answer) == (None if operation in accepted else "Person.DateOfBirth")


def test_partial_birth_dates_can_be_switched_off() -> None:
    partial = payload(GET, setting("//v3:Person.DateOfBirth/v3:value", "value", "2009"))
    assert field(pds.read_request(GET, partial, partial_birth_dates=False)) == "Person.DateOfBirth"


@given(st.dates())
def test_every_day_of_the_calendar_is_a_birth_date(day: datetime.date) -> None:
    """Any day that Python knows, written YYYYMMDD, is accepted as it is."""
    text = f"{day.year:04}{day.month:02}{day.day:02}"
    answer = read(VERIFY, setting("//v3:Person.DateOfBirth/v3:value", "value", text))
    assert isinstance(answer, PdsRequest)
    assert answer.birth_date == text


# Names and postcodes


@pytest.mark.parametrize("operation", Operation)
def test_names_and_postcode_are_put_into_one_form(operation: Operation) -> None:
    edits = [saying("//v3:family", "  van \n der\tBërg "), saying("//v3:given", "o'neil")]
    if operation in (GET, BY_SEARCH, EITHER):
        edits.append(saying("//v3:postalCode", " kt21  2pn "))
    answer = read(operation, *edits)
    assert isinstance(answer, PdsRequest)
    assert (answer.family, answer.given) == ("VAN DER BËRG", "O'NEIL")
    assert answer.postcode == QUESTIONS[operation].postcode


@pytest.mark.parametrize("text", [None, "", "   ", "\n"])
def test_a_search_needs_a_family_name(text: str | None) -> None:
    for operation in SEARCHES:
        assert field(read(operation, saying("//v3:family", text))) == "Person.Name"
        assert field(read(operation, without("//v3:family"))) == "Person.Name"


def test_a_blank_optional_name_counts_as_absent() -> None:
    for operation in NUMBERED:
        answer = read(operation, saying("//v3:family", " "), saying("//v3:given", None))
        assert isinstance(answer, PdsRequest)
        assert (answer.family, answer.given) == (None, None)


@pytest.mark.parametrize(("length", "valid"), [(35, True), (36, False)])
def test_names_have_at_most_35_characters(length: int, valid: bool) -> None:
    for part in ("family", "given"):
        assert field(read(GET, saying(f"//v3:{part}", "X" * length))) == (None if valid else "Person.Name")


@pytest.mark.parametrize(
    "edit",
    [
        saying("//v3:Person.Name/v3:value", "LANGAN"),
        lambda root: setattr(at(root, "//v3:family"), "tail", "LANGAN"),
        setting("//v3:family", "representation", "B64"),
        setting("//v3:family", "compression", "GZ"),
    ],
)
def test_a_name_that_would_be_read_in_part_only_is_refused(edit: Callable[[etree._Element], object]) -> None:
    assert field(read(VERIFY, edit)) == "Person.Name"


POSTCODES = [
    ("KT21 2PN", True), ("KT212PN", True), ("LS14HY", True), ("M1", True), ("", False), (" ", False),
    ("KT21 2PNX", False), ("K T21 2PN", False), ("KT21-2PN", False), ("KT21 2P£", False),
]  # fmt: skip


@pytest.mark.parametrize(("postcode", "valid"), POSTCODES)
def test_a_postcode_is_letters_and_digits_with_one_blank_at_most(postcode: str, valid: bool) -> None:
    for operation in (*SEARCHES, EITHER):
        assert field(read(operation, saying("//v3:postalCode", postcode))) == (None if valid else "Person.Postcode")


def test_a_structured_postcode_is_refused() -> None:
    assert field(read(GET, setting("//v3:postalCode", "representation", "B64"))) == "Person.Postcode"


WITHOUT_NUMBER = without("//v3:Person.NHSNumber")
TEXTS = {"family": "Person.Name", "given": "Person.Name", "postalCode": "Person.Postcode"}


@pytest.mark.parametrize("part", TEXTS)
@pytest.mark.parametrize(
    ("text", "valid"),
    [("SM*", True), ("SMI*", True), ("S*", False), ("*", False), ("*SM", False), ("SM*T", False), ("SM**", False),
     ("S *", False)],
)  # fmt: skip
def test_a_wildcard_ends_two_or_more_characters_of_a_search(part: str, text: str, valid: bool) -> None:
    expected = None if valid else TEXTS[part]
    for operation in SEARCHES:
        assert field(read(operation, saying(f"//v3:{part}", text))) == expected
    assert field(read(EITHER, WITHOUT_NUMBER, saying(f"//v3:{part}", text))) == expected


def test_there_is_no_wildcard_beside_a_number() -> None:
    for operation in NUMBERED:
        assert field(read(operation, saying("//v3:family", "SMI*"))) == "Person.Name"
        assert field(read(operation, saying("//v3:given", "SMI*"))) == "Person.Name"
    assert field(read(EITHER, saying("//v3:postalCode", "KT21*"))) == "Person.Postcode"


# Optional parameters


def _nil(root: etree._Element, path: str) -> None:
    element = at(root, path)
    element.clear()
    element.set("{http://www.w3.org/2001/XMLSchema-instance}nil", "true")


def test_a_nil_parameter_counts_as_absent() -> None:
    names = ("Gender", "LocalIdentifier", "Name", "Postcode")
    answer = read(EITHER, *(lambda root, name=name: _nil(root, f"//v3:Person.{name}") for name in names))
    assert answer == PdsRequest(operation=EITHER, birth_date="20090310", nhs_number=NUMBER)
    assert field(read(VERIFY, lambda root: _nil(root, "//v3:Person.NHSNumber"))) == "Person.NHSNumber"


MINIMA = [
    ((), None),
    (("Name", "Gender"), None),
    (("NHSNumber",), None),
    (("NHSNumber", "Name"), "Person.Name"),
    (("NHSNumber", "Gender"), "Person.Gender"),
    (("NHSNumber", "Name", "Gender"), "Person.Name"),
]


@pytest.mark.parametrize(("missing", "refused"), MINIMA)
def test_get_patient_details_needs_a_number_or_a_search(missing: tuple[str, ...], refused: str | None) -> None:
    assert field(read(EITHER, *(without(f"//v3:Person.{name}") for name in missing))) == refused


def test_the_local_identifier_comes_as_it_is() -> None:
    answer = read(GET, setting("//v3:Person.LocalIdentifier/v3:value", "extension", " rxx:  1 "))
    assert isinstance(answer, PdsRequest)
    assert answer.local_identifier == LocalIdentifier(root=LOCAL.root, extension=" rxx:  1 ")


def test_infrastructure_elements_are_passed_over() -> None:
    def edit(root: etree._Element) -> None:
        for path in ("v3:queryEvent", "//v3:Person.Name"):
            at(root, path).insert(0, etree.Element(f"{{{pds.HL7}}}realmCode", {"code": "GB"}))

    assert read(GET, edit) == QUESTIONS[GET]


# Requests out


TEXT = st.text(st.characters(codec="utf-8", categories=["Lu", "Nd"]), min_size=1, max_size=30).map(str.upper).filter(
    lambda text: len(text) <= 35
)  # fmt: skip
POSTCODE = st.from_regex(r"[A-Z]{1,2}[0-9]{1,2}( [0-9][A-Z]{2})?", fullmatch=True)


@given(st.sampled_from(Operation), TEXT, st.none() | TEXT, st.none() | POSTCODE, st.sampled_from("0129"))
def test_what_is_asked_is_what_is_read(
    operation: Operation, family: str, given: str | None, postcode: str | None, gender: str
) -> None:
    """read_request(write_request(question)) == question, for every question that an operation can put."""
    question = msgspec.structs.replace(QUESTIONS[operation], family=family, given=given)
    if question.gender is not None:
        question = msgspec.structs.replace(question, gender=gender, postcode=postcode)
    written = xml.parse(xml.to_bytes(pds.write_request(question, id=HL7_ID)))
    assert pds.read_request(operation, written, partial_birth_dates=True) == question


@pytest.mark.parametrize(
    ("operation", "change", "named"),
    [
        (VERIFY, {"gender": "1"}, "Person.Gender"),
        (VERIFY, {"postcode": "KT21 2PN"}, "Person.Postcode"),
        (GET, {"nhs_number": NUMBER}, "Person.NHSNumber"),
        (VERIFY, {"nhs_number": None}, "queryEvent/Person.Name"),
        (GET, {"gender": "7"}, "queryEvent/Person.Gender/value"),
        (GET, {"birth_date": "10/03/2009"}, "queryEvent/Person.DateOfBirth/value"),
        (GET, {"family": "\x00"}, "Person.Name"),
    ],
)
def test_a_question_that_an_operation_cannot_put_is_not_written(
    operation: Operation, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(pds.Unrepresentable) as caught:
        pds.write_request(msgspec.structs.replace(QUESTIONS[operation], **change), id=HL7_ID)
    assert caught.value.field == named


# Responses out


def lines(*text: str) -> tuple[str, str, str, str, str]:
    a, b, c, d, e = (*text, "", "", "", "", "")[:5]
    return a, b, c, d, e


PATIENT = Patient(
    nhs_number=NUMBER,
    name=Name(prefix="MR", given=("LAURENCE", "LEE"), family="LANGAN"),
    gender="1",
    birth_date="20240229",
    death_date="2024",
    addresses=(
        Address(use="PST", lines=lines("PO BOX 1"), postcode="KT18 5TA"),
        Address(use="TMP", lines=lines("", "32 SOME ROAD"), postcode=None),
        Address(use="H", lines=lines("", "10 SOME PLACE", "", "TOWN"), postcode="KT21 2PN"),
    ),
    telecoms=(
        Telecom(use="H", value="tel:01133973555", since="20110324"),
        Telecom(use="MC", value="tel:07700900123"),
        Telecom(use="H", value="mailto:someone@example.com"),
    ),
    practice=Practice(
        ods_code="H81109",
        name="A SURGERY",
        address=Address(use=None, lines=lines("ELM ROAD"), postcode="KT10 0EH"),
        telephone="01372 462501",
    ),
)


def written(operation: Operation, reply: Reply) -> etree._Element:
    payload = pds.write_response(operation, reply, id=HL7_ID, vocabulary=VOCABULARY)
    assert xml.schema("pds-response").first_error(payload) is None
    return payload


def texts(root: etree._Element, path: str) -> list[str]:
    return root.xpath(path, namespaces=PREFIXES)


@pytest.mark.requirement("SMSP-ERR-002", "a")
@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("code", VOCABULARY.texts)
def test_every_code_travels_under_the_code_system_of_the_vocabulary(operation: Operation, code: str) -> None:
    root = written(operation, Reply(code=code))
    assert texts(root, "v3:value/@code") == [code]
    assert texts(root, "v3:value/@codeSystem") == [VOCABULARY.code_system]
    assert [etree.QName(child).localname for child in root] == ["id", "code", "value"]
    assert pds.read_response(operation, root) == Reply(code=code)


@pytest.mark.requirement("SMSP-ERR-002", "a")
def test_a_code_outside_the_vocabulary_cannot_be_written() -> None:
    with pytest.raises(UnknownCode):
        written(GET, Reply(code="DEMOG-0002"))
    document = shipped_document("pds")
    document["codes"]["DEMOG-0002"] = "A code that an operator added"
    added = pds.write_response(GET, Reply(code="DEMOG-0002"), id=HL7_ID, vocabulary=load_vocabulary(document))
    assert texts(added, "v3:value/@code") == ["DEMOG-0002"]


def test_a_vocabulary_of_another_code_system_cannot_be_written() -> None:
    with pytest.raises(pds.Unrepresentable) as caught:
        pds.write_response(GET, Reply(code="CPIS-0001"), id=HL7_ID, vocabulary=shipped_vocabulary("cpis"))
    assert caught.value.field == "value"


@pytest.mark.parametrize("verified", [True, False])
def test_a_verification_says_true_or_false_of_a_number(verified: bool) -> None:
    code = "SMSP-0000" if verified else "DEMOG-0017"
    reply = Reply(code=code, nhs_number=NUMBER, verified=verified)
    root = written(VERIFY, reply)
    assert texts(root, "v3:component/v3:validIdentifier/v3:value/@value") == ["true" if verified else "false"]
    assert texts(root, "//v3:patient/v3:id/@extension") == [NUMBER]
    assert pds.read_response(VERIFY, root) == reply


def test_a_verification_without_an_answer_has_no_component() -> None:
    assert len(written(VERIFY, Reply(code="DEMOG-0040"))) == 3


@pytest.mark.parametrize("operation", [GET, BY_NUMBER, BY_SEARCH, EITHER])
def test_a_number_is_followed_by_the_callers_own_identifier(operation: Operation) -> None:
    reply = Reply(code="DEMOG-0017", nhs_number=NUMBER, local_identifier=LOCAL)
    root = written(operation, reply)
    assert texts(root, "v3:subject/v3:patient/v3:id/@root") == [oids.NHS_NUMBER, LOCAL.root]
    assert texts(root, "v3:subject/v3:patient/v3:id/@extension") == [NUMBER, LOCAL.extension]
    assert len(root[-1][0]) == 2
    assert pds.read_response(operation, root) == reply
    assert len(written(operation, Reply(code="DEMOG-0001", local_identifier=LOCAL))) == 3


@pytest.mark.parametrize("operation", [BY_NUMBER, BY_SEARCH, EITHER])
def test_demographics_go_out_whole_and_in_order(operation: Operation) -> None:
    reply = Reply(code="SMSP-0000", patient=PATIENT, local_identifier=LOCAL)
    root = written(operation, reply)
    assert texts(root, "//v3:patient/v3:addr/@use") == ["H", "TMP", "PST"]
    assert {len(address.findall(f"{{{pds.HL7}}}streetAddressLine")) for address in root.iter(f"{{{pds.HL7}}}addr")} == {
        5
    }
    assert texts(root, "//v3:patient/v3:name/@use") == ["L"]
    assert texts(root, "//v3:gPPractice/v3:telecom/@value") == ["tel:01372 462501"]
    assert texts(root, "//v3:gPPractice//v3:id/@root") == [oids.ODS_SITE]
    read = pds.read_response(operation, root)
    expected = msgspec.structs.replace(PATIENT, addresses=PATIENT.addresses[::-1])
    assert read == msgspec.structs.replace(reply, nhs_number=NUMBER, patient=expected)


def test_what_is_not_known_of_a_patient_is_left_out() -> None:
    root = written(EITHER, Reply(code="SMSP-0000", patient=Patient(nhs_number=NUMBER)))
    assert [etree.QName(child).localname for child in root[-1][0]] == ["id"]
    bare = Patient(nhs_number=NUMBER, practice=Practice(ods_code="H81109"))
    root = written(EITHER, Reply(code="SMSP-0000", patient=bare))
    assert [etree.QName(child).localname for child in at(root, "//v3:gPPractice")] == ["locationOrganization"]


@pytest.mark.requirement("SMSP-VAL-004", "b")
@pytest.mark.parametrize("date", ["20100931", "20230229", "20090310120000", "", "x"])
@pytest.mark.parametrize(("name", "tag"), [("birth_date", "birthTime"), ("death_date", "deceasedTime")])
def test_a_date_outside_the_calendar_never_leaves(name: str, tag: str, date: str) -> None:
    patient = Patient(nhs_number=NUMBER, gender="1", **{name: date})
    with pytest.raises(pds.Unrepresentable) as caught:
        written(EITHER, Reply(code="SMSP-0000", patient=patient))
    assert caught.value.field == tag
    leap = Patient(nhs_number=NUMBER, **{name: "20240229"})
    assert texts(written(EITHER, Reply(code="SMSP-0000", patient=leap)), f"//v3:{tag}/@value") == ["20240229"]


UNREPRESENTABLE: list[tuple[dict[str, Any], str]] = [
    ({"nhs_number": "9449310468"}, "nhs_number"),
    ({"gender": "3"}, "subject/patient/patientPerson/administrativeGenderCode"),
    ({"name": Name(given=("A", "B", "C"))}, "subject/patient/name/given"),
    ({"name": Name(family="\x1f")}, "message"),
    ({"telecoms": (Telecom(use="H", value="no scheme"),)}, "subject/patient/telecom"),
    ({"telecoms": (Telecom(use="H", value="tel:1", since="yesterday"),)}, "subject/patient/telecom/useablePeriod/low"),
    ({"addresses": (Address(use="H", lines=lines()),) * 4}, "subject/patient/addr"),
    ({"practice": Practice(ods_code="")}, "subject/patient/patientPerson/gPPractice/locationOrganization/id"),
]


@pytest.mark.parametrize(("change", "named"), UNREPRESENTABLE)
def test_what_the_interface_cannot_carry_is_named_and_never_leaves(change: dict[str, Any], named: str) -> None:
    patient = msgspec.structs.replace(PATIENT, **change)
    with pytest.raises(pds.Unrepresentable) as caught:
        written(EITHER, Reply(code="SMSP-0000", patient=patient))
    assert caught.value.field == named


@pytest.mark.parametrize("operation", [VERIFY, GET])
def test_demographics_have_no_place_in_an_answer_about_a_number(operation: Operation) -> None:
    with pytest.raises(pds.Unrepresentable) as caught:
        written(operation, Reply(code="SMSP-0000", patient=PATIENT, verified=True))
    assert caught.value.field == "patient"


def test_a_verification_needs_its_number() -> None:
    with pytest.raises(pds.Unrepresentable):
        written(VERIFY, Reply(code="SMSP-0000", verified=True))


# Responses in


def answer(content: str, root: str = "getPatientDetailsResponse-v1-0") -> Reply:
    operation = VERIFY if root.startswith("verify") else EITHER
    return pds.read_response(operation, etree.fromstring(f'<{root} xmlns="{pds.HL7}">{content}</{root}>'))


def test_a_client_takes_what_is_there() -> None:
    assert answer('<value code="NEWER-0001"/>') == Reply(code="NEWER-0001")
    assert answer('<value code="SMSP-0000"/><subject/>') == Reply(code="SMSP-0000")
    reply = answer(
        '<value code="DEMOG-0017"/><subject><patient>'
        f'<id root="1.2" extension="L"/><id root="{oids.NHS_NUMBER}" extension="{NUMBER}"/>'
        '<addr use="HP"><streetAddressLine>A</streetAddressLine></addr><addr use="BAD"/>'
        "<addr>" + "".join(f"<streetAddressLine>{n}</streetAddressLine>" for n in range(7)) + "</addr>"
        '<telecom value="tel:1"/><telecom use="HP" value="tel:2"/><telecom use="PG" value="tel:3"/><telecom use="H"/>'
        "<patientPerson/></patient></subject>"
    )
    assert (reply.nhs_number, reply.local_identifier) == (NUMBER, LocalIdentifier(root="1.2", extension="L"))
    assert reply.patient is not None
    assert [(address.use, address.lines) for address in reply.patient.addresses] == [
        ("H", lines("A")),
        (None, lines()),
        (None, ("0", "1", "2", "3", "4 5 6")),
    ]
    assert [telecom.value for telecom in reply.patient.telecoms] == ["tel:1", "tel:2"]


def test_a_verification_without_a_subject_is_read() -> None:
    content = (
        '<value code="DEMOG-0040"/><component><validIdentifier><value value="false"/></validIdentifier></component>'
    )
    assert answer(content, "verifyNHSNumberResponse-v1-0") == Reply(code="DEMOG-0040", verified=False)


@pytest.mark.parametrize("content", ["", "<value/>", '<value code=" "/>'])
def test_an_answer_without_a_code_is_no_answer(content: str) -> None:
    with pytest.raises(AnswerUnreadable):
        answer(content)
    with pytest.raises(AnswerUnreadable):
        pds.read_response(GET, etree.Element(f"{{{pds.HL7}}}other"))
