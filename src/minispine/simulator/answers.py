"""Writing what this Spine answers: records, business answers, acknowledgements and SOAP faults (2008-A messages).

Time and ids are parameters. A record is written once for each person and reason, and the bytes are kept: they are put
in the place of an empty element that the message around them has for it. Records are written as they are held, with
their defects (`Person.sent`); the messages around them are always sound.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from minispine.simulator.matching import Match, Query, Result, Retrieval
from minispine.simulator.record import HeldAddress, HeldName, HeldTelecom, Person, altered
from minispine.simulator.requests import HL7, SOAP, WSA, Rule
from minispine.vocabulary import oids
from minispine.wire import xml

NASP: Final = "http://national.carerecords.nhs.uk/schema/"

BUSINESS_ANSWER: Final = "QUQI_IN010000UK14"
ACKNOWLEDGEMENT: Final = "MCCI_IN010000UK13"

_OBSERVATION: Final = "2.16.840.1.113883.2.1.3.2.4.17.35"
_DEATH_NOTIFICATION: Final = "2.16.840.1.113883.2.1.3.2.4.16.5"
_OBJECT: Final = "2.16.840.1.113883.2.1.3.2.4.18.1"
_VERSION: Final = "3NPfIT6.3.01"
_SERVICE: Final = "urn:nhs:names:services:pdsquery"


class Reason(NamedTuple):
    """A coded reason: ER for an error, WG for a warning that comes with a record."""

    code: str
    text: str
    qualifier: str = "ER"


REASONS: Final[dict[str, Reason]] = {
    reason.code: reason
    for reason in (
        Reason("0", "Generic Error"),
        Reason("1", "No match to a Service User record"),
        Reason("2", "Multiple match - number of entries exceeds operational limit"),
        Reason("3", "Match - NHS Number and standard Service User details returned", "WG"),
        Reason("5", "Match - NHS Number and limited data only returned", "WG"),
        Reason("7", "Multiple matches"),
        Reason("9", "Successful retrieval - Information returned limited by sensitivity conditions", "WG"),
        Reason("17", "NHS Number superseded - replacement returned"),
        Reason("22", "NHS Number invalidated - no replacement"),
        Reason("24", "NHS Number supplied has been superseded and superseding NHS Number returned", "WG"),
        Reason("40", "NHS Number not verified"),
        Reason("42", "Not a new style NHS Number"),
        Reason("44", "NHS Number superseded - replacement returned"),
        Reason("AT001", "Invalid search type"),
        Reason("AT002", "Missing mandatory search field"),
        Reason("AT009", "Missing search type"),
        Reason("GE002", "Unexpected business error encountered."),
        Reason("NHSNCC002", "NHS Number Not Found"),
        Reason("RT003", "No match to a Service User record (retrieval)"),
        Reason("ST004", "No match to a Service User record (simple trace)"),
    )
}

ACKNOWLEDGED_BY_DETAIL: Final = frozenset({"202", "506", "519"})
"""Codes of the transport that travel as acknowledgementDetail of an AR; any other is the reason of an AE."""

FAULT_TEXTS: Final = {
    "101": "The service/interaction is not supported for the requested URI",
    "200": "System failure to process message - default",
    "201": "The message is not well formed",
    "206": "Routing Delivery Failure - Message failed on routing",
    "208": "Failure storing VARIABLE in memo",
    "300": "The message cannot be processed",
}


class Interaction(NamedTuple):
    """How one query is answered."""

    answer: str
    wrapper: str
    record: str
    unknown: str
    """The detail code beside 1 when nobody is found."""
    found: str | None
    """The warning that comes with a record."""
    sensitive: str


INTERACTIONS: Final = {
    "QUPA_IN000005UK01": Interaction("QUPA_IN000007UK01", "traceQueryResponse", "PdsTraceMatch", "ST004", "3", "5"),
    "QUPA_IN000014UK01": Interaction(
        "QUPA_IN000015UK02", "crossCheckTraceQueryResponse", "PDSResponse", "NHSNCC002", None, "5"
    ),
    "QUPA_IN000008UK02": Interaction("QUPA_IN000009UK03", "retrievalQueryResponse", "PDSResponse", "RT003", None, "9"),
}

_NEGATIVE: Final[dict[Result, str]] = {
    Result.SEVERAL: "7",
    Result.NOT_VERIFIED: "40",
    Result.INVALIDATED: "22",
    Result.NOT_NEW_STYLE: "42",
}


class Envelope(NamedTuple):
    """What an answer carries of its request, and its own id and time.

    `related` is the request's message id and `referred` its HL7 id, both bare; `sender` is this Spine's ASID. The ids
    are upper-case UUIDs and `created` is YYYYMMDDHHMMSS.
    """

    id: str
    created: str
    sender: str
    receiver: str
    related: str
    referred: str
    address: str = ""


class Answers:
    """Writes answers, and keeps every record it has written."""

    def __init__(self) -> None:
        self._written: dict[tuple[str, str, str, bool], bytes] = {}

    def looked_up(
        self, interaction: str, query: Query, match: Match, envelope: Envelope, changes: Mapping[str, Any] | None = None
    ) -> bytes:
        """Answer a query with what the register gave; `changes` alter the record on its way out (see `altered`)."""
        shape = INTERACTIONS[interaction]
        if match.person is None:
            codes = [_NEGATIVE[match.result]] if match.result in _NEGATIVE else ["1", shape.unknown]
            return self.refused(interaction, [REASONS[code] for code in codes], envelope)
        reasons = [REASONS[code] for code in _warnings(shape, match)]
        bare = isinstance(query, Retrieval) and not query.items
        if changes:
            record = _record(shape, altered(match.person, {**match.person.sent, **changes}), match, bare=bare)
        else:
            key = (interaction, match.person.nhs_number, match.result.value, bare)
            record = self._written.get(key, b"")
            if not record:
                person = altered(match.person, match.person.sent) if match.person.sent else match.person
                record = self._written[key] = _record(shape, person, match, bare=bare)
        document, wrapped = _envelope(shape.answer, envelope, wrapper=shape.wrapper)
        act = _message(wrapped, shape.answer, envelope, acknowledged="AA", reasons=reasons)
        xml.add(act, _hl7("subject"))
        _query_ack(act, "OK")
        return xml.to_bytes(document).replace(b"<subject/>", record, 1)

    def refused(self, interaction: str, reasons: list[Reason], envelope: Envelope) -> bytes:
        """Answer a query with a business error, in the wrapper that its answer would have had."""
        document, wrapped = _envelope(BUSINESS_ANSWER, envelope, wrapper=INTERACTIONS[interaction].wrapper)
        act = _message(wrapped, BUSINESS_ANSWER, envelope, acknowledged="AE", reasons=reasons)
        _query_ack(act, "ID")
        return xml.to_bytes(document)


def rejected(rule: Rule, envelope: Envelope) -> bytes:
    """Reject a message: AR with the code as a detail for a code of the transport, else AE with it as the reason."""
    document, body = _envelope(ACKNOWLEDGEMENT, envelope)
    if rule.code in ACKNOWLEDGED_BY_DETAIL:
        _message(body, ACKNOWLEDGEMENT, envelope, acknowledged="AR", detail=rule)
    else:
        _message(body, ACKNOWLEDGEMENT, envelope, acknowledged="AE", reasons=[Reason(rule.code, rule.text)])
    return xml.to_bytes(document)


def broken_query(rule: Rule) -> list[Reason]:
    """Give the reasons why a query is refused: the generic error and its detail, or the one code that says it all."""
    detail = Reason(rule.code, rule.text)
    return [detail] if rule.code == "42" else [REASONS["0"], detail]


def fault(code: str, text: str | None = None) -> bytes:
    """Write a SOAP fault with Spine's error list; 101, 201 and 300 are the client's, the others the server's."""
    document = xml.root(xml.name(SOAP, "Envelope"), {"SOAP": SOAP, "nasp": NASP})
    written = xml.add(xml.add(document, xml.name(SOAP, "Body")), xml.name(SOAP, "Fault"))
    xml.add(written, "faultcode", text="SOAP:Client" if code in ("101", "201", "300") else "SOAP:Server")
    xml.add(written, "faultstring", text="Application Exception")
    error = xml.add(xml.add(xml.add(written, "detail"), xml.name(NASP, "errorList")), xml.name(NASP, "error"))
    for tag, content in (
        ("codeContext", "urn:nhs:names:error:tms"),
        ("errorCode", code),
        ("severity", "Error"),
        ("location", "Not Supported"),
        ("description", text or FAULT_TEXTS.get(code, "The message cannot be processed")),
    ):
        xml.add(error, xml.name(NASP, tag), text=content)
    return xml.to_bytes(document)


def _hl7(local: str) -> str:
    return xml.name(HL7, local)


def _warnings(shape: Interaction, match: Match) -> list[str]:
    assert match.person is not None
    codes = ["24"] if match.result is Result.SUPERSEDED else []
    if match.person.is_sensitive:
        codes.append(shape.sensitive)
    elif shape.found:
        codes.append(shape.found)
    return codes


def _devices(parent: xml.Element, envelope: Envelope) -> None:
    for function, code, asid in (
        ("communicationFunctionRcv", "RCV", envelope.receiver),
        ("communicationFunctionSnd", "SND", envelope.sender),
    ):
        end = xml.add(parent, _hl7(function), {"typeCode": code})
        device = xml.add(end, _hl7("device"), {"classCode": "DEV", "determinerCode": "INSTANCE"})
        xml.add(device, _hl7("id"), {"root": oids.ASID, "extension": asid})


def _envelope(answer: str, envelope: Envelope, *, wrapper: str | None = None) -> tuple[xml.Element, xml.Element]:
    """Start a SOAP message; give it and the element that its content goes into."""
    document = xml.root(xml.name(SOAP, "Envelope"), {"SOAP-ENV": SOAP, "wsa": WSA, None: HL7})
    header = xml.add(document, xml.name(SOAP, "Header"))
    xml.add(header, xml.name(WSA, "MessageID"), text=f"uuid:{envelope.id}")
    xml.add(header, xml.name(WSA, "Action"), text=f"{_SERVICE}/{answer}")
    xml.add(header, xml.name(WSA, "To"), text=envelope.address)
    xml.add(xml.add(header, xml.name(WSA, "From")), xml.name(WSA, "Address"), text=_SERVICE)
    _devices(header, envelope)
    xml.add(header, xml.name(WSA, "RelatesTo"), text=f"uuid:{envelope.related}")
    body = xml.add(document, xml.name(SOAP, "Body"))
    return document, (xml.add(body, _hl7(wrapper)) if wrapper else body)


def _message(
    parent: xml.Element,
    answer: str,
    envelope: Envelope,
    *,
    acknowledged: str,
    reasons: list[Reason] | None = None,
    detail: Rule | None = None,
) -> xml.Element:
    """Write the message up to and with the reasons of its control act; give the control act."""
    message = xml.add(parent, _hl7(answer))
    xml.add(message, _hl7("id"), {"root": envelope.id})
    xml.add(message, _hl7("creationTime"), {"value": envelope.created})
    xml.add(message, _hl7("versionCode"), {"code": _VERSION})
    xml.add(message, _hl7("interactionId"), {"root": oids.INTERACTION, "extension": answer})
    xml.add(message, _hl7("processingCode"), {"code": "P"})
    xml.add(message, _hl7("processingModeCode"), {"code": "T"})
    xml.add(message, _hl7("acceptAckCode"), {"code": "NE"})
    acknowledgement = xml.add(message, _hl7("acknowledgement"), {"typeCode": acknowledged})
    if detail:
        told = xml.add(acknowledgement, _hl7("acknowledgementDetail"), {"typeCode": "ER"})
        coded = {"code": detail.code, "codeSystem": oids.TMS_ACKNOWLEDGEMENT, "displayName": detail.text}
        xml.add(told, _hl7("code"), coded)
    xml.add(xml.add(acknowledgement, _hl7("messageRef")), _hl7("id"), {"root": envelope.referred})
    _devices(message, envelope)
    act = xml.add(message, _hl7("ControlActEvent"), {"classCode": "CACT", "moodCode": "EVN"})
    author = xml.add(act, _hl7("author1"), {"typeCode": "AUT"})
    agent = xml.add(author, _hl7("AgentSystemSDS"), {"classCode": "AGNT"})
    system = xml.add(agent, _hl7("agentSystemSDS"), {"classCode": "DEV", "determinerCode": "INSTANCE"})
    xml.add(system, _hl7("id"), {"root": oids.ASID, "extension": envelope.sender})
    for reason in reasons or ():
        cause = xml.add(act, _hl7("reason"), {"typeCode": "RSON"})
        issue = xml.add(cause, _hl7("justifyingDetectedIssueEvent"), {"classCode": "ALRT", "moodCode": "EVN"})
        coded = {"code": reason.code, "codeSystem": oids.PDS_REASON, "displayName": reason.text}
        xml.add(xml.add(issue, _hl7("code"), coded), _hl7("qualifier"), {"code": reason.qualifier})
    return act


def _query_ack(act: xml.Element, code: str) -> None:
    acknowledged = xml.add(act, _hl7("queryAck"), {"type": "QueryAck"})
    xml.add(acknowledged, _hl7("queryResponseCode"), {"code": code})


def _record(shape: Interaction, person: Person, match: Match, *, bare: bool) -> bytes:
    """Write a record as the `subject` of an answer, ready to stand in the message. `bare` leaves out all but its id."""
    subject = xml.root(_hl7("subject"), {None: HL7}, {"typeCode": "SUBJ"})
    record = xml.add(subject, _hl7(shape.record), {"classCode": "OBS", "moodCode": "EVN"})
    writer = _retrieved if shape.wrapper == "retrievalQueryResponse" else _traced
    writer(record, person, match, bare)
    return xml.to_bytes(subject).partition(b"?>")[2].strip()


def _patient_role(record: xml.Element) -> xml.Element:
    return xml.add(xml.add(record, _hl7("subject"), {"typeCode": "SBJ"}), _hl7("patientRole"), {"classCode": "PAT"})


def _traced(record: xml.Element, person: Person, match: Match, bare: bool) -> None:
    """Write the record of a simple trace or cross check: home address, contacts, person, practice."""
    role = _patient_role(record)
    open_record = not person.is_sensitive
    home = [address for address in person.addresses if address.use not in ("TMP", "PST")]
    if open_record:
        for address in home[:1]:
            _address(role, address)
    _confidentiality(role, person)
    xml.add(role, _hl7("id"), {"root": oids.NHS_NUMBER, "extension": person.nhs_number})
    if open_record:
        for telecom in person.telecoms:
            _telecom(role, telecom)
    patient = _person(role, person)
    for name in person.names:
        _name(patient, name)
    if open_record and person.registration:
        _registration(patient, person, event="patientCareProvision", performer="assignedOrganization")
    _death(role, person, "subjectOf3" if xml.local_name(record) == "PdsTraceMatch" else "subjectOf2")


def _retrieved(record: xml.Element, person: Person, match: Match, bare: bool) -> None:
    """Write the record of a retrieval; a sensitive one has only its confidentiality, its number and an empty person."""
    pertinent = xml.add(record, _hl7("pertinentInformation"), {"typeCode": "PERT"})
    observed = {"classCode": "OBS", "moodCode": "EVN"}
    serial = xml.add(pertinent, _hl7("pertinentSerialChangeNumber"), observed)
    xml.add(serial, _hl7("code"), {"code": "2", "codeSystem": _OBSERVATION})
    xml.add(serial, _hl7("value"), {"value": str(person.serial_change_number)})
    role = _patient_role(record)
    _confidentiality(role, person)
    xml.add(role, _hl7("id"), {"root": oids.NHS_NUMBER, "extension": person.nhs_number})
    if bare:
        return
    if person.is_sensitive:
        xml.add(role, _hl7("patientPerson"), {"classCode": "PSN", "determinerCode": "INSTANCE"})
        return
    patient = _person(role, person)
    if person.registration:
        _registration(patient, person, event="patientCareProvisionEvent", performer="assignedEntity", object_id="A1")
    parts: tuple[tuple[str, str, list[Callable[[xml.Element, str], None]]], ...] = (
        ("COCT_MT000201UK02.PartOfWhole", "B", [_part(_address, address) for address in person.addresses]),
        ("COCT_MT000202UK02.PartOfWhole", "C", [_part(_telecom, telecom) for telecom in person.telecoms]),
        ("COCT_MT000203UK02.PartOfWhole", "D", [_part(_named_person, name) for name in person.names]),
    )
    for tag, letter, writers in parts:
        for position, write in enumerate(writers, 1):
            write(xml.add(patient, _hl7(tag), {"classCode": "PART"}), f"{letter}{position}")
    for number in match.replaced:
        replaced = xml.add(role, _hl7("replacementOf"), {"typeCode": "REPL"})
        old = xml.add(replaced, _hl7("oldVersion"), {"classCode": "PAT"})
        xml.add(old, _hl7("id"), {"root": oids.NHS_NUMBER, "extension": number})
    _death(role, person, "subjectOf2")


def _part(write: Callable[[xml.Element, Any, str], None], held: object) -> Callable[[xml.Element, str], None]:
    return lambda parent, object_id: write(parent, held, object_id)


def _confidentiality(role: xml.Element, person: Person) -> None:
    if person.confidentiality:
        coded = {"codeSystem": oids.CONFIDENTIALITY, "code": person.confidentiality}
        xml.add(role, _hl7("confidentialityCode"), coded)


def _person(role: xml.Element, person: Person) -> xml.Element:
    patient = xml.add(role, _hl7("patientPerson"), {"classCode": "PSN", "determinerCode": "INSTANCE"})
    for tag, attribute, value in (
        ("administrativeGenderCode", "code", person.gender),
        ("birthTime", "value", person.birth_time),
        ("deceasedTime", "value", person.deceased_time),
    ):
        if value:
            xml.add(patient, _hl7(tag), {attribute: value})
    return patient


def _registration(patient: xml.Element, person: Person, *, event: str, performer: str, object_id: str = "") -> None:
    held = person.registration
    assert held is not None
    played = xml.add(patient, _hl7("playedOtherProviderPatient"), {"classCode": "PAT"})
    provision = xml.add(xml.add(played, _hl7("subjectOf"), {"typeCode": "SBJ"}), _hl7(event))
    provision.set("classCode", "PCPR")
    provision.set("moodCode", "EVN")
    xml.add(provision, _hl7("code"), {"code": "1", "codeSystem": oids.CARE_PROVISION})
    _period(provision, "effectiveTime", held.since, held.until)
    _object_id(provision, object_id)
    performed = xml.add(provision, _hl7("performer"), {"typeCode": "PRF"})
    assigned = xml.add(performed, _hl7(performer), {"classCode": "ASSIGNED"})
    xml.add(assigned, _hl7("id"), {"root": oids.ODS_SPINE, "extension": held.practice})


def _death(role: xml.Element, person: Person, relation: str) -> None:
    if not person.deceased_time:
        return
    notified = xml.add(role, _hl7(relation), {"typeCode": "SBJ"})
    notification = xml.add(notified, _hl7("deathNotification"), {"classCode": "OBS", "moodCode": "EVN"})
    xml.add(notification, _hl7("code"), {"code": "3", "codeSystem": _OBSERVATION})
    xml.add(notification, _hl7("value"), {"code": "2", "codeSystem": _DEATH_NOTIFICATION})


def _address(parent: xml.Element, held: HeldAddress, object_id: str = "") -> None:
    address = xml.add(parent, _hl7("addr"), {"use": held.use} if held.use else None)
    for line in held.lines:
        xml.add(address, _hl7("streetAddressLine"), text=line or None)
    if held.postcode is not None:
        xml.add(address, _hl7("postalCode"), text=held.postcode)
    if held.paf_key:
        xml.add(address, _hl7("addressKey"), text=held.paf_key)
    _period(address, "useablePeriod", held.since, held.until)
    _object_id(address, object_id)


def _telecom(parent: xml.Element, held: HeldTelecom, object_id: str = "") -> None:
    telecom = xml.add(parent, _hl7("telecom"), {"use": held.use} if held.use else None)
    telecom.set("value", held.value)
    _period(telecom, "useablePeriod", held.since, None)
    _object_id(telecom, object_id)


def _named_person(parent: xml.Element, held: HeldName, object_id: str) -> None:
    person = xml.add(parent, _hl7("partPerson"), {"classCode": "PSN", "determinerCode": "INSTANCE"})
    _name(person, held, object_id)


def _name(parent: xml.Element, held: HeldName, object_id: str = "") -> None:
    name = xml.add(parent, _hl7("name"), {"use": held.use} if held.use else None)
    if held.prefix:
        xml.add(name, _hl7("prefix"), text=held.prefix)
    for given in held.given:
        xml.add(name, _hl7("given"), text=given)
    xml.add(name, _hl7("family"), text=held.family)
    if held.suffix:
        xml.add(name, _hl7("suffix"), text=held.suffix)
    _period(name, "validTime", held.since, held.until)
    _object_id(name, object_id)


def _period(parent: xml.Element, tag: str, since: str | None, until: str | None) -> None:
    if since or until:
        period = xml.add(parent, _hl7(tag))
        for bound, value in (("low", since), ("high", until)):
            if value:
                xml.add(period, _hl7(bound), {"value": value})


def _object_id(parent: xml.Element, object_id: str) -> None:
    if object_id:
        xml.add(parent, _hl7("id"), {"root": _OBJECT, "extension": object_id})
