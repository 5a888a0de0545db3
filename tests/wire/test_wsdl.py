"""The description of the services: whole, valid, and of use to a tool that reads it."""

import datetime
import io
import uuid

import pytest
import zeep
from itk_samples import HL7_ID, QUESTIONS
from lxml import etree

from minispine.domain.operations import Operation
from minispine.wire import itk, pds, soap, xml
from minispine.wire.wsdl import PATHS, wsdl

ADDRESS = "https://smsp.invalid:8443"
NOW = datetime.datetime(2024, 5, 1, 10, 0, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def client() -> zeep.Client:
    return zeep.Client(io.BytesIO(wsdl(ADDRESS)))


def test_each_operation_has_a_service_at_its_own_address() -> None:
    root = xml.parse(wsdl(ADDRESS))
    locations = {element.get("location") for element in root.iter("{http://schemas.xmlsoap.org/wsdl/soap/}address")}
    assert locations == {ADDRESS + path for path in PATHS.values()}
    assert PATHS[Operation.GET_NHS_NUMBER] == "/interoperability.toolkit/HL7v3/getNHSNumber-v1-0"


def test_nothing_is_left_to_fetch() -> None:
    root = xml.parse(wsdl(ADDRESS))
    assert not [element for element in root.iter() if xml.local_name(element) in ("include", "import")]


def test_the_types_inside_are_schemas_that_stand_alone() -> None:
    types = next(xml.parse(wsdl(ADDRESS)).iter("{http://schemas.xmlsoap.org/wsdl/}types"))
    for schema in types:
        etree.XMLSchema(etree.fromstring(etree.tostring(schema)))


def _headers(operation: Operation) -> list[etree._Element]:
    """The headers that the ITK transport wants and a WSDL cannot describe."""
    addressed = etree.Element("x", nsmap={"wsa": soap.WSA, "wsse": soap.WSSE, "wsu": soap.WSU})
    for name, text in (
        ("MessageID", str(uuid.UUID(int=1))),
        ("Action", pds.MESSAGES[operation].service),
        ("To", ADDRESS),
    ):
        etree.SubElement(addressed, f"{{{soap.WSA}}}{name}").text = text
    security = etree.SubElement(addressed, f"{{{soap.WSSE}}}Security")
    stamp = etree.SubElement(security, f"{{{soap.WSU}}}Timestamp")
    etree.SubElement(stamp, f"{{{soap.WSU}}}Created").text = "2024-05-01T10:00:00.000Z"
    etree.SubElement(stamp, f"{{{soap.WSU}}}Expires").text = "2024-05-01T10:05:00.000Z"
    token = etree.SubElement(security, f"{{{soap.WSSE}}}UsernameToken")
    etree.SubElement(token, f"{{{soap.WSSE}}}Username").text = "zeep"
    return list(addressed)


@pytest.mark.parametrize("operation", Operation)
def test_zeep_builds_a_request_that_we_read(client: zeep.Client, operation: Operation) -> None:
    names = pds.MESSAGES[operation]
    payload_id = f"uuid_{uuid.UUID(int=3)}".upper().replace("UUID_", "uuid_")
    envelope = client.create_message(
        client.bind(f"{operation}-v1-0"),
        f"{operation}-v1-0",
        header={
            "service": names.service,
            "trackingid": str(uuid.UUID(int=2)).upper(),
            "auditIdentity": {"id": [{"uri": "urn:nhs-uk:identity:ods:RXX:jsmith"}]},
            "manifest": {
                "count": 1,
                "manifestitem": [{"id": payload_id, "mimetype": "text/xml", "profileid": names.request_profile}],
            },
        },
        payloads={
            "count": 1,
            "payload": [{"id": payload_id, "_value_1": pds.write_request(QUESTIONS[operation], id=HL7_ID)}],
        },
        _soapheaders=_headers(operation),
    )
    request = itk.read_request(
        etree.tostring(envelope), soap_action=f'"{names.service}"', now=NOW, policy=itk.EnvelopePolicy()
    )
    assert request.operation is operation
    assert pds.read_request(operation, request.payload, partial_birth_dates=True) == QUESTIONS[operation]


def test_zeep_knows_the_messages_too(client: zeep.Client) -> None:
    for names in pds.MESSAGES.values():
        assert client.get_element(f"{{{pds.HL7}}}{names.request_root}")
        assert client.get_element(f"{{{pds.HL7}}}{names.response_root}")
