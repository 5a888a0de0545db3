"""The cache never tells a caller what Spine would not.

In other words, which `CacheMachine._check` looks at one by one: what a caller is told is what Spine told that very
caller's scope, at most as long ago as the rule in force allows, about a number of which nobody has been told anything
else since; beyond the time to live without addresses and telephones; and nothing under access methods 3 and 4 while
Spine answers.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TypeVar

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from minispine.audit.declaration import begin
from minispine.audit.log import AuditLog
from minispine.domain.identity import AccessMethod
from minispine.domain.operations import Operation
from minispine.domain.outcome import Found, Invalidated, NoMatch, NotVerified, Outcome, Superseded, Unavailable
from minispine.domain.patient import SpineAddress, SpineName, SpineRecord, SpineTelecom
from minispine.domain.question import CrossCheck, Question, Retrieval, Trace
from minispine.provider.cache import Cache, CacheKeys, Kept, Scope, purge_now
from minispine.provider.cache.entries import MARK_S
from minispine.provider.cache.keeping import SETTLED_S
from minispine.storage import Database, Store
from minispine.vocabulary.cache_rules import CacheRule
from tests.audit.conftest import AUTHORITIES, ORIGIN, SIGNER, VAULT
from tests.audit.samples import ACTOR
from tests.provider.cache import samples
from tests.provider.cache.samples import INDEX_KEY, RING, Clock, S

T = TypeVar("T")

NUMBERS = ("9000000009", "9000000017", "9000000025")
BIRTHS = ("19800229", "19811231")
FAMILIES = ("MARKERFAMILY", "MARKEROTHER", "MARKERTHIRD")
CLIENTS = ("ward", "lab")
VERIFY, DETAILS, TRACE = (
    Operation.VERIFY_NHS_NUMBER,
    Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER,
    Operation.GET_NHS_NUMBER,
)
_IN_MEMORY = Path("/dev/shm")
"""Where files are that no disk has to be waited for."""
IN_FLIGHT_S = 60
"""How late an answer arrives at most."""
assert IN_FLIGHT_S < MARK_S, "so long a number stays marked"
RULES = {
    "none": samples.NO_RULES,
    "all": samples.rules(samples.rule()),
    "short": samples.rules(samples.rule(ttl_s=5, outage_s=20)),
    "for outages": samples.rules(samples.rule(ttl_s=0, outage_s=100)),
    "without outages": samples.rules(samples.rule(outage_s=0)),
    "few": samples.rules(samples.rule(entries=1)),
    "each its own": samples.rules(
        samples.rule("verify", operations=[VERIFY], ttl_s=10, outage_s=10),
        samples.rule("not-lab", clients=["lab"], ttl_s=0, outage_s=0),
        samples.rule("rest", ttl_s=100, outage_s=1000),
    ),
    "not this service": msgspec.structs.replace(
        samples.rules(samples.rule()), services=samples.rules(pds=False).services
    ),
}


class Person(msgspec.Struct):
    """Somebody, as Spine knows them now."""

    number: str
    birth: str
    family: str
    home: int = 0
    state: str = "plain"
    replacement: str | None = None

    def record(self) -> SpineRecord:
        return SpineRecord(
            nhs_number=self.number,
            names=(SpineName(use="L", family=self.family),),
            birth_time=self.birth,
            addresses=(SpineAddress(use="H", lines=(f"MARKERSTREET {self.home}",)),),
            telecoms=(SpineTelecom(use="HP", value=f"tel:MARKERPHONE{self.home}"),),
            confidentiality="S" if self.state == "sensitive" else None,
            limited=self.state == "limited",
        )


class Spine:
    """Spine's own rules, which know nothing of the cache's."""

    def __init__(self) -> None:
        self.people = {n: Person(n, BIRTHS[0], FAMILIES[i]) for i, n in enumerate(NUMBERS)}
        self.away = False

    def ask(self, question: Question) -> Outcome:
        if self.away:
            return Unavailable(event="transport.timeout")
        if isinstance(question, Trace):
            wanted = (question.family, question.birth_date)
            several = [
                person
                for person in self.people.values()
                if (person.family, person.birth) == wanted and person.state in ("plain", "sensitive", "limited")
            ]
            return Found(event="found", record=several[0].record()) if len(several) == 1 else NoMatch(event="pds.1")
        person = self.people[question.nhs_number]
        if person.state == "superseded":
            return Superseded(event="pds.17", nhs_number=person.replacement)
        if person.state == "invalidated":
            return Invalidated(event="pds.18")
        if person.state == "unknown":
            return NoMatch(event="pds.1")
        if isinstance(question, CrossCheck) and question.birth_date != person.birth:
            return NotVerified(event="pds.20")
        return Found(event="found", record=person.record())


class Told(msgspec.Struct, frozen=True):
    """An answer of Spine, to whom, and when: by the clock, and by the order of what happened at Spine and here."""

    question: Question
    scope: Scope
    outcome: Outcome
    asked: int
    learned: int
    learned_at: int

    @property
    def plain(self) -> bool:
        record = self.outcome.record if isinstance(self.outcome, Found) else None
        return record is not None and record.confidentiality is None and not record.limited

    @property
    def numbers(self) -> set[str]:
        """Every number that it says something of."""
        asked = {self.question.nhs_number} if not isinstance(self.question, Trace) else set()
        named = self.outcome.nhs_number if isinstance(self.outcome, Superseded) else None
        if isinstance(self.outcome, Found):
            named = self.outcome.record.nhs_number
        return asked | ({named} if named else set())


def _again(told: Told) -> list[Question]:
    """The questions that an answer may be kept for."""
    record = told.outcome.record if isinstance(told.outcome, Found) else None
    if record is None or record.nhs_number is None or record.birth_time is None:
        return [told.question]
    proof = CrossCheck(nhs_number=record.nhs_number, birth_date=record.birth_time)
    return [told.question, told.question, proof, Retrieval(nhs_number=record.nhs_number)]


def _whose(scope: Scope) -> tuple[str, ...]:
    return scope.side, scope.asid, scope.organisation, scope.client


def _personal(scope: Scope) -> bool:
    return scope.method >= AccessMethod.SMARTCARD


def mostly(usual: T, *others: T) -> st.SearchStrategy[T]:
    """One value more often than all others together."""
    return st.sampled_from((*[usual] * (len(others) + 2), *others))


scopes = st.builds(
    lambda client, organisation, operation, method: samples.scope(
        client=client, organisation=organisation, operation=operation, method=method
    ),
    st.sampled_from(("ward", *CLIENTS)),
    st.sampled_from(("RXX", "RXX", "RXX", "RYY")),
    st.sampled_from((VERIFY, DETAILS, TRACE)),
    st.sampled_from((AccessMethod.ATTENDED, AccessMethod.UNATTENDED, AccessMethod.ATTENDED, AccessMethod.SMARTCARD)),
)
questions = st.one_of(
    st.builds(
        lambda number, birth: CrossCheck(nhs_number=number, birth_date=birth),
        st.sampled_from((NUMBERS[0], *NUMBERS)),
        mostly(BIRTHS[0], BIRTHS[1], "1980"),
    ),
    st.builds(lambda number: Retrieval(nhs_number=number), st.sampled_from((NUMBERS[0], *NUMBERS))),
    st.builds(
        lambda family, birth: Trace(family=family, gender="2", birth_date=birth),
        st.sampled_from(FAMILIES),
        mostly(*BIRTHS),
    ),
)


class CacheMachine(RuleBasedStateMachine):
    """The cache never tells a caller what Spine would not.

    Two workers on one database, people who change, and callers who are told; what that means is said above, and looked
    at in `_check` whenever anything is told from the cache.
    """

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="minispine-cache-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None))
        shutil.copytree(self.template, self.folder / "database")
        self.database = Database.open(f"sqlite:{self.folder / 'database'}")
        self.clock = Clock()
        self.spine = Spine()
        self.rules = RULES["all"]
        self.changed_at = self.clock() - 10**9
        self.on_its_way: list[Told] = []
        self.told: list[Told] = []
        self.purged: list[tuple[int, str | None, str | None]] = []
        self.happened = 0
        self.runner = asyncio.Runner()
        self.workers = [
            Cache(self.database, CacheKeys(RING, INDEX_KEY), lambda: self.rules, now=self.clock) for _ in range(2)
        ]
        self.clock.pass_s(SETTLED_S)
        self.log = AuditLog(self.database, system_id="S", instance="i", vault=VAULT, now=self.clock)

    def teardown(self) -> None:
        for worker in self.workers:
            self.runner.run(worker.close())
        self.runner.close()
        self.log.close_now()
        self.database.close()
        content = b"".join(file.read_bytes() for file in (self.folder / "database").glob("registry.db*"))
        shutil.rmtree(self.folder)
        for marker in (b"MARKER", *(each.encode() for each in (*NUMBERS, *BIRTHS))):
            assert marker not in content

    def _next(self) -> int:
        self.happened += 1
        return self.happened

    # ── what happens ────────────────────────────────────────────────────────────────────────────────────────────────

    @initialize(
        name=st.sampled_from(("all", "short", "each its own", "for outages", "few")),
        asked=st.lists(questions, min_size=2),
    )
    def begins(self, name: str, asked: list[Question]) -> None:
        self.rules = RULES[name]
        for question in asked:
            self.is_asked(0, question, samples.scope(operation=DETAILS))

    @rule(worker=st.integers(0, 1), question=questions, scope=scopes)
    def is_asked(self, worker: int, question: Question, scope: Scope) -> None:
        """A caller asks as an exchange does: what is kept, else Spine, else what is kept for an outage."""
        outcome = self._asked_of_cache(worker, question, scope, outage=False)
        if outcome is not None:
            return
        answer = self._ask(question, scope)
        if isinstance(answer.outcome, Unavailable):
            self._asked_of_cache(worker, question, scope, outage=True)
            return
        self._learn(worker, answer)
        self._told_at_once(worker, answer)

    @precondition(lambda self: self.told)
    @rule(
        data=st.data(),
        asks=st.lists(
            st.tuples(st.integers(0, 1), scopes, st.sampled_from(["same", "same", "other"]), st.booleans()),
            min_size=2,
            max_size=6,
        ),
    )
    def is_asked_what_was_asked_before(self, data: st.DataObject, asks: list[tuple[int, Scope, str, bool]]) -> None:
        """By the same caller or another, with Spine there or away."""
        for worker, scope, who, away in asks:
            told = data.draw(st.sampled_from(self.told[-4:]))
            whose = told.scope if who == "same" else scope
            away_before, self.spine.away = self.spine.away, away or self.spine.away
            self.is_asked(worker, data.draw(st.sampled_from(_again(told))), whose)
            self.spine.away = away_before

    @rule(question=questions, scope=scopes)
    def is_asked_slowly(self, question: Question, scope: Scope) -> None:
        """Spine has answered, and the answer is on its way."""
        self.on_its_way.append(self._ask(question, scope))

    @precondition(lambda self: self.on_its_way)
    @rule(data=st.data(), worker=st.integers(0, 1))
    def arrives(self, data: st.DataObject, worker: int) -> None:
        answer = self.on_its_way.pop(data.draw(st.integers(0, len(self.on_its_way) - 1)))
        if not isinstance(answer.outcome, Unavailable):
            self._learn(worker, answer)

    @rule(
        number=st.sampled_from(NUMBERS),
        state=mostly("plain", "sensitive", "limited", "superseded", "invalidated", "unknown"),
        other=st.sampled_from((*NUMBERS, None)),
    )
    def changes_state(self, number: str, state: str, other: str | None) -> None:
        person = self.spine.people[number]
        person.state, person.replacement = state, other if other != number else None

    @rule(number=st.sampled_from(NUMBERS), birth=mostly(*BIRTHS), family=mostly(*FAMILIES))
    def moves(self, number: str, birth: str, family: str) -> None:
        person = self.spine.people[number]
        person.home += 1
        person.birth, person.family = birth, family

    @rule(away=st.booleans())
    def spine_comes_or_goes(self, away: bool) -> None:
        self.spine.away = away

    @rule(seconds=st.sampled_from((0.001, 1, 4, 6, 11, 55, 70, 301, 301)))
    def time_passes(self, seconds: float) -> None:
        self.clock.pass_s(seconds)
        late = self.clock() - IN_FLIGHT_S * S
        self.on_its_way = [answer for answer in self.on_its_way if answer.learned_at >= late]

    @rule(seconds=st.sampled_from((1, 30)))
    def clock_goes_back(self, seconds: float) -> None:
        self.clock.pass_s(-seconds)

    @rule(name=mostly("all", *sorted(RULES)), at_once=mostly(False, True))
    def rules_change(self, name: str, at_once: bool) -> None:
        """Every worker takes them within a second; both are taken through it."""
        self.rules, self.changed_at = RULES[name], self.clock()
        for worker in self.workers:
            worker.concerns(VERIFY, "ward")
        if not at_once:
            self.clock.pass_s(SETTLED_S)

    @rule(worker=st.integers(0, 1))
    def is_swept(self, worker: int) -> None:
        self.runner.run(self.workers[worker].sweep())
        self._check_at_rest()

    @rule(number=st.sampled_from((*NUMBERS, None)), client=st.sampled_from((*CLIENTS, None)))
    def is_purged(self, number: str | None, client: str | None) -> None:
        client = None if number is not None else client
        keys = CacheKeys(RING, INDEX_KEY)
        purge_now(self.database, keys, self.log, actor=ACTOR.as_data(), reason="r", nhs_number=number, client=client)
        self.purged.append((self._next(), number, client))

    # ── what it comes to ────────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, question: Question, scope: Scope) -> Told:
        return Told(question, scope, self.spine.ask(question), self._next(), 0, self.clock())

    def _learn(self, worker: int, answer: Told) -> None:
        self.runner.run(
            self.workers[worker].learn(answer.question, answer.outcome, answer.scope, exchange=f"E-{answer.asked}")
        )
        self.told.append(msgspec.structs.replace(answer, learned=self._next(), learned_at=self.clock()))

    def _asked_of_cache(self, worker: int, question: Question, scope: Scope, *, outage: bool) -> Outcome | None:
        kept = self.runner.run(self.workers[worker].answer(question, scope, outage=outage))
        if kept is None:
            return None
        self._check(kept, question, scope, outage=outage)
        return kept.outcome

    def _rule(self, scope: Scope) -> CacheRule:
        found = self.rules.rule(scope.operation, scope.client)
        assert found is not None, "no rule allows it"
        return found

    def _check(self, kept: Kept, question: Question, scope: Scope, *, outage: bool) -> None:
        in_force, record = self._rule(scope), kept.outcome.record
        assert kept.rule == in_force.name
        told = next(answer for answer in self.told if f"E-{answer.asked}" == kept.from_exchange)
        # What Spine told that very scope, and about that very question:
        assert _whose(told.scope) == _whose(scope)
        assert not _personal(told.scope) or _personal(scope)
        assert isinstance(told.outcome, Found)
        if isinstance(question, Trace):
            assert told.question == question
            assert not outage
        else:
            assert not isinstance(told.question, Trace)
            assert record.nhs_number == question.nhs_number == told.question.nhs_number
        if isinstance(question, CrossCheck):
            assert record.birth_time == question.birth_date
        if isinstance(question, Retrieval):
            assert isinstance(told.question, Retrieval)
        # not too old, and without whereabouts where it is old at all:
        age_us = self.clock() - told.learned_at
        assert age_us >= 0
        assert kept.age_s == age_us // S
        assert age_us <= (max(in_force.ttl_s, in_force.outage_s) if outage else in_force.ttl_s) * S
        bare = msgspec.structs.replace(told.outcome.record, addresses=(), telecoms=())
        assert record in (told.outcome.record, bare)
        assert record == bare or age_us <= in_force.ttl_s * S
        assert kept.stale is (outage or age_us > in_force.ttl_s * S)
        assert record == told.outcome.record or kept.stale
        # of a number of which nobody was told anything else, neither after it here nor after it by Spine:
        number = record.nhs_number
        assert number is not None
        for other in self.told:
            if not other.plain and number in other.numbers:
                assert other.learned < told.learned
                assert other.asked < told.asked
        for at, of_number, of_client in self.purged:
            if of_number == number or (of_number is None and of_client in (None, scope.client)):
                assert at < told.learned
        # and nothing in the name of a smartcard's holder while Spine answers:
        assert outage or not _personal(scope)

    def _told_at_once(self, worker: int, answer: Told) -> None:
        """It is of use, too: what was plainly found is given again at once, where a rule allows it."""
        found = self.rules.rule(answer.scope.operation, answer.scope.client)
        if found is None or found.ttl_s <= 0 or _personal(answer.scope) or not answer.plain:
            return
        if found.entries < len(self.told):
            return  # it may have given way: of two that were kept at the same moment none is older
        if isinstance(answer.question, CrossCheck) and answer.question.birth_date not in BIRTHS:
            return
        if 0 <= self.clock() - self.changed_at < SETTLED_S * S or self._may_be_marked(answer):
            return
        kept = self.runner.run(self.workers[1 - worker].answer(answer.question, answer.scope, outage=False))
        assert kept is not None, "it was not kept"
        assert kept.outcome == answer.outcome

    def _may_be_marked(self, answer: Told) -> bool:
        """Whether a number of the answer was forgotten not long ago, or what is kept is of a time to come."""
        if any(other.learned_at > self.clock() for other in self.told):
            return True
        if any(number is not None for _, number, _ in self.purged):
            return True
        return any(not other.plain and other.numbers & answer.numbers for other in self.told)

    def _check_at_rest(self) -> None:
        now = self.clock()
        with self.database.session(Store.REGISTRY) as session:
            rows = session.rows("SELECT client, operation, fetched_at FROM cache_entry WHERE client <> ''")
        if any(fetched_at > now for _, _, fetched_at in rows):
            return
        for client, operation, fetched_at in rows:
            if self.workers[0]._swept_at == now == self.workers[0]._counted_at:
                found = self.rules.rule(Operation(operation), client)
                assert found is not None
                assert now - fetched_at <= max(found.ttl_s, found.outage_s) * S

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert all(worker.warnings() == [] for worker in self.workers)


def test_the_cache_never_tells_a_caller_what_spine_would_not(tmp_path: Path) -> None:
    folder = tmp_path / "template"
    with Database.open(f"sqlite:{folder}") as database:
        database.migrate()
        log = AuditLog(database, system_id="S", instance="i", vault=VAULT, now=Clock())
        begin(log, origin=ORIGIN, signer=SIGNER, authorities=AUTHORITIES, actor=ACTOR.as_data())
        log.close_now()
        with database.session(Store.REGISTRY) as session:
            session.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        with database.session(Store.AUDIT) as session:
            session.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    CacheMachine.template = folder
    machine = CacheMachine.TestCase
    machine.settings = settings(
        max_examples=150,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    machine("runTest").runTest()
