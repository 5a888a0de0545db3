"""A supplier points a SOAP toolkit at our description and calls all five operations.

The message inside the payload is made without the toolkit, which cannot write text into HL7's mixed types; it reads the
answers by our types.
"""

import datetime
from collections.abc import Iterator

import pytest
import requests
import zeep
from lxml import etree

from minispine.domain.operations import Operation
from tests.journeys.house import House, Spine
from tests.journeys.messages import BY_SEARCH, FIND, VERIFY, Message, at, new_id

WSA = "http://www.w3.org/2005/08/addressing"
_WSS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity"
WSSE, WSU = f"{_WSS}-secext-1.0.xsd", f"{_WSS}-utility-1.0.xsd"


@pytest.fixture(scope="module")
def client(house: House) -> Iterator[zeep.Client]:
    session = requests.Session()
    session.trust_env = False
    session.verify = str(house.keys / "provider/ca.pem")
    session.cert = (str(house.keys / "issued/ward.pem"), str(house.keys / "issued/ward.key"))
    transport = zeep.Transport(session=session)  # type: ignore[no-untyped-call]
    yield zeep.Client(f"https://localhost:{house.port}/smsp/pds?wsdl", transport=transport)  # type: ignore[no-untyped-call]
    session.close()


def _headers(service: str) -> list[etree._Element]:
    now = datetime.datetime.now(datetime.UTC)

    def element(namespace: str, name: str, *content: etree._Element, text: str | None = None) -> etree._Element:
        made = etree.Element(f"{{{namespace}}}{name}")
        made.text = text
        made.extend(content)
        return made

    created = element(WSU, "Created", text=now.isoformat())
    expires = element(WSU, "Expires", text=(now + datetime.timedelta(minutes=5)).isoformat())
    username = element(WSSE, "UsernameToken", element(WSSE, "Username", text="zeep"))
    return [
        element(WSA, "MessageID", text=new_id()),
        element(WSA, "Action", text=service),
        element(WSA, "To", text="https://smsp.example/"),
        element(WSSE, "Security", element(WSU, "Timestamp", created, expires), username),
    ]


@pytest.mark.requirement("SERVICE-PDS", "a")
@pytest.mark.parametrize("operation", Operation)
def test_a_toolkit_calls_each_operation(client: zeep.Client, spine: Spine, operation: Operation) -> None:
    person = spine.people("plain", 1)[0]
    service = f"urn:nhs-itk:services:201005:{operation}-v1-0"
    searching = operation in (FIND, BY_SEARCH)
    asked = {name: person[name] for name in (("family", "gender") if searching else ("nhs_number",))}
    written = etree.fromstring(Message(operation, birth_date=person["birth_date"], **asked).body)
    payload_id = f"uuid_{new_id()}"
    profile = f"urn:nhs-en:profile:{operation}Request-v1-0"
    bound = client.bind(f"{operation}-v1-0")
    answer = getattr(bound, f"{operation}-v1-0")(
        header={
            "service": service,
            "trackingid": new_id(),
            "auditIdentity": {"id": [{"uri": "urn:nhs-uk:identity:ods:RXX:jsmith"}]},
            "manifest": {
                "count": 1,
                "manifestitem": [{"id": payload_id, "mimetype": "text/xml", "profileid": profile}],
            },
        },
        payloads={"count": 1, "payload": [{"id": payload_id, "_value_1": at(written, ".//itk:payload/*")}]},
        _soapheaders=_headers(service),
    )
    assert answer.header.service == f"{service}Response"
    (payload,) = answer.payloads.payload
    said = payload["_value_1"]
    assert said.value.code == "SMSP-0000"
    if operation is VERIFY:
        assert said.component.validIdentifier.value.value is True
    else:
        assert said.subject.patient.id[0].extension == person["nhs_number"]


def test_a_toolkit_reads_a_fault(client: zeep.Client) -> None:
    with pytest.raises(zeep.exceptions.Fault) as refused:
        getattr(client.bind("getNHSNumber-v1-0"), "getNHSNumber-v1-0")(
            header={
                "service": "urn:x",
                "trackingid": new_id(),
                "manifest": {"count": 0, "manifestitem": [{"id": "a", "mimetype": "text/xml"}]},
            },
            payloads={"count": 0, "payload": [{"id": "a"}]},
            _soapheaders=_headers("urn:x"),
        )
    (info,) = refused.value.detail
    assert info.findtext("{urn:nhs-itk:ns:201005}ErrorCode") == "1000"
