import pytest

from minispine.simulator import answers
from minispine.simulator.answers import REASONS, Answers, Envelope
from minispine.simulator.matching import CrossCheck, Query, Register, Retrieval, Trace
from minispine.simulator.record import HeldAddress, HeldName, HeldTelecom, Person
from minispine.simulator.requests import RULES, SOAP, WSA
from minispine.wire import xml

from .messages import ASID, HL7, SENDER, Answer, person, understood

ENVELOPE = Envelope(
    id="A0000000-0000-4000-8000-000000000001",
    created="20260101120000",
    sender=ASID,
    receiver=SENDER,
    related="B0000000-0000-4000-8000-000000000002",
    referred="C0000000-0000-4000-8000-000000000003",
)
FULL = person(
    deceased_time="20250101",
    names=(
        HeldName(prefix="MRS", given=("ANNE", "JOY"), family="SMITH", suffix="OBE", since="20010203"),
        HeldName(use="PREVIOUS-MAIDEN", given=("ANNE",), family="O'BRIEN & <SON>", until="20010202"),
    ),
    addresses=(
        HeldAddress(lines=("FLAT 1", "2 HIGH ST", "", "LEEDS", ""), postcode="LS6 4AB", paf_key="12", since="20100101"),
        HeldAddress(use="TMP", lines=("", "1 SEA LANE", "", "", ""), postcode="YO21 1AA", until="20991231"),
    ),
    telecoms=(HeldTelecom(use="H", value="tel:01632960001", since="20200101"), HeldTelecom(use="MC", value="tel:1")),
)
QUERIES = {
    "QUPA_IN000005UK01": Trace(gender="2", birth_time="19800229", family="SMITH"),
    "QUPA_IN000014UK01": CrossCheck(nhs_number="9990000018", birth_time="19800229"),
    "QUPA_IN000008UK02": Retrieval(nhs_number="9990000018"),
}


def answered(interaction: str, *people: Person, query: Query | None = None, **options: object) -> Answer:
    query = query or QUERIES[interaction]
    match = Register(people).look_up(query)
    return understood(Answers().looked_up(interaction, query, match, ENVELOPE, **options))  # type: ignore[arg-type]


def texts(element: xml.Element, *path: str) -> list[str | None]:
    return [found.text for found in element.findall("/".join(HL7 + step for step in path))]


@pytest.mark.parametrize(
    ("interaction", "answer", "wrapper", "codes"),
    [
        ("QUPA_IN000005UK01", "QUPA_IN000007UK01", "traceQueryResponse", ["3"]),
        ("QUPA_IN000014UK01", "QUPA_IN000015UK02", "crossCheckTraceQueryResponse", []),
        ("QUPA_IN000008UK02", "QUPA_IN000009UK03", "retrievalQueryResponse", []),
    ],
)
def test_a_record_comes_in_the_wrapper_of_its_query(
    interaction: str, answer: str, wrapper: str, codes: list[str]
) -> None:
    found = answered(interaction, person())
    assert (found.interaction, found.acknowledged, found.codes, found.number) == (answer, "AA", codes, "9990000018")
    assert xml.local_name(found.document[1][0]) == wrapper
    assert next(found.document.iter(f"{HL7}queryResponseCode")).get("code") == "OK"


def test_an_answer_names_the_ids_of_its_request_and_turns_the_systems_round() -> None:
    found = answered("QUPA_IN000008UK02", person())
    header = found.document[0]
    assert header.findtext(xml.name(WSA, "RelatesTo")) == f"uuid:{ENVELOPE.related}"
    assert header.findtext(xml.name(WSA, "MessageID")) == f"uuid:{ENVELOPE.id}"
    assert next(found.document.iter(f"{HL7}messageRef"))[0].get("root") == ENVELOPE.referred
    for scope in (header, next(found.document.iter(f"{HL7}QUPA_IN000009UK03"))):
        receiver = scope.find(f"{HL7}communicationFunctionRcv/{HL7}device/{HL7}id")
        sender = scope.find(f"{HL7}communicationFunctionSnd/{HL7}device/{HL7}id")
        assert receiver is not None
        assert sender is not None
        assert (receiver.get("extension"), sender.get("extension")) == (SENDER, ASID)


def test_a_retrieval_holds_every_field() -> None:
    role = answered("QUPA_IN000008UK02", FULL).record
    assert role is not None
    patient = role.find(f"{HL7}patientPerson")
    assert patient is not None
    assert [patient.find(HL7 + tag).get(a) for tag, a in (  # type: ignore[union-attr]
        ("administrativeGenderCode", "code"), ("birthTime", "value"), ("deceasedTime", "value"),
    )] == ["2", "19800229", "20250101"]  # fmt: skip
    address = "COCT_MT000201UK02.PartOfWhole"
    assert [e.get("use") for e in patient.findall(f"{HL7}{address}/{HL7}addr")] == ["H", "TMP"]
    assert texts(patient, address, "addr", "streetAddressLine")[:5] == ["FLAT 1", "2 HIGH ST", None, "LEEDS", None]
    assert texts(patient, address, "addr", "postalCode") == ["LS6 4AB", "YO21 1AA"]
    telecoms = patient.findall(f"{HL7}COCT_MT000202UK02.PartOfWhole/{HL7}telecom")
    assert [(e.get("use"), e.get("value")) for e in telecoms] == [("H", "tel:01632960001"), ("MC", "tel:1")]
    assert telecoms[0].find(f"{HL7}useablePeriod/{HL7}low").get("value") == "20200101"  # type: ignore[union-attr]
    name = ("COCT_MT000203UK02.PartOfWhole", "partPerson", "name")
    assert texts(patient, *name, "prefix") == ["MRS"]
    assert texts(patient, *name, "given") == ["ANNE", "JOY", "ANNE"]
    assert texts(patient, *name, "family") == ["SMITH", "O'BRIEN & <SON>"]
    practice = next(patient.iter(f"{HL7}assignedEntity"))
    assert practice[0].get("extension") == "Y90001"
    assert next(role.getparent().getparent().iter(f"{HL7}pertinentSerialChangeNumber"))[1].get("value") == "1"  # type: ignore[union-attr]
    assert next(role.iter(f"{HL7}deathNotification"))[1].get("code") == "2"


def test_a_retrieval_without_items_gives_only_the_serial_change_number() -> None:
    asked = Retrieval(nhs_number="9990000018", items=False)
    role = answered("QUPA_IN000008UK02", FULL, query=asked).record
    assert role is not None
    assert [xml.local_name(child) for child in role] == ["id"]


def test_a_superseded_retrieval_gives_the_successor_and_what_it_replaced() -> None:
    old = person(superseded_by="9990000026")
    found = answered("QUPA_IN000008UK02", old, person("9990000026"))
    assert (found.codes, found.number) == (["24"], "9990000026")
    assert found.record is not None
    assert next(found.record.iter(f"{HL7}oldVersion"))[0].get("extension") == "9990000018"


@pytest.mark.parametrize(
    ("interaction", "code"), [("QUPA_IN000005UK01", "5"), ("QUPA_IN000014UK01", "5"), ("QUPA_IN000008UK02", "9")]
)
@pytest.mark.parametrize("confidentiality", ["S", "Y", "B"])
def test_nothing_that_locates_a_sensitive_person_is_sent(interaction: str, code: str, confidentiality: str) -> None:
    found = answered(interaction, person(confidentiality=confidentiality))
    assert found.codes == [code]
    assert found.record is not None
    assert found.record.find(f"{HL7}confidentialityCode").get("code") == confidentiality  # type: ignore[union-attr]
    tags = {xml.local_name(e) for e in found.record.iter()}
    assert tags.isdisjoint({"addr", "telecom", "postalCode", "playedOtherProviderPatient"})
    if interaction == "QUPA_IN000008UK02":
        assert tags == {"patientRole", "confidentialityCode", "id", "patientPerson"}


@pytest.mark.parametrize(
    ("interaction", "people", "codes"),
    [
        ("QUPA_IN000005UK01", (), ["1", "ST004"]),
        ("QUPA_IN000005UK01", (person(), person("9990000026")), ["7"]),
        ("QUPA_IN000014UK01", (), ["1", "NHSNCC002"]),
        ("QUPA_IN000014UK01", (person(birth_time="19990101"),), ["40"]),
        ("QUPA_IN000014UK01", (person(invalidated=True),), ["22"]),
        ("QUPA_IN000008UK02", (), ["1", "RT003"]),
        ("QUPA_IN000008UK02", (person(invalidated=True),), ["22"]),
    ],
)
def test_a_business_no(interaction: str, people: tuple[Person, ...], codes: list[str]) -> None:
    found = answered(interaction, *people)
    assert (found.interaction, found.acknowledged, found.codes) == ("QUQI_IN010000UK14", "AE", codes)
    assert found.record is None
    assert next(found.document.iter(f"{HL7}queryResponseCode")).get("code") == "ID"


def test_changes_reach_the_answer_but_not_what_is_kept() -> None:
    written = Answers()
    query = QUERIES["QUPA_IN000008UK02"]
    match = Register([FULL]).look_up(query)
    plain = written.looked_up("QUPA_IN000008UK02", query, match, ENVELOPE)
    changed = written.looked_up("QUPA_IN000008UK02", query, match, ENVELOPE, {"birth_time": "20230229"})
    assert b'<birthTime value="20230229"/>' in changed
    assert written.looked_up("QUPA_IN000008UK02", query, match, ENVELOPE) == plain


def test_a_defect_of_the_record_is_sent_and_one_asked_for_goes_before_it() -> None:
    defective = person(sent={"gender": "7"})
    assert b'administrativeGenderCode code="7"' in answered_bytes(defective)
    assert b'administrativeGenderCode code="8"' in answered_bytes(defective, {"gender": "8"})


def answered_bytes(one: Person, changes: dict[str, object] | None = None) -> bytes:
    query = QUERIES["QUPA_IN000008UK02"]
    return Answers().looked_up("QUPA_IN000008UK02", query, Register([one]).look_up(query), ENVELOPE, changes)


@pytest.mark.parametrize(
    ("rule", "acknowledged", "code"),
    [("DUPLICATE_ID", "AR", "202"), ("SENDER_UNKNOWN", "AR", "506"), ("INVALID_ID", "AE", "GE002")],
)
def test_a_message_is_rejected_outside_any_wrapper(rule: str, acknowledged: str, code: str) -> None:
    found = understood(answers.rejected(RULES[rule], ENVELOPE))
    assert (found.interaction, found.acknowledged, found.codes) == ("MCCI_IN010000UK13", acknowledged, [code])
    assert xml.local_name(found.document[1][0]) == "MCCI_IN010000UK13"


def test_a_query_that_lacks_something_gets_the_generic_error_and_its_detail() -> None:
    assert [r.code for r in answers.broken_query(RULES["MISSING_FAMILY"])] == ["0", "AT002"]
    assert [r.code for r in answers.broken_query(RULES["NOT_NEW_STYLE_NHS_NUMBER"])] == ["42"]
    assert REASONS["42"].qualifier == "ER"


@pytest.mark.parametrize(("code", "side"), [("101", "SOAP:Client"), ("200", "SOAP:Server"), ("999", "SOAP:Server")])
def test_a_soap_fault_has_the_error_list_of_spine(code: str, side: str) -> None:
    document = xml.parse(answers.fault(code))
    found = next(document.iter(xml.name(SOAP, "Fault")))
    assert found.findtext("faultcode") == side
    error = next(document.iter(xml.name(answers.NASP, "error")))
    assert [xml.local_name(child) for child in error] == [
        "codeContext",
        "errorCode",
        "severity",
        "location",
        "description",
    ]
    assert error.findtext(xml.name(answers.NASP, "errorCode")) == code
