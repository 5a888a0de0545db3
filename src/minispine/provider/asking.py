"""The questions of one exchange, each put to what is kept, to a question that is on its way already, or to Spine.

`begin` answers what can be answered without Spine, so that nothing is recorded as about to be asked that is not.
`go_on` asks, once the ids of all that may leave are durable (Law 1). What a service wants to know, and in which order,
is its own business (``services/``); what may be kept is ``cache``'s, and when a call may leave ``admission``'s.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import msgspec

from minispine.domain.lanes import Lane
from minispine.domain.matching import is_certainly
from minispine.domain.operations import Operation
from minispine.domain.outcome import Found, Outcome, Unavailable, kind_of
from minispine.domain.patient import SpineRecord
from minispine.domain.question import CrossCheck, Question, Retrieval, Trace
from minispine.domain.request import Source
from minispine.observe import metrics
from minispine.provider.cache import Kept, Scope
from minispine.provider.flights import Flight, Flights
from minispine.provider.services.pds import Questions
from minispine.provider.trail import Trail
from minispine.spine.ports import Asked, ClientGone, MessageIds, PdsPort, Sender, Slot, Turns
from minispine.storage import StorageUnavailable
from minispine.vocabulary.cache_rules import CacheRule

LEARN_S: Final = 0.2
"""The least time that what is kept has to be changed after an answer, though the exchange's own be over."""
TIMED_OUT: Final = "transport.timeout"
SHUT: Final = "transport.breaker-open"


class Keeping(Protocol):
    """The part of the cache that an exchange needs."""

    def concerns(self, operation: Operation, client: str) -> CacheRule | None:
        """Give the rule for such questions of this client, None where nothing is kept for it nor answered from that."""

    async def answer(self, question: Question, scope: Scope, *, outage: bool) -> Kept | None:
        """Give what is kept that answers the question, if it may be given."""

    async def learn(self, question: Question, outcome: Outcome, scope: Scope, *, exchange: str) -> None:
        """Keep what Spine answered, or delete what it shows to be wrong."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How the questions ended: the outcome that decides, and the number that was retrieved last, if any was.

    Of a person who was found `source` says whether anything kept was used, `age_s` is the age of the oldest of it, None
    where nothing was, and `stale` says that it was used because Spine is unavailable.
    """

    outcome: Outcome
    retrieved: str | None
    source: Source
    age_s: int | None
    stale: bool


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the questions are for, and until when on the event loop's clock an answer is of use."""

    sender: Sender
    scope: Scope
    lane: Lane
    exchange: str
    deadline_s: float


class Asking:
    """The questions of one exchange. `questions` begins them; it may be called several times.

    While Spine answers, an exchange is answered from what is kept as a whole or not at all: a kept proof is not put
    beside a record that Spine gives now, which may say that the proof holds no more.
    """

    def __init__(
        self,
        questions: Callable[[], Questions],
        asker: Asker,
        trail: Trail,
        *,
        spine: PdsPort,
        cache: Keeping,
        flights: Flights,
        gone: Callable[[], bool],
    ) -> None:
        self._begin = questions
        self._asker = asker
        self._trail = trail
        self._spine = spine
        self._cache = cache
        self._flights = flights
        self._gone = gone
        self._keeps = cache.concerns(asker.scope.operation, asker.scope.client) is not None
        self._leading: tuple[bytes, Flight] | None = None
        self._following: Flight | None = None
        self._start()

    def _start(self) -> None:
        self._questions = self._begin()
        self.question: Question = next(self._questions)
        """The question that is next."""
        self._proof: CrossCheck | Trace | None = None
        """The last question but retrievals: it says by what the person is known."""
        self._retrieved: str | None = None
        self._away: Unavailable | None = None
        """Set once Spine was found unavailable: it is not asked again in this exchange."""
        self._used: list[Kept] = []

    # ── before anything is recorded ─────────────────────────────────────────────────────────────────────────────────

    async def begin(self) -> Ended | None:
        """Answer from what is kept; gives the end where Spine need not, or cannot, be asked."""
        if self._spine.shut():
            self._away = Unavailable(event=SHUT)
        elif not self._keeps:
            self._choose()
            return None
        while True:
            outcome: Outcome | None = await self._kept(outage=self._away is not None) or self._away
            if outcome is None:
                self._start()
                self._choose()
                return None
            if (ended := self._told(outcome)) is not None:
                for kept in self._used:
                    self._trail.answered_from_cache(kept)
                return ended

    @property
    def follows(self) -> bool:
        """Whether the next question is on its way already, for somebody else."""
        return self._following is not None

    def deserted(self) -> bool:
        """Tell whether nobody is there to be answered: the client has gone, and who waits for its question as well."""
        return self._gone() and not (self._leading is not None and self._leading[1].followed)

    def _choose(self) -> None:
        """Wait for a question that is on its way, or let others wait for ours from now on."""
        asker = self._asker
        key = self._flights.key(self.question, asker.sender, asker.scope.organisation)
        self._following = self._flights.under_way(key, asker.lane, asker.scope.client)
        if self._following is None and key is not None:
            self._leading = key, self._flights.lead(key, asker.exchange, asker.lane, asker.scope.client)

    def close(self) -> None:
        """Let go of whoever waits for our question, whatever became of it. To be called in any case."""
        self._over(None)

    # ── once the ids are durable ────────────────────────────────────────────────────────────────────────────────────

    async def go_on(self, ids: list[tuple[MessageIds, ...]], turns: Turns) -> Ended:
        """Ask until the service has the outcome that decides. `ids` has a member for each question that may be asked.

        Raises:
            ClientGone: before anything had left.
            NoSlot: a question could not leave before the deadline.
            StorageUnavailable: what an answer showed to be wrong could not be deleted from what is kept.
        """
        unused, watched = iter(ids), _Watched(turns, self.deserted)
        while True:
            outcome = self._away or await self._shared_or_asked(unused, watched)
            if self._away is not None:
                kept = len(self._used)
                outcome = await self._kept(outage=True) or outcome
                for each in self._used[kept:]:
                    self._trail.answered_from_cache(each)
            elif not isinstance(outcome, Unavailable):
                await self._learn(outcome)
            if (ended := self._told(outcome)) is not None:
                return ended

    async def _learn(self, outcome: Outcome) -> None:
        """Keep what Spine answered; what it shows to be wrong has to be gone before anything is answered.

        Raises:
            StorageUnavailable: it could not be deleted, or not in time.
        """
        asker = self._asker
        try:
            async with asyncio.timeout_at(max(asker.deadline_s, asyncio.get_running_loop().time() + LEARN_S)):
                await self._cache.learn(self.question, outcome, asker.scope, exchange=asker.exchange)
        except TimeoutError:
            raise StorageUnavailable("what is kept could not be changed in time") from None

    async def _kept(self, *, outage: bool) -> Outcome | None:
        """Answer the question from what is kept, where that may be."""
        if not self._keeps or (outage and isinstance(self._proof, Trace)):
            return None  # what follows a search is part of it, and no search is answered in an outage
        kept = await self._cache.answer(self.question, self._asker.scope, outage=outage)
        if kept is None or not self._is_theirs(kept.outcome.record):
            return None
        self._used.append(kept)
        return kept.outcome

    def _is_theirs(self, record: SpineRecord) -> bool:
        """Tell whether a kept record to be retrieved is that of the person who was asked about, by number and date."""
        if not isinstance(self.question, Retrieval):
            return True
        birth_date = self._proof.birth_date if self._proof is not None else ""
        return is_certainly(record, number=self.question.nhs_number, birth_date=birth_date)

    async def _shared_or_asked(self, unused: Iterator[tuple[MessageIds, ...]], turns: "_Watched") -> Outcome:
        """Wait for the answer to the same question of somebody else, or ask."""
        ids: tuple[MessageIds, ...] | None = None
        while True:
            left_s = self._asker.deadline_s - asyncio.get_running_loop().time()
            if left_s <= 0:
                return Unavailable(event=TIMED_OUT)
            if refusal := self._spine.refusal(self.question):
                return refusal
            if self._following is None and self._leading is None:
                self._choose()
            if self._following is None:
                ids = ids or next(unused)
                return self._noted(await self._ask(ids, left_s, turns))
            flight, self._following = self._following, None
            try:
                asked = await flight.wait(left_s)
            except TimeoutError:
                return Unavailable(event=TIMED_OUT)
            if asked is not None:
                metrics.SHARED.labels("pds").inc()
                self._trail.shared(flight.exchange, asked, self._asker.sender)
                return self._noted(asked)

    def _noted(self, asked: Asked) -> Outcome:
        """Remember that Spine does not answer, where that is its own doing: our own time being over is not."""
        if asked.away and isinstance(asked.outcome, Unavailable):
            self._away = asked.outcome
        return asked.outcome

    async def _ask(self, ids: tuple[MessageIds, ...], left_s: float, turns: "_Watched") -> Asked:
        """Put the question to Spine, for us and for whoever waits for it."""
        asker = self._asker
        turns.flight = self._leading[1] if self._leading else None
        asked: Asked | None = None
        try:
            asked = await self._spine.ask(
                self.question,
                sender=asker.sender,
                ids=ids,
                timeout_s=left_s,
                turns=turns,
            )
        finally:
            self._over(asked if asked is not None and self._is_anybodys(asked) else None)
        self._trail.attempted(asked.attempts, asker.sender)
        for attempt in asked.attempts:
            metrics.spine_calls(attempt.interaction, kind_of(attempt.outcome)).inc()
        if asked.busy is not None and not asked.attempts:
            raise asked.busy
        return asked

    @staticmethod
    def _is_anybodys(asked: Asked) -> bool:
        """Tell whether an answer, or that there is none, is everybody's: not if only our own time was over."""
        return bool(asked.attempts) and (asked.away or not isinstance(asked.outcome, Unavailable))

    def _over(self, asked: Asked | None) -> None:
        if self._leading is not None:
            key, flight = self._leading
            self._leading = None
            self._flights.over(key, flight, asked)

    def _told(self, outcome: Outcome) -> Ended | None:
        """Tell the service the outcome of its question, and take its next one, or the end."""
        if isinstance(self.question, Retrieval):
            self._retrieved = self.question.nhs_number
        else:
            self._proof = self.question
        try:
            self.question = self._questions.send(outcome)
        except StopIteration as decided:
            final: Outcome = decided.value
            given = self._used if isinstance(final, Found) else []
            return Ended(
                outcome=final,
                retrieved=self._retrieved,
                source="cache" if given else "spine",
                age_s=max((kept.age_s for kept in given), default=None),
                stale=bool(given) and self._away is not None,
            )
        return None


class _Watched:
    """The turns of one exchange: nothing leaves that nobody waits for, and who waits for the same is told."""

    def __init__(self, turns: Turns, deserted: Callable[[], bool]) -> None:
        self.flight: Flight | None = None
        self._turns = turns
        self._deserted = deserted
        self._any_left = False

    async def wait(self) -> Slot:
        slot = await self._turns.wait()
        if not self._any_left and self._deserted():
            raise ClientGone
        self._any_left = True
        if self.flight is not None:
            self.flight.left = True
        return slot
