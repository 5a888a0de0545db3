"""Every PDS answer among the official and composed samples is read to the outcome that the tables here give."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minispine.domain.outcome import (
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
from minispine.domain.presentation import Presented, present
from minispine.domain.question import CrossCheck, Question, Retrieval, Trace
from minispine.vocabulary.spine_codes import shipped_spine_codes
from minispine.wire.hl7v3 import read_answer


class Ids(msgspec.Struct, frozen=True, kw_only=True):
    message_id: str = "11111111-2222-4333-8444-555555555502"
    hl7_id: str = "11111111-2222-4333-8444-555555555502"


IDS = Ids()
CODES = shipped_spine_codes()
TRACE = Trace(family="PURVES", gender="2", birth_date="19661111")


def cross_check(number: str) -> CrossCheck:
    return CrossCheck(nhs_number=number, birth_date="20110216")


def retrieval(number: str) -> Retrieval:
    return Retrieval(nhs_number=number)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A found person: the number and how many of each thing the record holds, and whether it was cut down."""

    number: str
    names: int = 1
    addresses: int = 1
    telecoms: int = 0
    registrations: int = 1
    born: str | None
    limited: bool = False


def seen(outcome: Outcome) -> Any:
    """An outcome as the tables write it."""
    if not isinstance(outcome, Found):
        return outcome
    record = outcome.record
    return Person(
        number=record.nhs_number or "",
        names=len(record.names),
        addresses=len(record.addresses),
        telecoms=len(record.telecoms),
        registrations=len(record.registrations),
        born=record.birth_time,
        limited=record.limited,
    )


SAMPLES: dict[str, tuple[Question, Any]] = {
    "response_crosscheck-notverified_INFERRED.xml": (cross_check("5552448715"), NotVerified(event="pds.40")),
    "response_retrieval-full.xml": (
        retrieval("5552448715"),
        Person(number="5552448715", names=2, addresses=3, telecoms=3, born="19500302"),
    ),
    "response_retrieval-invalidated_INFERRED.xml": (retrieval("5552448715"), Invalidated(event="pds.22")),
    "response_retrieval-nomatch.xml": (retrieval("5552448715"), NoMatch(event="pds.1")),
    "response_retrieval-superseded_INFERRED.xml": (
        retrieval("5552448715"),
        Superseded(event="pds.24", nhs_number="9000000009"),
    ),
    "response_trace-missingfield.xml": (TRACE, InputRefused(event="pds.AT002")),
    "response_trace-multiple_INFERRED.xml": (TRACE, SeveralMatches(event="pds.7")),
}

TEMPLATES: dict[str, tuple[Question, Any]] = {
    "MCCI_IN010000UK13_sync_template.xml": (TRACE, Unusable(event="pds.GE002")),
    "MCCI_IN010000UK13_1_template.xml": (TRACE, Unusable(event="pds.other")),
    "QUPA_IN000007UK01_sync_template.xml": (TRACE, Person(number="942111111111", telecoms=3, born="19661111")),
    "QUPA_IN000007UK01_sync_template1.xml": (
        TRACE,
        Person(number="9449310394", names=2, telecoms=6, born="19080403"),
    ),
    "QUPA_IN000007UK01_sync_template2.xml": (TRACE, Person(number="9449310602", telecoms=6, born="20110323")),
    "QUPA_IN000009UK03_sync_template.xml": (
        retrieval("5552448715"),
        Person(number="5552448715", registrations=0, born="19881123"),
    ),
    "QUPA_IN000009UK03_sync_template1.xml": (
        retrieval("9449310742"),
        Person(number="9449310742", addresses=5, born="20020418"),
    ),
    "QUPA_IN000009UK03_sync_template2.xml": (
        retrieval("9449310602"),
        Person(number="9449310602", names=2, telecoms=6, born="20110323"),
    ),
    "QUPA_IN000009UK03_sync_template3.xml": (
        retrieval("9449310580"),
        Person(number="9449310580", names=2, telecoms=4, born="19960530"),
    ),
    "QUPA_IN000009UK03_sync_template4.xml": (retrieval("9449310300"), Person(number="9449310300", born="20110402")),
    "QUPA_IN000009UK03_sync_template_sensitive_response.xml": (
        retrieval("9407807541"),
        Person(number="9407807541", names=0, addresses=0, registrations=0, born=None, limited=True),
    ),
    "QUPA_IN000014UK01_QUQI_IN010000UK14_sync_template.xml": (cross_check("9448904053"), NoMatch(event="pds.1")),
    "QUPA_IN000015UK02_sync_template.xml": (
        cross_check("9449310645"),
        Person(number="9449310645", telecoms=6, born="20110216"),
    ),
    "QUPA_IN000015UK02_sync_template1.xml": (
        cross_check("9449310645"),
        Person(number="9449310645", telecoms=6, born="20110216"),
    ),
    "QUPA_IN000015UK02_sync_template2.xml": (cross_check("9449310106"), Person(number="9449310106", born="19740505")),
    # The harness serves this one, about another person, to whoever asks about 9449310734.
    "QUPA_IN000015UK02_sync_template3.xml": (
        cross_check("9449310734"),
        Superseded(event="answer.superseded", nhs_number="9449310726"),
    ),
    "QUQI_IN010000UK14_sync_template.xml": (TRACE, NoMatch(event="pds.1")),
    "QUQI_IN010000UK14_sync_template1.xml": (TRACE, NoMatch(event="pds.1")),
}
"""What the test harness answers in one exchange; the number asked about is the one its rules name."""

FAULTS: dict[str, Outcome] = {
    "mhs/fake_spine_soap_fault_single_error.xml": Unavailable(event="soap.200"),
    "mhs/fake_spine_soap_fault_that_should_be_retried.xml": Unavailable(event="soap.206"),
    "mhs/soapfault_response_empty.xml": Unusable(event="soap.other"),
    "mhs/soapfault_response_multiple_errors.xml": Unusable(event="soap.201"),
    "mhs/soapfault_response_single_error.xml": Unavailable(event="soap.200"),
    "mhs/soapfault_response_single_error_206.xml": Unavailable(event="soap.206"),
    "mhs/soapfault_response_single_error_208.xml": Unavailable(event="soap.208"),
    "mhs/soapfault_response_single_error_300.xml": Unusable(event="soap.other"),
    "mth/wire-templates/SoapFault_Template.xml": Unusable(event="soap.101"),
    # Not a SOAP fault: an ebXML error, which belongs to asynchronous messages.
    "mhs/fake_spine_ebxml_fault_single_error.xml": Unusable(event="answer.malformed"),
}

FILLED = {
    "__ORIGINAL_MESSAGEID__": f"uuid:{IDS.message_id}",
    "__ORIG_MESSAGEID__": IDS.hl7_id,
    "__ORIGINAL_MSGID_XPATH__": IDS.hl7_id,
    "__ACKNOWLEDGED_MESSAGEID_XPATH__": IDS.hl7_id,
    "__MESSAGEID__": "AAAAAAAA-0000-4000-8000-000000000001",
    "__MSGID_UUID__": "AAAAAAAA-0000-4000-8000-000000000001",
    "__CREATION_TIME__": "20261121101501",
    "__CREATION_TIMESTAMP__": "20261121101501",
    "__SYNC_RCV_ASID__": "200000000999",
    "__SYNC_SND_ASID__": "928942012545",
    "__RCV_ASID__": "200000000999",
    "__SND_ASID__": "928942012545",
    "__ORIGINAL_SND_XPATH__": "200000000999",
    "__SIAB_ASID_SYSTEMPROPERTY__": "928942012545",
    "__ACTION__": "urn:nhs:names:services:pdsquery/ANSWER",
    "__TO_ADDRESS__": "https://smsp.example.nhs.uk/sync",
    "__FROM_ADDRESS__": "https://spine.example.nhs.uk/sync",
    "__ERROR_VALUE_CODE_LITERAL__": "GE002",
    "__ERROR_VALUE_CODE_LITERAL1__": "GE9",
    "__ERROR_VALUE_CODESYSTEM_LITERAL__": "2.16.840.1.113883.2.1.3.2.4.17.42",
    "__ERROR_VALUE_DISPLAYTEXT_LITERAL__": "Unexpected business error encountered.",
    "__ERROR_VALUE_DISPLAYTEXT_LITERAL1__": "Unexpected business error encountered.",
    "__SOAP_ERROR_FAULTCODE_REQUIRED__": "soap:Client",
    "__SOAP_ERROR_FAULTSTRING_REQUIRED__": "The service/interaction is not supported for the requested URI",
    "__SOAP_ERROR_CODECONTEXT__": "urn:nhs:names:errors:tms",
    "__SOAP_ERROR_ERRORCODE__": "101",
    "__SOAP_ERROR_SEVERITY__": "Error",
    "__SOAP_ERROR_LOCATION__": "HTTP Header - SOAPAction",
    "__SOAP_ERROR_DESCRIPTION__": "The service/interaction is not supported for the requested URI",
}
"""What the harness puts for its placeholders in an answer to a message of ours."""


@pytest.fixture(scope="module")
def spine(corpus: Path) -> Path:
    return corpus / "spine"


def filled(text: str) -> str:
    for placeholder, value in FILLED.items():
        text = text.replace(placeholder, value)
    assert "__" not in text
    return text


def template(spine: Path, name: str) -> bytes:
    """An answer of the harness as it goes out: the template in its SOAP envelope."""
    envelope = (spine / "mth/wire-templates/response_wrapper_no_timestamp.txt").read_text(encoding="utf-8")
    payload = (spine / "mth/PDS2008A" / name).read_text(encoding="utf-8")
    return filled(envelope.replace("__PAYLOAD_BODY__", payload)).encode()


def read(body: bytes, asked: Question) -> Outcome:
    return read_answer(body, asked=asked, ids=IDS, codes=CODES).outcome


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_composed_answer(spine: Path, name: str) -> None:
    asked, expected = SAMPLES[name]
    assert seen(read((spine / "samples" / name).read_bytes(), asked)) == expected


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_an_answer_of_the_test_harness(spine: Path, name: str) -> None:
    asked, expected = TEMPLATES[name]
    assert seen(read(template(spine, name), asked)) == expected


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_soap_fault(spine: Path, name: str) -> None:
    assert read(filled((spine / name).read_text(encoding="utf-8")).encode(), TRACE) == FAULTS[name]


def test_the_tables_leave_no_synchronous_answer_out(spine: Path) -> None:
    assert {path.name for path in (spine / "samples").glob("response_*.xml")} == set(SAMPLES)
    every = {path.name for path in (spine / "mth/PDS2008A").glob("*.xml")}
    assert {name for name in every if "async" not in name} == set(TEMPLATES)
    assert {f"mhs/{path.name}" for path in (spine / "mhs").glob("*fault*.xml")} <= set(FAULTS)


def test_an_answer_to_another_message_is_not_believed(spine: Path) -> None:
    name = "QUPA_IN000015UK02_sync_template.xml"
    other = template(spine, name).replace(IDS.hl7_id.encode(), b"11111111-2222-4333-8444-555555555599")
    assert read(other, TEMPLATES[name][0]) == Unusable(event="answer.wrong-ids")


def test_what_the_harness_finds_can_be_shown(spine: Path) -> None:
    for name, (asked, expected) in TEMPLATES.items():
        if not isinstance(expected, Person) or len(expected.number) != 10:
            continue
        found = read(template(spine, name), asked)
        assert isinstance(found, Found)
        shown = present(found.record, today="20261121", asked_number=None)
        assert isinstance(shown, Presented), name
        assert shown.patient.birth_date == expected.born
        if expected.limited:
            assert shown.patient.addresses == ()
        else:
            assert shown.patient.addresses[0].use == "H"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(TEMPLATES)),
    start=st.integers(0, 8000),
    length=st.integers(0, 400),
    put=st.binary(max_size=8) | st.sampled_from([b"<reason/>", b"<subject><x/></subject>", b"</subject>", b"''"]),
    asked=st.sampled_from([TRACE, retrieval("9449310602"), cross_check("9449310645")]),
)
def test_a_damaged_answer_comes_to_an_outcome(
    spine: Path, name: str, start: int, length: int, put: bytes, asked: Question
) -> None:
    """Invariant: an official answer cut and patched anywhere is read to an outcome, and never raises."""
    body = template(spine, name)
    start %= len(body)
    assert read(body[:start] + put + body[start + length :], asked).event
