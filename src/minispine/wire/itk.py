"""The ITK distribution envelope in its SOAP message: bytes to a request and back, for the provider and for a client.

Reading a request stops at the payload's door: the envelope is checked in full, the payload only for being the message
of the service, so that whoever asked is known even when what they ask is invalid. The payload itself is for `pds`.
"""

import datetime
import re
from typing import Final

import msgspec

from minispine.domain.identity import AuditId
from minispine.domain.operations import Operation
from minispine.vocabulary import oids
from minispine.wire import pds, soap, xml
from minispine.wire.soap import AnswerUnreadable, Diagnostic, Fault, PeerFault, Timestamp, refused

_MESSAGE_ID: Final = re.compile(r"[A-Za-z_:]*([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})")
_UUID: Final = re.compile(r"[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}")
_PAYLOAD_ID: Final = re.compile(r"(?![0-9])[A-Za-z_]*[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}")
_UUID_CHARS: Final = 36
_MAX_ID_CHARS: Final = 100
_MAX_TEXT_CHARS: Final = 1000


def _itk(local: str) -> str:
    return xml.name(soap.ITK, local)


_ENVELOPE: Final = _itk("DistributionEnvelope")
_HEADER: Final = _itk("header")
_AUDIT_IDENTITY: Final = _itk("auditIdentity")
_ID: Final = _itk("id")
_MANIFEST: Final = _itk("manifest")
_MANIFEST_ITEM: Final = _itk("manifestitem")
_SENDER_ADDRESS: Final = _itk("senderAddress")
_PAYLOADS: Final = _itk("payloads")
_PAYLOAD: Final = _itk("payload")


class EnvelopePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How strictly a client's envelopes are read.

    `clock_skew_s` is the permitted difference of clocks in seconds (D11); `require_security` whether wsse:Security
    with timestamp and username must be there (D11); `lenient_ids` whether tracking and payload ids may be in lower
    case or bare (D12), in which case they are read as if they were written properly.
    """

    clock_skew_s: float = 300.0
    require_security: bool = True
    lenient_ids: bool = False


class ItkRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose envelope is in order.

    `message_id` is as sent. `created` and `expires` are UTC. `audit_identity` is None when the element is absent; an
    id's uri may be empty. `payload` is the root element of the message, not yet checked against its schema.
    """

    message_id: str
    action: str
    to: str
    created: datetime.datetime | None
    expires: datetime.datetime | None
    username: str | None
    operation: Operation
    service: str
    tracking_id: str
    audit_identity: tuple[AuditId, ...] | None
    sender_address: str | None
    payload_id: str
    profile_id: str
    payload: xml.Element


# Requests in


def read_request(body: bytes, *, soap_action: str | None, now: datetime.datetime, policy: EnvelopePolicy) -> ItkRequest:
    """Read a request up to its payload.

    `soap_action` is the HTTP header as sent, quoted or not; absent or empty is fine (D13). `now` is an aware time.

    Raises:
        PeerFault: whatever is wrong with it, with as much of what it says as could be read (SMSP-ERR-001 b). Nothing
            else is raised for any bytes.
    """
    message = soap.read_message(body)
    headers = soap.read_headers(message)
    try:
        return _read(message, headers, soap_action=soap_action, now=now, policy=policy)
    except PeerFault as refusal:
        raise _with_what_is_known(refusal.fault, headers, message.content) from None


def _read(
    message: soap.Message,
    headers: soap.Headers,
    *,
    soap_action: str | None,
    now: datetime.datetime,
    policy: EnvelopePolicy,
) -> ItkRequest:
    soap.check_headers(message, headers)
    if not _is_message_id(headers.message_id):
        raise refused(Diagnostic.MESSAGE_ID_FORM)
    security = soap.read_security(
        headers.security, now=now, clock_skew_s=policy.clock_skew_s, required=policy.require_security
    )
    envelope = message.content
    if envelope.tag != _ENVELOPE:
        raise refused(Diagnostic.NO_ENVELOPE)
    if policy.lenient_ids:
        _write_ids_properly(envelope)
    header, item, payload = _open(envelope)
    tracking_id, payload_id = xml.attribute(header, "trackingid"), xml.attribute(payload, "id")
    _check_ids(headers.message_id, security.timestamp_id, tracking_id, payload_id)
    names = _agreed_service(header, item, payload, action=headers.action, soap_action=soap_action)
    audit_identity = xml.child(header, _AUDIT_IDENTITY)
    sender = xml.child(header, _SENDER_ADDRESS)
    return ItkRequest(
        message_id=headers.message_id,
        action=headers.action,
        to=headers.to,
        created=security.created,
        expires=security.expires,
        username=security.username,
        operation=names.operation,
        service=names.service,
        tracking_id=tracking_id,
        audit_identity=None if audit_identity is None else _read_audit_identity(audit_identity),
        sender_address=None if sender is None else _bounded(xml.attribute(sender, "uri")),
        payload_id=payload_id,
        profile_id=names.request_profile,
        payload=payload[0],
    )


def _is_message_id(text: str) -> bool:
    return len(text) <= _MAX_ID_CHARS and _MESSAGE_ID.fullmatch(text) is not None


def _open(envelope: xml.Element) -> tuple[xml.Element, xml.Element, xml.Element]:
    """Give the header, the one manifest item and the one payload of an envelope that its schema accepts."""
    invalid = xml.schema("itk-envelope").first_error(envelope)
    if invalid is not None:
        raise refused(_diagnosis(envelope, invalid))
    header, payloads = envelope[0], envelope[1]
    manifest = next(header.iterchildren(_MANIFEST))
    if not _count(manifest) == len(manifest) == len(payloads) == _count(payloads):
        raise refused(Diagnostic.COUNTS)
    if len(payloads) != 1:
        raise refused(Diagnostic.ONE_PAYLOAD)
    item, payload = manifest[0], payloads[0]
    for attribute, diagnostic in _PAYLOAD_FLAGS:
        if xml.attribute(item, attribute) in ("true", "1"):
            raise refused(diagnostic)
    if not xml.attribute(item, "profileid"):
        raise refused(Diagnostic.PROFILE_MISSING)
    payload_id = xml.attribute(payload, "id")
    if xml.attribute(item, "id") != payload_id:
        raise refused(Diagnostic.MANIFEST_ID)
    if len(payload_id) > _MAX_ID_CHARS or not _PAYLOAD_ID.fullmatch(payload_id):
        raise refused(Diagnostic.PAYLOAD_ID_FORM)
    if len(payload) != 1:
        raise refused(Diagnostic.PAYLOAD_EMPTY)
    return header, item, payload


def _count(element: xml.Element) -> int:
    """Read @count; xs:integer has no end, so a long one is simply wrong."""
    text = xml.attribute(element, "count")
    return int(text) if len(text) <= 9 else -1


_PAYLOAD_FLAGS: Final = (
    ("base64", Diagnostic.BASE64),
    ("compressed", Diagnostic.COMPRESSED),
    ("encrypted", Diagnostic.ENCRYPTED),
    ("metadata", Diagnostic.METADATA),
)


def _diagnosis(envelope: xml.Element, invalid: xml.Invalid) -> Diagnostic:
    """Say in our own words what is wrong with an envelope that its schema refuses, for the mistakes people make."""
    header = xml.child(envelope, _HEADER)
    tracking_id = header.get("trackingid") if header is not None else None
    if header is not None and tracking_id is None:
        return Diagnostic.TRACKING_ID_MISSING
    if tracking_id is not None and not _UUID.fullmatch(tracking_id):
        return Diagnostic.TRACKING_ID_FORM
    if "auditIdentity" in invalid.path:
        return Diagnostic.AUDIT_IDENTITY_INVALID
    payloads = xml.child(envelope, _PAYLOADS)
    payload = xml.child(payloads, _PAYLOAD) if payloads is not None else None
    if payload is not None and not _PAYLOAD_ID.fullmatch(xml.attribute(payload, "id")):
        return Diagnostic.PAYLOAD_ID_FORM
    return Diagnostic.ENVELOPE_INVALID


def _write_ids_properly(envelope: xml.Element) -> None:
    """Put tracking and payload ids into the form that the schema wants, in place (D12)."""
    for element in envelope.iter(_HEADER, _MANIFEST_ITEM, _PAYLOAD):
        attribute = "trackingid" if element.tag == _HEADER else "id"
        match = _MESSAGE_ID.fullmatch(xml.attribute(element, attribute)[:_MAX_ID_CHARS])
        if match is not None:
            prefix = "" if element.tag == _HEADER else "uuid_"
            element.set(attribute, prefix + match[1].upper())


def _check_ids(message_id: str, timestamp_id: str | None, tracking_id: str, payload_id: str) -> None:
    ids = [_bare(id) for id in (message_id, timestamp_id, tracking_id, payload_id) if id]
    if len(set(ids)) != len(ids):
        raise refused(Diagnostic.IDS_EQUAL)


def _bare(id: str) -> str:
    """Give the UUID at the end of an id, without prefix and in upper case; another id as it is."""
    return id[-_UUID_CHARS:].upper() if _MESSAGE_ID.fullmatch(id) else id


def _agreed_service(
    header: xml.Element, item: xml.Element, payload: xml.Element, *, action: str, soap_action: str | None
) -> pds.MessageNames:
    """Find the operation, which five places of the message must agree on (D13)."""
    service = xml.attribute(header, "service")
    names = pds.BY_SERVICE.get(service)
    if names is None:
        raise refused(Diagnostic.SERVICE_UNKNOWN)
    if action != service:
        raise refused(Diagnostic.ACTION_DIFFERS)
    if soap_action is not None and soap_action.strip().strip('"').strip() not in ("", service):
        raise refused(Diagnostic.SOAP_ACTION_DIFFERS)
    if xml.attribute(item, "profileid") != names.request_profile:
        raise refused(Diagnostic.PROFILE_DIFFERS)
    if payload[0].tag != xml.name(pds.HL7, names.request_root):
        raise refused(Diagnostic.PAYLOAD_DIFFERS)
    return names


def _read_audit_identity(element: xml.Element) -> tuple[AuditId, ...]:
    return tuple(
        AuditId(
            type=_bounded(id.get("type", oids.LOCAL_IDENTITY).strip()),
            uri=_bounded(xml.attribute(id, "uri")),
        )
        for id in xml.children(element, _ID)
    )


def _bounded(text: str) -> str:
    if len(text) > _MAX_TEXT_CHARS:
        raise refused(Diagnostic.HEADER_TOO_LONG)
    return text


def _with_what_is_known(fault: Fault, headers: soap.Headers, content: xml.Element) -> PeerFault:
    header = xml.child(content, _HEADER) if content.tag == _ENVELOPE else None
    names = tracking_id = audit_identity = None
    if header is not None:
        names = pds.BY_SERVICE.get(xml.attribute(header, "service"))
        tracking_id = xml.attribute(header, "trackingid")[:_MAX_ID_CHARS]
        identity = xml.child(header, _AUDIT_IDENTITY)
        try:
            audit_identity = None if identity is None else _read_audit_identity(identity)[:4]
        except PeerFault:
            audit_identity = None
    return PeerFault(
        fault,
        message_id=headers.message_id if _is_message_id(headers.message_id) else None,
        operation=names.operation if names is not None else None,
        service=names.service if names is not None else None,
        tracking_id=tracking_id if tracking_id and _MESSAGE_ID.fullmatch(tracking_id) else None,
        audit_identity=audit_identity,
    )


# Answers out, requests out


def write_response(
    payload: xml.Element,
    *,
    operation: Operation,
    message_id: str,
    tracking_id: str,
    payload_id: str | None = None,
    relates_to: str | None,
    security: tuple[datetime.datetime, datetime.datetime] | None = None,
    audit_identity: str | None = None,
) -> bytes:
    """Write the answer around its payload (D16). Ids are new upper-case UUIDs.

    `payload_id` is a bare UUID, written ``uuid_`` and that; by default it is the id of the message inside, as NHS
    Digital's provider does. `relates_to` is the MessageID of the request, `security` the times from and to which the
    answer holds, `audit_identity` our own identity as an ITK uri; each is left out when None.
    """
    names = pds.MESSAGES[operation]
    envelope = _envelope(
        payload,
        service=names.response_service,
        profile_id=names.response_profile,
        tracking_id=tracking_id,
        payload_id=payload_id or _own_id(payload),
        audit_identity=() if audit_identity is None else (AuditId(type=oids.LOCAL_IDENTITY, uri=audit_identity),),
    )
    return soap.write_message(
        envelope,
        message_id=message_id,
        action=names.response_service,
        relates_to=relates_to,
        timestamp=None if security is None else Timestamp(created=security[0], expires=security[1]),
    )


def write_request(
    payload: xml.Element,
    *,
    operation: Operation,
    message_id: str,
    tracking_id: str,
    payload_id: str,
    to: str,
    timestamp: Timestamp,
    username: str,
    audit_identity: tuple[AuditId, ...],
    sender_address: str | None = None,
    from_address: str | None = None,
) -> bytes:
    """Write a request around its payload; ids are new upper-case UUIDs, all different (MSCA-AUD-04).

    Raises:
        ValueError: a value holds a character that XML cannot carry.
    """
    names = pds.MESSAGES[operation]
    envelope = _envelope(
        payload,
        service=names.service,
        profile_id=names.request_profile,
        tracking_id=tracking_id,
        payload_id=payload_id,
        audit_identity=audit_identity,
        sender_address=sender_address,
    )
    return soap.write_message(
        envelope,
        message_id=message_id,
        action=names.service,
        to=to,
        from_address=from_address,
        timestamp=timestamp,
        username=username,
    )


def _own_id(payload: xml.Element) -> str:
    return xml.attribute(next(xml.children(payload, xml.name(pds.HL7, "id"))), "root")


def _envelope(
    payload: xml.Element,
    *,
    service: str,
    profile_id: str,
    tracking_id: str,
    payload_id: str,
    audit_identity: tuple[AuditId, ...],
    sender_address: str | None = None,
) -> xml.Element:
    envelope = xml.root(_ENVELOPE, {"itk": soap.ITK})
    header = xml.add(envelope, _HEADER, {"service": service, "trackingid": tracking_id})
    if audit_identity:
        identity = xml.add(header, _AUDIT_IDENTITY)
        for audit_id in audit_identity:
            xml.add(identity, _ID, {"type": audit_id.type, "uri": audit_id.uri})
    id = f"uuid_{payload_id}"
    item = {"id": id, "mimetype": "text/xml", "profileid": profile_id} | dict.fromkeys(
        ("base64", "compressed", "encrypted"), "false"
    )
    xml.add(xml.add(header, _MANIFEST, {"count": "1"}), _MANIFEST_ITEM, item)
    if sender_address is not None:
        xml.add(header, _SENDER_ADDRESS, {"uri": sender_address})
    xml.extend(xml.add(xml.add(envelope, _PAYLOADS, {"count": "1"}), _PAYLOAD, {"id": id}), [payload])
    return envelope


# Answers in


class ItkResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's answer: its ids as sent, None where it sent none, and the root element of the message inside."""

    message_id: str | None
    relates_to: str | None
    service: str | None
    tracking_id: str | None
    payload: xml.Element


def read_response(body: bytes) -> ItkResponse | Fault:
    """Read what a provider sent back, whatever the HTTP status or content type said.

    Only what a client needs is asked for: SOAP 1.1 and a payload element, or a fault.

    Raises:
        AnswerUnreadable: neither can be found.
    """
    try:
        message = soap.read_message(body)
    except PeerFault as refusal:
        raise AnswerUnreadable(refusal.fault.diagnostic) from None
    fault = soap.read_fault(message.content)
    if fault is not None:
        return fault
    headers = soap.read_headers(message)
    payload = next((element for element in message.content.iter(_PAYLOAD) if len(element)), None)
    if payload is None:
        raise AnswerUnreadable("the answer holds no payload")
    header = xml.child(message.content, _HEADER)
    return ItkResponse(
        message_id=headers.message_id or None,
        relates_to=headers.relates_to or None,
        service=header.get("service") if header is not None else None,
        tracking_id=header.get("trackingid") if header is not None else None,
        payload=payload[0],
    )
