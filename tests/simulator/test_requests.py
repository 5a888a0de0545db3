from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minispine.simulator.matching import CrossCheck, Query, Retrieval, Trace
from minispine.simulator.requests import RULES, Author, Broken, read

from .messages import ASID, SENDER, cross_check, query, retrieval, trace

ID = "11111111-2222-4333-8444-555555555502"
CROSS_CHECK = cross_check("9990000018", "19800229", "SMITH", ("ANNE",)).decode()
TRACE = trace("2", "19800229", "SMITH", ("ANNE", "JOY"), "LS6 4AB").decode()
RETRIEVAL = retrieval("9990000018").decode()
SYSTEM_ID = 'agentSystemSDS>\n<id root="1.2.826.0.1285.0.2.0.107" extension="200000000999"'
WITH_AUTHOR = query("QUPA_IN000008UK02", "<x/>", author=("1", "2", "S:G:R")).decode()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (CROSS_CHECK, CrossCheck(nhs_number="9990000018", birth_time="19800229", family="SMITH", given=("ANNE",))),
        (cross_check("9990000018", "19800229").decode(), CrossCheck(nhs_number="9990000018", birth_time="19800229")),
        (
            TRACE,
            Trace(gender="2", birth_time="19800229", family="SMITH", given=("ANNE", "JOY"), postcode="LS6 4AB"),
        ),
        (RETRIEVAL, Retrieval(nhs_number="9990000018")),
        (retrieval("9990000018", items=False).decode(), Retrieval(nhs_number="9990000018", items=False)),
    ],
)
def test_a_sound_query_is_read(body: str, expected: Query) -> None:
    assert read(body.encode())[1] == expected


def test_the_heading_says_who_asks_and_by_which_ids() -> None:
    other = ID.replace("1111", "AAAA")
    heading, _ = read(retrieval("9990000018", message_id=ID, hl7_id=other))
    assert (heading.message_id, heading.hl7_id) == (ID, other)
    assert (heading.interaction, heading.sender, heading.receiver) == ("QUPA_IN000008UK02", SENDER, ASID)
    assert heading.author is None
    asked = query(
        "QUPA_IN000008UK02",
        RETRIEVAL.partition("<query>")[2].partition("</query>")[0],
        author=("555254241101", "555254239107", "S8000:G8000:R8001"),
    )
    assert read(asked)[0].author == Author("555254241101", "555254239107", "S8000:G8000:R8001")


@pytest.mark.parametrize(
    ("body", "old", "new", "rule"),
    [
        (RETRIEVAL, "</s:Envelope>", "", "MESSAGE_NOT_WELL_FORMED"),
        (
            RETRIEVAL,
            "schemas.xmlsoap.org/soap/envelope/",
            "www.w3.org/2003/05/soap-envelope",
            "MESSAGE_NOT_WELL_FORMED",
        ),
        (RETRIEVAL, "</s:Header>", "</s:Header><s:Header/>", "MESSAGE_NOT_WELL_FORMED"),
        (RETRIEVAL, "</s:Body>", "<more/></s:Body>", "MESSAGE_NOT_WELL_FORMED"),
        (RETRIEVAL, "uuid:", "", "SOAP_MESSAGE_ID_ERROR"),
        (RETRIEVAL, "</wsa:Action>", "</wsa:Action><wsa:Action>x</wsa:Action>", "SOAP_ACTION_ERROR"),
        (RETRIEVAL, "https://spine/sync-service", "", "SOAP_TO_ERROR"),
        (RETRIEVAL, f'extension="{ASID}"', 'extension=""', "SOAP_COMM_FUNC_RCV_ERROR"),
        (RETRIEVAL, f'extension="{SENDER}"', 'extension=""', "SOAP_COMM_FUNC_SND_ERROR"),
        (RETRIEVAL, "QUPA_IN000008UK02", "QUPA_IN000016UK02", "INTERACTION_NOT_SUPPORTED"),
        (RETRIEVAL, '8UK02><id root="', '8UK02><id root="" x="', "INVALID_ID"),
        (RETRIEVAL, 'creationTime value="20260101120000"', "creationTime", "INVALID_CREATION_TIME"),
        (RETRIEVAL, 'versionCode code="3NPfIT6.3.01"', "versionCode", "INVALID_VERSION_CODE"),
        (RETRIEVAL, "ControlActEvent", "OtherEvent", "INVALID_CONTROL_ACT"),
        (WITH_AUTHOR, "</author>", "</author><author/>", "CONTROL_ACT_AUTHOR_INVALID"),
        (WITH_AUTHOR, 'extension="S:G:R"', 'extension=""', "CONTROL_ACT_AUTHOR_INVALID"),
        (RETRIEVAL, "author1", "author2", "CONTROL_ACT_AUTHOR_INVALID_CARDINALITY"),
        (RETRIEVAL, SYSTEM_ID, SYSTEM_ID.replace("200000000999", ""), "CONTROL_ACT_AUTHOR_AGENT_INVALID"),
        (RETRIEVAL, "</author1>", "</author1><author1/>", "CONTROL_ACT_AUTHOR_AGENT2_INVALID"),
        (RETRIEVAL, "query>", "question>", "CONTROL_ACT_QUERY_INVALID"),
        (RETRIEVAL, "pdsquery/QUPA_IN000008UK02", "pdsquery/QUPA_IN000005UK01", "INCONSISTENT_HL7_INTERACTION_ID"),
        (CROSS_CHECK, 'birthTime><value value="19800229"', "birthTime><value", "DATE_OF_BIRTH_MISSING"),
        (CROSS_CHECK, 'extension="9990000018"', "", "MISSING_NHS_NUMBER"),
        (CROSS_CHECK, "2.16.840.1.113883.2.1.4.1", "2.16.840.1.113883.2.1.3.2.4.3", "NOT_NEW_STYLE_NHS_NUMBER"),
        (CROSS_CHECK, "</given>", "</given><given>X</given>", "INVALID_NAME_FORMAT"),
        (TRACE, 'birthTime><value value="19800229"', "birthTime><value", "MISSING_BIRTH_TIME"),
        (TRACE, "<family>SMITH</family>", "<family/>", "MISSING_FAMILY"),
        (TRACE, "</family>", "</family><family>X</family>", "MISSING_FAMILY"),
        (TRACE, 'value code="2"', 'value code="3"', "MISSING_GENDER"),
        (RETRIEVAL, 'value code="0"', 'value code="2"', "INVALID_HISTORIC_DATA_INDICATOR"),
        (RETRIEVAL, 'extension="9990000018"', "", "NHS_NUMBER_UNSPECIFIED"),
        (RETRIEVAL, "2.16.840.1.113883.2.1.4.1", "2.16.840.1.113883.2.1.3.2.4.3", "NHS_NUMBER_UNSPECIFIED"),
        (RETRIEVAL, "9990000018", "999000001", "INVALID_NHS_NUMBER"),
    ],
)
def test_a_query_that_breaks_a_rule_is_answered_by_the_name_of_that_rule(
    body: str, old: str, new: str, rule: str
) -> None:
    assert old in body
    with pytest.raises(Broken) as broken:
        read(body.replace(old, new).encode())
    assert broken.value.rule == rule
    assert rule in RULES


@pytest.mark.parametrize(
    ("function", "asid", "rule"),
    [("Rcv", ASID, "INCONSISTENT_COMM_FUNC_RCV"), ("Snd", SENDER, "INCONSISTENT_COMM_FUNC_SND")],
)
def test_the_systems_in_header_and_message_must_agree(function: str, asid: str, rule: str) -> None:
    header, _, message = RETRIEVAL.partition("</s:Header>")
    device = f'<communicationFunction{function}><device><id root="1.2.826.0.1285.0.2.0.107" extension="'
    body = f"{header}</s:Header>{message.replace(device + asid, device + '100000000001')}"
    with pytest.raises(Broken) as broken:
        read(body.encode())
    assert broken.value.rule == rule


def broken_rule(body: str) -> str | None:
    try:
        read(body.encode())
    except Broken as broken:
        return broken.rule
    return None


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_query_is_read_or_breaks_a_rule(data: st.DataObject) -> None:
    """For every query with a stretch cut out of it, reading ends in a query or in a rule of the table."""
    body = data.draw(st.sampled_from((CROSS_CHECK, TRACE, RETRIEVAL, WITH_AUTHOR)))
    start = data.draw(st.integers(0, len(body)))
    length = data.draw(st.integers(0, 60))
    assert broken_rule(body[:start] + body[start + length :]) in (None, *RULES)


def test_official_sample_queries_are_read(corpus: Path) -> None:
    kinds = {"simple-trace": Trace, "retrieval": Retrieval, "cross-check": CrossCheck}
    for name, kind in kinds.items():
        (sample,) = (corpus / "spine" / "samples").glob(f"request_{name}_*.xml")
        assert isinstance(read(sample.read_bytes())[1], kind)
    sent = (corpus / "spine" / "mhs" / "python_mhs_outbound_request_as_sent.txt").read_text(encoding="utf-8")
    heading, asked = read(sent[sent.index("<?xml") :].encode())
    assert isinstance(asked, Retrieval)
    assert heading.author == Author("555254241101", "555254239107", "S8000:G8000:R8001")
