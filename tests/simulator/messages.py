"""Queries as a client of Spine would send them, and what an answer says."""

import itertools
import uuid
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from minispine.simulator.calls import CallLog
from minispine.simulator.exchange import Spine
from minispine.simulator.faults import FaultBook
from minispine.simulator.matching import Register
from minispine.simulator.record import HeldAddress, HeldName, HeldRegistration, HeldTelecom, Person
from minispine.wire import xml

HL7 = "{urn:hl7-org:v3}"
ASID = "928942012545"
SENDER = "200000000999"
NOON = 1_767_268_800_000_000
"""2026-01-01T12:00:00Z in microseconds."""

_AUTHOR = (
    '<author typeCode="AUT"><AgentPersonSDS classCode="AGNT"><id root="1.2.826.0.1285.0.2.0.67" extension="{}"/>'
    '<agentPersonSDS classCode="PSN" determinerCode="INSTANCE"><id root="1.2.826.0.1285.0.2.0.65" extension="{}"/>'
    '</agentPersonSDS><part typeCode="PART"><partSDSRole classCode="ROL"><id root="1.2.826.0.1285.0.2.1.104"'
    ' extension="{}"/></partSDSRole></part></AgentPersonSDS></author>'
)


def _device(tag: str, asid: str) -> str:
    return f'<{tag}><device><id root="1.2.826.0.1285.0.2.0.107" extension="{asid}"/></device></{tag}>'


def query(
    interaction: str,
    parameters: str,
    *,
    message_id: str | None = None,
    hl7_id: str | None = None,
    sender: str = SENDER,
    receiver: str = ASID,
    author: tuple[str, str, str] | None = None,
) -> bytes:
    """Write a sound query; `parameters` is the XML inside the query element."""
    hl7_id = hl7_id or str(uuid.uuid4()).upper()
    message_id = message_id or str(uuid.uuid4()).upper()
    devices = _device("communicationFunctionRcv", receiver) + _device("communicationFunctionSnd", sender)
    return f"""<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:hl7-org:v3"
 xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing"><s:Header><wsa:MessageID>uuid:{message_id}</wsa:MessageID>
<wsa:Action>urn:nhs:names:services:pdsquery/{interaction}</wsa:Action><wsa:To>https://spine/sync-service</wsa:To>
{devices}</s:Header><s:Body><{interaction}><id root="{hl7_id}"/><creationTime value="20260101120000"/>
<versionCode code="3NPfIT6.3.01"/>
<interactionId root="2.16.840.1.113883.2.1.3.2.4.12" extension="{interaction}"/><processingCode code="P"/>
<processingModeCode code="T"/><acceptAckCode code="NE"/>{devices}<ControlActEvent classCode="CACT" moodCode="EVN">
{_AUTHOR.format(*author) if author else ""}<author1 typeCode="AUT"><AgentSystemSDS><agentSystemSDS>
<id root="1.2.826.0.1285.0.2.0.107" extension="{sender}"/></agentSystemSDS></AgentSystemSDS></author1>
<query>{parameters}</query></ControlActEvent></{interaction}></s:Body></s:Envelope>""".encode()


def _name(family: str | None, given: tuple[str, ...]) -> str:
    if family is None:
        return ""
    names = "".join(f"<given>{escape(name)}</given>" for name in given)
    return f'<person.name><value use="L">{names}<family>{escape(family)}</family></value></person.name>'


def _number(number: str) -> str:
    return f'<person.id><value root="2.16.840.1.113883.2.1.4.1" extension={quoteattr(number)}/></person.id>'


def cross_check(number: str, birth: str, family: str | None = None, given: tuple[str, ...] = (), **rest: str) -> bytes:
    parameters = f"<person.birthTime><value value={quoteattr(birth)}/></person.birthTime>{_number(number)}"
    return query("QUPA_IN000014UK01", parameters + _name(family, given), **rest)  # type: ignore[arg-type]


def trace(
    gender: str, birth: str, family: str, given: tuple[str, ...] = (), postcode: str | None = None, **rest: str
) -> bytes:
    address = f"<person.address><value><postalCode>{postcode}</postalCode></value></person.address>" if postcode else ""
    return query(
        "QUPA_IN000005UK01",
        f"{address}<person.administrativeGenderCode><value code={quoteattr(gender)}/></person.administrativeGenderCode>"
        f"<person.birthTime><value value={quoteattr(birth)}/></person.birthTime>{_name(family, given)}",
        **rest,  # type: ignore[arg-type]
    )


def retrieval(number: str, *, items: bool = True, **rest: str) -> bytes:
    item = "<retrievalItem><semanticsText>person.allData</semanticsText></retrievalItem>" if items else ""
    history = '<historicDataIndicator><value code="0"/></historicDataIndicator>'
    return query("QUPA_IN000008UK02", f"{history}{_number(number)}{item}", **rest)  # type: ignore[arg-type]


class Answer(NamedTuple):
    """What an answer says."""

    document: xml.Element
    interaction: str
    acknowledged: str | None
    codes: list[str]
    """Reasons, or the acknowledgement's detail, or the codes of a SOAP fault."""
    record: xml.Element | None
    """The patientRole."""

    @property
    def number(self) -> str | None:
        return None if self.record is None else self.record.find(f"{HL7}id").get("extension")  # type: ignore[union-attr]


def understood(body: bytes) -> Answer:
    """Read an answer by local names."""
    document = xml.parse(body)
    message = next((e for e in document.iter() if "_IN0" in e.tag), None)
    if message is None:
        codes = [e.text or "" for e in document.iter() if xml.local_name(e) == "errorCode"]
        return Answer(document, "Fault", None, codes, None)
    acknowledgement = message.find(f"{HL7}acknowledgement")
    assert acknowledgement is not None
    detail = acknowledgement.findall(f"{HL7}acknowledgementDetail/{HL7}code")
    reasons = message.findall(f"{HL7}ControlActEvent/{HL7}reason/{HL7}justifyingDetectedIssueEvent/{HL7}code")
    codes = [e.get("code", "") for e in detail + reasons]
    record = next(message.iter(f"{HL7}patientRole"), None)
    return Answer(document, xml.local_name(message), acknowledgement.get("typeCode"), codes, record)


def person(number: str = "9990000018", **fields: object) -> Person:
    """Make somebody; fields of `Person`, and family, given, postcode for short."""
    family = str(fields.pop("family", "SMITH"))
    given = fields.pop("given", ("ANNE", "JOY"))
    postcode = fields.pop("postcode", "LS6 4AB")
    held: dict[str, object] = {
        "nhs_number": number,
        "kind": "plain",
        "gender": "2",
        "birth_time": "19800229",
        "names": (HeldName(prefix="MRS", given=given, family=family),),  # type: ignore[arg-type]
        "addresses": (HeldAddress(lines=("", "1 HIGH ST", "", "LEEDS", ""), postcode=postcode),),  # type: ignore[arg-type]
        "telecoms": (HeldTelecom(use="H", value="tel:01632960001", since="20200101"),),
        "registration": HeldRegistration(practice="Y90001", since="20100401"),
    }
    return Person(**(held | fields))  # type: ignore[arg-type]


def spine(*people: Person, senders: frozenset[str] | None = None) -> Spine:
    """Make a Spine that holds these people and counts its ids up."""
    ids = (f"A0000000-0000-4000-8000-{n:012}" for n in itertools.count(1))
    return Spine(
        Register(people),
        asid=ASID,
        senders=senders,
        new_id=lambda: next(ids),
        faults=FaultBook(),
        calls=CallLog(),
    )
