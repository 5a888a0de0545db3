"""The crash drill's reckoning sees what a log lacks."""

from typing import Any

from benchmarks.reckoning import Trail
from benchmarks.witnesses import Told, read_reply

from minispine.wire import soap


def event(sequence: int, type_: str, **data: Any) -> dict[str, Any]:
    return {"sequence": sequence, "type": type_, "exchange": "X", "client_message_id": "ASKED", "data": data}


RESERVED = {"ids": [{"message_id": "S2", "hl7_id": "H2"}]}
TRAIL = Trail(
    [
        event(1, "exchange.received"),
        event(1, "exchange.asked", message_id="S1"),
        event(1, "exchange.reserved", **RESERVED),
        event(2, "exchange.replied", message_id="R", code="SMSP-0000"),
    ]
)


def test_a_reply_has_its_record_only_by_its_own_id_and_code() -> None:
    def record(**said: Any) -> int | None:
        return TRAIL.reply_to(Told(asked=said.pop("asked", "ASKED"), **said))

    assert record(reply="R", code="SMSP-0000", whole=True) == 2
    assert record(reply="another", code="SMSP-0000", whole=True) is None
    assert record(reply="R", code="DEMOG-0001", whole=True) is None
    assert record(reply="R", fault="2100", whole=True) is None
    assert record(asked="ANOTHER", reply="R", code="SMSP-0000", whole=True) is None
    assert record() == 2  # of the first part of a reply no more is known than what it answers
    assert record(asked="ANOTHER") is None


def test_a_fault_has_its_record_by_its_code() -> None:
    trail = Trail([event(1, "exchange.replied", fault="2100")])
    assert trail.reply_to(Told(asked="ASKED", reply="any", fault="2100", whole=True)) == 1
    assert trail.reply_to(Told(asked="ASKED", reply="any", fault="3000", whole=True)) is None


def test_messages_to_spine_are_known_from_what_was_asked_and_what_was_reserved() -> None:
    assert TRAIL.asked == {"S1": 1, "S2": 1}
    assert TRAIL.first == {"ASKED": 1}


def test_an_exchange_is_open_until_it_is_replied_abandoned_or_unknown() -> None:
    opened = Trail([event(1, "exchange.asked", message_id="S1")])
    assert opened.opened - opened.ended.keys() == {"X"}
    for end in ("replied", "abandoned", "outcome-unknown"):
        ended = Trail([event(1, "exchange.asked", message_id="S1"), event(2, f"exchange.{end}")])
        assert not ended.opened - ended.ended.keys()
    assert Trail([event(1, "exchange.asked", message_id="S"), event(2, "exchange.spine-silent")]).ended == {}


def test_a_fault_is_read_as_one() -> None:
    fault = soap.Fault(kind="server", code="2100", diagnostic="the audit log cannot be written; try again later")
    body = soap.write_fault(fault, message_id="M", relates_to="ASKED", error_id="E")
    told = read_reply("ASKED", body)
    assert told == Told(asked="ASKED", reply="M", relates_to="ASKED", fault="2100", whole=True, log_away=True)
