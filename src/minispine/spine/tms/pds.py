"""The Personal Demographics Service over synchronous HL7v3.

Here: which questions this way of asking can carry, the attempts, what is asked again, and what HTTP alone can say. The
messages are `wire.hl7v3`'s, the connections `spine.http`'s; ids, deadline and the moments at which calls may leave are
the caller's.
"""

import datetime
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec

from minispine.config.settings import SpinePds
from minispine.domain import dates
from minispine.domain.outcome import InputRefused, Outcome, Unavailable, Unusable
from minispine.domain.question import CrossCheck, Question, Retrieval, Trace
from minispine.observe import metrics
from minispine.spine.breaker import Breaker, Permit
from minispine.spine.http import (
    Endpoint,
    HttpAnswer,
    Interrupted,
    TimedOut,
    TooLarge,
    TransportFailure,
    Unreachable,
)
from minispine.spine.ports import Asked, Attempt, CallResult, MessageIds, NoSlot, Sender, ServiceShut, Slot, Turns
from minispine.spine.retries import RetryBudget
from minispine.vocabulary.spine_codes import SpineCodes
from minispine.wire import hl7v3

_FAILURES: Final[dict[type[TransportFailure], str]] = {
    Unreachable: "transport.unreachable",
    TimedOut: "transport.timeout",
    Interrupted: "transport.interrupted",
    TooLarge: "answer.malformed",
}
_STATUSES: Final = {401: "transport.forbidden", 403: "transport.forbidden", 408: "transport.timeout"}
"""What a status says by itself; a 200 or 5xx is read, and any other is ``transport.http-status``."""

_FAIR_SHARE: Final = 0.5
"""How much of `timeout_s` Spine must have been given for its silence to count against it."""

_MISSED: Final = 3
"""So many slots running for which no connection lasted mean that none can be had."""
_NONE_LASTS: Final = "connections end before anything can be asked on them"


C = TypeVar("C")


class Http(Protocol[C]):
    """What is needed of the HTTP client; see `spine.http.HttpClient`."""

    async def prepare(self, calls: int) -> int:
        """Have connections open for so many calls; raises `TransportFailure`."""

    def take(self) -> C | None:
        """Hand out a connection that is open, if there is one."""

    def give_back(self, connection: C) -> None:
        """Keep a connection on which nothing was asked."""

    async def exchange(self, connection: C, body: bytes, *, headers: Mapping[str, str], timeout_s: float) -> HttpAnswer:
        """Send before anything is awaited, and wait for the whole answer; raises `TransportFailure`."""


def endpoint(settings: SpinePds) -> Endpoint:
    """Give the connection part of the settings, as the HTTP client wants it."""
    return Endpoint(
        url=settings.url,
        certificate=settings.certificate,
        key=settings.key,
        key_password_file=settings.key_password_file,
        ca=settings.ca,
        crl=settings.crl,
        common_name_hosts=settings.common_name_hosts,
        proxy=settings.proxy,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
        max_connections=settings.max_connections,
    )


class _TooLate(Exception):
    """The time allowed was over before anything left."""


class _Message(msgspec.Struct, frozen=True):
    """A message to Spine; `created` is the moment that it names as its own."""

    question: Question
    ids: MessageIds
    created: datetime.datetime
    body: bytes


class _Departure(msgspec.Struct, frozen=True):
    """What a message leaves with, at once: its slot is used already. `given_s` is how long its answer may take."""

    permit: Permit
    slot: Slot
    connection: Any
    message: _Message
    given_s: float


class _Made(msgspec.Struct, frozen=True):
    """An attempt, and whether it may be repeated; `duplicate_id` says that Spine had seen its id before."""

    attempt: Attempt
    may_repeat: bool
    duplicate_id: bool
    says: CallResult
    """What it says of Spine."""


class TmsPds:
    """`PdsPort` over TMS.

    `codes` gives the table in force at the moment of an answer. `now` is the time of day, aware; `monotonic` seconds
    of a clock that does not go backwards.
    """

    def __init__(
        self,
        settings: SpinePds,
        http: Http[Any],
        codes: Callable[[], SpineCodes],
        *,
        now: Callable[[], datetime.datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self.attempts = 1 + settings.retries
        self.breaker = Breaker(failures=settings.breaker_failures, open_s=settings.breaker_open_s)
        self._settings = settings
        self._http = http
        self._codes = codes
        self._now = now
        self._monotonic = monotonic
        self._retries = RetryBudget(monotonic())
        self._connecting = 0
        """How many times connections are being opened just now."""

    def refusal(self, question: Question) -> InputRefused | None:
        """Refuse wildcards and dates that are not full: only the asynchronous Advanced Trace takes them."""
        match question:
            case CrossCheck():
                texts = [question.family, question.given]
            case Trace():
                texts = [question.family, question.given, question.postcode]
            case Retrieval():
                return None
        wildcard = any("*" in text for text in texts if text)
        if wildcard or dates.precision(question.birth_date) != "day":
            return InputRefused(event="input.not-supported")
        return None

    def interaction(self, question: Question) -> str:
        """Give the interaction id by which this question is asked."""
        return hl7v3.interaction(question)

    async def prepare(self, calls: int) -> int:
        """Have connections open for so many calls; see `PdsPort.prepare`.

        Once an open breaker's time is up this is the first half of the trial: without a connection it has failed,
        whether or not anybody still waits for one.
        """
        self._connecting += 1
        try:
            return await self._http.prepare(calls)
        except TransportFailure:
            if self.breaker.state != "closed":  # else it counts once for each call that is told of it
                self._not_connected()
            raise
        finally:
            self._connecting -= 1

    def shut(self) -> bool:
        """Whether the breaker is open and its time is not up: whoever waits for a slot waits in vain."""
        return self.breaker.shut(self._monotonic())

    def _worth_waiting(self) -> bool:
        """Whether a call may begin to wait for a slot: not while it is being tried whether Spine is back.

        Whoever waits for a slot after an outage tries nothing yet, so others may wait as well. Only one of them
        becomes the trial: the first to leave.
        """
        if self.breaker.state == "open":
            return not self.shut() and not self._connecting
        return self.breaker.state == "closed"

    def _not_connected(self) -> None:
        """Count a connection that could not be made: a call that failed at the moment at which it would have left."""
        now_s = self._monotonic()
        if (permit := self.breaker.permit(now_s)) is not None:
            self.breaker.settle(permit, "failed", now_s)

    async def ask(
        self, question: Question, *, sender: Sender, ids: tuple[MessageIds, ...], timeout_s: float, turns: Turns
    ) -> Asked:
        """Ask within `timeout_s` seconds in all; see `PdsPort.ask`.

        Asked again with the next ids, while the budget of retries permits it: when no answer began, when the answer is
        a fault whose row in the table says so, and once when Spine says that it has seen the id before. While the
        breaker is open nothing leaves, and the outcome comes without an attempt.
        """
        deadline_s = self._monotonic() + timeout_s
        made: list[Attempt] = []
        renumbered = False
        unmade = "transport.timeout"
        away = False
        busy: NoSlot | None = None
        for one in ids:
            if made and not self._may_repeat(deadline_s):
                break
            try:
                last = await self._attempt(question, sender, one, deadline_s, turns)
            except NoSlot as none:
                busy = none
                break
            except ServiceShut:
                unmade = "transport.breaker-open"
                away = True
                break
            except _TooLate:
                break
            if not made:
                self._retries.asked()
            made.append(last.attempt)
            away = away or last.says == "failed"
            if not (last.may_repeat or (last.duplicate_id and not renumbered)):
                break
            renumbered = renumbered or last.duplicate_id
        outcome = made[-1].outcome if made else self._event(unmade)
        away = away and isinstance(outcome, Unavailable)
        return Asked(outcome=outcome, attempts=tuple(made), busy=busy, away=away)

    def _may_repeat(self, deadline_s: float) -> bool:
        """Take leave for one more attempt out of the budget of retries, if there is time for it."""
        now_s = self._monotonic()
        if now_s >= deadline_s or not self._worth_waiting():
            return False
        permitted = self._retries.permit(now_s)
        metrics.RETRIES.labels("pds", "made" if permitted else "refused").inc()
        return permitted

    # ── one attempt ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _attempt(
        self, question: Question, sender: Sender, ids: MessageIds, deadline_s: float, turns: Turns
    ) -> _Made:
        """Wait for a slot, send one message, and read what comes.

        Raises:
            NoSlot, ServiceShut, _TooLate: nothing left, and nothing was found out.
        """
        try:
            leaving = await self._leave(question, sender, ids, deadline_s, turns)
        except TransportFailure as failure:
            self._not_connected()
            return self._made(self._write(question, sender, ids), failure, self._settings.timeout_s)
        result: CallResult = "given up"
        try:
            made = self._made(leaving.message, await self._exchange(leaving), leaving.given_s)
            result = made.says
            return made
        finally:
            self.breaker.settle(leaving.permit, result, self._monotonic())
            leaving.slot.finish(result)

    async def _leave(
        self, question: Question, sender: Sender, ids: MessageIds, deadline_s: float, turns: Turns
    ) -> _Departure:
        """Wait until a slot, an open connection and time for an answer meet. Whoever calls this writes at once.

        A slot for which no connection lasted is left unused, and so is one whose time is over. The breaker's permit
        is taken when nothing else is waited for, so that a trial is never somebody who is still in line.

        Raises:
            TransportFailure: no connection can be made, or none lasts until it is wanted.
            NoSlot, ServiceShut, _TooLate: nothing may leave.
        """
        if not self._worth_waiting():
            raise ServiceShut
        missed = 0
        while True:
            slot = await turns.wait()
            # Nothing is awaited from here until the first byte has left: the slot is for this moment.
            given_s = min(deadline_s - self._monotonic(), self._settings.timeout_s)
            if given_s <= 0:
                raise _TooLate
            message = self._write(question, sender, ids)
            connection = self._http.take()
            if connection is None:
                missed += 1
                if missed == _MISSED:
                    raise Unreachable(_NONE_LASTS)
                continue
            permit: Permit | None = None
            leaves = False
            try:
                permit = self._permit()
                leaves = slot.use()
            finally:
                if not leaves:
                    self._http.give_back(connection)
                    if permit is not None:
                        self.breaker.settle(permit, "given up", self._monotonic())
            if leaves:
                return _Departure(permit, slot, connection, message, given_s)

    async def _exchange(self, leaving: _Departure) -> HttpAnswer | TransportFailure:
        question = leaving.message.question
        headers = {"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": hl7v3.action(question)}
        began_s = self._monotonic()
        try:
            answer = await self._http.exchange(
                leaving.connection, leaving.message.body, headers=headers, timeout_s=leaving.given_s
            )
        except TransportFailure as failure:
            return failure
        metrics.spine_seconds(hl7v3.interaction(question)).observe(self._monotonic() - began_s)
        return answer

    def _permit(self) -> Permit:
        permit = self.breaker.permit(self._monotonic())
        if permit is None:
            raise ServiceShut
        return permit

    def _says_of_spine(self, outcome: Outcome, given_s: float) -> CallResult:
        """Tell what an outcome says of Spine: silence within a caller's few last moments says nothing of it."""
        if not isinstance(outcome, Unavailable):
            return "succeeded"
        fair_s = min(_FAIR_SHARE * self._settings.timeout_s, self._settings.read_timeout_s)
        hurried = outcome.event == "transport.timeout" and given_s < fair_s
        return "given up" if hurried else "failed"

    # ── the message and what comes of it ────────────────────────────────────────────────────────────────────────────

    def _write(self, question: Question, sender: Sender, ids: MessageIds) -> _Message:
        created = self._now()
        body = hl7v3.write_query(
            question,
            ids=ids,
            sender_asid=sender.asid,
            author=sender.author,
            to_asid=self._settings.to_asid,
            to_url=self._settings.url,
            from_url=self._settings.from_url,
            created=created,
        )
        return _Message(question, ids, created, body)

    def _made(self, message: _Message, came: HttpAnswer | TransportFailure, given_s: float) -> _Made:
        """Say what came of a message for whose answer there were `given_s`: an answer, or why there is none."""
        if isinstance(came, HttpAnswer):
            answered = self._read(came, message)
            row = self._codes().event(answered.outcome.event)
            may_repeat = row.repeat and isinstance(answered.outcome, Unavailable)
        else:
            answered = hl7v3.Answered(outcome=self._event(_FAILURES[type(came)]))
            may_repeat = isinstance(came, Unreachable)
        attempt = Attempt(
            ids=message.ids,
            interaction=hl7v3.interaction(message.question),
            sent_at=_microseconds(message.created),
            ended_at=_microseconds(self._now()),
            sent=message.body,
            received=came.body if isinstance(came, HttpAnswer) else None,
            spine_message_id=answered.spine_message_id,
            outcome=answered.outcome,
        )
        return _Made(attempt, may_repeat, answered.duplicate_id, self._says_of_spine(answered.outcome, given_s))

    def _read(self, answer: HttpAnswer, message: _Message) -> hl7v3.Answered:
        """Take what the status says, or read the body where the status lets it speak."""
        failed = 500 <= answer.status <= 599
        if answer.status != 200 and not failed:
            event = _STATUSES.get(answer.status, "transport.http-status")
            return hl7v3.Answered(outcome=self._event(event))
        answered = hl7v3.read_answer(answer.body, asked=message.question, ids=message.ids, codes=self._codes())
        if failed and isinstance(answered.outcome, Unusable) and answered.outcome.event.startswith("answer."):
            # A server error with nothing of Spine's in it: a gateway's page, say.
            return hl7v3.Answered(outcome=self._event("transport.http-status"))
        return answered

    def _event(self, name: str) -> Outcome:
        return self._codes().event(name).without_person()


def _microseconds(moment: datetime.datetime) -> int:
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1)


_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
