import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minispine.simulator import exchange
from minispine.simulator.exchange import Spine
from minispine.simulator.faults import FaultRule
from minispine.simulator.record import Person
from minispine.wire import xml

from .messages import HL7, NOON, Answer, cross_check, person, query, retrieval, spine, trace, understood

ID = "11111111-2222-4333-8444-555555555502"


def asked(held: Spine, body: bytes) -> Answer:
    return understood(held.answer(body, NOON).body)


def faulty(rule: FaultRule, *people: Person) -> Spine:
    held = spine(*(people or (person(),)))
    held.faults.replace([rule])
    return held


@pytest.mark.parametrize(
    ("body", "interaction"),
    [
        (trace("2", "19800229", "smith"), "QUPA_IN000007UK01"),
        (cross_check("9990000018", "19800229"), "QUPA_IN000015UK02"),
        (retrieval("9990000018"), "QUPA_IN000009UK03"),
    ],
)
def test_a_query_is_answered(body: bytes, interaction: str) -> None:
    found = asked(spine(person()), body)
    assert (found.interaction, found.acknowledged, found.number) == (interaction, "AA", "9990000018")


def test_the_answer_has_an_id_and_time_of_its_own_and_names_the_requests() -> None:
    other = ID.replace("1111", "AAAA")
    found = asked(spine(person()), retrieval("9990000018", message_id=ID, hl7_id=other))
    message = next(found.document.iter(f"{HL7}QUPA_IN000009UK03"))
    assert message[0].get("root") == "A0000000-0000-4000-8000-000000000001"
    assert message[1].get("value") == "20260101120000"
    assert next(message.iter(f"{HL7}messageRef"))[0].get("root") == other
    assert f"uuid:{ID}" in [element.text for element in found.document[0]]


def test_a_broken_header_is_a_soap_fault_with_status_500() -> None:
    outgoing = spine().answer(b"<x/>", NOON)
    assert (outgoing.status, understood(outgoing.body).codes) == (500, ["201"])


def test_an_interaction_this_spine_does_not_answer_is_fault_101() -> None:
    outgoing = spine().answer(query("QUPA_IN000006UK02", "<x/>"), NOON)
    assert (outgoing.status, understood(outgoing.body).codes) == (500, ["101"])


def test_a_query_that_lacks_something_is_a_business_answer() -> None:
    body = trace("2", "19800229", "SMITH").replace(b"SMITH", b"")
    found = asked(spine(), body)
    assert (found.interaction, found.codes) == ("QUQI_IN010000UK14", ["0", "AT002"])
    assert xml.local_name(found.document[1][0]) == "traceQueryResponse"


def test_an_id_used_before_is_rejected_whatever_is_asked_with_it() -> None:
    held = spine(person())
    assert asked(held, retrieval("9990000018", hl7_id=ID)).acknowledged == "AA"
    again = asked(held, cross_check("9990000018", "19800229", hl7_id=ID))
    assert (again.interaction, again.acknowledged, again.codes) == ("MCCI_IN010000UK13", "AR", ["202"])


def test_only_so_many_ids_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "REMEMBERED_IDS", 2)
    held = spine(person())
    for number in (1, 2, 3):
        assert asked(held, retrieval("9990000018", hl7_id=f"{number}{ID[1:]}")).acknowledged == "AA"
    assert asked(held, retrieval("9990000018", hl7_id=f"3{ID[1:]}")).codes == ["202"]
    assert asked(held, retrieval("9990000018", hl7_id=f"1{ID[1:]}")).acknowledged == "AA"


@pytest.mark.parametrize(
    ("senders", "sender", "admitted"),
    [
        (None, "200000000999", True),
        (None, "2000000009", False),
        (None, "20000000099X", False),
        (frozenset({"200000000999"}), "200000000999", True),
        (frozenset({"200000000999"}), "200000000998", False),
    ],
)
def test_who_may_ask(senders: frozenset[str] | None, sender: str, admitted: bool) -> None:
    found = asked(spine(person(), senders=senders), retrieval("9990000018", sender=sender))
    assert (found.acknowledged, found.codes) == (("AA", []) if admitted else ("AR", ["506"]))


def test_a_message_for_another_system_is_rejected() -> None:
    found = asked(spine(person()), retrieval("9990000018", receiver="928942012546"))
    assert (found.acknowledged, found.codes) == ("AR", ["506"])


def test_every_call_is_logged_with_what_could_be_read_of_it() -> None:
    held = faulty(FaultRule(action="reset", nhs_number="9990000018"))
    held.answer(b"junk", NOON)
    held.answer(trace("2", "19800229", "NOBODY", message_id=ID), NOON + 1)
    held.answer(retrieval("9990000018", sender="2"), NOON + 2)
    held.answer(retrieval("9990000018", hl7_id=ID), NOON + 3)
    logged = held.calls.newest(9)
    assert [(c.time - NOON, c.interaction, c.refused, c.fault) for c in logged] == [
        (0, None, "MESSAGE_NOT_WELL_FORMED", None),
        (1, "QUPA_IN000005UK01", None, None),
        (2, "QUPA_IN000008UK02", "SENDER_UNKNOWN", None),
        (3, "QUPA_IN000008UK02", None, "reset"),
    ]
    assert (logged[1].message_id, logged[3].hl7_id) == (ID, ID)


@pytest.mark.parametrize(
    ("rule", "status", "interaction", "codes"),
    [
        (FaultRule(action="soap-fault", code="206"), 500, "Fault", ["206"]),
        (FaultRule(action="soap-fault"), 500, "Fault", ["200"]),
        (FaultRule(action="reject", code="202"), 200, "MCCI_IN010000UK13", ["202"]),
        (FaultRule(action="reject", code="X9"), 200, "MCCI_IN010000UK13", ["X9"]),
        (FaultRule(action="reason", code="22"), 200, "QUQI_IN010000UK14", ["22"]),
        (FaultRule(action="reason", code="X9"), 200, "QUQI_IN010000UK14", ["X9"]),
        (FaultRule(set={"nhs_number": "1"}), 200, "QUPA_IN000009UK03", []),
    ],
)
def test_faults_that_are_answers(rule: FaultRule, status: int, interaction: str, codes: list[str]) -> None:
    outgoing = faulty(rule).answer(retrieval("9990000018"), NOON)
    found = understood(outgoing.body)
    assert (outgoing.status, outgoing.ending, found.interaction, found.codes) == (status, "send", interaction, codes)


def test_faults_that_are_none() -> None:
    refused = faulty(FaultRule(action="http-status", status=429)).answer(retrieval("9990000018"), NOON)
    assert (refused.status, refused.body) == (429, b"")
    delayed = faulty(FaultRule(action="delay", seconds=2)).answer(retrieval("9990000018"), NOON)
    assert (delayed.seconds, understood(delayed.body).number) == (2, "9990000018")
    for action in ("reset", "silence", "truncate"):
        ended = faulty(FaultRule(action=action, seconds=3)).answer(retrieval("9990000018"), NOON)  # type: ignore[arg-type]
        assert (ended.ending, ended.seconds) == (action, 3)


def test_malformed_is_not_xml_and_wrong_ids_are_nobodys() -> None:
    malformed = faulty(FaultRule(action="malformed")).answer(retrieval("9990000018"), NOON)
    with pytest.raises(xml.XmlRefused):
        xml.parse(malformed.body)
    wrong = faulty(FaultRule(action="wrong-ids")).answer(retrieval("9990000018", message_id=ID, hl7_id=ID), NOON)
    assert understood(wrong.body).number == "9990000018"
    assert ID.encode() not in wrong.body


def test_a_fault_for_a_number_befalls_a_trace_that_finds_it_and_a_retrieval_that_leads_to_it() -> None:
    people = (person(), person("9990000026", birth_time="20000101", superseded_by="9990000018"))
    held = faulty(FaultRule(action="reset", nhs_number="9990000018"), *people)
    assert held.answer(trace("2", "19800229", "SMITH"), NOON).ending == "reset"
    assert held.answer(retrieval("9990000026"), NOON).ending == "reset"
    assert held.answer(retrieval("9990000034"), NOON).ending == "send"


@settings(max_examples=200)
@given(body=st.binary(max_size=300))
def test_any_bytes_get_an_answer(body: bytes) -> None:
    """Whatever bytes arrive, there is an answer with a body, and the call is logged."""
    held = spine()
    assert held.answer(body, NOON).body
    assert len(held.calls) == 1
