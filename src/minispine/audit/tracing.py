"""An exchange step by step, from the client's request to its answer (SMSP-AUDIT-004, IG-3.9.15 a).

Messages are told by their ids, and codes and outcomes with them; nothing of a patient comes out of here.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from minispine.audit.events import EventType
from minispine.audit.search import Exchange
from minispine.audit.words import organisation, result, who

Told = dict[str, Any]


class Step(msgspec.Struct, frozen=True):
    """One thing that was done: `act` in one word, `text` the ids and what came of it.

    `at` is UTC microseconds, `sequence` its record; both are None for what did not happen: an answer that is awaited.
    """

    act: str
    text: str
    at: int | None = None
    sequence: int | None = None


def steps(exchange: Exchange) -> Iterator[Step]:
    """What was done in an exchange, in the order in which it was recorded; in the end, what is outstanding.

    Outstanding is each message that was about to leave and of which no record says what became of it, and the reply of
    an exchange that was asked about and is not over.
    """
    open_messages: dict[str, None] = {}
    over = True
    for record in exchange.records:
        for event in record.events:
            type_, data = event["type"], event["data"]
            match type_:
                case EventType.EXCHANGE_RECEIVED:
                    over = False
                case EventType.EXCHANGE_ASKED:
                    open_messages[data["message_id"]] = None
                case EventType.EXCHANGE_SPINE_ANSWERED | EventType.EXCHANGE_SPINE_SILENT:
                    open_messages.pop(data["message_id"], None)
                case EventType.EXCHANGE_REPLIED | EventType.EXCHANGE_ABANDONED | EventType.EXCHANGE_OUTCOME_UNKNOWN:
                    over = True
            act, text = _TOLD.get(type_, _told_otherwise)(event)
            yield Step(act, text, event["at"], record.sequence)
    for message_id in open_messages:
        yield Step("outstanding", f"message {message_id}: no record says what became of it")
    if not over:
        yield Step("outstanding", "the reply to the client")


def _received(event: Told) -> tuple[str, str]:
    data = event["data"]
    return "received", _listed(
        data.get("operation"),
        ("message", data.get("message_id")),
        ("tracking id", data.get("tracking_id")),
        ("from", data.get("peer")),
        ("for", ", ".join(each["uri"] for each in data.get("audit_identity") or ())),
        ("organisation", organisation(data)),
    )


def _asked(event: Told) -> tuple[str, str]:
    data = event["data"]
    return "asked", _listed(
        data["interaction"], ("message", data["message_id"]), _author(data), ("at the request of", who(data))
    )


def _reserved(event: Told) -> tuple[str, str]:
    ids = event["data"]["ids"] or ()
    return "reserved", "for a retry or a second question, messages " + ", ".join(str(i["message_id"]) for i in ids)


def _answered(event: Told) -> tuple[str, str]:
    data = event["data"]
    return "answered", _listed(
        f"{data['interaction']}: {data['outcome']}",
        ("to message", data["message_id"]),
        ("by message", data["spine_message_id"]),
        ("after", _after(event)),
    )


def _silent(event: Told) -> tuple[str, str]:
    data = event["data"]
    return "no answer", _listed(
        f"{data['interaction']}: {data['outcome']}",
        ("to message", data["message_id"]),
        ("given up after", _after(event)),
    )


def _replied(event: Told) -> tuple[str, str]:
    data = event["data"]
    return "replied", _listed(
        result(data),
        ("message", data.get("message_id")),
        ("HTTP status", data["status"]),
        ("source", data["source"]),
        ("for", ", ".join(each["uri"] for each in data["audit_identity"] or ())),
    )


def _told_otherwise(event: Told) -> tuple[str, str]:
    data = event["data"]
    return event["type"].rpartition(".")[2].replace("-", " "), _listed(
        event["type"],
        ("message", data.get("message_id")),
        ("by", who(data)),
        ("result", result(data)),
        ("field", data.get("field")),
        ("rule", data.get("rule")),
    )


_TOLD: Final[dict[str, Callable[[Told], tuple[str, str]]]] = {
    EventType.EXCHANGE_RECEIVED: _received,
    EventType.EXCHANGE_ASKED: _asked,
    EventType.EXCHANGE_RESERVED: _reserved,
    EventType.EXCHANGE_SPINE_ANSWERED: _answered,
    EventType.EXCHANGE_SPINE_SILENT: _silent,
    EventType.EXCHANGE_REPLIED: _replied,
}


def _author(data: Told) -> tuple[str, Any]:
    author = data.get("author")
    return "author", author and f"user {author['user_id']}, role profile {author['role_profile_id']}"


def _after(event: Told) -> str:
    sent_at = event["data"]["sent_at"]
    return f"{(event['at'] - sent_at) / 1_000_000:.3f} s" if isinstance(sent_at, int) else ""


def _listed(first: Any, *others: tuple[str, Any]) -> str:
    said = [str(first)] if first else []
    return ", ".join(said + [f"{name} {value}" for name, value in others if value])
