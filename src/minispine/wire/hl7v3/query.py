"""Writing a query: SOAP envelope, transmission wrapper, control act and parameters.

What the message set fixes is fixed here: the order of elements, the parameters in alphabetical order, the texts of
``semanticsText`` with their capitals, and the same two system ids (ASIDs) in the header and in the message.

What one sender's queries of one kind have in common, which is most of a message, is made once (`_form`); a query is a
copy of that with its ids, its time and its parameters filled in.
"""

import datetime
import re
from functools import lru_cache
from typing import Final

from minispine.domain import dates
from minispine.domain.identity import SpineAuthor
from minispine.domain.question import CrossCheck, Question, Retrieval, Trace
from minispine.vocabulary import oids
from minispine.wire import xml
from minispine.wire.hl7v3.interactions import HL7, SERVICE, VERSION, Ids, interaction

_SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
_WSA: Final = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
_PREFIXES: Final[dict[str | None, str]] = {"SOAP": _SOAP, "wsa": _WSA, "hl7": HL7}

_UUID: Final = re.compile(r"[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}")
_DEVICE: Final = {"classCode": "DEV", "determinerCode": "INSTANCE"}
_PERSON: Final = {"classCode": "PSN", "determinerCode": "INSTANCE"}


class QueryUnwritable(Exception):
    """Our own mistake: the query cannot be written. `field` names what is wrong, `reason` how; neither holds values."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def write_query(
    question: Question,
    *,
    ids: Ids,
    sender_asid: str,
    author: SpineAuthor | None,
    to_asid: str,
    to_url: str,
    from_url: str,
    created: datetime.datetime,
) -> bytes:
    """Write the whole SOAP message that asks `question`.

    `sender_asid` is the initiating organisation's and goes into Author1 (SMSP-IG-003 b); `author` is the person and
    present under access methods 3 and 4 only. `created` is an aware time and is written in UTC, to the second.

    Raises:
        QueryUnwritable: an id that is not an upper-case UUID, an ASID or identity of the author or `to_url` that is
            empty, a question that the interaction cannot carry, or a character that XML cannot.
    """
    _check(question, ids, author, sender_asid=sender_asid, to_asid=to_asid, to_url=to_url)
    try:
        envelope = xml.copy(_form(interaction(question), sender_asid, author, to_asid, to_url, from_url))
        header, body = envelope
        message = body[0]
        header[0].text = f"uuid:{ids.message_id}"
        message[0].set("root", ids.hl7_id)
        message[1].set("value", created.astimezone(datetime.UTC).strftime("%Y%m%d%H%M%S"))
        control_act = message[-1]
        _parameters(control_act[-1], question)
    except ValueError:
        raise QueryUnwritable("question", "a character that XML cannot carry") from None
    return xml.to_bytes(envelope)


@lru_cache(maxsize=256)
def _form(
    interaction_id: str, sender_asid: str, author: SpineAuthor | None, to_asid: str, to_url: str, from_url: str
) -> xml.Element:
    """Make a query that lacks its MessageID, the id and the time of the message, and its parameters.

    Raises:
        ValueError: a character that XML cannot carry.
    """
    envelope = xml.root(xml.name(_SOAP, "Envelope"), _PREFIXES)
    header = xml.add(envelope, xml.name(_SOAP, "Header"))
    xml.add(header, xml.name(_WSA, "MessageID"))
    xml.add(header, xml.name(_WSA, "Action"), text=f"{SERVICE}/{interaction_id}")
    xml.add(header, xml.name(_WSA, "To"), text=to_url)
    xml.add(xml.add(header, xml.name(_WSA, "From")), xml.name(_WSA, "Address"), text=from_url)
    _systems(header, to_asid=to_asid, sender_asid=sender_asid)
    xml.add(xml.add(header, xml.name(_WSA, "ReplyTo")), xml.name(_WSA, "Address"), text=from_url)
    body = xml.add(envelope, xml.name(_SOAP, "Body"))

    message = xml.add(body, xml.name(HL7, interaction_id), nsmap={None: HL7})
    _add(message, "id")
    _add(message, "creationTime")
    _add(message, "versionCode", {"code": VERSION})
    _add(message, "interactionId", {"root": oids.INTERACTION, "extension": interaction_id})
    _add(message, "processingCode", {"code": "P"})
    _add(message, "processingModeCode", {"code": "T"})
    _add(message, "acceptAckCode", {"code": "NE"})
    _systems(message, to_asid=to_asid, sender_asid=sender_asid)
    act = _add(message, "ControlActEvent", {"classCode": "CACT", "moodCode": "EVN"})
    if author is not None:
        _person(act, author)
    agent = _add(_add(act, "author1", {"typeCode": "AUT"}), "AgentSystemSDS", {"classCode": "AGNT"})
    _identified(_add(agent, "agentSystemSDS", _DEVICE), oids.ASID, sender_asid)
    _add(act, "query")
    return envelope


def _check(
    question: Question, ids: Ids, author: SpineAuthor | None, *, sender_asid: str, to_asid: str, to_url: str
) -> None:
    for field, value in (("message_id", ids.message_id), ("hl7_id", ids.hl7_id)):
        if not _UUID.fullmatch(value):
            raise QueryUnwritable(field, "not an upper-case UUID")
    needed = [("sender_asid", sender_asid), ("to_asid", to_asid), ("to_url", to_url)]
    if author is not None:
        needed += [(f"author.{field}", getattr(author, field)) for field in author.__struct_fields__]
    for field, value in needed:
        if not value.strip():
            raise QueryUnwritable(field, "empty")
    if not isinstance(question, Retrieval) and dates.precision(question.birth_date) != "day":
        raise QueryUnwritable("question.birth_date", "not a full date")


def _parameters(query: xml.Element, question: Question) -> None:
    """Add the parameters, which the message set wants in alphabetical order of their elements."""
    match question:
        case CrossCheck():
            _birth_time(query, question.birth_date)
            _number(query, question.nhs_number)
            if question.family or question.given:
                _name(query, question.family, question.given)
        case Trace():
            if question.postcode:
                _add(_parameter(query, "person.address", "Person.address"), "postalCode", text=question.postcode)
            gender = {"code": question.gender}
            _parameter(query, "person.administrativeGenderCode", "Person.administrativeGenderCode", gender)
            _birth_time(query, question.birth_date)
            _name(query, question.family, question.given)
        case Retrieval():
            history = {"code": "0", "codeSystem": oids.HISTORIC_DATA}
            _parameter(query, "historicDataIndicator", "HistoricDataIndicator", history)
            _number(query, question.nhs_number)
            _add(_add(query, "retrievalItem"), "semanticsText", text="person.allData")


def _parameter(query: xml.Element, element: str, semantics: str, value: dict[str, str] | None = None) -> xml.Element:
    """Add one parameter and return its value element."""
    parameter = _add(query, element)
    _add(parameter, "semanticsText", text=semantics)
    return _add(parameter, "value", value)


def _birth_time(query: xml.Element, birth_date: str) -> None:
    _parameter(query, "person.birthTime", "Person.birthTime", {"value": birth_date})


def _number(query: xml.Element, nhs_number: str) -> None:
    _parameter(query, "person.id", "Person.id", {"root": oids.NHS_NUMBER, "extension": nhs_number})


def _name(query: xml.Element, family: str | None, given: str | None) -> None:
    value = _parameter(query, "person.name", "Person.name", {"use": "L"})
    if given:
        _add(value, "given", text=given)
    if family:
        _add(value, "family", text=family)


def _systems(parent: xml.Element, *, to_asid: str, sender_asid: str) -> None:
    for element, kind, asid in (
        ("communicationFunctionRcv", "RCV", to_asid),
        ("communicationFunctionSnd", "SND", sender_asid),
    ):
        _identified(_add(_add(parent, element, {"typeCode": kind}), "device", _DEVICE), oids.ASID, asid)


def _person(act: xml.Element, author: SpineAuthor) -> None:
    agent = _add(_add(act, "author", {"typeCode": "AUT"}), "AgentPersonSDS", {"classCode": "AGNT"})
    _identified(agent, oids.ROLE_PROFILE, author.role_profile_id)
    _identified(_add(agent, "agentPersonSDS", _PERSON), oids.USER_ID, author.user_id)
    role = _add(_add(agent, "part", {"typeCode": "PART"}), "partSDSRole", {"classCode": "ROL"})
    _identified(role, oids.ROLE, author.role_id)


def _identified(parent: xml.Element, root: str, extension: str) -> None:
    _add(parent, "id", {"root": root, "extension": extension})


def _add(
    parent: xml.Element, element: str, attributes: dict[str, str] | None = None, text: str | None = None
) -> xml.Element:
    return xml.add(parent, xml.name(HL7, element), attributes, text)
