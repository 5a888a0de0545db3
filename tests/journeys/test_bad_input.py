"""Every bad input that a client, a scanner or an attacker can think of: a clear error, a record, and life goes on.

Each is sent over real TLS by a registered client. Nothing of it reaches Spine, and the provider serves afterwards.
"""

import contextlib
import datetime
import gzip
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from tests.journeys.house import PATIENCE_S, House, Line, Spine, head, until
from tests.journeys.messages import (
    FIND,
    VERIFY,
    Answer,
    Edit,
    Message,
    at,
    found,
    saying,
    setting,
    twice,
    without,
)

HEADER, ITEM, PAYLOAD = ".//itk:header", ".//itk:manifestitem", ".//itk:payload"
CREATED, EXPIRES = ".//wsu:Created", ".//wsu:Expires"
OTHER_SERVICE = "urn:nhs-itk:services:201005:getNHSNumber-v1-0"


_NUMBERED = {"nhs_number": "9434765919", "birth_date": "20090310"}


def good() -> Message:
    return Message(VERIFY, **_NUMBERED)


def _undeclared(message: Message) -> bytes:
    """The message without an XML declaration."""
    return message.body[message.body.index(b"<soap:Envelope") :]


@pytest.fixture(autouse=True)
def _nothing_reaches_spine_and_life_goes_on(house: House, spine: Spine) -> Iterator[None]:
    before = len(spine.calls())
    defects = house.metric("minispine_exchanges_total", answer="fault-2200")
    yield
    assert len(spine.calls()) == before
    assert house.metric("minispine_exchanges_total", answer="fault-2200") == defects
    assert house.ask(good()).code == "DEMOG-0001"


def refused(house: House, body: bytes | Message, **headers: Any) -> tuple[Answer, str]:
    """Send something bad; give the answer and the reason that the trail has for it."""
    first = house.last() + 1
    with house.line() as line:
        answer = line.ask(body, **headers)
    answer.must_be_valid(None)
    events = [e for e in house.trail(first) if e["type"].startswith("exchange.")]
    assert [e["type"] for e in events] == ["exchange.received", "exchange.refused", "exchange.replied"]
    assert events[2]["data"]["status"] == answer.status
    reason: str = events[1]["data"]["reason"]
    return answer, reason


def _rename(path: str, tag: str) -> Edit:
    return lambda root: setattr(at(root, path), "tag", tag)


def _two_payloads(root: etree._Element) -> None:
    twice(ITEM)(root)
    twice(PAYLOAD)(root)
    for name in ("manifest", "payloads"):
        at(root, f".//itk:{name}").set("count", "2")
    for number, element in enumerate(found(root, f"{ITEM} | {PAYLOAD}")):
        element.set("id", f"uuid_A000000{number % 2}-AAAA-4BBB-8CCC-00000000000D")


def _equal_ids(root: etree._Element) -> None:
    at(root, HEADER).set("trackingid", (at(root, ".//wsa:MessageID").text or "")[-36:])


def _lower_payload_id(root: etree._Element) -> None:
    for path in (ITEM, PAYLOAD):
        element = at(root, path)
        element.set("id", f"uuid_{element.get('id', '')[-36:].lower()}")


def _lower_tracking_id(root: etree._Element) -> None:
    element = at(root, HEADER)
    element.set("trackingid", element.get("trackingid", "").lower())


def _soap_12(message: Message) -> Message:
    return message.replace("http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope")


def _aged(created_s: float, valid_s: float = 600) -> Message:
    created = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=created_s)
    return Message(VERIFY, created=created, valid_s=valid_s, **_NUMBERED)


def _edited(*edits: Edit) -> Callable[[], Message]:
    return lambda: good().edit(*edits)


MESSAGES: dict[str, tuple[Callable[[], Message], str]] = {
    "SOAP 1.2": (lambda: _soap_12(good()), "SOAP version"),
    "no SOAP": (_edited(_rename("/s:Envelope", "letter")), "not a SOAP envelope"),
    "no Body": (_edited(without("/s:Envelope/s:Body")), "one Body"),
    "two Bodies": (_edited(twice("/s:Envelope/s:Body")), "one Body"),
    "no envelope": (_edited(_rename(".//itk:DistributionEnvelope", "{urn:x}letter")), "DistributionEnvelope"),
    "two envelopes": (_edited(twice(".//itk:DistributionEnvelope")), "one element"),
    "no MessageID": (_edited(without(".//wsa:MessageID")), "MessageID is missing"),
    "no Action": (_edited(without(".//wsa:Action")), "Action is missing"),
    "no To": (_edited(without(".//wsa:To")), "To is missing"),
    "no Security": (_edited(without(".//wsse:Security")), "Security is missing"),
    "no Timestamp": (_edited(without(".//wsu:Timestamp")), "Timestamp"),
    "no Username": (_edited(without(".//wsse:UsernameToken")), "Username is missing"),
    "no SOAP header": (_edited(without("/s:Envelope/s:Header")), "missing"),
    "no trackingid": (_edited(setting(HEADER, "trackingid", None)), "trackingid is missing"),
    "no service": (_edited(setting(HEADER, "service", None)), "not valid"),
    "no manifest": (_edited(without(".//itk:manifest")), "not valid"),
    "no profileid": (_edited(setting(ITEM, "profileid", None)), "profileid is missing"),
    "no payloads": (_edited(without(".//itk:payloads")), "not valid"),
    "MessageID no UUID": (_edited(saying(".//wsa:MessageID", "42")), "not a UUID"),
    "two MessageIDs": (_edited(twice(".//wsa:MessageID")), "more than once"),
    "lower-case trackingid": (_edited(_lower_tracking_id), "trackingid"),
    "lower-case payload id": (_edited(_lower_payload_id), "payload id"),
    "equal ids": (_edited(_equal_ids), "all be different"),
    "unknown service": (
        _edited(setting(HEADER, "service", "urn:x:y"), saying(".//wsa:Action", "urn:x:y")),
        "not known",
    ),
    "another Action": (_edited(saying(".//wsa:Action", OTHER_SERVICE)), "wsa:Action"),
    "another service": (_edited(setting(HEADER, "service", OTHER_SERVICE)), "wsa:Action"),
    "another profile": (
        _edited(setting(ITEM, "profileid", "urn:nhs-en:profile:getNHSNumberRequest-v1-0")),
        "profileid",
    ),
    "another payload": (_edited(_rename(f"{PAYLOAD}/*", "{urn:hl7-org:v3}getNHSNumberRequest-v1-0")), "payload"),
    "no payload root": (_edited(without(f"{PAYLOAD}/*")), "XML element"),
    "payload id differs": (_edited(setting(PAYLOAD, "id", "uuid_A000000D-AAAA-4BBB-8CCC-00000000000D")), "ids"),
    "two payloads": (_edited(_two_payloads), "one payload"),
    "count differs": (_edited(setting(".//itk:manifest", "count", "2")), "counts"),
    "count of a googol": (_edited(setting(".//itk:payloads", "count", "1" + "0" * 100)), ""),
    "base64": (_edited(setting(ITEM, "base64", "true")), "base64"),
    "compressed": (_edited(setting(ITEM, "compressed", "true")), "compressed"),
    "encrypted": (_edited(setting(ITEM, "encrypted", "true")), "encrypted"),
    "metadata": (_edited(setting(ITEM, "metadata", "true")), "metadata"),
    "expired": (lambda: _aged(-4000, 600), "expired"),
    "from the future": (lambda: _aged(4000, 600), "future"),
    "expires before created": (lambda: _aged(0, -60), "before"),
    "no time at all": (_edited(saying(CREATED, "yesterday")), "not a date"),
    "year 9999": (_edited(saying(CREATED, "9999-12-31T23:59:59-14:00"), saying(EXPIRES, "9999-12-31T23:59:59Z")), ""),
    "year 1": (_edited(saying(CREATED, "0001-01-01T00:00:00+14:00")), ""),
    "must be understood": (
        lambda: good().replace("<soap:Header>", '<soap:Header><x xmlns="urn:x" soap:mustUnderstand="1"/>'),
        "understood",
    ),
    "reply elsewhere": (
        lambda: good().replace(
            "<soap:Header>",
            "<soap:Header><wsa:ReplyTo><wsa:Address>http://attacker.example/</wsa:Address></wsa:ReplyTo>",
        ),
        "ReplyTo",
    ),
}


@pytest.mark.requirement("SMSP-ERR-001", "a")
@pytest.mark.parametrize("what", MESSAGES)
def test_a_message_with_a_mistake_gets_fault_1000_that_names_it(house: House, what: str) -> None:
    make, said = MESSAGES[what]
    answer, reason = refused(house, make(), soapaction=None)
    assert (answer.status, answer.fault, answer.payload, reason) == (500, "1000", None, "envelope")
    assert answer.diagnostic is not None
    assert said in answer.diagnostic


def _bomb() -> str:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    return f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "ha">{entities}]><x>&e9;</x>'


def _nested(depth: int) -> bytes:
    return good().body.replace(b"</soap:Body>", b"<a>" * depth + b"</a>" * depth + b"</soap:Body>")


DOCTYPE = good().body.replace(b"<soap:Envelope", b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><soap:Envelope', 1)
BYTES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "not well-formed"),
    "not XML": (b"Dear provider, whose number is this?", "not well-formed"),
    "JSON": (b'{"operation": "verifyNHSNumber"}', "not well-formed"),
    "half": (good().body[:1500], "not well-formed"),
    "two roots": (good().body * 2, "not well-formed"),
    "zeros": (bytes(5000), "not well-formed"),
    "not UTF-8": (good().body.replace(b"A client", b"A cli\xe9nt"), "not well-formed"),
    "latin-1 by declaration": (
        b'<?xml version="1.0" encoding="ISO-8859-1"?>' + good().body.replace(b"A client", b"A cli\xe9nt"),
        "UTF-8",
    ),
    "UTF-7": (b'<?xml version="1.0" encoding="UTF-7"?>+ADw-x/+AD4-', "UTF-8"),
    "XML 1.1": (b'<?xml version="1.1"?>' + good().body, ""),
    "DOCTYPE": (DOCTYPE, "document type"),
    "entity bomb": (_bomb().encode(), "document type"),
    "entity bomb in UTF-16": (_bomb().encode("utf-16"), ""),
    "entity bomb in UTF-16BE": (b"\xfe\xff" + _bomb().encode("utf-16-be"), ""),
    "entity bomb in UTF-32": (_bomb().encode("utf-32"), ""),
    "external entity": (b'<!DOCTYPE x [<!ENTITY e SYSTEM "http://127.0.0.1:1/">]><x>&e;</x>', "document type"),
    "parameter entity": (b'<!DOCTYPE x [<!ENTITY % e SYSTEM "file:///etc/passwd"> %e;]><x/>', "document type"),
    "deep": (_nested(200), "nested too deeply"),
    "very deep and closed": (_nested(20_000), ""),
    "very deep": (b"<a>" * 100_000, ""),
    "many attributes": (b"<a " + b" ".join(b'a%d="1"' % n for n in range(30_000)) + b"/>", "more elements"),
    "many namespaces": (
        b"<a " + b" ".join(b'xmlns:a%d="u%d"' % (n, n) for n in range(20_000)) + b"/>",
        "more elements",
    ),
    "many elements": (b"<a>" + b"<b/>" * 49_000 + b"</a>", "more elements"),
    "long name": (b"<" + b"a" * 500_000 + b"/>", ""),
    "undeclared prefix": (b"<x:a/>", ""),
    "instruction": (b"<?xml-stylesheet href='file:///etc/passwd'?>" + good().body[:10], ""),
    "gzip": (gzip.compress(good().body), "not well-formed"),
}


@pytest.mark.requirement("SMSP-ERR-001", "b")
@pytest.mark.parametrize("what", BYTES)
def test_bytes_that_are_no_message_get_fault_1000(house: House, what: str) -> None:
    body, said = BYTES[what]
    answer, reason = refused(house, body)
    assert (answer.status, answer.fault, answer.payload, reason) == (500, "1000", None, "envelope")
    assert answer.diagnostic is not None
    assert said in answer.diagnostic


# ── what real clients send ──────────────────────────────────────────────────────────────────────────────────────────


class TestWhatRealClientsSend:
    """These look wrong and are accepted; each makes one call to Spine, for somebody whom nobody knows."""

    @pytest.fixture(autouse=True)
    def _nothing_reaches_spine_and_life_goes_on(self) -> None:
        """These do reach Spine."""

    @pytest.mark.parametrize(
        "content_type", ["text/xml; charset=ISO-8859-1", "text/xml; charset=utf-16", "application/soap+xml", "", None]
    )
    def test_any_content_type_over_utf_8(self, house: House, content_type: str | None) -> None:
        message = Message(FIND, family="ÅNGSTRÖM", birth_date="20090310", gender="1")
        with house.line() as line:
            assert line.ask(message, content_type=content_type).code == "DEMOG-0001"

    def test_a_message_id_in_lower_case(self, house: House) -> None:
        message = good()
        answer = house.ask(message.edit(saying(".//wsa:MessageID", message.message_id.lower())))
        assert answer.code == "DEMOG-0001"
        assert answer.texts("//wsa:RelatesTo/text()") == [message.message_id.lower()]

    @pytest.mark.parametrize("soap_action", [None, "", '""', "bare"])
    def test_no_soap_action_or_one_without_quotes(self, house: House, soap_action: str | None) -> None:
        message = good()
        with house.line() as line:
            answer = line.ask(message, soapaction=message.service if soap_action == "bare" else soap_action)
        assert answer.code == "DEMOG-0001"

    def test_a_byte_order_mark_and_a_declaration(self, house: House) -> None:
        for before in (b"", b"\xef\xbb\xbf", b'<?xml version="1.0" encoding="utf-16"?>', b"\n<!-- a comment -->\n"):
            with house.line() as line:
                assert line.ask(before + _undeclared(good())).code == "DEMOG-0001"

    @pytest.mark.parametrize("code", ["';DROP_TABLE_audit_record;--", "${jndi:ldap://x}", "{{7*7}}", "100%25", "<x>&"])
    def test_a_user_code_of_any_printable_characters(self, house: House, code: str) -> None:
        message = Message(VERIFY, identity=f"urn:nhs-uk:identity:ods:RXX:{code}", **_NUMBERED)
        assert house.ask(message).code == "DEMOG-0001"
        assert house.exchange(message.message_id)[0]["data"]["user_code"] == code

    def test_http_1_0(self, house: House) -> None:
        body = good().body
        with house.line() as line:
            line.send(head("/smsp/pds", "POST", {"content-length": str(len(body))}, version="1.0") + body)
            assert line.read().code == "DEMOG-0001"
            assert line.closed()

    def test_chunks_of_any_size(self, house: House) -> None:
        with house.line() as line:
            for size in (1, 7, 1000, 100_000):
                body = good().body
                line.send(head("/smsp/pds", "POST", {"host": "x", "transfer-encoding": "chunked"}))
                parts = [body[at_ : at_ + size] for at_ in range(0, len(body), size)]
                line.send(b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n")
                assert line.read().code == "DEMOG-0001"

    def test_a_client_that_waits_to_be_told_to_go_on(self, house: House) -> None:
        body = good().body
        with house.line() as line:
            said = {"host": "x", "expect": "100-continue", "content-length": str(len(body))}
            line.send(head("/smsp/pds", "POST", said))
            assert line.socket.recv(100).startswith(b"HTTP/1.1 100 ")
            line.send(body)
            assert line.read().code == "DEMOG-0001"

    def test_pipelined_requests_are_answered_in_order(self, house: House) -> None:
        messages = [good() for _ in range(20)]
        with house.line() as line:
            line.send(b"".join(_post(message.body) for message in messages))
            for message in messages:
                assert line.read().texts("//wsa:RelatesTo/text()") == [message.message_id]


# ── HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _post(body: bytes, **headers: str | None) -> bytes:
    said: dict[str, str | None] = {"host": "localhost", "content-length": str(len(body))}
    said |= {name.replace("_", "-"): value for name, value in headers.items()}
    return head("/smsp/pds", "POST", said) + body


def test_another_soap_action(house: House) -> None:
    answer, _ = refused(house, good(), soapaction=f'"{OTHER_SERVICE}"')
    assert (answer.fault, "SOAPAction" in (answer.diagnostic or "")) == ("1000", True)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip", "x"])
def test_a_content_encoding(house: House, encoding: str) -> None:
    answer, reason = refused(house, gzip.compress(good().body), content_encoding=encoding)
    assert (answer.status, answer.fault, reason) == (500, "1000", "encoded")


def test_fifty_megabytes_announced_are_refused_before_they_are_sent(house: House) -> None:
    first = house.last() + 1
    with house.line() as line:
        line.send(head("/smsp/pds", "POST", {"host": "x", "content-length": str(50 * 1024 * 1024)}))
        answer = line.read()
    assert (answer.fault, "larger" in (answer.diagnostic or "")) == ("1000", True)
    assert [e["data"].get("reason") for e in house.trail(first)][1] == "too-large"


@pytest.mark.parametrize("chunked", [False, True])
def test_fifty_megabytes_are_refused_and_never_held(house: House, chunked: bool) -> None:
    (worker,) = house.workers()
    before = _memory_kb(worker)
    block = b"x" * (1024 * 1024)
    with house.line() as line:
        length = None if chunked else str(50 * len(block))
        coding = "chunked" if chunked else None
        said = {"host": "x", "content-length": length, "transfer-encoding": coding}
        line.send(head("/smsp/pds", "POST", said))
        for _ in range(50):
            line.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        if chunked:
            line.send(b"0\r\n\r\n")
        answer = line.read()
    assert (answer.status, answer.fault) == (500, "1000")
    assert _memory_kb(worker) - before < 20_000


def _memory_kb(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def test_a_body_that_trickles_is_given_up_in_words(house: House) -> None:
    first = house.last() + 1
    body = good().body
    with house.line() as line:
        line.send(_post(body)[:-10])
        began = time.monotonic()
        answer = line.read()
        assert time.monotonic() - began < 4
        assert (answer.fault, "in time" in (answer.diagnostic or "")) == ("1000", True)
        assert line.closed(6)
    assert [e["data"].get("reason") for e in house.trail(first)][1] == "too-slow"


def test_a_head_that_trickles_is_cut_off(house: House) -> None:
    with house.line() as line:
        began = time.monotonic()
        for byte in _post(good().body)[:60]:
            line.send(bytes([byte]))
            if line.closed(0.1):
                break
        assert line.closed(1)
        assert time.monotonic() - began < 6


def test_a_second_head_that_trickles_behind_a_good_request_is_cut_off(house: House) -> None:
    with house.line() as line:
        line.send(_post(good().body, soapaction=OTHER_SERVICE) + b"POST /smsp/pds HTTP/1.1\r\nhost")
        assert line.read().fault == "1000"
        assert line.closed(6)


def test_a_body_that_ends_before_its_end_is_recorded(house: House) -> None:
    first = house.last() + 1
    with house.line() as line:
        line.send(_post(good().body)[:-10])
    until(lambda: house.last() >= first)
    assert [e["data"].get("reason") for e in house.trail(first)][1] == "cut-short"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 100,
        b"GET\r\n\r\n",
        b"POST /smsp/pds HTTP/9.9\r\n\r\n",
        b"POST /smsp/pds\r\n\r\n",
        b"SSH-2.0-scanner\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST http://[::1 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /smsp/pds HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /smsp/pds HTTP/1.1\r\nhost: x\r\ncontent-length: 1e3\r\n\r\n",
        b"POST /smsp/pds HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST /smsp/pds HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"POST /smsp/pds HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /smsp/pds HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /smsp/pds HTTP/1.1\r\nhost: x\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST /smsp/pds HTTP/1.1\r\nhost: x\r\n x: folded\r\n\r\n",
        b"POST /smsp/pds HTTP/1.1\r\nhost: x\r\nx: a\rb\r\n\r\n",
        b"POST /smsp/pds HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"POST /smsp/pds HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 40_000 + b"\r\n\r\n",
        b"POST /smsp/pds HTTP/1.1\r\nhost: x\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(20_000)) + b"\r\n",
        b"POST /" + b"a" * 40_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
    ids=range(22),
)
def test_what_is_no_http_ends_the_connection(house: House, garbage: bytes) -> None:
    with house.line() as line:
        line.send(garbage)
        try:
            answer = line.read()
        except ConnectionError:
            return
        assert answer.status in (400, 404, 405, 500)
        if answer.status == 400:
            assert line.closed(5)


def test_no_request_can_be_smuggled_behind_another(house: House) -> None:
    inner = _post(good().body)
    ambiguous = [
        b"POST /smsp/pds HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        % (len(inner) + 5)
        + inner,
        b"POST /smsp/pds HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\ncontent-length: 0\r\n\r\n" + inner,
        b"POST /smsp/pds HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0;\n\r\n" + inner,
        b"POST /smsp/pds HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n"
        b"0\r\n\r\n" + inner,
    ]
    for content in ambiguous:
        with house.line() as line:
            line.send(content)
            codes: list[str | None] = []
            try:
                while len(codes) < 3:
                    codes.append(line.read().code)
            except (ConnectionError, TimeoutError):
                pass
            assert "DEMOG-0001" not in codes


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "x"])
def test_an_upgrade_is_not_taken_up(house: House, upgrade: str) -> None:
    with house.line() as line:
        line.send(b"POST /smsp/pds HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: %b\r\n" % upgrade.encode())
        line.send(b"content-length: 5\r\n\r\nhello")
        with contextlib.suppress(ConnectionError):
            assert line.read().status in (400, 500)


def test_the_wrong_path_or_method_is_told_the_right_one(house: House) -> None:
    with house.line() as line:
        for path in ("/", "/smsp", "/smsp/pds/", "/smsp/PDS", "/smsp/pds/../pds", "/%2e%2e/etc/passwd", "/metrics"):
            answer = line.ask(good(), path)
            assert (answer.status, b"/smsp/pds" in answer.body) == (404, True)
        for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
            answer = line.ask(b"", method=method)
            assert (answer.status, answer.headers["allow"]) == (405, "POST, GET")
        line.send(head("/smsp/pds", "HEAD", {"host": "x"}))
        assert line.read("HEAD").status == 405


def test_a_host_header_cannot_spoil_the_description(house: House) -> None:
    for host in ("x", "\xe9\xff", '"><script>', "x\x7f", "a" * 20_000, "evil.example/path?"):
        with house.line() as line:
            line.send(head("/smsp/pds?wsdl", "GET", {"host": host}))
            try:
                answer = line.read("GET")
            except ConnectionError:
                continue
            assert answer.status in (200, 400)
            if answer.status == 200:
                etree.fromstring(answer.body)


def test_plain_http_on_the_tls_port_is_not_answered(house: House) -> None:
    with socket.create_connection(("127.0.0.1", house.port), timeout=PATIENCE_S) as raw:
        raw.sendall(_post(good().body))
        with contextlib.suppress(ConnectionError):
            assert not raw.recv(100).startswith(b"HTTP")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:ssl.OP_NO_:DeprecationWarning")
def test_old_tls_is_refused(house: House) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError):
        house.line(context=context)


def test_a_connection_that_says_nothing_holds_nobody_up(house: House) -> None:
    silent = [socket.create_connection(("127.0.0.1", house.port)) for _ in range(64)]
    try:
        assert house.ask(good(), soapaction=OTHER_SERVICE).fault == "1000"
    finally:
        for each in silent:
            each.close()


def _is_open(server_port: int, client_port: int) -> bool:
    """Whether the server's end of a connection on this machine is still there."""
    ends = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = "01"
    return any(
        state == established and int(ours[-4:], 16) == server_port and int(theirs[-4:], 16) == client_port
        for ours, theirs, state in ends
    )


def test_who_never_takes_the_answers_is_cut_off(house: House) -> None:
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", house.port))
    with Line(house.tls(None).wrap_socket(raw, server_hostname="localhost")) as line:
        line.socket.settimeout(1)
        with contextlib.suppress(TimeoutError):
            line.send(head("/smsp/pds?wsdl", "GET", {"host": "x"}) * 400)
        client_port = line.socket.getsockname()[1]
        assert _is_open(house.port, client_port)
        until(lambda: not _is_open(house.port, client_port), 8, "the connection is cut off")


def test_a_half_closed_connection_is_a_client_gone(house: House) -> None:
    first = house.last() + 1
    with house.line() as line:
        line.send(_post(good().body)[:-1])
        line.socket.shutdown(socket.SHUT_WR)
    until(lambda: house.last() >= first)
    assert [e["data"].get("reason") for e in house.trail(first)][1] == "cut-short"
