"""Every query we emit is valid against the official schemas and passes the rules that Spine applies to requests."""

import datetime
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from minispine.domain import nhs_number
from minispine.domain.identity import SpineAuthor
from minispine.domain.question import CrossCheck, Question, Retrieval, Trace
from minispine.wire.hl7v3 import interaction, write_query

NAMESPACES = {
    "SOAP": "http://schemas.xmlsoap.org/soap/envelope/",
    "wsa": "http://schemas.xmlsoap.org/ws/2004/08/addressing",
    "hl7": "urn:hl7-org:v3",
}
RULES_FOR = {
    Trace: "p1r2_SimpleTraceValidation",
    CrossCheck: "p1r2_XCheckTraceValidation",
    Retrieval: "p1r2_RetrievalQueryValidation",
}


class Ids(msgspec.Struct, frozen=True, kw_only=True):
    message_id: str
    hl7_id: str


class Check(NamedTuple):
    """One rule of Spine's: an assertion that must hold, or a report that must not."""

    context: str
    expression: str
    must_hold: bool
    name: str


@cache
def rules(file: Path, section: str) -> tuple[Check, ...]:
    """Read the checks of one kind of query from the list of Spine's rules."""
    listed = file.read_text(encoding="utf-8").partition(f"## {section}\n")[2].partition("\n## ")[0]
    checks: list[Check] = []
    for rule in re.split(r"(?m)^RULE \S+ ", listed)[1:]:
        context, _, body = rule.partition("\n")
        for name, value in re.findall(r"(?m)^   var (\S+) = (.+)$", body):
            body = body.replace(f"${name}", value)
        for expression, name in re.findall(r"   ASSERT (.+?) *\n +ELSE \*\*\*fault\|(.+?)\*\*\*", body):
            checks.append(Check(context, expression, True, name))
        for expression, name in re.findall(r"(?m)^   REPORT if (.+?) => \*\*\*fault\|(.+?)\*\*\*", body):
            checks.append(Check(context, expression, False, name))
    return tuple(checks)


def broken_rules(body: bytes, checks: tuple[Check, ...]) -> list[str]:
    """Give the names of the rules that a message breaks."""
    document = etree.Element("document")
    document.append(etree.fromstring(body))
    return [
        check.name
        for check in checks
        for node in ([document] if check.context == "/" else document.xpath(check.context, namespaces=NAMESPACES))
        if bool(node.xpath(check.expression, namespaces=NAMESPACES)) != check.must_hold
    ]


@cache
def official_schema(folder: Path, name: str) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(folder / "schema/omvt/Schemas" / f"{name}.xsd"))


# What a text of ours can hold: anything that XML can, in the sizes of the interface.
texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), min_size=1, max_size=35).filter(
    lambda text: text.strip() != "" and "\ufffe" not in text and "\uffff" not in text
)
optional = st.none() | texts
dates = st.dates(datetime.date(1890, 1, 1)).map(lambda day: f"{day:%Y%m%d}")
numbers = (
    st.text("0123456789", min_size=9, max_size=9)
    .filter(nhs_number.check_digit)
    .map(lambda first: f"{first}{nhs_number.check_digit(first)}")
)
twelve_digits = st.text("0123456789", min_size=12, max_size=12)
uuids = st.uuids().map(lambda one: str(one).upper())
questions: st.SearchStrategy[Question] = st.one_of(
    st.builds(CrossCheck, nhs_number=numbers, birth_date=dates, family=optional, given=optional),
    st.builds(
        Trace,
        family=texts,
        gender=st.sampled_from("0129"),
        birth_date=dates,
        given=optional,
        postcode=st.none() | st.just("LS1 4HY"),
    ),
    st.builds(Retrieval, nhs_number=numbers),
)
authors = st.none() | st.builds(
    SpineAuthor,
    role_profile_id=twelve_digits,
    user_id=twelve_digits,
    role_id=st.sampled_from(["R8000", "S8000:G8000:R8001"]),
)


@pytest.fixture(scope="module")
def spine(corpus: Path) -> Path:
    return corpus / "spine"


def write(question: Question, author: SpineAuthor | None = None, **ids: str) -> bytes:
    return write_query(
        question,
        ids=Ids(
            **{
                "message_id": "5B0C1A2E-0001-4C5D-8E9F-000000000001",
                "hl7_id": "5B0C1A2E-0002-4C5D-8E9F-000000000002",
                **ids,
            }
        ),
        sender_asid="200000000999",
        author=author,
        to_asid="928942012545",
        to_url="https://spine.example/sync-service",
        from_url="",
        created=datetime.datetime(2024, 7, 1, 9, 15, 30, tzinfo=datetime.UTC),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=questions, author=authors, message_id=uuids, hl7_id=uuids)
def test_every_query_is_valid_and_passes_spines_rules(
    spine: Path, question: Question, author: SpineAuthor | None, message_id: str, hl7_id: str
) -> None:
    """Invariant: a query is valid against its official schema and breaks none of Spine's rules, whatever it asks."""
    body = write(question, author, message_id=message_id, hl7_id=hl7_id)
    (message,) = etree.fromstring(body).xpath("SOAP:Body/*", namespaces=NAMESPACES)
    schema = official_schema(spine, interaction(question))
    assert schema.validate(message), [error.type_name for error in schema.error_log]
    checks = rules(spine / "codes/spine2-validation-rules.txt", RULES_FOR[type(question)])
    assert broken_rules(body, checks) == []


ONE_OF_EACH: list[Question] = [
    CrossCheck(nhs_number="9449310467", birth_date="20090310"),
    Trace(family="LANGAN", gender="1", birth_date="20090310"),
    Retrieval(nhs_number="9449310467"),
]


def spoilings() -> Iterator[tuple[str, str, str]]:
    """What to remove from a message, and the rule that must then be broken."""
    yield "SOAP:Header", "ErrorBaseTms.MESSAGE_NOT_WELL_FORMED[soapHeaderCount]", "header"
    yield "SOAP:Header/wsa:MessageID", "ErrorBaseTms.SOAP_MESSAGE_ID_ERROR", "message id"
    yield "SOAP:Header/wsa:Action", "ErrorBase1732.INCONSISTENT_HL7_INTERACTION_ID", "action"
    yield "SOAP:Header/hl7:communicationFunctionSnd", "ErrorBase1732.INCONSISTENT_COMM_FUNC_SND", "sender"
    yield "SOAP:Body/*/hl7:id", "ErrorBase1732.INVALID_ID", "id"
    yield (
        "SOAP:Body/*/hl7:ControlActEvent/hl7:author/hl7:AgentPersonSDS/hl7:part",
        "ErrorBase1732.CONTROL_ACT_AUTHOR_INVALID",
        "role",
    )
    yield (
        "SOAP:Body/*/hl7:ControlActEvent/hl7:author1",
        "ErrorBase1732.CONTROL_ACT_AUTHOR_INVALID_CARDINALITY",
        "author1",
    )


@pytest.mark.parametrize("question", ONE_OF_EACH, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(("where", "rule", "what"), list(spoilings()), ids=[what for _, _, what in spoilings()])
def test_the_rules_notice_what_is_missing(spine: Path, question: Question, where: str, rule: str, what: str) -> None:
    author = SpineAuthor(role_profile_id="1" * 12, user_id="2" * 12, role_id="R8000")
    envelope = etree.fromstring(write(question, author))
    (spoilt,) = envelope.xpath(where, namespaces=NAMESPACES)
    spoilt.getparent().remove(spoilt)
    checks = rules(spine / "codes/spine2-validation-rules.txt", RULES_FOR[type(question)])
    assert rule in broken_rules(etree.tostring(envelope), checks)
    assert len(checks) > 20
