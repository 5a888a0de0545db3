"""One call to this Spine: request bytes in, what is to happen on the connection out.

No sockets, no clock and no waiting are here.
"""

import datetime
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from minispine.simulator import answers
from minispine.simulator.answers import REASONS, Answers, Envelope, Reason
from minispine.simulator.calls import Call, CallLog, cut
from minispine.simulator.faults import FaultBook, Plan
from minispine.simulator.matching import Match, Query, Register, Trace
from minispine.simulator.requests import RULES, Broken, Heading, Rule, read

REMEMBERED_IDS: Final = 200_000
"""How many HL7 ids are remembered, newest first, to refuse one that is used again."""

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

Ending = Literal["send", "truncate", "reset", "silence"]


class Outgoing(NamedTuple):
    """What happens on the connection: after `seconds` a whole answer, half of one, a reset, or nothing at all.

    `seconds` of a silence are how long it lasts, nought being for ever.
    """

    status: int = 200
    body: bytes = b""
    ending: Ending = "send"
    seconds: float = 0


class Spine:
    """This Spine: whom it holds, who may ask it, what it was asked.

    `asid` is its own ASID; `senders` the ASIDs that may ask, or None for any of twelve digits. `new_id` makes
    upper-case UUIDs.
    """

    def __init__(
        self,
        register: Register,
        *,
        asid: str,
        senders: frozenset[str] | None,
        new_id: Callable[[], str],
        faults: FaultBook,
        calls: CallLog,
    ) -> None:
        self.register = register
        self.faults = faults
        self.calls = calls
        self._asid = asid
        self._senders = senders
        self._new_id = new_id
        self._answers = Answers()
        self._used_ids: dict[str, None] = {}

    def answer(self, body: bytes, arrived: int) -> Outgoing:
        """Answer a request that arrived at `arrived` (UTC microseconds), and log the call."""
        try:
            heading, query = read(body)
            self._admit(heading)
        except Broken as broken:
            self._log(arrived, broken.heading, refused=broken.rule)
            return self._refuse(broken, arrived)
        match = self.register.look_up(query)
        plan = self.faults.plan(
            interaction=heading.interaction or "", asid=heading.sender or "", numbers=_numbers(query, match)
        )
        self._log(arrived, heading, fault=plan.name)
        return self._carry_out(plan, heading, query, match, arrived)

    def _admit(self, heading: Heading) -> None:
        """Check what depends on this Spine and not on the message alone."""
        if heading.receiver != self._asid:
            raise Broken("RECEIVER_UNKNOWN", heading)
        sender = heading.sender or ""
        twelve_digits = len(sender) == 12 and sender.isascii() and sender.isdigit()
        if not (twelve_digits if self._senders is None else sender in self._senders):
            raise Broken("SENDER_UNKNOWN", heading)
        used = heading.hl7_id or ""
        if used in self._used_ids:
            raise Broken("DUPLICATE_ID", heading)
        self._used_ids[used] = None
        if len(self._used_ids) > REMEMBERED_IDS:
            del self._used_ids[next(iter(self._used_ids))]

    def _log(self, arrived: int, heading: Heading, *, refused: str | None = None, fault: str | None = None) -> None:
        self.calls.add(
            Call(
                arrived,
                cut(heading.interaction),
                cut(heading.sender),
                heading.author,
                cut(heading.message_id),
                cut(heading.hl7_id),
                refused,
                fault,
            )
        )

    def _envelope(self, heading: Heading, arrived: int) -> Envelope:
        created = _EPOCH + datetime.timedelta(microseconds=arrived)
        return Envelope(
            id=self._new_id(),
            created=created.strftime("%Y%m%d%H%M%S"),
            sender=self._asid,
            receiver=heading.sender or "",
            related=heading.message_id or "",
            referred=heading.hl7_id or heading.message_id or "",
        )

    def _refuse(self, broken: Broken, arrived: int) -> Outgoing:
        rule, heading = RULES[broken.rule], broken.heading
        if rule.layer == "fault":
            return Outgoing(500, answers.fault(rule.code, rule.text))
        envelope = self._envelope(heading, arrived)
        if rule.layer == "reject":
            return Outgoing(200, answers.rejected(rule, envelope))
        return Outgoing(200, self._answers.refused(heading.interaction or "", answers.broken_query(rule), envelope))

    def _carry_out(self, plan: Plan, heading: Heading, query: Query, match: Match, arrived: int) -> Outgoing:
        interaction = heading.interaction or ""
        envelope = self._envelope(heading, arrived)
        rule = plan.rule
        action = rule.action if rule else "answer"
        if rule and action == "silence":
            return Outgoing(ending="silence", seconds=rule.seconds)
        if rule and action == "reset":
            return Outgoing(ending="reset", seconds=plan.seconds)
        if rule and action == "http-status":
            return Outgoing(rule.status, b"", seconds=plan.seconds)
        if rule and action == "soap-fault":
            return Outgoing(500, answers.fault(rule.code or "200"), seconds=plan.seconds)
        if rule and action == "reject":
            return Outgoing(200, answers.rejected(_rejection(rule.code or "GE002"), envelope), seconds=plan.seconds)
        if rule and action == "reason":
            refused = self._answers.refused(interaction, [_reason(rule.code or "0")], envelope)
            return Outgoing(200, refused, seconds=plan.seconds)
        if action == "wrong-ids":
            envelope = envelope._replace(related=self._new_id(), referred=self._new_id())
        whole = self._answers.looked_up(interaction, query, match, envelope, plan.changes)
        if action == "malformed":
            whole = whole.replace(b"</SOAP-ENV:Body>", b"</SOAP-ENV:Bodies>")
        return Outgoing(200, whole, "truncate" if action == "truncate" else "send", plan.seconds)


def _numbers(query: Query, match: Match) -> frozenset[str]:
    """Give the NHS numbers that a call is about: the one asked for and the one found."""
    asked = () if isinstance(query, Trace) else (query.nhs_number,)
    found = (match.person.nhs_number,) if match.person else ()
    return frozenset((*asked, *found))


def _rejection(code: str) -> Rule:
    known = (rule for rule in RULES.values() if rule.layer == "reject" and rule.code == code)
    return next(known, Rule("reject", code, "Message rejected"))


def _reason(code: str) -> Reason:
    return REASONS.get(code, Reason(code, "Unexpected reason"))._replace(qualifier="ER")
