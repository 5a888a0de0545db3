"""The Personal Demographics Service over synchronous HL7v3.

Here: which questions this way of asking can carry, the attempts, the breaker, and what HTTP alone can say. The messages
are `wire.hl7v3`'s, the connection `spine.http`'s, the ids and the deadline the caller's.
"""

import datetime
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from minispine.config.settings import SpinePds
from minispine.domain import dates
from minispine.domain.outcome import InputRefused, Outcome, Unavailable, Unusable
from minispine.domain.question import CrossCheck, Question, Retrieval, Trace
from minispine.spine.breaker import Breaker, Result
from minispine.spine.http import (
    Endpoint,
    HttpAnswer,
    Interrupted,
    TimedOut,
    TooLarge,
    TransportFailure,
    Unreachable,
)
from minispine.spine.ports import Asked, Attempt, MessageIds, Sender
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


class Http(Protocol):
    """What is needed of the HTTP client."""

    async def post(self, body: bytes, *, headers: Mapping[str, str], timeout_s: float) -> HttpAnswer:
        """Send and wait for the whole answer; raises `TransportFailure`."""


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
        max_connections=settings.max_connections,
    )


class TmsPds:
    """`PdsPort` over TMS.

    `codes` gives the table in force at the moment of an answer. `now` is the time of day, aware; `monotonic` seconds
    of a clock that does not go backwards.
    """

    def __init__(
        self,
        settings: SpinePds,
        http: Http,
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

    async def ask(self, question: Question, *, sender: Sender, ids: tuple[MessageIds, ...], timeout_s: float) -> Asked:
        """Ask within `timeout_s` seconds in all; see `PdsPort.ask`.

        Asked again with the next ids: when no answer began, and once when Spine says that it has seen the id before.
        While the breaker is open nothing leaves, and the outcome comes without an attempt.
        """
        deadline = self._monotonic() + timeout_s
        made: list[Attempt] = []
        renumbered = False
        unmade = "transport.timeout"
        for one in ids:
            started = self._monotonic()
            if started >= deadline:
                unmade = "transport.timeout"
                break
            permit = self.breaker.permit(started)
            if permit is None:
                unmade = "transport.breaker-open"
                break
            left = min(deadline - started, self._settings.timeout_s)
            result: Result = "given up"
            try:
                attempt, may_repeat, duplicate_id = await self._attempt(question, sender, one, left)
                result = self._says_of_spine(attempt.outcome, left)
            finally:
                self.breaker.settle(permit, result, self._monotonic())
            made.append(attempt)
            if not (may_repeat or (duplicate_id and not renumbered)):
                break
            renumbered = renumbered or duplicate_id
        if not made:
            return Asked(outcome=self._event(unmade), attempts=())
        return Asked(outcome=made[-1].outcome, attempts=tuple(made))

    def _says_of_spine(self, outcome: Outcome, given_s: float) -> Result:
        """Tell what an outcome says of Spine: silence within a caller's few last moments says nothing of it."""
        if not isinstance(outcome, Unavailable):
            return "succeeded"
        hurried = outcome.event == "transport.timeout" and given_s < _FAIR_SHARE * self._settings.timeout_s
        return "given up" if hurried else "failed"

    async def _attempt(
        self, question: Question, sender: Sender, ids: MessageIds, timeout_s: float
    ) -> tuple[Attempt, bool, bool]:
        """Send one message; say also whether no answer began, and whether its id had been used before."""
        created = self._now()
        sent = hl7v3.write_query(
            question,
            ids=ids,
            sender_asid=sender.asid,
            author=sender.author,
            to_asid=self._settings.to_asid,
            to_url=self._settings.url,
            from_url=self._settings.from_url,
            created=created,
        )
        headers = {"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": hl7v3.action(question)}
        try:
            answer = await self._http.post(sent, headers=headers, timeout_s=timeout_s)
        except TransportFailure as failure:
            received = None
            may_repeat = isinstance(failure, Unreachable)
            answered = hl7v3.Answered(outcome=self._event(_FAILURES[type(failure)]))
        else:
            received = answer.body
            may_repeat = False
            answered = self._read(answer, question, ids)
        attempt = Attempt(
            ids=ids,
            interaction=hl7v3.interaction(question),
            sent_at=_microseconds(created),
            ended_at=_microseconds(self._now()),
            sent=sent,
            received=received,
            spine_message_id=answered.spine_message_id,
            outcome=answered.outcome,
        )
        return attempt, may_repeat, answered.duplicate_id

    def _read(self, answer: HttpAnswer, question: Question, ids: MessageIds) -> hl7v3.Answered:
        """Take what the status says, or read the body where the status lets it speak."""
        failed = 500 <= answer.status <= 599
        if answer.status != 200 and not failed:
            event = _STATUSES.get(answer.status, "transport.http-status")
            return hl7v3.Answered(outcome=self._event(event))
        answered = hl7v3.read_answer(answer.body, asked=question, ids=ids, codes=self._codes())
        if failed and isinstance(answered.outcome, Unusable) and answered.outcome.event.startswith("answer."):
            # A server error with nothing of Spine's in it: a gateway's page, say.
            return hl7v3.Answered(outcome=self._event("transport.http-status"))
        return answered

    def _event(self, name: str) -> Outcome:
        return self._codes().event(name).without_person()


def _microseconds(moment: datetime.datetime) -> int:
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1)


_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
