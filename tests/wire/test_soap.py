"""SOAP messages, their headers and their faults."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.vocabulary.codes import FAULT_TEXTS
from minispine.wire import soap, xml

UTC = datetime.UTC
ID = "0B000001-0000-4000-8000-00000000000A"


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2024-05-01T10:00:00Z", datetime.datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ("2024-05-01T10:00:00", datetime.datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ("2024-05-01T11:00:00+01:00", datetime.datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ("2024-05-01T04:30:00-05:30", datetime.datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ("2024-05-01T10:00:00.5Z", datetime.datetime(2024, 5, 1, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2024-05-01T10:00:00.1234567891Z", datetime.datetime(2024, 5, 1, 10, 0, 0, 123_456, tzinfo=UTC)),
        ("2024-04-30T24:00:00Z", datetime.datetime(2024, 5, 1, tzinfo=UTC)),
    ],
)
def test_times_that_clients_write(text: str, when: datetime.datetime) -> None:
    assert soap.read_time(text) == when


@pytest.mark.parametrize(
    "text",
    ["", "now", "2024-05-01", "2024-05-01 10:00:00", "2023-02-29T10:00:00Z", "2024-05-01T10:00:60Z",
     "2024-05-01T24:00:01Z", "2024-05-01T10:00:00z", "2024-05-01T10:00:00+0100", "2024-05-01T10:00:00+15:00",
     "2024-05-01T10:00:00+01:60", "0001-01-01T00:00:00+01:00", "9999-12-31T24:00:00Z", "-2024-05-01T10:00:00Z",
     "٢٠٢٤-05-01T10:00:00Z"],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    assert soap.read_time(text) is None


ZONES = st.integers(-840, 840).map(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes)))


@given(
    st.datetimes(timezones=ZONES, min_value=datetime.datetime(1900, 1, 1), max_value=datetime.datetime(9999, 12, 30))
)
def test_a_written_time_reads_back(when: datetime.datetime) -> None:
    """Reading a time that Python wrote, in any zone that xs:dateTime knows, gives the same instant."""
    assert soap.read_time(when.isoformat()) == when


def written(fault: soap.Fault, relates_to: str | None = ID) -> xml.Element:
    return xml.parse(soap.write_fault(fault, message_id="M", relates_to=relates_to, error_id="E"))


@pytest.mark.requirement("SMSP-ERR-001", "b")
@pytest.mark.parametrize("code", ["1000", "2100", "2200", "3000"])
def test_a_fault_says_code_text_and_diagnostic(code: str) -> None:
    message = written(soap.Fault(kind="client", code=code, diagnostic="It is so"))
    texts = {xml.local_name(element): xml.text(element) for element in xml.descendants(message)}
    assert texts["faultcode"] == "soap:Client"
    assert texts["Action"] == "http://www.w3.org/2005/08/addressing/soap/fault"
    assert (texts["MessageID"], texts["RelatesTo"]) == ("M", ID)
    assert (texts["ErrorID"], texts["ErrorCode"], texts["ErrorText"], texts["ErrorDiagnosticText"]) == (
        "E",
        code,
        FAULT_TEXTS[code].text,
        "It is so",
    )
    assert not [element for element in xml.descendants(message) if element.tag.startswith("{urn:hl7-org:v3}")]


@pytest.mark.parametrize(
    ("kind", "faultcode", "action"),
    [
        ("client", "soap:Client", "http://www.w3.org/2005/08/addressing/soap/fault"),
        ("server", "soap:Server", "http://www.w3.org/2005/08/addressing/soap/fault"),
        ("version-mismatch", "soap:VersionMismatch", "http://www.w3.org/2005/08/addressing/soap/fault"),
        ("must-understand", "soap:MustUnderstand", "http://www.w3.org/2005/08/addressing/fault"),
    ],
)
def test_each_kind_of_fault_has_its_words(kind: soap.FaultKind, faultcode: str, action: str) -> None:
    fault = soap.Fault(kind=kind, code="1000", diagnostic="d")
    texts = {xml.local_name(element): xml.text(element) for element in xml.descendants(written(fault))}
    assert (texts["faultcode"], texts["Action"]) == (faultcode, action)
    message = soap.read_message(soap.write_fault(fault, message_id="M", relates_to=None, error_id="E"))
    assert soap.read_fault(message.content) == fault


def test_a_fault_without_a_code_has_no_detail_and_without_a_request_relates_to_nothing() -> None:
    message = written(soap.Fault(kind="version-mismatch", code=None, diagnostic=""), relates_to=None)
    assert not {"detail", "RelatesTo"} & {xml.local_name(element) for element in xml.descendants(message)}


def test_a_code_that_is_no_fault_code_cannot_be_written() -> None:
    with pytest.raises(KeyError):
        written(soap.Fault(kind="client", code="1001", diagnostic=""))


def test_faults_of_other_makers_are_read() -> None:
    fault = soap.read_message(
        b'<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"><SOAP-ENV:Body><SOAP-ENV:Fault>'
        b"<faultcode>SOAP-ENV:Client.Authentication</faultcode><faultstring>No entry</faultstring>"
        b"</SOAP-ENV:Fault></SOAP-ENV:Body></SOAP-ENV:Envelope>"
    )
    assert soap.read_fault(fault.content) == soap.Fault(kind="client", code=None, diagnostic="No entry")


def test_no_diagnostic_repeats_another() -> None:
    assert len({diagnostic.value for diagnostic in soap.Diagnostic}) == len(soap.Diagnostic)
