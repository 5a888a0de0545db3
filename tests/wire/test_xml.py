"""The one parser: what it refuses, and that what it says of a document holds nothing of it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.wire import xml


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the message is not well-formed XML in UTF-8"),
        (b"hello", "the message is not well-formed XML in UTF-8"),
        (b"<a>", "the message is not well-formed XML in UTF-8"),
        (b"<a>&undefined;</a>", "the message is not well-formed XML in UTF-8"),
        (b"<a>\xff</a>", "the message is not well-formed XML in UTF-8"),
        ("<a>é</a>".encode("latin-1"), "the message is not well-formed XML in UTF-8"),
        ("<a/>".encode("utf-16"), "the message is not well-formed XML in UTF-8"),
        (b"<!DOCTYPE a><a/>", "a document type declaration is not allowed"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "a document type declaration is not allowed"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "a document type declaration is not allowed"),
        (b"<a>" * 65 + b"</a>" * 65, "the message is nested too deeply"),
        (b"<a>" + b"<b/>" * 10_000 + b"</a>", "the message has more elements or attributes than allowed"),
        (
            b"<a" + b"".join(b' xmlns:a%d="u"' % n for n in range(501)) + b"/>",
            "the message has more elements or attributes than allowed",
        ),
        (
            b"<a" + b"".join(b' a%d=""' % n for n in range(10_001)) + b"/>",
            "the message has more elements or attributes than allowed",
        ),
        (b"<a>" * 5000 + b"</a>" * 5000, "the message is not well-formed XML in UTF-8"),
        (b"<a>" + b" " * xml.MAX_BYTES + b"</a>", "the message is larger than allowed"),
    ],
)  # fmt: skip
def test_refused(body: bytes, reason: str) -> None:
    with pytest.raises(xml.XmlRefused) as caught:
        xml.parse(body)
    assert caught.value.reason == reason


def test_an_entity_bomb_is_refused_before_it_grows() -> None:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    body = f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY l0 "ha">{levels}]><a>&l11;</a>'.encode()
    with pytest.raises(xml.XmlRefused, match="document type"):
        xml.parse(body)


def test_a_wrong_encoding_label_over_utf8_is_read() -> None:
    root = xml.parse('<?xml version="1.0" encoding="ISO-8859-1"?><a>Zoë</a>'.encode())
    assert root.text == "Zoë"


def test_comments_and_instructions_split_no_text() -> None:
    assert xml.parse(b"<a>SM<!-- x -->I<?x?>T<![CDATA[H]]></a>").text == "SMITH"


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Whatever the bytes, parse gives an element or raises XmlRefused."""
    with contextlib.suppress(xml.XmlRefused):
        assert xml.local_name(xml.parse(body))


def test_the_first_error_names_the_place_and_not_the_value() -> None:
    document = xml.parse(
        b'<getNHSNumberRequest-v1-0 xmlns="urn:hl7-org:v3" classCode="CACT" moodCode="EVN">'
        b'<id root="0B000005-0000-4000-8000-00000000000A"/>'
        b'<code code="getNHSNumberRequest-v1-0" codeSystem="2.16.840.1.113883.2.1.3.2.4.17.284"/>'
        b'<queryEvent><Person.DateOfBirth><value value="SECRET"/></Person.DateOfBirth></queryEvent>'
        b"</getNHSNumberRequest-v1-0>"
    )
    error = xml.schema("pds-request").first_error(document)
    assert error is not None
    assert error.path == ("getNHSNumberRequest-v1-0", "queryEvent", "Person.DateOfBirth", "value")
    assert "SECRET" not in repr(error)


def test_the_place_is_found_behind_prefixes_too() -> None:
    document = xml.parse(
        b'<v:getNHSNumberRequest-v1-0 xmlns:v="urn:hl7-org:v3" classCode="CACT" moodCode="EVN">'
        b'<v:id root="0B000005-0000-4000-8000-00000000000A"/>'
        b'<v:code code="getNHSNumberRequest-v1-0" codeSystem="2.16.840.1.113883.2.1.3.2.4.17.284"/>'
        b'<v:queryEvent><v:realmCode code="GB"/><v:realmCode code="a b"/></v:queryEvent></v:getNHSNumberRequest-v1-0>'
    )
    error = xml.schema("pds-request").first_error(document)
    assert error is not None
    assert error.path == ("getNHSNumberRequest-v1-0", "queryEvent", "realmCode")


def test_what_is_written_reads_back() -> None:
    root = xml.root(xml.name("urn:a", "r"), {None: "urn:a"}, {"k": "<&>\"'"})
    xml.add(root, xml.name("urn:a", "c"), text="]]>\u00e9\u4e2d")
    read = xml.parse(xml.to_bytes(root))
    assert (read.tag, xml.local_name(read), xml.attribute(read, "k")) == ("{urn:a}r", "r", "<&>\"'")
    assert xml.text(xml.child(read, xml.name("urn:a", "c"))) == "]]>\u00e9\u4e2d"


def test_a_character_that_xml_cannot_carry_is_refused() -> None:
    with pytest.raises(ValueError):
        xml.add(xml.root("a", {}), "b", text="\x00")
