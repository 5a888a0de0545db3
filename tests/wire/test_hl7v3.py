"""Queries to PDS and the answers to them: what is written, and what comes of what is read."""

import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.domain.identity import SpineAuthor
from minispine.domain.outcome import (
    AuthorRefused,
    Found,
    InputRefused,
    Invalidated,
    NoMatch,
    NotVerified,
    Outcome,
    SeveralMatches,
    Superseded,
    Unavailable,
    Unusable,
)
from minispine.domain.patient import SpineAddress, SpineName, SpineRecord, SpineRegistration, SpineTelecom
from minispine.domain.question import CrossCheck, Question, Retrieval, Trace
from minispine.vocabulary.spine_codes import load_spine_codes, shipped_document, shipped_spine_codes
from minispine.wire import xml
from minispine.wire.hl7v3 import Answered, QueryUnwritable, action, interaction, read_answer, write_query


class Ids(msgspec.Struct, frozen=True, kw_only=True):
    message_id: str = "5B0C1A2E-0001-4C5D-8E9F-000000000001"
    hl7_id: str = "5B0C1A2E-0002-4C5D-8E9F-000000000002"


IDS = Ids()
CODES = shipped_spine_codes()
NUMBER, OTHER_NUMBER = "9449310467", "9449310440"
CROSS_CHECK = CrossCheck(nhs_number=NUMBER, birth_date="20090310", family="LANGAN", given="LAURENCE")
TRACE = Trace(family="LANGAN", gender="1", birth_date="20090310", given="LAURENCE", postcode="KT21 2PN")
RETRIEVAL = Retrieval(nhs_number=NUMBER)
AUTHOR = SpineAuthor(role_profile_id="100102238986", user_id="687227875014", role_id="R8000")
CREATED = datetime.datetime(2024, 7, 1, 10, 15, 30, 999999, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))


def written(question: Question = TRACE, **changes: Any) -> bytes:
    arguments: dict[str, Any] = {
        "ids": IDS,
        "sender_asid": "200000000999",
        "author": None,
        "to_asid": "928942012545",
        "to_url": "https://spine.example/sync-service",
        "from_url": "https://smsp.example/",
        "created": CREATED,
    }
    return write_query(question, **{**arguments, **changes})


def paths(element: xml.Element, above: str = "") -> list[str]:
    """Every leaf of a message as one line: local names, then attributes or text."""
    here = f"{above}/{xml.local_name(element)}"
    said = [f"{key}={value}" for key, value in element.attrib.items()] + ([element.text] if element.text else [])
    lines = [f"{here} {' '.join(said)}".rstrip()] if said or not len(element) else []
    for child in element:
        lines += paths(child, here)
    return lines


def query_of(body: bytes) -> list[str]:
    marker = "/ControlActEvent/query"
    return [line.partition(marker)[2] for line in paths(xml.parse(body)) if marker in line]


# Writing


def test_a_simple_trace() -> None:
    assert query_of(written(TRACE)) == [
        "/person.address/semanticsText Person.address",
        "/person.address/value/postalCode KT21 2PN",
        "/person.administrativeGenderCode/semanticsText Person.administrativeGenderCode",
        "/person.administrativeGenderCode/value code=1",
        "/person.birthTime/semanticsText Person.birthTime",
        "/person.birthTime/value value=20090310",
        "/person.name/semanticsText Person.name",
        "/person.name/value use=L",
        "/person.name/value/given LAURENCE",
        "/person.name/value/family LANGAN",
    ]


def test_a_cross_check_with_and_without_a_name() -> None:
    always = [
        "/person.birthTime/semanticsText Person.birthTime",
        "/person.birthTime/value value=20090310",
        "/person.id/semanticsText Person.id",
        f"/person.id/value root=2.16.840.1.113883.2.1.4.1 extension={NUMBER}",
    ]
    assert query_of(written(CrossCheck(nhs_number=NUMBER, birth_date="20090310"))) == always
    assert query_of(written(CROSS_CHECK))[: len(always)] == always
    assert query_of(written(CROSS_CHECK))[len(always) :] == [
        "/person.name/semanticsText Person.name",
        "/person.name/value use=L",
        "/person.name/value/given LAURENCE",
        "/person.name/value/family LANGAN",
    ]


def test_a_retrieval_asks_for_everything_but_history() -> None:
    assert query_of(written(RETRIEVAL)) == [
        "/historicDataIndicator/semanticsText HistoricDataIndicator",
        "/historicDataIndicator/value code=0 codeSystem=2.16.840.1.113883.2.1.3.2.4.17.36",
        "/person.id/semanticsText Person.id",
        f"/person.id/value root=2.16.840.1.113883.2.1.4.1 extension={NUMBER}",
        "/retrievalItem/semanticsText person.allData",
    ]


def test_the_envelope() -> None:
    header = [line for line in paths(xml.parse(written())) if line.startswith("/Envelope/Header")]
    asid = "root=1.2.826.0.1285.0.2.0.107 extension="
    assert [line for line in header if "typeCode=" not in line and "classCode=" not in line] == [
        f"/Envelope/Header/MessageID uuid:{IDS.message_id}",
        "/Envelope/Header/Action urn:nhs:names:services:pdsquery/QUPA_IN000005UK01",
        "/Envelope/Header/To https://spine.example/sync-service",
        "/Envelope/Header/From/Address https://smsp.example/",
        f"/Envelope/Header/communicationFunctionRcv/device/id {asid}928942012545",
        f"/Envelope/Header/communicationFunctionSnd/device/id {asid}200000000999",
        "/Envelope/Header/ReplyTo/Address https://smsp.example/",
    ]


def test_the_message_has_its_own_id_and_the_time_in_utc() -> None:
    lines = paths(xml.parse(written()))
    assert f"/Envelope/Body/QUPA_IN000005UK01/id root={IDS.hl7_id}" in lines
    assert "/Envelope/Body/QUPA_IN000005UK01/creationTime value=20240701091530" in lines
    assert "/Envelope/Body/QUPA_IN000005UK01/versionCode code=3NPfIT6.3.01" in lines


@pytest.mark.requirement("SMSP-IG-003", "b")
@pytest.mark.parametrize("question", [CROSS_CHECK, TRACE, RETRIEVAL])
def test_author1_carries_the_initiating_organisations_asid(question: Question) -> None:
    lines = paths(xml.parse(written(question, sender_asid="200000000123")))
    author1 = [line.rpartition("/author1/")[2] for line in lines if "/author1/" in line]
    assert author1 == [
        "AgentSystemSDS classCode=AGNT",
        "AgentSystemSDS/agentSystemSDS classCode=DEV determinerCode=INSTANCE",
        "AgentSystemSDS/agentSystemSDS/id root=1.2.826.0.1285.0.2.0.107 extension=200000000123",
    ]


def test_a_person_is_named_only_when_there_is_one() -> None:
    assert b"AgentPersonSDS" not in written()
    lines = [
        line
        for line in paths(xml.parse(written(author=AUTHOR)))
        if "/author/" in line and line.endswith(("986", "014", "R8000"))
    ]
    assert [line.rpartition("/AgentPersonSDS/")[2] for line in lines] == [
        "id root=1.2.826.0.1285.0.2.0.67 extension=100102238986",
        "agentPersonSDS/id root=1.2.826.0.1285.0.2.0.65 extension=687227875014",
        "part/partSDSRole/id root=1.2.826.0.1285.0.2.1.104 extension=R8000",
    ]


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("message_id", {"ids": Ids(message_id="5b0c1a2e-0001-4c5d-8e9f-000000000001")}),
        ("hl7_id", {"ids": Ids(hl7_id="")}),
        ("sender_asid", {"sender_asid": " "}),
        ("to_asid", {"to_asid": ""}),
        ("to_url", {"to_url": ""}),
        ("author.role_profile_id", {"author": msgspec.structs.replace(AUTHOR, role_profile_id="")}),
        ("author.user_id", {"author": msgspec.structs.replace(AUTHOR, user_id=" ")}),
        ("author.role_id", {"author": msgspec.structs.replace(AUTHOR, role_id="")}),
        ("question.birth_date", {"question": Trace(family="X", gender="1", birth_date="2009")}),
        ("question", {"question": Trace(family="X\x00", gender="1", birth_date="20090310")}),
    ],
)
def test_what_cannot_be_written_is_our_mistake(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(QueryUnwritable) as unwritable:
        written(**changes)
    assert unwritable.value.field == field


def test_interactions_and_actions() -> None:
    assert [interaction(one) for one in (CROSS_CHECK, TRACE, RETRIEVAL)] == [
        "QUPA_IN000014UK01",
        "QUPA_IN000005UK01",
        "QUPA_IN000008UK02",
    ]
    assert action(RETRIEVAL) == "urn:nhs:names:services:pdsquery/QUPA_IN000008UK02"


# Reading

PDS, TMS = "2.16.840.1.113883.2.1.3.2.4.17.42", "2.16.840.1.113883.2.1.3.2.4.17.32"
SPINE_ID = "AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE"


def issue(code: str, text: str = "", *, system: str = PDS, qualifier: str = "ER", name: str = "displayName") -> str:
    return (
        f'<justifyingDetectedIssueEvent><code code="{code}" codeSystem="{system}" {name}="{text}">'
        f'<qualifier code="{qualifier}"/></code></justifyingDetectedIssueEvent>'
    )


def reason(*issues: str) -> str:
    return f"<reason>{''.join(issues)}</reason>"


def detail(code: str, text: str = "") -> str:
    return (
        f'<acknowledgementDetail><code code="{code}" codeSystem="{TMS}" displayName="{text}"/></acknowledgementDetail>'
    )


def patient(number: str | None = NUMBER, inside: str = "", person: str = "<patientPerson/>") -> str:
    identified = f'<id root="2.16.840.1.113883.2.1.4.1" extension="{number}"/>' if number else ""
    return f"<subject><patientRole>{inside}{identified}{person}</patientRole></subject>"


def answer(
    *,
    interaction: str = "QUPA_IN000009UK03",
    ack: str | None = "AA",
    response: str | None = "OK",
    details: str = "",
    reasons: str = "",
    patients: str | None = None,
    content: str = "PDSResponse",
    relates_to: str | None = f"uuid:{IDS.message_id}",
    message_ref: str | None = IDS.hl7_id,
    wrapper: str | None = "retrievalQueryResponse",
    enveloped: bool = True,
    soap_id: str | None = f"uuid:{SPINE_ID}",
) -> bytes:
    """An answer of our own making; None leaves a part out."""
    referred = f'<messageRef><id root="{message_ref}"/></messageRef>' if message_ref is not None else ""
    acknowledged = f'<acknowledgement typeCode="{ack}">{details}{referred}</acknowledgement>' if ack else referred
    subject = f"<subject><{content}>{patients}</{content}></subject>" if patients is not None else ""
    ended = f'<queryAck><queryResponseCode code="{response}"/></queryAck>' if response else ""
    message = (
        f'<{interaction} xmlns="urn:hl7-org:v3"><id root="FFFFFFFF-BBBB-4CCC-8DDD-EEEEEEEEEEEE"/>{acknowledged}'
        f"<ControlActEvent>{reasons}{subject}{ended}</ControlActEvent></{interaction}>"
    )
    if wrapper:
        message = f'<{wrapper} xmlns="urn:hl7-org:v3">{message}</{wrapper}>'
    if not enveloped:
        return message.encode()
    header = "".join(
        f"<w:{name}>{value}</w:{name}>"
        for name, value in (("MessageID", soap_id), ("RelatesTo", relates_to))
        if value is not None
    )
    return (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing">'
        f"<s:Header>{header}</s:Header><s:Body>{message}</s:Body></s:Envelope>"
    ).encode()


def refusal(*reasons: str, **changes: Any) -> bytes:
    parts = {"interaction": "QUQI_IN010000UK14", "ack": "AE", "response": "ID", "reasons": "".join(reasons)}
    return answer(**{**parts, **changes})


def rejection(**changes: Any) -> bytes:
    return answer(**{"interaction": "MCCI_IN010000UK13", "ack": "AR", "response": None, "wrapper": None, **changes})


def read(body: bytes, asked: Question = RETRIEVAL) -> Answered:
    return read_answer(body, asked=asked, ids=IDS, codes=CODES)


def outcome(body: bytes, asked: Question = RETRIEVAL) -> Outcome:
    return read(body, asked).outcome


def record(patients: str, asked: Question = RETRIEVAL, **changes: Any) -> SpineRecord:
    found = outcome(answer(patients=patients, **changes), asked)
    assert isinstance(found, Found)
    return found.record


REFUSALS: list[tuple[bytes, Outcome]] = [
    (refusal(reason(issue("1")), reason(issue("RT003"))), NoMatch(event="pds.1")),
    (refusal(reason(issue("0")), reason(issue("AT006"))), NoMatch(event="pds.AT006")),
    (refusal(reason(issue("7"))), SeveralMatches(event="pds.7")),
    (refusal(reason(issue("17"))), Superseded(event="pds.17", nhs_number=None)),
    (
        refusal(reason(issue("44")), patients=patient(OTHER_NUMBER)),
        Superseded(event="pds.44", nhs_number=OTHER_NUMBER),
    ),
    (refusal(reason(issue("44")), patients=patient("9449310441")), Superseded(event="pds.44", nhs_number=None)),
    (refusal(reason(issue("22"))), Invalidated(event="pds.22")),
    (refusal(reason(issue("40"))), NotVerified(event="pds.40")),
    (refusal(reason(issue("42"))), InputRefused(event="pds.42")),
    (refusal(reason(issue("0"), issue("AT002", "Missing mandatory search field"))), InputRefused(event="pds.AT002")),
    (refusal(reason(issue("0")), reason(issue("XX01", "Illegal date format"))), InputRefused(event="pds.illegal")),
    (refusal(reason(issue("XX01", "Invalid name", name="name"))), InputRefused(event="pds.invalid")),
    (refusal(reason(issue("AT002")), reason(issue("1"))), NoMatch(event="pds.1")),
    (refusal(reason(issue("0", "Generic Error"))), Unusable(event="pds.other")),
    (refusal(reason(issue("0")), reason(issue("GE002"))), Unusable(event="pds.GE002")),
    (refusal(reason()), Unusable(event="pds.other")),
    (refusal(response="NF"), NoMatch(event="answer.no-match")),
    (answer(response="NF"), NoMatch(event="answer.no-match")),
    (answer(response="NF", ack="AE", reasons=reason(issue("22"))), Invalidated(event="pds.22")),
    (answer(response="ID", patients=patient()), Unusable(event="pds.other")),
    (answer(ack="AE", patients=patient()), Unusable(event="pds.other")),
    (answer(response=None, patients=patient()), Unusable(event="answer.incomplete")),
    (answer(ack=None, patients=patient()), Unusable(event="pds.other")),
    (answer(ack=None, response=None, message_ref=None), Unusable(event="answer.incomplete")),
    (rejection(details=detail("202", "Duplicate HL7 ID Error")), Unusable(event="tms.202")),
    (rejection(details=detail("506")), AuthorRefused(event="tms.506")),
    (rejection(details=detail("599", "author not known")), AuthorRefused(event="tms.author")),
    (rejection(details=detail("599", "no words for it")), Unusable(event="tms.other")),
    (rejection(), Unusable(event="tms.other")),
    (rejection(ack="AE", reasons=reason(issue("GE002"))), Unusable(event="pds.GE002")),
    (rejection(ack="AE"), Unusable(event="pds.other")),
    (rejection(ack="AA"), Unusable(event="answer.incomplete")),
    (rejection(ack="AR", reasons=reason(issue("202", system="1.2.3"))), Unusable(event="tms.202")),
]


@pytest.mark.parametrize(("body", "expected"), REFUSALS)
def test_an_answer_without_data(body: bytes, expected: Outcome) -> None:
    assert outcome(body) == expected


def test_only_a_used_id_asks_for_new_ones() -> None:
    assert read(rejection(details=detail("202"))).duplicate_id
    assert not read(rejection(details=detail("506"))).duplicate_id
    assert not read(refusal(reason(issue("202")))).duplicate_id


@pytest.mark.parametrize("response", ["DEMOG-0001", "DEMOG-9999"])
def test_the_table_decides_what_a_reason_comes_to(response: str) -> None:
    document = shipped_document()
    next(row for row in document["event"] if row["name"] == "pds.1")["response"] = response
    codes = load_spine_codes(document, {row["response"] for row in document["event"]})
    answered = read_answer(refusal(reason(issue("1"))), asked=RETRIEVAL, ids=IDS, codes=codes)
    assert codes.response_code(answered.outcome.event) == response


SUCCESSES: list[tuple[dict[str, Any], Question, Outcome]] = [
    ({}, RETRIEVAL, Unusable(event="answer.incomplete")),
    ({"patients": ""}, RETRIEVAL, Unusable(event="answer.incomplete")),
    ({"patients": patient() + patient(OTHER_NUMBER)}, RETRIEVAL, SeveralMatches(event="answer.several-matches")),
    (
        {"patients": patient(OTHER_NUMBER)},
        RETRIEVAL,
        Superseded(event="answer.superseded", nhs_number=OTHER_NUMBER),
    ),
    (
        {"patients": patient(OTHER_NUMBER), "reasons": reason(issue("24", qualifier="WG"))},
        RETRIEVAL,
        Superseded(event="pds.24", nhs_number=OTHER_NUMBER),
    ),
    ({"patients": patient("123")}, RETRIEVAL, Unusable(event="answer.nhs-number")),
    ({"patients": patient(None)}, RETRIEVAL, Unusable(event="answer.nhs-number")),
    (
        {"patients": patient(), "reasons": reason(issue("22", qualifier="WG"))},
        RETRIEVAL,
        Invalidated(event="pds.22"),
    ),
    ({"patients": patient(), "reasons": reason(issue("XX", qualifier="ER"))}, RETRIEVAL, Unusable(event="pds.other")),
    (
        {"patients": patient(OTHER_NUMBER), "interaction": "QUPA_IN000015UK02"},
        CROSS_CHECK,
        Superseded(event="answer.superseded", nhs_number=OTHER_NUMBER),
    ),
    (
        {"patients": patient(), "reasons": reason(issue("XX", "Invalid postcode held", qualifier="WG"))},
        RETRIEVAL,
        Found(event="found", record=SpineRecord(nhs_number=NUMBER)),
    ),
    (
        {"patients": patient(), "reasons": reason(issue("9", qualifier="WG"))},
        RETRIEVAL,
        Found(event="found", record=SpineRecord(nhs_number=NUMBER, limited=True)),
    ),
    (
        {"patients": patient("123"), "reasons": reason(issue("3", qualifier="WG")), "interaction": "QUPA_IN000007UK01"},
        TRACE,
        Found(event="found", record=SpineRecord(nhs_number="123")),
    ),
    (
        {
            "patients": patient(person=""),
            "reasons": reason(issue("5", qualifier="WG")),
            "interaction": "QUPA_IN000007UK01",
        },
        TRACE,
        Found(event="found", record=SpineRecord(nhs_number=NUMBER, limited=True)),
    ),
]


@pytest.mark.parametrize(("parts", "asked", "expected"), SUCCESSES)
def test_an_answer_with_data(parts: dict[str, Any], asked: Question, expected: Outcome) -> None:
    assert outcome(answer(**parts), asked) == expected


MINE, NOT_MINE = IDS.message_id, "5B0C1A2E-0009-4C5D-8E9F-000000000009"


@pytest.mark.parametrize(
    ("relates_to", "message_ref", "ours"),
    [
        (f"uuid:{MINE}", IDS.hl7_id, True),
        (f"urn:uuid:{MINE.lower()}", IDS.hl7_id.lower(), True),
        (MINE, None, True),
        (None, IDS.hl7_id, True),
        ("", IDS.hl7_id, True),
        (None, None, False),
        ("", "", False),
        (f"uuid:{NOT_MINE}", IDS.hl7_id, False),
        (f"uuid:{MINE}", NOT_MINE, False),
        (f"uuid:{MINE}", "garbage", False),
        (f"uuid:{IDS.hl7_id}", IDS.message_id, False),
    ],
)
def test_an_answer_must_be_to_our_message(relates_to: str | None, message_ref: str | None, ours: bool) -> None:
    body = answer(patients=patient(), relates_to=relates_to, message_ref=message_ref)
    assert isinstance(outcome(body), Found) == ours
    if not ours:
        assert outcome(body) == Unusable(event="answer.wrong-ids")


@pytest.mark.parametrize("wrapper", [None, "retrievalQueryResponse", "anythingElse"])
@pytest.mark.parametrize("enveloped", [True, False])
def test_wrapper_and_envelope_do_not_matter(wrapper: str | None, enveloped: bool) -> None:
    assert isinstance(outcome(answer(patients=patient(), wrapper=wrapper, enveloped=enveloped)), Found)


@pytest.mark.parametrize(
    ("asked", "interactions"),
    [
        (CROSS_CHECK, {"QUPA_IN000015UK02", "QUPA_IN000015UK04"}),
        (TRACE, {"QUPA_IN000007UK01", "QUPA_IN000007UK03", "QUPA_IN030000UK32"}),
        (RETRIEVAL, {"QUPA_IN000009UK03", "QUPA_IN000009UK06", "QUPA_IN050000UK32"}),
    ],
)
def test_each_question_has_its_answers_in_three_generations(asked: Question, interactions: set[str]) -> None:
    every = {
        *("QUPA_IN000015UK02", "QUPA_IN000015UK04", "QUPA_IN000007UK01", "QUPA_IN000007UK03", "QUPA_IN030000UK32"),
        *("QUPA_IN000009UK03", "QUPA_IN000009UK06", "QUPA_IN050000UK32", "QUPA_IN000010UK02", "PRPA_IN000202UK01"),
    }
    for one in every:
        expected = Found if one in interactions else Unusable
        assert isinstance(outcome(answer(interaction=one, patients=patient()), asked), expected), one


@pytest.mark.parametrize(
    ("soap_id", "expected"),
    [
        (f"uuid:{SPINE_ID}", SPINE_ID),
        (SPINE_ID.lower(), SPINE_ID),
        (None, "FFFFFFFF-BBBB-4CCC-8DDD-EEEEEEEEEEEE"),
        ("LANGAN", "FFFFFFFF-BBBB-4CCC-8DDD-EEEEEEEEEEEE"),
    ],
)
def test_the_answers_own_id_is_a_uuid_or_not_given(soap_id: str | None, expected: str) -> None:
    assert read(answer(patients=patient(), soap_id=soap_id)).spine_message_id == expected


def fault(*codes: str, context: str = "urn:nhs:names:error:tms", head: str = "") -> bytes:
    errors = "".join(
        f"<n:error><n:codeContext>{context}</n:codeContext><n:errorCode>{code}</n:errorCode></n:error>"
        for code in codes
    )
    listed = (
        f'<n:errorList xmlns:n="http://national.carerecords.nhs.uk/schema/">{errors}</n:errorList>' if codes else ""
    )
    return (
        f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">{head}<s:Body><s:Fault>'
        f"<faultcode>s:Server</faultcode><detail>{listed}</detail></s:Fault></s:Body></s:Envelope>"
    ).encode()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (fault("200"), Unavailable(event="soap.200")),
        (fault("206", context="urn:nhs:names:errors:tms"), Unavailable(event="soap.206")),
        (fault("208", "200"), Unavailable(event="soap.208")),
        (fault("200", "201"), Unusable(event="soap.201")),
        (fault("101"), Unusable(event="soap.101")),
        (fault("300"), Unusable(event="soap.other")),
        (fault(), Unusable(event="soap.other")),
    ],
)
def test_a_soap_fault(body: bytes, expected: Outcome) -> None:
    assert outcome(body) == expected


def test_a_fault_about_another_message_is_not_ours() -> None:
    head = "<s:Header><RelatesTo>{}</RelatesTo></s:Header>"
    assert outcome(fault("200", head=head.format(f"uuid:{MINE}"))) == Unavailable(event="soap.200")
    assert outcome(fault("200", head=head.format(f"uuid:{NOT_MINE}"))) == Unusable(event="answer.wrong-ids")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Bad gateway</body></html>",
        b"not XML",
        b"<!DOCTYPE x [<!ENTITY e 'x'>]><x>&e;</x>",
        b"<s:Envelope xmlns:s='x'/>",
        b"<s:Envelope xmlns:s='x'><s:Body/></s:Envelope>",
        b"<s:Envelope xmlns:s='x'><s:Body>text</s:Body></s:Envelope>",
        answer(patients=patient())[:-20],
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    assert read(body) == Answered(outcome=Unusable(event="answer.malformed"))


# The record

TRACED = (
    '<addr use="H"><streetAddressLine/><streetAddressLine> 46 DEEPDENE AVENUE </streetAddressLine><streetAddressLine/>'
    "<streetAddressLine>DORKING</streetAddressLine><streetAddressLine>SURREY</streetAddressLine>"
    "<postalCode>RH5 4AE</postalCode><addressKey>9574701</addressKey>"
    '<useablePeriod><low value="20110728"/></useablePeriod></addr>'
    '<confidentialityCode code="S"/>'
    '<telecom use="HP" value="tel:01234567899"><useablePeriod><low value="20110712"/></useablePeriod></telecom>'
)
TRACED_PERSON = (
    '<patientPerson><administrativeGenderCode code="2"/><birthTime value="20110216"/><deceasedTime value="20200101"/>'
    '<name use="L"><family>MACLERGAIN</family><prefix>MS</prefix><given>WYNTER</given><given/><given>PATTIE</given>'
    '<validTime><low value="20110623"/><high value="20300101"/></validTime></name>'
    "<playedOtherProviderPatient><subjectOf><patientCareProvision>"
    '<code code="1"/><effectiveTime><low value="20110620"/></effectiveTime><{0}><{1}>'
    '<id root="2.16.840.1.113883.2.1.4.2" extension="G1234567"/>'
    '<id root="2.16.840.1.113883.2.1.4.3" extension="H81109"/>'
    "</{1}></{0}></patientCareProvision></subjectOf></playedOtherProviderPatient></patientPerson>"
)
TRACED_RECORD = SpineRecord(
    nhs_number=NUMBER,
    names=(
        SpineName(
            use="L",
            prefix="MS",
            given=("WYNTER", "PATTIE"),
            family="MACLERGAIN",
            valid_from="20110623",
            valid_to="20300101",
        ),
    ),
    gender="2",
    birth_time="20110216",
    deceased_time="20200101",
    addresses=(
        SpineAddress(
            use="H",
            lines=("", "46 DEEPDENE AVENUE", "", "DORKING", "SURREY"),
            postcode="RH5 4AE",
            valid_from="20110728",
        ),
    ),
    telecoms=(SpineTelecom(use="HP", value="tel:01234567899", valid_from="20110712"),),
    registrations=(SpineRegistration(ods_code="H81109", valid_from="20110620"),),
    confidentiality="S",
)


@pytest.mark.parametrize(
    ("asked", "interaction", "content", "path"),
    [
        (TRACE, "QUPA_IN000007UK01", "PdsTraceMatch", ("performer", "assignedOrganization")),
        (CROSS_CHECK, "QUPA_IN000015UK02", "PDSResponse", ("performer", "assignedOrganization")),
        (TRACE, "QUPA_IN030000UK32", "PdsTraceMatch", ("responsibleParty", "healthCareProvider")),
        (RETRIEVAL, "QUPA_IN050000UK32", "PdsSuccessfulRetrieval", ("responsibleParty", "healthCareProvider")),
    ],
)
def test_a_record_of_a_trace_or_of_2006(asked: Question, interaction: str, content: str, path: tuple[str, str]) -> None:
    patients = patient(inside=TRACED, person=TRACED_PERSON.format(*path))
    assert record(patients, asked, interaction=interaction, content=content) == TRACED_RECORD


def retrieved(version: str, facts: str) -> str:
    """A person as a retrieval holds one, with relatives, a birthplace and a pharmacy that must not be mistaken."""
    relative = (
        "<scopedRelatedPersonRole><player><COCT_MT000202{0}.PartOfWhole><telecom use='H' value='tel:999'/>"
        "</COCT_MT000202{0}.PartOfWhole><COCT_MT000203{0}.PartOfWhole><partPerson><name use='L'><family>KIN</family>"
        "</name></partPerson></COCT_MT000203{0}.PartOfWhole></player><addr use='H'/><telecom use='H' value='tel:998'/>"
        "</scopedRelatedPersonRole>"
    )
    provision = (
        "<playedOtherProviderPatient><subjectOf><patientCareProvisionEvent><code code='{code}'/><performer>"
        "<assignedEntity><id root='2.16.840.1.113883.2.1.4.3' extension='{ods}'/></assignedEntity></performer>"
        "</patientCareProvisionEvent></subjectOf></playedOtherProviderPatient>"
    )
    return (
        f"<patientPerson>{facts}<birthplace><addr><city>LEEDS</city></addr></birthplace>"
        f"<COCT_MT000208UK01.BirthPlace><addr use='H'/></COCT_MT000208UK01.BirthPlace>{relative.format(version)}"
        f"{provision.format(code='P1', ods='FZZ99')}{provision.format(code='1', ods='H81109')}"
        f"<COCT_MT000201{version}.PartOfWhole><addr use='TMP'><streetAddressLine>A</streetAddressLine></addr>"
        f"</COCT_MT000201{version}.PartOfWhole>"
        f"<COCT_MT000202{version}.PartOfWhole><telecom use='MC' value='tel:07'/></COCT_MT000202{version}.PartOfWhole>"
        f"<COCT_MT000203{version}.PartOfWhole><partPerson><name use='L'><family>LANGAN</family></name></partPerson>"
        f"</COCT_MT000203{version}.PartOfWhole></patientPerson>"
    )


@pytest.mark.parametrize(
    ("interaction", "version", "facts"),
    [
        (
            "QUPA_IN000009UK03",
            "UK02",
            "<administrativeGenderCode code='1'/><birthTime value='20090310'/><deceasedTime value='2010'/>",
        ),
        (
            "QUPA_IN000009UK06",
            "UK03",
            "<COCT_MT000209UK01.PartAdminGenderCode><partPerson><administrativeGenderCode code='1'/></partPerson>"
            "</COCT_MT000209UK01.PartAdminGenderCode><COCT_MT000210UK01.PartBirthTime><partPerson>"
            "<birthTime value='20090310'/></partPerson></COCT_MT000210UK01.PartBirthTime>"
            "<COCT_MT000211UK01.PartDeceasedTime><partPerson><deceasedTime value='2010'/></partPerson>"
            "</COCT_MT000211UK01.PartDeceasedTime>",
        ),
    ],
)
def test_a_retrieved_record_of_2008(interaction: str, version: str, facts: str) -> None:
    assert record(patient(person=retrieved(version, facts)), interaction=interaction) == SpineRecord(
        nhs_number=NUMBER,
        names=(SpineName(use="L", family="LANGAN"),),
        gender="1",
        birth_time="20090310",
        deceased_time="2010",
        addresses=(SpineAddress(use="TMP", lines=("A",)),),
        telecoms=(SpineTelecom(use="MC", value="tel:07"),),
        registrations=(SpineRegistration(ods_code="H81109"),),
    )


def test_unknown_codes_are_kept_and_empty_things_do_no_harm() -> None:
    odd = (
        "<patientPerson><administrativeGenderCode code='Q'/><birthTime/><name/><playedOtherProviderPatient/>"
        "<COCT_MT000202UK02.PartOfWhole/><COCT_MT000203UK02.PartOfWhole><partPerson/></COCT_MT000203UK02.PartOfWhole>"
        "</patientPerson>"
    )
    assert record(patient(inside="<addr use='XX'/><telecom/>", person=odd)) == SpineRecord(
        nhs_number=NUMBER,
        names=(SpineName(use=None),),
        gender="Q",
        addresses=(SpineAddress(use="XX"),),
        telecoms=(SpineTelecom(use=None, value=None),),
    )


def test_a_confidentiality_without_a_code_is_not_the_absence_of_one() -> None:
    assert record(patient(inside="<confidentialityCode/>")).confidentiality == ""


def test_two_different_numbers_are_none() -> None:
    second = f'<id root="2.16.840.1.113883.2.1.4.1" extension="{OTHER_NUMBER}"/>'
    found = outcome(answer(patients=patient(inside=second), interaction="QUPA_IN000007UK01"), TRACE)
    assert isinstance(found, Found)
    assert found.record.nhs_number is None


@given(st.binary(max_size=200))
def test_any_bytes_come_to_an_outcome(body: bytes) -> None:
    """Invariant: whatever bytes come back, reading them gives an outcome that is no person."""
    assert not isinstance(outcome(body), Found)


WHOLE = answer(patients=patient(inside=TRACED, person=retrieved("UK02", "")), reasons=reason(issue("3")))


@given(
    st.sampled_from([WHOLE, refusal(reason(issue("1"))), rejection(details=detail("202")), fault("200")]),
    st.integers(0, 2000),
    st.integers(0, 200),
    st.binary(max_size=12) | st.sampled_from([b"<subject>", b"</id>", b"<id/>", b'"', b"AR", b"&#xD800;", b"&x;"]),
    st.sampled_from([CROSS_CHECK, TRACE, RETRIEVAL]),
)
def test_a_damaged_answer_comes_to_an_outcome(body: bytes, at: int, cut: int, put: bytes, asked: Question) -> None:
    """Invariant: an answer cut and patched anywhere is read to an outcome, and never raises."""
    at %= len(body)
    answered = read_answer(body[:at] + put + body[at + cut :], asked=asked, ids=IDS, codes=CODES)
    assert answered.outcome.event
