"""What is given of what is kept, and what is forgotten: rule by rule, as docs/caching.md says them."""

import asyncio
import os
from collections.abc import Iterator

import msgspec
import pytest

from minispine.domain.identity import AccessMethod
from minispine.domain.operations import Operation
from minispine.domain.outcome import (
    AuthorRefused,
    Found,
    InputRefused,
    Invalidated,
    NoMatch,
    NotVerified,
    Outcome,
    SeveralMatches,
    Superseded,
    Unavailable,
    Unusable,
)
from minispine.domain.question import Question
from minispine.provider.cache import CacheKeys
from minispine.provider.cache.entries import MARK_S
from minispine.provider.cache.keeping import COUNT_S, FORGOTTEN_S, SETTLED_S, SWEEP_S
from minispine.storage import Database, StorageUnavailable
from tests.provider.cache.conftest import Worker, counted
from tests.provider.cache.samples import (
    BORN,
    INDEX_KEY,
    KEYS,
    NO_RULES,
    NUMBER,
    OTHER,
    OUTAGE_S,
    RING,
    TTL_S,
    Clock,
    check,
    found,
    person,
    retrieval,
    rule,
    rules,
    scope,
    search,
)

BARE = person(addresses=(), telecoms=())
SENSITIVE = found(person(confidentiality="S"))
SMARTCARD = scope(method=AccessMethod.SMARTCARD)
SESSION = scope(method=AccessMethod.SMARTCARD_SESSION)

# ── what is given ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SMSP-CACHE-001", "a")
@pytest.mark.parametrize("question", [check(), retrieval(), search()], ids=["check", "details", "search"])
def test_the_same_question_is_answered_again_within_the_time_to_live(worker: Worker, question: Question) -> None:
    worker.learn(question, exchange="E-7")
    worker.clock.pass_s(TTL_S)
    kept = worker.answer(question)
    assert kept is not None
    assert kept.outcome == found()
    assert (kept.age_s, kept.from_exchange, kept.rule, kept.stale) == (TTL_S, "E-7", "ward-round", False)
    worker.clock.pass_s(0.000001)
    assert worker.answer(question) is None


def test_all_of_a_number_answers_a_cross_check_but_not_the_other_way_round(worker: Worker) -> None:
    worker.learn(retrieval())
    assert worker.record(check()) == person()
    worker.learn(check(OTHER), found(person(OTHER)))
    assert worker.record(retrieval(OTHER)) is None


@pytest.mark.parametrize(
    "question",
    [check(birth_date="19800228"), check(birth_date="198002"), check(birth_date="1980"), check(OTHER), search()],
    ids=["another day", "a month", "a year", "another number", "a search"],
)
def test_what_does_not_prove_the_person_again_is_for_spine(worker: Worker, question: Question) -> None:
    for known in (check(), retrieval()):
        worker.learn(known)
    for outage in (False, True):
        assert worker.answer(question, outage=outage) is None


def test_another_name_with_number_and_date_of_birth_is_the_same_person(worker: Worker) -> None:
    worker.learn(check(family="MARKERFAMILY"))
    assert worker.record(check(family="OTHER", given="NAME")) == person()


def test_the_last_that_is_known_of_a_number_decides_who_the_person_is(alone: Worker) -> None:
    """The date of birth was put right: what was proved before is not proved any more."""
    alone.learn(check())
    alone.clock.pass_s(1)
    alone.learn(retrieval(), found(person(birth_time="19800301")))
    assert alone.answer(check()) is None
    assert alone.record(check(birth_date="19800301")) == person(birth_time="19800301")


def test_an_older_entry_answers_where_a_newer_one_is_too_old_for_its_own_rule(alone: Worker) -> None:
    alone.rules = rules(rule("brief", operations=["verifyNHSNumber"], outage_s=0), rule())
    alone.learn(retrieval())
    alone.clock.pass_s(1)
    alone.learn(check(), whose=scope(operation=Operation.VERIFY_NHS_NUMBER))
    alone.clock.pass_s(TTL_S + 1)
    kept = alone.answer(check(), outage=True)
    assert kept is not None
    assert kept.age_s == TTL_S + 2


@pytest.mark.parametrize(
    "asked",
    [search(given="JO"), search(gender="1"), search(postcode="LS1 4HY"), search(birth_date="1980"), search(family="X")],
)
def test_a_search_is_answered_only_by_the_identical_one(alone: Worker, asked: Question) -> None:
    alone.learn(search())
    assert alone.answer(asked) is None
    assert alone.record(search(family="  MARKERFAMILY ")) == person(), "blanks mean nothing"


@pytest.mark.parametrize(
    "whose",
    [
        scope(client="lab"),
        scope(organisation="RYY"),
        scope(asid="200000000888"),
        scope(side="fhir"),
    ],
    ids=["client", "organisation", "asid", "side"],
)
def test_nobody_else_is_told_what_was_kept_for_one(worker: Worker, whose: object) -> None:
    for question in (check(), retrieval(), search()):
        worker.learn(question)
        for outage in (False, True):
            assert worker.answer(question, whose, outage=outage) is None  # type: ignore[arg-type]


def test_any_operation_of_the_client_that_has_a_rule_is_answered(alone: Worker) -> None:
    alone.rules = rules(rule(operations=["getPatientDetails", "verifyNHSNumber"]))
    alone.learn(retrieval())
    assert alone.record(check(), scope(operation=Operation.VERIFY_NHS_NUMBER)) == person()
    assert alone.record(check(), scope(operation=Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER)) is None


@pytest.mark.parametrize("smartcard", [SMARTCARD, SESSION], ids=["3", "4"])
def test_methods_3_and_4_are_answered_by_spine_while_it_answers(worker: Worker, smartcard: object) -> None:
    worker.learn(retrieval())
    worker.learn(check(), whose=smartcard)  # type: ignore[arg-type]
    for question in (check(), retrieval()):
        assert worker.answer(question, smartcard) is None  # type: ignore[arg-type]
        assert worker.record(question, smartcard, outage=True) == person()  # type: ignore[arg-type]


def test_what_was_told_to_the_holder_of_a_smartcard_is_not_for_others(alone: Worker) -> None:
    alone.learn(retrieval(), whose=SMARTCARD)
    for outage in (False, True):
        assert alone.answer(check(), outage=outage) is None
    assert alone.record(check(), SESSION, outage=True) == person()


# ── when Spine is unavailable ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SMSP-PERF-006", "b")
def test_in_an_outage_what_is_old_is_given_within_the_age_allowed_and_no_longer(worker: Worker) -> None:
    for question in (check(), retrieval()):
        worker.learn(question)
    worker.clock.pass_s(OUTAGE_S)
    for question in (check(), retrieval()):
        kept = worker.answer(question, outage=True)
        assert kept is not None
        assert (kept.outcome.record, kept.age_s, kept.stale) == (BARE, OUTAGE_S, True)
        assert worker.answer(question) is None
    worker.clock.pass_s(0.000001)
    assert [worker.answer(question, outage=True) for question in (check(), retrieval())] == [None, None]


def test_in_an_outage_what_is_not_old_is_given_whole_and_marked_all_the_same(alone: Worker) -> None:
    alone.learn(retrieval())
    kept = alone.answer(retrieval(), outage=True)
    assert kept is not None
    assert (kept.outcome.record, kept.stale) == (person(), True)


def test_no_search_is_answered_in_an_outage(alone: Worker) -> None:
    alone.learn(search())
    assert alone.answer(search(), outage=True) is None
    assert alone.record(search()) == person()


def test_whatever_a_rule_says_nothing_is_given_after_a_day(alone: Worker) -> None:
    alone.rules = rules(rule(ttl_s=86_400, outage_s=86_400))
    alone.rules = msgspec.structs.replace(
        alone.rules, rules=(msgspec.structs.replace(alone.rules.rules[0], outage_s=10**6),)
    )
    alone.learn(retrieval())
    alone.clock.pass_s(86_400)
    assert alone.record(retrieval(), outage=True) == person()
    alone.clock.pass_s(1)
    assert alone.answer(retrieval(), outage=True) is None


def test_kept_for_outages_alone_it_never_had_any_whereabouts(worker: Worker) -> None:
    worker.rules = rules(rule(ttl_s=0))
    worker.learn(retrieval())
    worker.learn(search())
    assert worker.answer(retrieval()) is None
    assert worker.record(retrieval(), outage=True) == BARE
    assert len(worker.rows()) == 1, "a search is of no use then"


# ── rules ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SMSP-CACHE-002", "c")
def test_times_are_chosen_for_each_client_and_each_operation(worker: Worker) -> None:
    worker.rules = rules(
        rule("never", clients=["lab"], ttl_s=0, outage_s=0),
        rule("batch", operations=["getNHSNumber"], ttl_s=10),
        rule("wards", ttl_s=600),
    )
    verify, trace = Operation.VERIFY_NHS_NUMBER, Operation.GET_NHS_NUMBER
    for client in ("ward", "lab"):
        worker.learn(check(), whose=scope(client=client, operation=verify))
        worker.learn(search(), whose=scope(client=client, operation=trace))
    worker.clock.pass_s(11)
    assert worker.record(check(), scope(client="ward", operation=verify)) == person()
    assert worker.answer(search(), scope(client="ward", operation=trace)) is None
    assert worker.answer(check(), scope(client="lab", operation=verify)) is None
    assert {row[0] for row in worker.rows("client")} == {"ward"}


@pytest.mark.requirement("SMSP-CACHE-001", "b")
def test_a_service_that_is_not_to_be_cached_leaves_nothing(worker: Worker) -> None:
    worker.rules = rules(rule())
    worker.rules = msgspec.structs.replace(worker.rules, services=rules(pds=False).services)
    for question in (check(), retrieval(), search()):
        worker.learn(question)
        for outage in (False, True):
            assert worker.answer(question, outage=outage) is None
    assert worker.rows(where="1 = 1") == []


@pytest.mark.requirement("SMSP-CACHE-001", "a")
def test_as_it_ships_nothing_is_kept_and_nothing_is_answered(worker: Worker) -> None:
    worker.rules = NO_RULES
    worker.learn(retrieval())
    assert worker.cache.concerns(Operation.GET_PATIENT_DETAILS, "ward") is None
    assert worker.answer(retrieval()) is None
    assert worker.rows(where="1 = 1") == []


def test_the_rule_in_force_when_it_is_read_decides(alone: Worker) -> None:
    alone.learn(retrieval())
    alone.clock.pass_s(TTL_S - 1)
    alone.rules = rules(rule(ttl_s=10, outage_s=20))
    assert alone.answer(retrieval()) is None
    assert alone.answer(retrieval(), outage=True) is None
    alone.rules = rules(rule("now-others"))
    kept = alone.answer(retrieval())
    assert kept is not None
    assert kept.rule == "now-others"


def test_a_rule_that_grows_makes_nothing_older(alone: Worker) -> None:
    alone.learn(retrieval())
    alone.rules = rules(rule(ttl_s=3600, outage_s=3600))
    alone.clock.pass_s(TTL_S + 1)
    assert alone.answer(retrieval()) is None
    assert alone.record(retrieval(), outage=True) == BARE
    alone.clock.pass_s(OUTAGE_S)
    assert alone.answer(retrieval(), outage=True) is None


def test_after_rules_came_a_worker_keeps_nothing_until_every_other_knows_of_them(alone: Worker) -> None:
    """One that relies on nothing being kept would not delete."""
    alone.rules = NO_RULES
    alone.learn(retrieval())
    alone.rules = rules(rule())
    alone.clock.pass_s(1)
    alone.learn(retrieval())
    alone.clock.pass_s(SETTLED_S - 0.5)
    alone.learn(retrieval())
    assert alone.rows() == []
    alone.clock.pass_s(0.5)
    alone.learn(retrieval())
    assert alone.record(retrieval()) == person()


def test_the_oldest_give_way_to_the_limit_of_each_client_and_operation(worker: Worker) -> None:
    worker.rules = rules(rule(entries=3))
    numbers = ["9000000009", "9000000017", "9000000025", "9000000033", "9000000041"]
    worker.learn(retrieval(numbers[0]), found(person(numbers[0])), scope(client="lab"))
    worker.learn(check(numbers[0]), found(person(numbers[0])), scope(operation=Operation.VERIFY_NHS_NUMBER))
    for number in numbers:
        worker.clock.pass_s(1)
        worker.learn(retrieval(number), found(person(number)))
    assert [worker.record(retrieval(n)) is not None for n in numbers] == [False, False, True, True, True]
    assert worker.record(retrieval(numbers[0]), scope(client="lab")) is not None
    assert worker.record(check(numbers[0])) is not None, "of another operation"


def test_a_full_operation_makes_room_for_some_at_once_and_two_workers_keep_to_one_limit(
    worker: Worker, another: Worker
) -> None:
    most = 128
    worker.rules = another.rules = rules(rule(entries=most))
    for n in range(most + 40):
        whose = worker if n % 2 else another
        whose.clock.pass_s(0.001)
        whose.learn(search(family=f"F{n}"))
        assert len(worker.rows("1")) <= most
    assert len(worker.rows("1")) >= most - most // 64


# ── what is forgotten ───────────────────────────────────────────────────────────────────────────────────────────────

PLAIN = ("check", "details")
FORGETTING: dict[str, Outcome] = {
    "superseded": Superseded(event="pds.17", nhs_number=None),
    "superseded by the other": Superseded(event="pds.17", nhs_number=OTHER),
    "invalidated": Invalidated(event="e"),
    "no match": NoMatch(event="e"),
    "not verified": NotVerified(event="e"),
    "unusable": Unusable(event="e"),
    "refused": InputRefused(event="e"),
    "sensitive": SENSITIVE,
    "limited": found(person(limited=True)),
    "of an unknown confidentiality": found(person(confidentiality="Z")),
    "with a note": found(event="pds.3"),
    "another person": found(person(OTHER)),
    "nobody's number": found(person(nhs_number=None)),
    "no valid number": found(person(nhs_number="9000000008")),
}
SAYING_NOTHING: dict[str, Outcome] = {
    "unavailable": Unavailable(event="e"),
    "author refused": AuthorRefused(event="e"),
    "several": SeveralMatches(event="e"),
}


def _know(worker: Worker, number: str = NUMBER) -> None:
    """Everything about a number, from both sides and for two clients."""
    for whose in (scope(), scope(client="lab", side="fhir", organisation="RYY")):
        for question in (check(number), retrieval(number), search(family=f"OF {number}")):
            worker.learn(question, found(person(number)), whose)


@pytest.mark.parametrize("question", [check(), retrieval()], ids=["check", "details"])
@pytest.mark.parametrize("outcome", FORGETTING.values(), ids=FORGETTING)
def test_any_other_answer_about_a_number_deletes_it_for_everybody(
    alone: Worker, question: Question, outcome: Outcome
) -> None:
    _know(alone)
    alone.learn(question, outcome, scope(client="a third", asid="200000000777"))
    assert alone.rows() == []


@pytest.mark.parametrize("question", [check(), retrieval(), search()], ids=["check", "details", "search"])
@pytest.mark.parametrize("outcome", SAYING_NOTHING.values(), ids=SAYING_NOTHING)
def test_an_answer_that_says_nothing_of_a_number_deletes_none(
    alone: Worker, question: Question, outcome: Outcome
) -> None:
    _know(alone)
    before = alone.rows()
    alone.learn(question, outcome)
    assert alone.rows() == before


def test_it_is_the_same_on_both_databases_and_for_every_worker(worker: Worker, another: Worker) -> None:
    _know(worker)
    _know(worker, OTHER)
    another.learn(check(), NotVerified(event="e"))
    assert worker.answer(check()) is None
    assert worker.record(check(OTHER)) == person(OTHER)
    assert len(worker.rows()) == 6


@pytest.mark.parametrize(
    "outcome", [Superseded(event="pds.17", nhs_number=OTHER), found(person(OTHER))], ids=["superseded", "another"]
)
def test_where_two_numbers_are_named_both_are_forgotten(worker: Worker, outcome: Outcome) -> None:
    _know(worker)
    _know(worker, OTHER)
    worker.learn(retrieval(), outcome)
    assert worker.rows() == []


def test_a_search_that_finds_somebody_sensitive_deletes_the_number(worker: Worker) -> None:
    _know(worker)
    worker.learn(search(family="ANOTHER QUESTION"), SENSITIVE)
    assert worker.rows() == []


@pytest.mark.parametrize(
    "outcome",
    [NoMatch(event="e"), SeveralMatches(event="e"), Unusable(event="e"), SENSITIVE],
    ids=["nobody", "several", "unusable", "sensitive"],
)
def test_a_search_that_finds_nobody_plainly_any_more_deletes_its_own_answer(alone: Worker, outcome: Outcome) -> None:
    alone.learn(search(), found(person(OTHER)))
    alone.learn(retrieval(OTHER), found(person(OTHER)))
    alone.learn(search(), outcome)
    assert alone.answer(search()) is None
    assert alone.record(retrieval(OTHER)) == person(OTHER)


@pytest.mark.parametrize("held", ["sensitive", "limited", "with a note", "no valid number", "nobody's number"])
@pytest.mark.parametrize("question", [check(), retrieval(), search()], ids=["check", "details", "search"])
def test_only_a_person_plainly_found_is_kept(alone: Worker, question: Question, held: str) -> None:
    alone.learn(question, FORGETTING[held])
    assert alone.rows() == []


def test_a_cross_check_whose_record_does_not_say_what_was_asked_is_not_kept(alone: Worker) -> None:
    alone.learn(check(), found(person(birth_time=None)))
    alone.learn(check(birth_date="1980"))
    assert alone.rows() == []


def test_an_answer_that_was_on_its_way_does_not_bring_back_what_was_forgotten(worker: Worker, another: Worker) -> None:
    """Spine answered one exchange before the other; they arrive the other way round."""
    another.learn(retrieval(), SENSITIVE)
    worker.learn(retrieval())
    worker.learn(search())
    assert worker.rows() == []
    worker.clock.pass_s(MARK_S)
    worker.learn(retrieval())
    assert worker.record(retrieval()) == person()


def test_where_nothing_may_be_kept_of_a_number_the_older_answer_of_a_search_goes_too(alone: Worker) -> None:
    alone.learn(search(), found(person(OTHER)))
    alone.learn(check(), NotVerified(event="e"))
    alone.learn(search(), found(person(NUMBER)))
    assert alone.answer(search()) is None


def test_numbers_are_changed_one_after_the_other_however_many_ask(worker: Worker, another: Worker) -> None:
    """Two workers at once: what is kept in the end is nothing that was forgotten meanwhile."""
    numbers = [NUMBER, OTHER, "9000000025", "9000000033"]

    async def both() -> None:
        tasks = []
        for n in range(60):
            number, cache = numbers[n % 4], (worker, another)[n // 2 % 2].cache
            outcome: Outcome = (
                Superseded(event="e", nhs_number=numbers[(n + 1) % 4]) if n % 5 == 4 else found(person(number))
            )
            tasks.append(cache.learn(retrieval(number), outcome, scope(), exchange="E"))
        await asyncio.gather(*tasks)

    asyncio.run(both())
    marked = {row[0] for row in worker.rows("patient", "client = ''")}
    assert len(marked) == 4
    assert worker.rows() == []


def test_what_cannot_be_deleted_is_an_error_and_what_cannot_be_kept_is_none(
    alone: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone.learn(check())
    file = alone.database.folder
    assert file is not None
    (file / "registry.db").rename(file / "away.db")
    with pytest.raises(StorageUnavailable):
        alone.learn(check(), NotVerified(event="e"))
    alone.learn(retrieval())
    assert alone.answer(check()) is None
    assert [each.partition(":")[0] for each in alone.cache.warnings()] == [
        "what is kept of Spine's answers cannot be read",
        "what is kept of Spine's answers cannot be added to",
    ]
    (file / "away.db").rename(file / "registry.db")
    assert alone.record(check()) == person()
    alone.learn(retrieval())
    assert alone.cache.warnings() == []


def test_a_change_is_made_also_when_nobody_waits_for_it_any_more(alone: Worker) -> None:
    alone.learn(check())

    async def given_up() -> None:
        learning = asyncio.create_task(alone.cache.learn(check(), NotVerified(event="e"), scope(), exchange="E"))
        await asyncio.sleep(0)
        learning.cancel()
        await asyncio.wait([learning])
        await alone.cache.learn(check(OTHER), found(person(OTHER)), scope(), exchange="E")

    alone.run(given_up())
    assert alone.answer(check()) is None


# ── off, it costs nothing ───────────────────────────────────────────────────────────────────────────────────────────


def test_without_rules_and_with_nothing_kept_nothing_is_read_or_written(
    alone: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone.learn(check())
    alone.rules = NO_RULES
    alone.sweep()
    assert alone.rows(where="1 = 1") == []
    alone.learn(check(), NotVerified(event="e"))
    assert len(alone.rows(where="1 = 1")) == 1, "others may have kept something before they knew"
    alone.clock.pass_s(MARK_S + FORGOTTEN_S)
    alone.sweep()
    monkeypatch.setattr(Database, "session", lambda *_: pytest.fail("the database is used"))
    for question in (check(), retrieval(), search()):
        alone.learn(question, NoMatch(event="e"))
        alone.learn(question)
        assert alone.answer(question) is None
    alone.clock.pass_s(COUNT_S)
    alone.sweep()


def test_with_rules_again_it_deletes_again(alone: Worker, clock: Clock, sqlite_database: Database) -> None:
    alone.rules = NO_RULES
    alone.sweep()
    clock.pass_s(FORGOTTEN_S + SWEEP_S)
    alone.sweep()
    with Worker(sqlite_database, clock) as another:
        another.learn(check())
    alone.rules = rules(rule())
    alone.learn(check(), NotVerified(event="e"))
    assert alone.rows() == []


def test_what_was_kept_while_there_were_rules_is_deleted_after_them(alone: Worker) -> None:
    alone.rules = NO_RULES
    alone.sweep()
    alone.clock.pass_s(FORGOTTEN_S + SWEEP_S)
    alone.sweep()
    alone.rules = rules(rule())
    alone.answer(check())
    alone.clock.pass_s(SETTLED_S)
    alone.learn(check())
    assert len(alone.rows()) == 1
    alone.rules = NO_RULES
    alone.learn(check(), NotVerified(event="e"))
    assert alone.rows() == []


# ── at rest ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_beyond_its_time_to_live_an_entry_has_no_whereabouts_at_rest_either(worker: Worker) -> None:
    worker.learn(retrieval())
    before = worker.rows("sealed")
    worker.clock.pass_s(TTL_S + 1)
    stripped = counted("stripped")
    worker.sweep()
    assert counted("stripped") == stripped + 1
    after = worker.rows("sealed")
    assert len(before[0][0]) > len(after[0][0]) + len("MARKERSTREET")
    assert worker.record(retrieval(), outage=True) == BARE
    worker.clock.pass_s(SWEEP_S)
    worker.sweep()
    assert worker.rows("sealed") == after, "once is enough"
    assert worker.cache.warnings() == []


def test_beyond_its_longest_age_an_entry_is_gone(worker: Worker) -> None:
    for question in (retrieval(), check(), search()):
        worker.learn(question)
    worker.clock.pass_s(TTL_S + 1)
    worker.sweep()
    assert len(worker.rows()) == 2, "a search has no other use"
    worker.clock.pass_s(OUTAGE_S - TTL_S)
    worker.sweep()
    assert worker.rows() == []


def test_what_no_rule_allows_any_more_goes(worker: Worker) -> None:
    for client in ("ward", "lab"):
        for question in (retrieval(), check()):
            worker.learn(question, whose=scope(client=client))
    worker.rules = rules(rule(clients=["ward"], entries=1))
    worker.sweep()
    assert [row[0] for row in worker.rows("client")] == ["ward"]
    worker.rules = rules(rule(clients=["ward"], ttl_s=5, outage_s=OUTAGE_S))
    worker.clock.pass_s(10)
    before = worker.rows("sealed")
    worker.sweep()
    assert len(worker.rows("sealed")[0][0]) < len(before[0][0])
    worker.rules = rules(rule(ttl_s=5, outage_s=5))
    worker.sweep()
    assert worker.rows() == []


def test_a_stripped_entry_is_not_given_as_fresh_by_another_rule(alone: Worker) -> None:
    """Taken out because a rule was short for a while: it is not whole any more."""
    alone.learn(retrieval())
    alone.clock.pass_s(10)
    alone.rules = rules(rule(ttl_s=5))
    alone.sweep()
    alone.rules = rules(rule())
    assert alone.answer(retrieval()) is None
    assert alone.record(retrieval(), outage=True) == BARE


def test_an_entry_of_the_future_is_not_given_and_goes(worker: Worker) -> None:
    worker.learn(retrieval())
    worker.learn(check())
    worker.clock.pass_s(-1)
    assert worker.answer(retrieval()) is None
    assert len(worker.rows()) == 1
    worker.clock.pass_s(-100)
    worker.sweep()
    assert worker.rows() == []


@pytest.mark.parametrize("column", ["key", "patient", "client", "operation", "service", "fetched_at", "sealed"])
def test_a_row_that_was_changed_is_not_there_and_goes(alone: Worker, column: str) -> None:
    alone.learn(retrieval())
    alone.learn(retrieval(OTHER), found(person(OTHER)))
    (key, value), (_, others) = alone.rows(f"key, {column}")
    if column == "key":
        alone.change(
            "UPDATE cache_entry SET sealed = (SELECT sealed FROM cache_entry WHERE key <> ?) WHERE key = ?", key, key
        )
    elif column == "fetched_at":
        alone.change("UPDATE cache_entry SET fetched_at = ? WHERE key = ?", value - 1, key)
    elif column == "sealed":
        alone.change("UPDATE cache_entry SET sealed = ? WHERE key = ?", value[:-1] + bytes([value[-1] ^ 1]), key)
    elif column == "patient":
        alone.change("UPDATE cache_entry SET patient = ? WHERE key = ?", others, key)
    else:
        alone.change(f"UPDATE cache_entry SET {column} = 'another' WHERE key = ?", key)
    spoiled = [number for number in (NUMBER, OTHER) if alone.record(retrieval(number)) is None]
    assert len(spoiled) == 1
    assert len(alone.rows()) == 1
    assert "1 kept answers could not be opened" in alone.cache.warnings()[0]


@pytest.mark.parametrize("sealed", [b"", b"short", os.urandom(100)], ids=["nothing", "short", "noise"])
def test_whatever_stands_in_a_row_is_not_taken_for_an_entry(alone: Worker, sealed: bytes) -> None:
    alone.learn(retrieval())
    alone.change("UPDATE cache_entry SET sealed = ?", sealed)
    assert alone.answer(retrieval()) is None
    assert alone.rows() == []


def test_what_the_sweep_cannot_open_goes(alone: Worker) -> None:
    alone.learn(retrieval())
    alone.change("UPDATE cache_entry SET sealed = ?", b"noise")
    alone.clock.pass_s(TTL_S + 1)
    alone.sweep()
    assert alone.rows() == []


# ── keys ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def rotated(database: Database, clock: Clock, worker: Worker) -> Iterator[Worker]:
    """A worker that was started after a new master key was made, beside one that was not."""
    with Worker(database, clock, CacheKeys(RING.with_new(os.urandom), INDEX_KEY)) as rotated:
        yield rotated


def test_while_a_master_key_is_replaced_no_worker_misses_what_it_has_to_delete(worker: Worker, rotated: Worker) -> None:
    rotated.learn(retrieval())
    worker.learn(retrieval(), NotVerified(event="e"))
    assert rotated.rows() == []
    worker.learn(check(OTHER), found(person(OTHER)))
    assert rotated.record(check(OTHER)) == person(OTHER)


def test_what_was_sealed_by_a_key_that_is_not_here_is_a_miss(worker: Worker, rotated: Worker) -> None:
    rotated.learn(retrieval())
    assert worker.answer(retrieval()) is None


def test_keys_show_nothing_of_themselves() -> None:
    assert INDEX_KEY.hex() not in repr(KEYS)
    assert repr(INDEX_KEY) not in repr(KEYS)
    assert KEYS.digest("patient", NUMBER) != KEYS.digest("mark", NUMBER)
    assert KEYS.digest("entry", "a", "b") != KEYS.digest("entry", "ab")
    assert KEYS.digest("patient", NUMBER) != CacheKeys(RING, bytes(32)).digest("patient", NUMBER)
    assert KEYS.seal(b"x", b"y") != KEYS.seal(b"x", b"y")


# ── counted ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_becomes_of_questions_is_counted(alone: Worker) -> None:
    before = {each: counted(each) for each in ("fresh", "stale", "miss", "kept", "forgotten", "gone")}
    alone.answer(check())
    alone.learn(check())
    alone.answer(check())
    alone.answer(check(), outage=True)
    alone.learn(check(), NoMatch(event="e"))
    alone.learn(check(OTHER), found(person(OTHER)))
    alone.clock.pass_s(OUTAGE_S + 1)
    alone.sweep()
    assert {each: counted(each) - count for each, count in before.items()} == {
        "fresh": 1,
        "stale": 1,
        "miss": 1,
        "kept": 2,
        "forgotten": 1,
        "gone": 2,  # the entry, and the mark of what was forgotten
    }


def test_found_is_said_as_spine_said_it(alone: Worker) -> None:
    alone.learn(check())
    kept = alone.answer(check())
    assert kept is not None
    assert isinstance(kept.outcome, Found)
    assert kept.outcome.event == "found"
    assert kept.outcome.record.birth_time == BORN
