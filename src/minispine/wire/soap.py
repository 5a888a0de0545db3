"""SOAP 1.1 with WS-Addressing and a WS-Security timestamp, as the ITK transport uses them; and its faults.

Here are the envelope around any message, the headers, and the technical errors (SMSP-ERR-001). What the body holds is
for `itk`. A fault's diagnostic is one of the phrases of `Diagnostic`: nothing that a peer sent comes back to it.
"""

import datetime
import re
from enum import StrEnum
from typing import Final, Literal

import msgspec

from minispine.domain.identity import AuditId
from minispine.domain.operations import Operation
from minispine.vocabulary.codes import FAULT_TEXTS
from minispine.wire import xml

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12: Final = "http://www.w3.org/2003/05/soap-envelope"
WSA: Final = "http://www.w3.org/2005/08/addressing"
WSSE: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
WSU: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
ITK: Final = "urn:nhs-itk:ns:201005"

ANONYMOUS: Final = f"{WSA}/anonymous"
NEXT_ACTOR: Final = "http://schemas.xmlsoap.org/soap/actor/next"

FaultKind = Literal["client", "server", "version-mismatch", "must-understand"]


class Diagnostic(StrEnum):
    """Everything that a fault can say about a message that we refuse to read."""

    TOO_LARGE = "The message is larger than allowed"
    DOCTYPE = "The message holds a document type declaration, which is not allowed"
    NOT_XML = "The message is not well-formed XML in UTF-8"
    TOO_DEEP = "The message is nested too deeply"
    TOO_MANY = "The message has more elements or attributes than allowed"
    NOT_SOAP = "The message is not a SOAP envelope"
    SOAP_VERSION = "The message is not in SOAP version 1.1"
    ONE_BODY = "The SOAP envelope must hold exactly one Body"
    ONE_BODY_CHILD = "The SOAP Body must hold exactly one element"
    NOT_UNDERSTOOD = "A header that must be understood is not known here"
    HEADER_REPEATED = "A WS-Addressing or WS-Security header occurs more than once"
    HEADER_TOO_LONG = "A header value is longer than allowed"
    MESSAGE_ID_MISSING = "wsa:MessageID is missing"
    MESSAGE_ID_FORM = "wsa:MessageID is not a UUID"
    ACTION_MISSING = "wsa:Action is missing"
    TO_MISSING = "wsa:To is missing"
    REPLY_TO = "wsa:ReplyTo must be absent or anonymous, because the answer is synchronous"
    SECURITY_MISSING = "wsse:Security is missing"
    TIMESTAMP_MISSING = "wsu:Timestamp with Created and Expires is missing"
    TIMESTAMP_FORM = "wsu:Created or wsu:Expires is not a date and time"
    EXPIRES_FIRST = "wsu:Expires is before wsu:Created"
    EXPIRED = "The message has expired"
    FUTURE = "wsu:Created is in the future"
    USERNAME_MISSING = "wsse:Username is missing"
    NO_ENVELOPE = "The SOAP Body does not hold an ITK DistributionEnvelope"
    ENVELOPE_INVALID = "The ITK DistributionEnvelope is not valid against its schema"
    TRACKING_ID_MISSING = "The trackingid is missing"
    TRACKING_ID_FORM = "The trackingid is not a UUID in upper case"
    AUDIT_IDENTITY_INVALID = "The auditIdentity is not valid against its schema"
    COUNTS = "The counts of the manifest and of the payloads do not agree with what is there"
    ONE_PAYLOAD = "There must be exactly one payload"
    BASE64 = "A payload in base64 is not accepted"
    COMPRESSED = "A compressed payload is not accepted"
    ENCRYPTED = "An encrypted payload is not accepted"
    METADATA = "A payload of metadata is not accepted"
    PROFILE_MISSING = "The profileid is missing"
    PAYLOAD_ID_FORM = "The payload id is not a UUID in upper case after an optional prefix such as uuid_"
    MANIFEST_ID = "The manifest item and the payload have different ids"
    IDS_EQUAL = "MessageID, wsu:Id, trackingid and payload id must all be different"
    PAYLOAD_EMPTY = "The payload does not hold an XML element"
    SERVICE_UNKNOWN = "The service is not known here"
    ACTION_DIFFERS = "wsa:Action is not the service of the DistributionEnvelope"
    SOAP_ACTION_DIFFERS = "The SOAPAction header is not the service of the DistributionEnvelope"
    PROFILE_DIFFERS = "The profileid is not that of the service"
    PAYLOAD_DIFFERS = "The payload is not the message of the service"


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A technical error. `code` is one of the ITK codes, or None where a fault of another maker holds none.

    `diagnostic` is a fixed phrase in what we write; in what a client reads it is the provider's text.
    """

    kind: FaultKind
    code: str | None
    diagnostic: str


class PeerFault(Exception):
    """The peer's message cannot be processed, and that is the peer's mistake; `fault` is what it is told.

    The other fields are what could be read before reading failed, for the audit trail and for RelatesTo. Each is in
    its proper form or None; `audit_identity` is None when the element is absent or was not reached.
    """

    def __init__(
        self,
        fault: Fault,
        *,
        message_id: str | None = None,
        operation: Operation | None = None,
        service: str | None = None,
        tracking_id: str | None = None,
        audit_identity: tuple[AuditId, ...] | None = None,
    ) -> None:
        super().__init__(fault.diagnostic)
        self.fault = fault
        self.message_id = message_id
        self.operation = operation
        self.service = service
        self.tracking_id = tracking_id
        self.audit_identity = audit_identity


class AnswerUnreadable(Exception):
    """What came back from a provider is neither an answer nor a fault; `reason` is a fixed phrase."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def refused(diagnostic: Diagnostic, kind: FaultKind = "client") -> PeerFault:
    """Make the exception for a message that we do not read: fault 1000, the message is invalid."""
    return PeerFault(Fault(kind=kind, code="1000", diagnostic=diagnostic))


# Envelope


_ENVELOPE: Final = xml.name(SOAP, "Envelope")
_HEADER: Final = xml.name(SOAP, "Header")
_BODY: Final = xml.name(SOAP, "Body")
_REFUSALS: Final[dict[xml.Reason, Diagnostic]] = {
    "the message is larger than allowed": Diagnostic.TOO_LARGE,
    "a document type declaration is not allowed": Diagnostic.DOCTYPE,
    "the message is not well-formed XML in UTF-8": Diagnostic.NOT_XML,
    "the message is nested too deeply": Diagnostic.TOO_DEEP,
    "the message has more elements or attributes than allowed": Diagnostic.TOO_MANY,
}


class Message(msgspec.Struct, frozen=True):
    """A SOAP message taken apart: its header blocks, and the one element in its body."""

    headers: tuple[xml.Element, ...]
    content: xml.Element


def read_message(body: bytes) -> Message:
    """Take a SOAP 1.1 message apart.

    Raises:
        PeerFault: not XML that we read, not SOAP 1.1, or not exactly one element in one Body (SMSP-ERR-001 b).
    """
    try:
        envelope = xml.parse(body)
    except xml.XmlRefused as error:
        raise refused(_REFUSALS[error.reason]) from None
    if envelope.tag != _ENVELOPE:
        if xml.local_name(envelope) == "Envelope":
            raise refused(Diagnostic.SOAP_VERSION, "version-mismatch")
        raise refused(Diagnostic.NOT_SOAP)
    header = xml.child(envelope, _HEADER)
    bodies = list(xml.children(envelope, _BODY))
    if len(bodies) != 1:
        raise refused(Diagnostic.ONE_BODY)
    contents = list(bodies[0])
    if len(contents) != 1:
        raise refused(Diagnostic.ONE_BODY_CHILD)
    return Message(headers=tuple(header) if header is not None else (), content=contents[0])


_NSMAP: Final[dict[str | None, str]] = {"soap": SOAP, "wsa": WSA, "itk": ITK}
_NSMAP_SECURED: Final[dict[str | None, str]] = _NSMAP | {"wsse": WSSE, "wsu": WSU}


class Timestamp(msgspec.Struct, frozen=True, kw_only=True):
    """A WS-Security timestamp: UTC times, and the wsu:Id that names it."""

    created: datetime.datetime
    expires: datetime.datetime
    id: str | None = None


def write_message(
    content: xml.Element,
    *,
    message_id: str,
    action: str,
    to: str | None = None,
    from_address: str | None = None,
    relates_to: str | None = None,
    timestamp: Timestamp | None = None,
    username: str | None = None,
) -> bytes:
    """Write a SOAP 1.1 message around `content`; what is None is left out.

    Raises:
        ValueError: a value holds a character that XML cannot carry.
    """
    envelope = xml.root(_ENVELOPE, _NSMAP_SECURED if timestamp or username else _NSMAP)
    header = xml.add(envelope, _HEADER)
    for tag, value in ((_MESSAGE_ID, message_id), (_ACTION, action), (_TO, to)):
        if value is not None:
            xml.add(header, tag, text=value)
    if from_address is not None:
        xml.add(xml.add(header, xml.name(WSA, "From")), _ADDRESS, text=from_address)
    if timestamp or username:
        security = xml.add(header, _SECURITY)
        if timestamp:
            stamp = xml.add(security, _TIMESTAMP, {_WSU_ID: timestamp.id} if timestamp.id else None)
            xml.add(stamp, _CREATED, text=_write_time(timestamp.created))
            xml.add(stamp, _EXPIRES, text=_write_time(timestamp.expires))
        if username:
            xml.add(xml.add(security, _USERNAME_TOKEN), _USERNAME, text=username)
    if relates_to is not None:
        xml.add(header, xml.name(WSA, "RelatesTo"), text=relates_to)
    xml.extend(xml.add(envelope, _BODY), [content])
    return xml.to_bytes(envelope)


# Headers


_MESSAGE_ID: Final = xml.name(WSA, "MessageID")
_ACTION: Final = xml.name(WSA, "Action")
_TO: Final = xml.name(WSA, "To")
_REPLY_TO: Final = xml.name(WSA, "ReplyTo")
_RELATES_TO: Final = xml.name(WSA, "RelatesTo")
_ADDRESS: Final = xml.name(WSA, "Address")
_SECURITY: Final = xml.name(WSSE, "Security")
_USERNAME_TOKEN: Final = xml.name(WSSE, "UsernameToken")
_USERNAME: Final = xml.name(WSSE, "Username")
_TIMESTAMP: Final = xml.name(WSU, "Timestamp")
_CREATED: Final = xml.name(WSU, "Created")
_EXPIRES: Final = xml.name(WSU, "Expires")
_WSU_ID: Final = xml.name(WSU, "Id")
_MUST_UNDERSTAND: Final = xml.name(SOAP, "mustUnderstand")
_ACTOR: Final = xml.name(SOAP, "actor")

_ONCE: Final = frozenset({_MESSAGE_ID, _ACTION, _TO, _REPLY_TO, _SECURITY})
_UNDERSTOOD: Final = _ONCE | {_RELATES_TO, xml.name(WSA, "From"), xml.name(WSA, "FaultTo")}
_MAX_HEADER_CHARS: Final = 1000


class Headers(msgspec.Struct, frozen=True, kw_only=True):
    """The headers that we use, as sent, trimmed; an empty text stands for an absent or empty header."""

    message_id: str
    action: str
    to: str
    reply_to: str | None
    relates_to: str
    security: xml.Element | None


def read_headers(message: Message) -> Headers:
    """Read the headers without judging them; the first of repeated ones counts."""
    first: dict[str, xml.Element] = {}
    for block in message.headers:
        first.setdefault(block.tag, block)
    reply_to = first.get(_REPLY_TO)
    return Headers(
        message_id=xml.text(first.get(_MESSAGE_ID)),
        action=xml.text(first.get(_ACTION)),
        to=xml.text(first.get(_TO)),
        reply_to=None if reply_to is None else xml.text(xml.child(reply_to, _ADDRESS)),
        relates_to=xml.text(first.get(_RELATES_TO)),
        security=first.get(_SECURITY),
    )


def check_headers(message: Message, headers: Headers) -> None:
    """Check what holds of every request, whatever its body.

    Raises:
        PeerFault: a header that must be understood is not, one is repeated, missing or too long, or the reply is
            wanted elsewhere than in the HTTP response.
    """
    seen: set[str] = set()
    for block in message.headers:
        tag = block.tag
        if tag in _ONCE and tag in seen:
            raise refused(Diagnostic.HEADER_REPEATED)
        seen.add(tag)
        if tag not in _UNDERSTOOD and _must_be_understood_here(block):
            raise refused(Diagnostic.NOT_UNDERSTOOD, "must-understand")
    for value, missing in (
        (headers.message_id, Diagnostic.MESSAGE_ID_MISSING),
        (headers.action, Diagnostic.ACTION_MISSING),
        (headers.to, Diagnostic.TO_MISSING),
    ):
        if not value:
            raise refused(missing)
        if len(value) > _MAX_HEADER_CHARS:
            raise refused(Diagnostic.HEADER_TOO_LONG)
    if headers.reply_to not in (None, ANONYMOUS):
        raise refused(Diagnostic.REPLY_TO)


def _must_be_understood_here(block: xml.Element) -> bool:
    return (block.get(_MUST_UNDERSTAND) or "").strip() in ("1", "true") and block.get(_ACTOR) in (None, "", NEXT_ACTOR)


class Security(msgspec.Struct, frozen=True, kw_only=True):
    """What the WS-Security header says; it never authorises anything."""

    created: datetime.datetime | None = None
    expires: datetime.datetime | None = None
    timestamp_id: str | None = None
    username: str | None = None


def read_security(
    security: xml.Element | None, *, now: datetime.datetime, clock_skew_s: float, required: bool
) -> Security:
    """Read the timestamp and the username, and check the time against `now` (D11).

    A time without a zone is UTC. The skew is granted on both ends: a message is refused when it expired more than
    `clock_skew_s` seconds ago, or was created more than that in the future. When `required` is false the header, or
    either part of it, may be absent; a timestamp that is there is always checked.

    Raises:
        PeerFault: missing, malformed, expired, or from the future.
    """
    if security is None:
        if required:
            raise refused(Diagnostic.SECURITY_MISSING)
        return Security()
    username = xml.text(_below(security, _USERNAME_TOKEN, _USERNAME))
    stamp = xml.child(security, _TIMESTAMP)
    created = expires = None
    if stamp is not None:
        created, expires = _read_lifetime(stamp, now=now, clock_skew_s=clock_skew_s)
    elif required:
        raise refused(Diagnostic.TIMESTAMP_MISSING)
    if required and not username:
        raise refused(Diagnostic.USERNAME_MISSING)
    timestamp_id = stamp.get(_WSU_ID) if stamp is not None else None
    if len(username) > _MAX_HEADER_CHARS or len(timestamp_id or "") > _MAX_HEADER_CHARS:
        raise refused(Diagnostic.HEADER_TOO_LONG)
    return Security(
        created=created, expires=expires, timestamp_id=(timestamp_id or "").strip() or None, username=username or None
    )


def _below(element: xml.Element, *tags: str) -> xml.Element | None:
    found: xml.Element | None = element
    for tag in tags:
        found = xml.child(found, tag) if found is not None else None
    return found


def _read_lifetime(
    stamp: xml.Element, *, now: datetime.datetime, clock_skew_s: float
) -> tuple[datetime.datetime, datetime.datetime]:
    created_text, expires_text = xml.text(xml.child(stamp, _CREATED)), xml.text(xml.child(stamp, _EXPIRES))
    if not created_text or not expires_text:
        raise refused(Diagnostic.TIMESTAMP_MISSING)
    created, expires = read_time(created_text), read_time(expires_text)
    if created is None or expires is None:
        raise refused(Diagnostic.TIMESTAMP_FORM)
    if expires < created:
        raise refused(Diagnostic.EXPIRES_FIRST)
    # The skew is applied to `now`: a peer may send times so near the ends of the calendar that adding overflows.
    skew = datetime.timedelta(seconds=clock_skew_s)
    if expires < now - skew:
        raise refused(Diagnostic.EXPIRED)
    if created > now + skew:
        raise refused(Diagnostic.FUTURE)
    return created, expires


_DATE_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_ONE_DAY: Final = datetime.timedelta(days=1)


def read_time(text: str) -> datetime.datetime | None:
    """Read an xs:dateTime as UTC, to the microsecond; without a zone it is taken as UTC. None for anything else."""
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.group(1, 2, 3, 4, 5, 6))
    microsecond = int((match[7] or "0")[:6].ljust(6, "0"))
    end_of_day = hour == 24 and not (minute or second or microsecond)
    try:
        when = datetime.datetime(
            year, month, day, 0 if end_of_day else hour, minute, second, microsecond, tzinfo=datetime.UTC
        )
        return (when + _ONE_DAY if end_of_day else when) - _offset(match[8])
    except (ValueError, OverflowError):
        return None


def _offset(zone: str | None) -> datetime.timedelta:
    if zone is None or zone == "Z":
        return datetime.timedelta()
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if minutes > 59 or hours * 60 + minutes > 14 * 60:
        raise ValueError("no time zone is more than 14 hours from UTC")
    offset = datetime.timedelta(hours=hours, minutes=minutes)
    return -offset if zone[0] == "-" else offset


def _write_time(when: datetime.datetime) -> str:
    return when.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# Faults


class _FaultWords(msgspec.Struct, frozen=True):
    faultcode: str
    faultstring: str
    action: str


_FAULT_WORDS: Final[dict[FaultKind, _FaultWords]] = {
    "client": _FaultWords(
        "Client",
        "A client related error has occurred, see detail element for further information",
        f"{WSA}/soap/fault",
    ),
    "server": _FaultWords(
        "Server",
        "A Server related error has occurred, see detail element for further information",
        f"{WSA}/soap/fault",
    ),
    "version-mismatch": _FaultWords("VersionMismatch", "Improper SOAP Version referenced", f"{WSA}/soap/fault"),
    "must-understand": _FaultWords("MustUnderstand", "SOAP MustUnderstand error thrown.", f"{WSA}/fault"),
}
_KINDS: Final[dict[str, FaultKind]] = {words.faultcode: kind for kind, words in _FAULT_WORDS.items()}


def write_fault(fault: Fault, *, message_id: str, relates_to: str | None, error_id: str) -> bytes:
    """Write a SOAP 1.1 fault; with a code it holds a ToolkitErrorInfo (SMSP-ERR-001 b).

    `message_id` and `error_id` are new UUIDs; `relates_to` is the MessageID of the request where it could be read.

    Raises:
        KeyError: the code is not an ITK fault code.
    """
    words = _FAULT_WORDS[fault.kind]
    element = xml.root(xml.name(SOAP, "Fault"), _NSMAP)
    xml.add(element, "faultcode", text=f"soap:{words.faultcode}")
    xml.add(element, "faultstring", text=words.faultstring)
    if fault.code is not None:
        known = FAULT_TEXTS[fault.code]
        info = xml.add(xml.add(element, "detail"), xml.name(ITK, "ToolkitErrorInfo"))
        xml.add(info, xml.name(ITK, "ErrorID"), text=error_id)
        xml.add(info, xml.name(ITK, "ErrorCode"), {"codeSystem": known.code_system}, known.code)
        xml.add(info, xml.name(ITK, "ErrorText"), text=known.text)
        xml.add(info, xml.name(ITK, "ErrorDiagnosticText"), text=fault.diagnostic)
    return write_message(element, message_id=message_id, action=words.action, relates_to=relates_to)


def read_fault(element: xml.Element) -> Fault | None:
    """Read a SOAP fault of any maker, by local names; None when `element` is not a fault.

    Where it holds no diagnostic the text of the error or of the fault stands in.
    """
    if xml.local_name(element) != "Fault":
        return None
    texts: dict[str, str] = {}
    for part in xml.descendants(element):
        texts.setdefault(xml.local_name(part), xml.text(part))
    faultcode = texts.get("faultcode", "").rpartition(":")[2].partition(".")[0]
    return Fault(
        kind=_KINDS.get(faultcode, "server"),
        code=texts.get("ErrorCode") or None,
        diagnostic=texts.get("ErrorDiagnosticText") or texts.get("ErrorText") or texts.get("faultstring", ""),
    )
