"""Official samples are read, and everything that we write is valid against the official schemas."""

import datetime
from functools import cache
from pathlib import Path

import msgspec
import pytest
from lxml import etree

from minispine.domain.identity import AuditId
from minispine.domain.operations import Operation
from minispine.domain.patient import Address, Name, Patient, Practice, Telecom
from minispine.domain.request import LocalIdentifier, PdsRequest, Reply
from minispine.vocabulary import oids
from minispine.vocabulary.codes import FAULT_TEXTS, shipped_vocabulary
from minispine.wire import itk, pds, soap
from minispine.wire.wsdl import PATHS

VOCABULARY = shipped_vocabulary("pds")
NOW = datetime.datetime(2024, 5, 1, 10, 0, tzinfo=datetime.UTC)
IDS = [f"0B00000{n}-0000-4000-8000-00000000000A" for n in range(5)]
LOCAL = LocalIdentifier(root="2.16.840.1.113883.2.1.3.2.4.18.24", extension="RXX:17")

OFFICIAL = {
    pds.MESSAGES[Operation.VERIFY_NHS_NUMBER].request_root: "QUPA_MT000001GB01",
    pds.MESSAGES[Operation.GET_NHS_NUMBER].request_root: "QUPA_MT000002GB01",
    pds.MESSAGES[Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER].request_root: "QUPA_MT000003GB01",
    pds.MESSAGES[Operation.GET_PATIENT_DETAILS_BY_SEARCH].request_root: "QUPA_MT000004GB01",
    pds.MESSAGES[Operation.GET_PATIENT_DETAILS].request_root: "QUPA_MT000005GB01",
    "verifyNHSNumberResponse-v1-0": "COMT_MT000013GB01",
    "getNHSNumberResponse-v1-0": "COMT_MT000014GB01",
    "getPatientDetailsResponse-v1-0": "COMT_MT000016GB01",
    "DistributionEnvelope": "distributionEnvelope-v2-0",
    "ToolkitErrorInfo": "ITKMessageTypes-2010-05",
}


@cache
def _schema(path: Path) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(path))


def _valid(corpus: Path, element: etree._Element) -> bool:
    schema = _schema(corpus / f"itk/schemas/Schemas/{OFFICIAL[etree.QName(element).localname]}.xsd")
    alone = etree.fromstring(etree.tostring(element))
    assert schema.validate(alone), schema.error_log
    return True


def _message_valid(corpus: Path, body: bytes) -> bool:
    """Whether the envelope in the SOAP message and the message in its one payload are both valid."""
    (envelope,) = etree.fromstring(body).iter(f"{{{soap.ITK}}}DistributionEnvelope")
    (payload,) = envelope.iter(f"{{{soap.ITK}}}payload")
    return _valid(corpus, envelope) and _valid(corpus, payload[0])


# Samples in

REQUESTS = [
    *(f"skeletons/{operation}-request.xml" for operation in Operation),
    "spine-smsp/getNHSNumber-request-opentest-2016.xml",
]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_sample_request_is_accepted_when_it_was_created(corpus: Path, name: str) -> None:
    body = (corpus / "itk" / name).read_bytes()
    (created,) = etree.fromstring(body).iter(f"{{{soap.WSU}}}Created")
    now = soap.read_time(created.text or "")
    assert now is not None
    request = itk.read_request(body, soap_action=None, now=now, policy=itk.EnvelopePolicy())
    assert name.partition("/")[2].startswith(f"{request.operation}-")
    asked = pds.read_request(request.operation, request.payload, partial_birth_dates=True)
    assert isinstance(asked, PdsRequest)
    assert request.audit_identity


RESPONSES = {
    "verifyNHSNumber-response.xml": ("SMSP-0000", "9449310467", True),
    "verifyNHSNumber-response-DEMOG-0017-with-replacement.xml": ("DEMOG-0017", "9449310599", False),
    "verifyNHSNumber-response-DEMOG-0040.xml": ("DEMOG-0040", None, None),
    "getNHSNumber-response.xml": ("SMSP-0000", "9449310467", None),
    "getNHSNumber-response-DEMOG-0007.xml": ("DEMOG-0007", None, None),
    "getPatientDetailsByNHSNumber-response.xml": ("SMSP-0000", "9449310467", None),
    "getPatientDetailsByNHSNumber-response-DEMOG-0017-with-replacement.xml": ("DEMOG-0017", "9449310599", None),
    "getPatientDetailsBySearch-response.xml": ("SMSP-0000", "9449310467", None),
    "getPatientDetails-response.xml": ("SMSP-0000", "9449310467", None),
    "getPatientDetails-response-DEMOG-0001.xml": ("DEMOG-0001", None, None),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_a_sample_response_is_read_and_can_be_written_again(corpus: Path, name: str) -> None:
    response = itk.read_response((corpus / "itk/skeletons" / name).read_bytes())
    assert isinstance(response, itk.ItkResponse)
    operation = Operation(name.partition("-")[0])
    assert response.service == pds.MESSAGES[operation].response_service
    reply = pds.read_response(operation, response.payload)
    assert (reply.code, reply.nhs_number, reply.verified) == RESPONSES[name]
    assert (reply.patient is not None) == (reply.code == "SMSP-0000" and operation.startswith("getPatientDetails"))
    again = pds.write_response(operation, reply, id=IDS[0], vocabulary=VOCABULARY)
    assert _valid(corpus, again)
    assert pds.read_response(operation, again) == reply


def test_a_real_response_is_read(corpus: Path) -> None:
    body = (corpus / "itk/spine-smsp/getNHSNumber-response-opentest-2016-07-27.xml").read_bytes()
    response = itk.read_response(body)
    assert isinstance(response, itk.ItkResponse)
    assert response.relates_to is None
    assert pds.read_response(Operation.GET_NHS_NUMBER, response.payload) == Reply(
        code="SMSP-0000", nhs_number="9473480032"
    )


@pytest.mark.parametrize("code", ["1000", "2100", "3000"])
def test_a_sample_fault_is_read(corpus: Path, code: str) -> None:
    fault = itk.read_response((corpus / f"itk/skeletons/fault-{code}.xml").read_bytes())
    assert isinstance(fault, soap.Fault)
    assert (fault.code, fault.kind) == (code, "server" if code == "2100" else "client")
    assert fault.diagnostic


# What we write


def _question(operation: Operation) -> PdsRequest:
    takes = pds.MESSAGES[operation].parameters
    return PdsRequest(
        operation=operation,
        birth_date="20090310",
        nhs_number="9449310467" if "Person.NHSNumber" in takes else None,
        gender="1" if "Person.Gender" in takes else None,
        family="O'NEIL-ÅS",
        given="A & B",
        postcode="KT21 2PN" if "Person.Postcode" in takes else None,
        local_identifier=LOCAL if "Person.LocalIdentifier" in takes else None,
    )


@pytest.mark.requirement("MSCA-AUD-04", "b")
@pytest.mark.parametrize("operation", Operation)
def test_our_requests_are_valid_and_name_who_asks(corpus: Path, operation: Operation) -> None:
    uri = "urn:nhs-uk:identity:ods:RXX:jsmith"
    body = itk.write_request(
        pds.write_request(_question(operation), id=IDS[0]),
        operation=operation,
        message_id=IDS[1],
        tracking_id=IDS[2],
        payload_id=IDS[3],
        to="https://smsp.invalid/smsp/pds",
        timestamp=soap.Timestamp(created=NOW, expires=NOW + datetime.timedelta(minutes=5), id=IDS[4]),
        username="A client",
        audit_identity=(AuditId(type=oids.LOCAL_IDENTITY, uri=uri),),
        sender_address="urn:nhs-uk:addressing:ods:RXX:client",
    )
    assert _message_valid(corpus, body)
    (identity,) = etree.fromstring(body).iter(f"{{{soap.ITK}}}auditIdentity")
    assert [dict(id.attrib) for id in identity] == [{"type": "2.16.840.1.113883.2.1.3.2.4.18.27", "uri": uri}]


LINES = ("", "10 SOME PLACE", "", "TOWN", "")
PATIENT = Patient(
    nhs_number="9449310467",
    name=Name(prefix="MS", given=("ZOË", "ANN"), family="O'NEIL & CO"),
    gender="2",
    birth_date="20090310",
    death_date="2010",
    addresses=tuple(Address(use=use, lines=LINES, postcode="KT21 2PN") for use in ("H", "TMP", "PST")),
    telecoms=(
        *(Telecom(use=use, value="tel:07700 900123", since="20110324") for use in ("H", "MC", "WP", "HV", "EC")),
        Telecom(use="H", value="mailto:someone@example.com"),
    ),
    practice=Practice(
        ods_code="H81109", name="A SURGERY", address=Address(use=None, lines=LINES), telephone="(01372) 462-501"
    ),
)
REPLIES = [
    *(Reply(code=code) for code in VOCABULARY.texts),
    Reply(code="SMSP-0000", nhs_number="9449310467", verified=True),
    Reply(code="DEMOG-0017", nhs_number="9449310599", verified=False, local_identifier=LOCAL),
    Reply(code="SMSP-0000", patient=PATIENT, local_identifier=LOCAL),
    Reply(code="SMSP-0003", patient=PATIENT),
    *(
        Reply(code="SMSP-0000", patient=msgspec.structs.replace(PATIENT, **{part: empty}))
        for part, empty in [("name", None), ("gender", None), ("addresses", ()), ("telecoms", ()), ("practice", None)]
    ),
]


@pytest.mark.requirement("SMSP-VAL-004", "a")
@pytest.mark.parametrize("operation", Operation)
def test_our_answers_are_valid(corpus: Path, operation: Operation) -> None:
    for reply in REPLIES:
        if reply.patient is not None and not operation.startswith("getPatientDetails"):
            continue
        for security, audit_identity in ((None, None), ((NOW, NOW), "urn:nhs-uk:identity:ods:RZZ:smsp")):
            body = itk.write_response(
                pds.write_response(operation, reply, id=IDS[0], vocabulary=VOCABULARY),
                operation=operation,
                message_id=IDS[1],
                tracking_id=IDS[2],
                relates_to=IDS[3],
                security=security,
                audit_identity=audit_identity,
            )
            assert _message_valid(corpus, body)


@pytest.mark.parametrize("code", FAULT_TEXTS)
def test_our_faults_are_valid(corpus: Path, code: str) -> None:
    fault = soap.Fault(kind="client", code=code, diagnostic="<It> & it")
    body = soap.write_fault(fault, message_id=IDS[0], relates_to=None, error_id=IDS[1])
    (info,) = etree.fromstring(body).iter(f"{{{soap.ITK}}}ToolkitErrorInfo")
    assert _valid(corpus, info)


def test_the_wsdl_of_the_interface_names_our_services_and_paths(corpus: Path) -> None:

    official = etree.parse(corpus / "itk/schemas/Schemas/wsdl/PDSMiniServices-v1-0.wsdl").getroot()
    soap_11 = "{http://schemas.xmlsoap.org/wsdl/soap/}"
    actions = {operation.get("soapAction") for operation in official.iter(f"{soap_11}operation")}
    assert actions == set(pds.BY_SERVICE)
    locations = {str(address.get("location")) for address in official.iter(f"{soap_11}address")}
    assert {location.removeprefix("http://server:80") for location in locations} == set(PATHS.values())
