"""Reading and writing ITK requests and answers: what is accepted, and what each mistake is told."""

import contextlib
import datetime
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from itk_samples import (
    HL7_ID,
    MESSAGE_ID,
    NOW,
    PAYLOAD_ID,
    POLICY,
    QUESTIONS,
    TIMESTAMP_ID,
    TO,
    TRACKING_ID,
    at,
    edited,
    request,
    saying,
    setting,
    with_child,
    without,
)
from lxml import etree

from minispine.domain.identity import AuditId
from minispine.domain.operations import Operation
from minispine.domain.request import Reply
from minispine.vocabulary import oids
from minispine.vocabulary.codes import shipped_vocabulary
from minispine.wire import itk, pds, soap, xml
from minispine.wire.soap import Diagnostic

WSU_ID = f"{{{soap.WSU}}}Id"
VERIFY = pds.MESSAGES[Operation.VERIFY_NHS_NUMBER].service


def read(
    body: bytes, *, soap_action: str | None = None, now: datetime.datetime = NOW, **policy: object
) -> itk.ItkRequest:
    return itk.read_request(body, soap_action=soap_action, now=now, policy=itk.EnvelopePolicy(**policy))  # type: ignore[arg-type]


def refusal(body: bytes, **how: object) -> soap.PeerFault:
    with pytest.raises(soap.PeerFault) as caught:
        read(body, **how)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("operation", Operation)
def test_everything_in_a_request_is_read(operation: Operation) -> None:
    received = read(request(operation))
    names = pds.MESSAGES[operation]
    assert received.operation is operation
    assert received.action == received.service == names.service
    assert (received.message_id, received.tracking_id, received.payload_id) == (
        MESSAGE_ID,
        TRACKING_ID,
        f"uuid_{PAYLOAD_ID}",
    )
    assert (received.to, received.username, received.profile_id) == (TO, "A client", names.request_profile)
    assert (received.created, received.expires) == (NOW, NOW + datetime.timedelta(minutes=10))
    assert received.audit_identity == (AuditId(type=oids.LOCAL_IDENTITY, uri="urn:nhs-uk:identity:ods:RXX:jsmith"),)
    assert received.sender_address == "urn:nhs-uk:addressing:ods:RXX:client"
    assert pds.read_request(operation, received.payload, partial_birth_dates=True) == QUESTIONS[operation]


# What is wrong, where, and what the sender is told.
MISTAKES: dict[str, tuple[Callable[[etree._Element], object], Diagnostic]] = {
    "no MessageID": (without("//wsa:MessageID"), Diagnostic.MESSAGE_ID_MISSING),
    "empty MessageID": (saying("//wsa:MessageID", " "), Diagnostic.MESSAGE_ID_MISSING),
    "MessageID no UUID": (saying("//wsa:MessageID", "12345"), Diagnostic.MESSAGE_ID_FORM),
    "MessageID far too long": (saying("//wsa:MessageID", "a" * 90 + MESSAGE_ID), Diagnostic.MESSAGE_ID_FORM),
    "MessageID twice": (with_child("//s:Header", "<wsa:MessageID>x</wsa:MessageID>"), Diagnostic.HEADER_REPEATED),
    "no Action": (without("//wsa:Action"), Diagnostic.ACTION_MISSING),
    "no To": (without("//wsa:To"), Diagnostic.TO_MISSING),
    "To without end": (saying("//wsa:To", "x" * 1001), Diagnostic.HEADER_TOO_LONG),
    "no header": (without("//s:Header"), Diagnostic.MESSAGE_ID_MISSING),
    "answer wanted elsewhere": (
        with_child("//s:Header", "<wsa:ReplyTo><wsa:Address>http://x.invalid</wsa:Address></wsa:ReplyTo>"),
        Diagnostic.REPLY_TO,
    ),
    "no Security": (without("//wsse:Security"), Diagnostic.SECURITY_MISSING),
    "no Timestamp": (without("//wsu:Timestamp"), Diagnostic.TIMESTAMP_MISSING),
    "no Created": (without("//wsu:Created"), Diagnostic.TIMESTAMP_MISSING),
    "no Expires": (without("//wsu:Expires"), Diagnostic.TIMESTAMP_MISSING),
    "Created no time": (saying("//wsu:Created", "today"), Diagnostic.TIMESTAMP_FORM),
    "Expires no time": (saying("//wsu:Expires", "2023-02-29T00:00:00Z"), Diagnostic.TIMESTAMP_FORM),
    "Expires before Created": (saying("//wsu:Expires", "2024-05-01T09:59:59Z"), Diagnostic.EXPIRES_FIRST),
    "no Username": (without("//wsse:Username"), Diagnostic.USERNAME_MISSING),
    "blank Username": (saying("//wsse:Username", "  "), Diagnostic.USERNAME_MISSING),
    "Username without end": (saying("//wsse:Username", "x" * 1001), Diagnostic.HEADER_TOO_LONG),
    "sender address without end": (setting("//itk:senderAddress", "uri", "x" * 1001), Diagnostic.HEADER_TOO_LONG),
    "no Body": (without("//s:Body"), Diagnostic.ONE_BODY),
    "two Bodies": (with_child("/s:Envelope", "<s:Body/>"), Diagnostic.ONE_BODY),
    "empty Body": (without("//itk:DistributionEnvelope"), Diagnostic.ONE_BODY_CHILD),
    "two in the Body": (with_child("//s:Body", "<itk:x/>"), Diagnostic.ONE_BODY_CHILD),
    "another thing in the Body": (
        lambda root: setattr(at(root, "//itk:DistributionEnvelope"), "tag", "x"),
        Diagnostic.NO_ENVELOPE,
    ),
    "no itk header": (without("//itk:header"), Diagnostic.ENVELOPE_INVALID),
    "no manifest": (without("//itk:manifest"), Diagnostic.ENVELOPE_INVALID),
    "no payloads": (without("//itk:payloads"), Diagnostic.ENVELOPE_INVALID),
    "undeclared attribute": (setting("//itk:header", "more", "1"), Diagnostic.ENVELOPE_INVALID),
    "no trackingid": (setting("//itk:header", "trackingid", None), Diagnostic.TRACKING_ID_MISSING),
    "lower-case trackingid": (setting("//itk:header", "trackingid", TRACKING_ID.lower()), Diagnostic.TRACKING_ID_FORM),
    "prefixed trackingid": (setting("//itk:header", "trackingid", f"uuid_{TRACKING_ID}"), Diagnostic.TRACKING_ID_FORM),
    "audit identity without ids": (without("//itk:auditIdentity/*"), Diagnostic.AUDIT_IDENTITY_INVALID),
    "audit identity without uri": (setting("//itk:auditIdentity/*", "uri", None), Diagnostic.AUDIT_IDENTITY_INVALID),
    "manifest miscounted": (setting("//itk:manifest", "count", "2"), Diagnostic.COUNTS),
    "payloads miscounted": (setting("//itk:payloads", "count", "0"), Diagnostic.COUNTS),
    "count beyond counting": (setting("//itk:payloads", "count", "9" * 20), Diagnostic.COUNTS),
    "two payloads, one item": (with_child("//itk:payloads", '<itk:payload id="b"/>'), Diagnostic.COUNTS),
    "base64": (setting("//itk:manifestitem", "base64", "true"), Diagnostic.BASE64),
    "compressed": (setting("//itk:manifestitem", "compressed", "1"), Diagnostic.COMPRESSED),
    "encrypted": (setting("//itk:manifestitem", "encrypted", " true "), Diagnostic.ENCRYPTED),
    "metadata": (setting("//itk:manifestitem", "metadata", "true"), Diagnostic.METADATA),
    "no profileid": (setting("//itk:manifestitem", "profileid", None), Diagnostic.PROFILE_MISSING),
    "blank profileid": (setting("//itk:manifestitem", "profileid", " "), Diagnostic.PROFILE_MISSING),
    "manifest names another": (setting("//itk:manifestitem", "id", f"uuid_{HL7_ID}"), Diagnostic.MANIFEST_ID),
    "bare payload id beginning with a digit": (setting("//itk:payload", "id", PAYLOAD_ID), Diagnostic.PAYLOAD_ID_FORM),
    "no payload id": (setting("//itk:payload", "id", None), Diagnostic.PAYLOAD_ID_FORM),
    "payload is text": (without("//v3:verifyNHSNumberRequest-v1-0"), Diagnostic.PAYLOAD_EMPTY),
    "unknown service": (setting("//itk:header", "service", "urn:nhs-itk:services:x"), Diagnostic.SERVICE_UNKNOWN),
    "the answer's service": (setting("//itk:header", "service", VERIFY + "Response"), Diagnostic.SERVICE_UNKNOWN),
    "another Action": (saying("//wsa:Action", VERIFY + "x"), Diagnostic.ACTION_DIFFERS),
    "another profile": (setting("//itk:manifestitem", "profileid", "urn:x"), Diagnostic.PROFILE_DIFFERS),
    "another payload": (
        lambda root: setattr(at(root, "//itk:payload/*"), "tag", "{urn:hl7-org:v3}getNHSNumberRequest-v1-0"),
        Diagnostic.PAYLOAD_DIFFERS,
    ),
    "payload of another namespace": (
        lambda root: setattr(at(root, "//itk:payload/*"), "tag", "{urn:other}verifyNHSNumberRequest-v1-0"),
        Diagnostic.PAYLOAD_DIFFERS,
    ),
}  # fmt: skip


@pytest.mark.requirement("SMSP-ERR-001", "b")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_envelope_is_fault_1000(mistake: str) -> None:
    edit, diagnostic = MISTAKES[mistake]
    refused = refusal(edited(edit))
    assert refused.fault == soap.Fault(kind="client", code="1000", diagnostic=diagnostic)


def _rename_payload(id: str) -> Callable[[etree._Element], None]:
    def edit(root: etree._Element) -> None:
        at(root, "//itk:manifestitem").set("id", id)
        at(root, "//itk:payload").set("id", id)

    return edit


@pytest.mark.parametrize(
    "id", [f"uuid_{PAYLOAD_ID.lower()}", "uuid_1", "payload", f"uuid_{PAYLOAD_ID}_", f"uuid-{PAYLOAD_ID}"]
)
def test_a_payload_id_is_an_upper_case_uuid_after_an_optional_prefix(id: str) -> None:
    assert refusal(edited(_rename_payload(id))).fault.diagnostic == Diagnostic.PAYLOAD_ID_FORM


def test_two_payloads_counted_right_are_still_one_too_many() -> None:
    def edit(root: etree._Element) -> None:
        for path in ("//itk:manifest", "//itk:payloads"):
            element = at(root, path)
            element.set("count", "2")
            again = etree.fromstring(etree.tostring(element[0]))
            again.set("id", f"uuid_{HL7_ID}")
            element.append(again)

    assert refusal(edited(edit)).fault.diagnostic == Diagnostic.ONE_PAYLOAD


@pytest.mark.parametrize(
    ("body", "kind", "diagnostic"),
    [
        (b"", "client", Diagnostic.NOT_XML),
        (b'{"not": "xml"}', "client", Diagnostic.NOT_XML),
        (b"<!DOCTYPE x><x/>", "client", Diagnostic.DOCTYPE),
        (b"<x>" * 65 + b"</x>" * 65, "client", Diagnostic.TOO_DEEP),
        (b"<x>" + b"y" * xml.MAX_BYTES + b"</x>", "client", Diagnostic.TOO_LARGE),
        (b"<x/>", "client", Diagnostic.NOT_SOAP),
        (b'<Envelope xmlns="http://www.w3.org/2003/05/soap-envelope"/>', "version-mismatch", Diagnostic.SOAP_VERSION),
        (b"<Envelope/>", "version-mismatch", Diagnostic.SOAP_VERSION),
    ],
)
@pytest.mark.requirement("SMSP-ERR-001", "b")
def test_what_is_not_soap_1_1(body: bytes, kind: soap.FaultKind, diagnostic: Diagnostic) -> None:
    assert refusal(body).fault == soap.Fault(kind=kind, code="1000", diagnostic=diagnostic)


@pytest.mark.parametrize(
    ("header", "refused"),
    [
        ('<x s:mustUnderstand="1"/>', True),
        ('<wsa:FarTo s:mustUnderstand="true"/>', True),
        ('<x s:mustUnderstand="1" s:actor="http://schemas.xmlsoap.org/soap/actor/next"/>', True),
        ('<x s:mustUnderstand="1" s:actor="urn:somebody-else"/>', False),
        ('<x s:mustUnderstand="0"/>', False),
        ('<wsa:FaultTo s:mustUnderstand="1"/>', False),
        ("<x/>", False),
    ],
)
def test_an_unknown_header_is_refused_only_when_we_must_understand_it(header: str, refused: bool) -> None:
    body = edited(with_child("//s:Header", header))
    if refused:
        assert refusal(body).fault.kind == "must-understand"
    else:
        assert read(body).operation is Operation.VERIFY_NHS_NUMBER


@pytest.mark.parametrize("soap_action", [None, "", '""', VERIFY, f'"{VERIFY}"', f' "{VERIFY}" '])
def test_soap_action_may_be_missing_empty_or_quoted(soap_action: str | None) -> None:
    assert read(request(), soap_action=soap_action).service == VERIFY


def test_another_soap_action_is_refused() -> None:
    assert refusal(request(), soap_action=f'"{VERIFY}x"').fault.diagnostic == Diagnostic.SOAP_ACTION_DIFFERS


@pytest.mark.parametrize(
    "id",
    [MESSAGE_ID.lower(), f"uuid:{MESSAGE_ID}", f"urn:uuid:{MESSAGE_ID.lower()}", f"  {MESSAGE_ID}\n", f"_{MESSAGE_ID}"],
)
def test_a_message_id_may_have_any_case_and_a_prefix(id: str) -> None:
    assert read(edited(saying("//wsa:MessageID", id))).message_id == id.strip()


EQUAL: dict[str, Callable[[etree._Element], object]] = {
    "MessageID and trackingid": saying("//wsa:MessageID", TRACKING_ID),
    "MessageID in lower case and trackingid": saying("//wsa:MessageID", f"uuid:{TRACKING_ID.lower()}"),
    "MessageID and payload id": saying("//wsa:MessageID", PAYLOAD_ID),
    "MessageID and wsu:Id": saying("//wsa:MessageID", TIMESTAMP_ID),
    "trackingid and payload id": setting("//itk:header", "trackingid", PAYLOAD_ID),
    "wsu:Id with a prefix and trackingid": setting("//wsu:Timestamp", WSU_ID, f"uuid_{TRACKING_ID.lower()}"),
    "wsu:Id and payload id": setting("//wsu:Timestamp", WSU_ID, PAYLOAD_ID),
}  # fmt: skip


@pytest.mark.parametrize("which", EQUAL)
def test_two_equal_ids_in_one_message_are_refused(which: str) -> None:
    assert refusal(edited(EQUAL[which])).fault.diagnostic == Diagnostic.IDS_EQUAL


def test_the_id_of_the_timestamp_may_be_missing_or_of_another_form() -> None:
    for value in (None, "TS-1"):
        assert read(edited(setting("//wsu:Timestamp", WSU_ID, value))).operation


def test_lenient_ids_are_read_as_if_they_were_written_properly() -> None:
    def edit(root: etree._Element) -> None:
        at(root, "//itk:header").set("trackingid", TRACKING_ID.lower())
        _rename_payload(PAYLOAD_ID.lower())(root)

    received = read(edited(edit), lenient_ids=True)
    assert (received.tracking_id, received.payload_id) == (TRACKING_ID, f"uuid_{PAYLOAD_ID}")
    assert refusal(edited(edit)).fault.diagnostic == Diagnostic.TRACKING_ID_FORM


SECOND = datetime.timedelta(seconds=1)
SKEW = datetime.timedelta(seconds=POLICY.clock_skew_s)


@pytest.mark.parametrize(
    ("now", "diagnostic"),
    [
        (NOW - SKEW, None),
        (NOW - SKEW - SECOND, Diagnostic.FUTURE),
        (NOW + 600 * SECOND + SKEW, None),
        (NOW + 601 * SECOND + SKEW, Diagnostic.EXPIRED),
    ],
)
def test_a_message_holds_from_created_to_expires_give_or_take_the_skew(
    now: datetime.datetime, diagnostic: Diagnostic | None
) -> None:
    if diagnostic is None:
        assert read(request(), now=now).created == NOW
    else:
        assert refusal(request(), now=now).fault.diagnostic == diagnostic


@pytest.mark.parametrize("expires", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59+14:00"])
def test_a_message_that_never_expires_is_read(expires: str) -> None:
    assert read(edited(saying("//wsu:Expires", expires))).expires is not None


def test_security_may_be_optional_and_is_still_checked_when_present() -> None:
    bare = read(edited(without("//wsse:Security")), require_security=False)
    assert (bare.created, bare.expires, bare.username) == (None, None, None)
    nameless = read(edited(without("//wsse:UsernameToken")), require_security=False)
    assert (nameless.created, nameless.username) == (NOW, None)
    late = refusal(request(), now=NOW + datetime.timedelta(days=1), require_security=False)
    assert late.fault.diagnostic == Diagnostic.EXPIRED


def test_an_anonymous_reply_to_is_fine() -> None:
    address = f"<wsa:ReplyTo><wsa:Address>{soap.ANONYMOUS}</wsa:Address></wsa:ReplyTo>"
    assert read(edited(with_child("//s:Header", address)))


def test_the_audit_identity_is_trimmed_and_its_type_has_a_default() -> None:
    def edit(root: etree._Element) -> None:
        identity = at(root, "//itk:auditIdentity")
        identity[0].attrib.pop("type")
        identity[0].set("uri", " urn:nhs-uk:identity:ods:RXX:x ")
        etree.SubElement(identity, f"{{{soap.ITK}}}id", {"type": " 1.2 ", "uri": "   "})

    assert read(edited(edit)).audit_identity == (
        AuditId(type=oids.LOCAL_IDENTITY, uri="urn:nhs-uk:identity:ods:RXX:x"),
        AuditId(type="1.2", uri=""),
    )
    assert read(edited(without("//itk:auditIdentity"))).audit_identity is None
    assert read(edited(without("//itk:senderAddress"))).sender_address is None


def test_an_invalid_payload_does_not_stop_the_envelope_from_being_read() -> None:
    received = read(edited(lambda root: at(root, "//itk:payload/*").append(etree.Element("junk"))))
    assert received.audit_identity is not None


def test_a_refusal_carries_what_could_be_read() -> None:
    refused = refusal(edited(setting("//itk:manifestitem", "profileid", None)))
    assert (refused.message_id, refused.operation) == (MESSAGE_ID, Operation.VERIFY_NHS_NUMBER)
    assert (refused.service, refused.tracking_id) == (VERIFY, TRACKING_ID)
    assert refused.audit_identity == (AuditId(type=oids.LOCAL_IDENTITY, uri="urn:nhs-uk:identity:ods:RXX:jsmith"),)
    early = refusal(edited(without("//wsa:To")))
    assert (early.message_id, early.tracking_id) == (MESSAGE_ID, TRACKING_ID)


def test_a_refusal_carries_nothing_that_is_not_in_its_proper_form() -> None:
    def edit(root: etree._Element) -> None:
        at(root, "//wsa:MessageID").text = "BLOGGS"
        at(root, "//itk:header").set("trackingid", "BLOGGS")
        at(root, "//itk:header").set("service", "BLOGGS")
        at(root, "//itk:auditIdentity/itk:id").set("uri", "x" * 2000)

    refused = refusal(edited(edit))
    assert "BLOGGS" not in str(refused) + refused.fault.diagnostic
    assert (refused.message_id, refused.operation, refused.service) == (None, None, None)
    assert (refused.tracking_id, refused.audit_identity) == (None, None)


VALID = request()
INTERESTING = [
    b"<",
    b">",
    b"&",
    b'"',
    b"</",
    b"\x00",
    b"\xff",
    b"xmlns=",
    b"''",
    b"0B000003-0000",
    b"true",
    b"<x/>",
    b" ",
]


@settings(deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda seed, piece: _spoil(random.Random(seed), piece),
            st.integers(min_value=0),
            st.one_of(st.binary(max_size=12), st.sampled_from(INTERESTING)),
        ),
    )
)
def test_any_bytes_are_a_request_or_the_peers_fault(body: bytes) -> None:
    """Whatever the bytes, read_request gives an ItkRequest or raises PeerFault, and nothing else."""
    with contextlib.suppress(soap.PeerFault):
        assert read(body).payload is not None


def _spoil(source: random.Random, piece: bytes) -> bytes:
    """Overwrite, insert or cut at one to three places of a valid request."""
    body = VALID
    for _ in range(source.randint(1, 3)):
        start = source.randrange(len(body))
        body = body[:start] + piece + body[start + source.choice((0, 1, len(piece), 40)) :]
    return body


# Answers


def answer(**how: object) -> bytes:
    payload = pds.write_response(
        Operation.GET_NHS_NUMBER, Reply(code="DEMOG-0001"), id=HL7_ID, vocabulary=shipped_vocabulary("pds")
    )
    given: dict[str, object] = {"message_id": MESSAGE_ID, "tracking_id": TRACKING_ID, "relates_to": PAYLOAD_ID}
    return itk.write_response(payload, operation=Operation.GET_NHS_NUMBER, **(given | how))  # type: ignore[arg-type]


def test_an_answer_reads_back() -> None:
    response = itk.read_response(answer())
    assert isinstance(response, itk.ItkResponse)
    assert response.service == pds.MESSAGES[Operation.GET_NHS_NUMBER].response_service
    assert (response.message_id, response.tracking_id, response.relates_to) == (MESSAGE_ID, TRACKING_ID, PAYLOAD_ID)
    assert pds.read_response(Operation.GET_NHS_NUMBER, response.payload) == Reply(code="DEMOG-0001")


def test_an_answer_has_only_the_headers_it_is_asked_to_have() -> None:
    bare, full = (
        etree.fromstring(answer(relates_to=None)),
        etree.fromstring(answer(security=(NOW, NOW + SECOND), audit_identity="urn:nhs-uk:identity:ods:RZZ:smsp")),
    )
    assert [etree.QName(header).localname for header in bare[0]] == ["MessageID", "Action"]
    assert [etree.QName(header).localname for header in full[0]] == ["MessageID", "Action", "Security", "RelatesTo"]
    assert not list(bare.iter(f"{{{soap.ITK}}}auditIdentity"))
    assert at(full, "//itk:auditIdentity/itk:id").get("uri") == "urn:nhs-uk:identity:ods:RZZ:smsp"
    assert at(full, "//wsu:Created").text == "2024-05-01T10:00:00Z"


def test_the_payload_id_is_that_of_the_message_inside_unless_given() -> None:
    assert at(etree.fromstring(answer()), "//itk:payload").get("id") == f"uuid_{HL7_ID}"
    assert at(etree.fromstring(answer(payload_id=PAYLOAD_ID)), "//itk:payload").get("id") == f"uuid_{PAYLOAD_ID}"


def test_a_fault_is_recognised_whatever_the_status() -> None:
    fault = soap.Fault(kind="server", code="2100", diagnostic="Busy")
    assert itk.read_response(soap.write_fault(fault, message_id="M", relates_to=None, error_id="E")) == fault


@pytest.mark.parametrize("body", [b"", b"<html><body/></html>", edited(without("//v3:verifyNHSNumberRequest-v1-0"))])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(soap.AnswerUnreadable):
        itk.read_response(body)


@pytest.mark.requirement("MSCA-AUD-04", "g")
@pytest.mark.parametrize("operation", Operation)
def test_the_audit_identity_is_in_the_envelopes_header_and_nowhere_else(operation: Operation) -> None:
    root = etree.fromstring(request(operation))
    (identity,) = root.iter(f"{{{soap.ITK}}}auditIdentity")
    assert identity is at(root, "/s:Envelope/s:Body/itk:DistributionEnvelope/itk:header/itk:auditIdentity")
    assert xml.schema("itk-envelope").first_error(root[1][0]) is None
