"""What one exchange leaves in the audit log: two records, or one where nothing was asked.

The first is durable before anything is asked: that the request came, from whom, and the ids of every message that may
leave. The second is durable before the answer leaves: what Spine answered, what was altered, what is replied. This
module only gathers events; when they are committed is `provider/exchange.py`'s business (Law 1).
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from minispine.audit.events import Body, Entry, Event, EventType, Guard
from minispine.audit.terms import REFUSED_IDENTITY
from minispine.domain.identity import AuditId, Identified
from minispine.domain.lanes import Lane
from minispine.domain.outcome import Found, Outcome, Superseded, Unavailable, kind_of
from minispine.domain.presentation import Alteration
from minispine.domain.question import Question
from minispine.domain.request import PdsRequest, Source
from minispine.provider.cache import Kept
from minispine.spine.ports import Asked, Attempt, MessageIds, Sender


class Trail:
    """Gathers the events of one exchange, in order."""

    def __init__(
        self,
        *,
        exchange: str,
        client: str,
        peer: str,
        path: str,
        lane: Lane,
        arrived_at: int,
        body: bytes,
        now: Callable[[], int],
    ) -> None:
        self.exchange = exchange
        self.client = client
        self.lane = lane
        self.organisation = ""
        """The initiating organisation, once the client may act for it."""
        self.client_message_id: str | None = None
        self._now = now
        self._events: list[Event] = []
        self._bodies: list[Body] = [Body("request", body)] if body else []
        self._arrived_at = arrived_at
        self._received: dict[str, Any] = {"peer": peer, "path": path, "lane": lane}
        self._asked_for: dict[str, Any] = {}
        self._audit_identity: list[dict[str, str]] = []
        """Stands in both records, so that each says by itself who asked (SMSP-AUDIT-004 c)."""
        self._asker: dict[str, Any] = {}
        """Stands in both too, like the number asked about, for searches by who asked and what came of it together."""
        self._opened = False
        self._messages = 0

    def envelope(
        self,
        *,
        message_id: str | None,
        operation: str | None,
        service: str | None,
        tracking_id: str | None,
        audit_identity: Iterable[AuditId] | None,
        said: dict[str, str | None] | None = None,
    ) -> None:
        """Remember what the envelope says, as far as it could be read (SMSP-AUDIT-004).

        `said` is free text of the caller, which authorises nothing: it is kept, but nobody knows what may be in it. The
        same holds for an audit identity until it is accepted.
        """
        said_identity = [{"type": each.type, "uri": each.uri} for each in audit_identity or ()]
        self._asked_for |= {REFUSED_IDENTITY: said_identity} if said_identity else {}
        self._asked_for |= {name: text for name, text in (said or {}).items() if text}
        self.client_message_id = message_id
        self._received |= {
            "message_id": message_id,
            "operation": operation,
            "service": service,
            "tracking_id": tracking_id,
            "audit_identity": [],
        }

    def identified(self, identified: Identified, asid: str | None) -> None:
        """Remember who asks: method, organisation, and the user code, function or smartcard ids (ACCESS-2 c)."""
        self._audit_identity = self._asked_for.pop(REFUSED_IDENTITY, [])
        self._received |= {
            "audit_identity": self._audit_identity,
            "access_method": int(identified.method),
            "organisation": identified.organisation,
            "user_code": identified.user_code,
            "function": identified.function,
            "asid": asid,
        }
        if identified.author is not None:
            self._received["author"] = msgspec.to_builtins(identified.author)
        asker = ("organisation", "user_code", "function", "author")
        self._asker = {name: self._received[name] for name in asker if self._received.get(name) is not None}

    def permitted(self, identified: Identified, lane: Lane) -> None:
        """Remember that the client may act for the organisation that it names, and in which lane its request waits."""
        self.organisation = identified.organisation
        self.lane = self._received["lane"] = lane

    def asked_for(self, request: PdsRequest) -> None:
        """Remember the criteria: they are about a patient, so they go into the private part."""
        self._asked_for |= {k: v for k, v in msgspec.to_builtins(request).items() if v is not None}

    def asking(self, question: Question, interaction: str, ids: MessageIds, sender: Sender) -> None:
        """Note the ids of the message that is about to leave."""
        self._add(
            EventType.EXCHANGE_ASKED,
            {"interaction": interaction, "asid": sender.asid, "author": msgspec.to_builtins(sender.author)}
            | {"message_id": ids.message_id, "hl7_id": ids.hl7_id},
            {"question": msgspec.to_builtins(question)},
        )

    def reserved(self, ids: Iterable[MessageIds]) -> None:
        """Note the ids that a retry or a second question may use."""
        kept = [msgspec.to_builtins(each) for each in ids]
        if kept:
            self._add(EventType.EXCHANGE_RESERVED, {"ids": kept})

    def attempted(self, attempts: Iterable[Attempt], sender: Sender) -> None:
        """Note each message that left, or tried to, and what came of it."""
        for attempt in attempts:
            self._messages += 1
            outcome = attempt.outcome
            silent = attempt.received is None or isinstance(outcome, Unavailable)
            self._events.append(
                Event(
                    type=EventType.EXCHANGE_SPINE_SILENT if silent else EventType.EXCHANGE_SPINE_ANSWERED,
                    at=attempt.ended_at,
                    data={
                        "interaction": attempt.interaction,
                        "asid": sender.asid,
                        "message_id": attempt.ids.message_id,
                        "hl7_id": attempt.ids.hl7_id,
                        "spine_message_id": attempt.spine_message_id,
                        "sent_at": attempt.sent_at,
                        "outcome": kind_of(outcome),
                        "cause": outcome.event,
                    },
                    private=_found(outcome),
                )
            )
            self._bodies.append(Body(f"spine-request-{self._messages}", attempt.sent))
            if attempt.received is not None:
                self._bodies.append(Body(f"spine-answer-{self._messages}", attempt.received))

    def answered_from_cache(self, kept: Kept) -> None:
        """Note that a question was answered by what is kept: how old, by which rule, from which exchange."""
        self._add(
            EventType.EXCHANGE_ANSWERED_FROM_CACHE,
            {"age_s": kept.age_s, "rule": kept.rule},
            {"nhs_number": kept.outcome.record.nhs_number, "from_exchange": kept.from_exchange},
        )

    def shared(self, leader: str, asked: Asked, sender: Sender) -> None:
        """Note that the answer is that of another exchange's question, with what Spine answered there.

        The answer stands here too, because this record may be durable before that of the other exchange (Law 1).
        """
        last = asked.attempts[-1]
        self._add(
            EventType.EXCHANGE_SHARED,
            {
                "leader": leader,
                "interaction": last.interaction,
                "asid": sender.asid,
                "message_id": last.ids.message_id,
                "hl7_id": last.ids.hl7_id,
                "spine_message_id": last.spine_message_id,
                "outcome": kind_of(asked.outcome),
                "cause": asked.outcome.event,
            },
            _found(asked.outcome),
        )
        if last.received is not None:
            self._messages += 1
            self._bodies.append(Body(f"spine-answer-{self._messages}", last.received))

    def altered(self, alterations: Iterable[Alteration]) -> None:
        """Note each change made to data from Spine: rule and field, with both values in private (SMSP-ERR-006 l)."""
        for alteration in alterations:
            self._add(
                EventType.EXCHANGE_ALTERED,
                {"rule": alteration.rule, "field": alteration.field},
                {"before": alteration.before, "after": alteration.after},
            )

    def unusable(self, rule: str, field: str, reason: str) -> None:
        """Note why no safe answer can be made of what Spine sent (SMSP-VAL-004 c)."""
        self._add(EventType.EXCHANGE_UNUSABLE, {"rule": rule, "field": field, "reason": reason})

    def cut_off(self) -> None:
        """Note that we stopped waiting because the time to stop was over: what was asked may have been answered."""
        if self._opened:
            self._add(EventType.EXCHANGE_OUTCOME_UNKNOWN, {"reason": "stopping"})
        else:
            self.refused("stopping")

    def refused(self, reason: str, **said: Any) -> None:
        """Note that nothing was asked, and why; `reason` is a fixed word."""
        self._add(EventType.EXCHANGE_REFUSED, {"reason": reason, **said})

    def abandoned(self) -> None:
        """Note that the client had gone before anything was asked."""
        self._add(EventType.EXCHANGE_ABANDONED, {"audit_identity": self._audit_identity})

    def replied(self, body: bytes, *, nhs_number: str | None = None, source: Source, **said: Any) -> None:
        """Note the answer: response code or fault, cause, source (SMSP-AUDIT-006), ids, versions of the tables."""
        private: dict[str, Any] = {"nhs_number": nhs_number} if nhs_number else {}
        asked_about = self._asked_for.get("nhs_number")
        if self._opened and asked_about is not None and asked_about != nhs_number:
            private["asked"] = {"nhs_number": asked_about}
        self._add(
            EventType.EXCHANGE_REPLIED,
            {"source": source, "audit_identity": self._audit_identity}
            | (self._asker if self._opened else {})
            | {k: v for k, v in said.items() if v is not None},
            private,
        )
        self._bodies.append(Body("reply", body))

    def withdraw_asking(self) -> None:
        """Take back the messages that were about to leave: they did not (Law 11)."""
        asking = (EventType.EXCHANGE_ASKED, EventType.EXCHANGE_RESERVED)
        self._events = [event for event in self._events if event.type not in asking]

    def withdraw_reply(self) -> None:
        """Take back the reply noted, if one was, and what was altered for it: it was not given after all."""
        told = (EventType.EXCHANGE_ALTERED, EventType.EXCHANGE_REPLIED, EventType.EXCHANGE_UNDELIVERED)
        self._events = [event for event in self._events if event.type not in told]
        self._bodies = [body for body in self._bodies if body.name != "reply"]

    def undelivered(self) -> None:
        """Note that nobody was there to take the answer."""
        self._add(EventType.EXCHANGE_UNDELIVERED, {})

    def opening(self, guard: Guard) -> Entry:
        """Make the record that must be durable before anything is asked."""
        return self._entry(opens=True, closes=False, guard=guard)

    def opened(self) -> None:
        """Say that the opening record is durable: what it held is not written again."""
        self._opened = True
        self._received, self._events, self._bodies = {}, [], []

    def closing(self, guard: Guard | None) -> Entry:
        """Make the record that must be durable before the answer leaves."""
        return self._entry(opens=False, closes=self._opened, guard=guard)

    def closing_whatever_opened(self) -> Entry:
        """Make the last record where it is not known whether the first became durable; then nothing had left."""
        if not self._opened:
            self.withdraw_asking()
        return self._entry(opens=False, closes=True, guard=None)

    def _add(self, type_: EventType, data: dict[str, Any], private: dict[str, Any] | None = None) -> None:
        self._events.append(Event(type=type_, at=self._now(), data=data, private=private or {}))

    def _entry(self, *, opens: bool, closes: bool, guard: Guard | None) -> Entry:
        events = self._events
        if self._received:
            received = Event(
                type=EventType.EXCHANGE_RECEIVED, at=self._arrived_at, data=self._received, private=self._asked_for
            )
            events = [received, *events]
        return Entry(
            exchange=self.exchange,
            client=self.client,
            client_message_id=self.client_message_id,
            events=tuple(events),
            bodies=tuple(self._bodies),
            opens=opens,
            closes=closes,
            guard=guard,
        )


def _found(outcome: Outcome) -> dict[str, Any]:
    """Whom an answer of Spine names, and whether only a part of the record may be shown."""
    if isinstance(outcome, Superseded):
        return {"nhs_number": outcome.nhs_number} if outcome.nhs_number else {}
    if not isinstance(outcome, Found):
        return {}
    record = outcome.record
    limited = record.limited or record.confidentiality is not None
    number = {"nhs_number": record.nhs_number} if record.nhs_number else {}
    return number | ({"limited": True} if limited else {})
