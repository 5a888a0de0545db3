"""A search finds exactly what it should: by each criterion, by several together, and whole exchanges from any id."""

import functools
import json
from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any

import msgspec
import pytest

from minispine import storage
from minispine.audit import index, reading, search
from minispine.audit.events import Body, Entry, EventType
from minispine.audit.index import Shape
from minispine.audit.log import AuditLog
from minispine.audit.reading import bodies
from minispine.audit.search import Page, Query, exchanges
from minispine.storage import Database
from tests.audit.conftest import START, VAULT, Clock, note
from tests.audit.samples import sample
from tests.audit.stories import BY_SEARCH, Call, act, person

DAY_US = 86_400_000_000
FIRST, SECOND = "9434765919", "9449310467"
JSMITH = "urn:nhs-uk:identity:ods:RXX:jsmith"

ORDINARY = Call(name="ordinary")
TWO_QUESTIONS = Call(
    name="two questions",
    user="mjones",
    organisation="RYY",
    client="lab",
    operation=BY_SEARCH,
    patient=None,
    found=SECOND,
    spine=("found", "found"),
    at=START + DAY_US,
)
UNANSWERED = Call(
    name="unanswered", user="akhan", found=None, code="SMSP-0004", spine=("unavailable",), at=START + 2 * DAY_US
)


@pytest.fixture
def three_calls(log: AuditLog, clock: Clock) -> None:
    """Three calls, a day apart, one in the middle of another's; then somebody's own acts."""
    clock.us = ORDINARY.at
    log.append_now(ORDINARY.asked)
    clock.us = TWO_QUESTIONS.at
    log.append_now(TWO_QUESTIONS.asked)
    log.append_now(ORDINARY.replied)
    log.append_now(note())
    log.append_now(TWO_QUESTIONS.replied)
    clock.us = UNANSWERED.at
    log.append_now(UNANSWERED.asked)
    log.append_now(UNANSWERED.replied)
    clerk = person("ward.clerk", "Clare Clerk", authority="dr.who")
    log.append_now(act(EventType.RECORD_DISPLAYED, clerk, FIRST))
    log.append_now(Entry(events=(sample(EventType.CLIENT_EDITED, key="lab"),)))


def found(database: Database, **conditions: Any) -> list[int]:
    """The records that a search finds."""
    return list(search.matching(database, VAULT, Query(**conditions)))


def whole(database: Database, **conditions: Any) -> list[list[int]]:
    """The records of each exchange that is found."""
    return [[r.sequence for r in each.records] for each in exchanges(database, VAULT, Query(**conditions))]


# ── criteria ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SMSP-AUDIT-007", "b")
@pytest.mark.requirement("MSCA-AUD-05", "b")
@pytest.mark.requirement("IG-3.9.3", "d")
def test_each_criterion_alone_finds_exactly_one_call_and_together_they_intersect(
    database: Database, log: AuditLog, clock: Clock
) -> None:
    """Four calls that differ in user, message id, patient and time."""
    numbers = ("9434765919", "9449310467", "9434765870", "9449305552")
    calls = [
        Call(name=f"call {n}", user=f"user-{n}", patient=number, found=number, at=START + (n + 1) * DAY_US)
        for n, number in enumerate(numbers)
    ]
    for call in calls:
        clock.us = call.at
        for entry in call.entries:
            log.append_now(entry)
    for n, call in enumerate(calls):
        its = [[2 + 2 * n, 3 + 2 * n]]
        assert whole(database, user=f"user-{n}") == its
        assert whole(database, user=f"urn:nhs-uk:identity:ods:RXX:user-{n}") == its
        assert whole(database, identifier=call.message_id) == its
        assert whole(database, patient=numbers[n]) == its
        assert whole(database, from_=call.at, to=call.at + DAY_US) == its
        assert whole(database, first=its[0][0], last=its[0][1]) == its
        together = {"user": f"user-{n}", "identifier": call.message_id, "patient": numbers[n], "from_": call.at}
        assert whole(database, **together) == its
        for name, other in {"user": "user-9", "identifier": "X-1", "patient": "9434765828"}.items():
            assert whole(database, **together | {name: other}) == []
        assert whole(database, **together | {"from_": call.at + 1}) == []
        assert whole(database, **together | {"from_": 0, "to": call.at}) == []
    mixed = {"user": "user-1", "patient": numbers[2]}
    assert whole(database, **mixed) == []
    assert whole(database, user=("user-1", "user-2"), patient=numbers[2]) == [[6, 7]]


@pytest.mark.usefixtures("three_calls")
def test_every_criterion_finds_the_records_it_should(database: Database) -> None:
    assert found(database, user="mjones") == [3]
    assert found(database, user="urn:nhs-uk:identity:ods:RYY:mjones") == [3, 6]
    assert found(database, authority="dr.who") == [9]
    assert found(database, patient="944 931 0467") == [6]
    assert found(database, organisation="RYY") == [3]
    assert found(database, client="lab") == [3, 6]
    assert found(database, event="exchange.spine-silent") == [8]
    assert found(database, event=("exchange.spine-silent", "client.edited")) == [8, 10]
    assert found(database, outcome="SMSP-0004") == [8]
    assert found(database, source="spine") == [4, 6, 8]
    assert found(database, device="WS-17") == [1, 9, 10]
    assert found(database, item="lab") == [10]
    assert found(database, exchange=ORDINARY.exchange.lower()) == [2, 4]
    assert found(database, first=4, last=5) == [4, 5]
    assert found(database, client="lab", source="spine") == [6]
    assert found(database, client="ward", first=3) == [4, 7, 8]
    assert found(database) == list(range(1, 11))
    assert found(database, user="nobody") == found(database, first=11) == found(database, last=0) == []


@pytest.mark.usefixtures("three_calls")
def test_times_bound_when_records_were_sealed(database: Database) -> None:
    at = TWO_QUESTIONS.at
    assert found(database, from_=at, to=at + DAY_US) == [3, 4, 5, 6]
    assert found(database, to=at) == [1, 2]
    assert found(database, from_=at + 1, to=at + DAY_US) == []
    assert found(database, from_=at, client="ward") == [4, 7, 8]


@pytest.mark.parametrize("name", ["user", "patient", "identifier", "event"])
@pytest.mark.parametrize("value", ["", " ", ("x", "")])
def test_a_blank_criterion_is_refused(name: str, value: str | tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=f"^the {name} searched for is blank$"):
        Query(**{name: value})  # type: ignore[arg-type]


# ── pages ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("three_calls")
@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_pages_together_are_everything(database: Database, limit: int, newest_first: bool) -> None:
    query = Query(client="ward")
    seen: list[int] = []
    page = Page((), None)
    while not seen or page.after is not None:
        page = search.search(database, VAULT, query, after=page.after, limit=limit, newest_first=newest_first)
        of_page = list(dict.fromkeys(event["sequence"] for event in page.events))
        assert len(of_page) <= limit
        seen += of_page
    assert seen == ([8, 7, 4, 2] if newest_first else [2, 4, 7, 8])


@pytest.mark.usefixtures("three_calls")
def test_a_page_holds_what_the_log_holds_and_patients_only_when_asked_for(database: Database) -> None:
    everything = {(e["sequence"], e["index"]): e for e in reading.events(database, vault=VAULT)}
    page = search.search(database, VAULT, Query(patient=FIRST), private=True)
    assert {e["sequence"] for e in page.events} == {2, 4, 7, 9}
    assert all(e == everything[e["sequence"], e["index"]] for e in page.events)
    in_the_open = search.search(database, VAULT, Query(patient=FIRST)).events
    assert [e | {"private": None} for e in in_the_open] == [e | {"private": None} for e in page.events]
    assert all("private" not in e for e in in_the_open)
    assert FIRST not in json.dumps(in_the_open)


@pytest.mark.usefixtures("three_calls")
def test_a_search_for_events_gives_only_these(database: Database) -> None:
    page = search.search(database, VAULT, Query(event=("exchange.asked", "exchange.reserved"), client="lab"))
    assert [(e["sequence"], e["index"]) for e in page.events] == [(3, 1), (3, 2)]
    assert [e["index"] for e in search.events(database, VAULT, Query(event="exchange.reserved"))] == [2]


@pytest.mark.usefixtures("three_calls")
def test_lists_never_touch_bodies_nor_payloads_unless_asked_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    execute = storage.Session.execute

    def watch(session: storage.Session, statement: Any, *rest: Any) -> Any:
        read.append(str(statement))
        return execute(session, statement, *rest)

    monkeypatch.setattr(storage.Session, "execute", watch)
    search.search(database, VAULT, Query(user=JSMITH))
    list(exchanges(database, VAULT, Query(patient=FIRST)))
    assert any("audit_record" in each for each in read)
    assert not any("audit_payload" in each for each in read)
    read.clear()
    search.search(database, VAULT, Query(user=JSMITH), private=True)
    assert any("audit_payload" in each for each in read)
    assert not any("audit_payload.bodies" in each for each in read)


# ── whole exchanges ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SMSP-AUDIT-004", "a", "b", "c", "d")
@pytest.mark.requirement("ACCESS-2", "c")
@pytest.mark.usefixtures("three_calls")
@pytest.mark.parametrize(
    "identifier",
    [
        TWO_QUESTIONS.message_id,
        TWO_QUESTIONS.message_id.lower(),
        f"urn:uuid:{TWO_QUESTIONS.message_id}",
        TWO_QUESTIONS.spine_id(1),
        TWO_QUESTIONS.spine_id(2),
        f"uuid:{TWO_QUESTIONS.answer_id(2)}",
        TWO_QUESTIONS.tracking_id,
        TWO_QUESTIONS.exchange,
        TWO_QUESTIONS.identity[0]["uri"],
    ],
)
def test_from_any_id_the_whole_exchange_is_shown_in_order(database: Database, identifier: str) -> None:
    """The request, both questions, both answers and the reply, each row with the ids by which it can be followed."""
    (exchange,) = exchanges(database, VAULT, Query(identifier=identifier), private=True)
    told = [event for record in exchange.records for event in reading.told(record)]
    assert [(e["sequence"], e["type"]) for e in told] == [
        (3, "exchange.received"),
        (3, "exchange.asked"),
        (3, "exchange.reserved"),
        (6, "exchange.spine-answered"),
        (6, "exchange.spine-answered"),
        (6, "exchange.replied"),
    ]
    assert [body.name for n in (3, 6) for body in bodies(database, n, VAULT)] == [
        "request",
        "spine-request-1",
        "spine-request-2",
        "spine-answer-1",
        "spine-answer-2",
        "reply",
    ]
    assert {e["client_message_id"] for e in told} == {TWO_QUESTIONS.message_id}
    assert told[0]["data"]["audit_identity"] == told[-1]["data"]["audit_identity"] == TWO_QUESTIONS.identity
    sent = [told[1]["data"]["message_id"], told[2]["data"]["ids"][0]["message_id"]]
    answered = [e["data"]["message_id"] for e in told if e["type"] == "exchange.spine-answered"]
    assert sent == answered == [TWO_QUESTIONS.spine_id(1), TWO_QUESTIONS.spine_id(2)]
    assert [e["at"] for e in told] == sorted(e["at"] for e in told)


@pytest.mark.usefixtures("three_calls")
@pytest.mark.parametrize("identifier", ["RX", "mjones", "lab", TWO_QUESTIONS.exchange[:-1], SECOND, '"', "%", "\\"])
def test_a_part_of_an_id_or_a_patients_number_is_not_an_id(database: Database, identifier: str) -> None:
    assert whole(database, identifier=identifier) == []


@pytest.mark.usefixtures("three_calls")
def test_the_records_of_an_exchange_meet_conditions_together(database: Database) -> None:
    """User and organisation stand in the first record only, what was found and answered in the second."""
    together = {"user": "mjones", "organisation": "RYY", "patient": SECOND, "outcome": "SMSP-0000"}
    assert whole(database, **together) == [[3, 6]]
    assert found(database, **together) == []
    assert whole(database, **together | {"outcome": "SMSP-0004"}) == []
    assert whole(database, **together | {"patient": FIRST}) == []
    assert whole(database, identifier=TWO_QUESTIONS.tracking_id, patient=SECOND) == [[3, 6]]
    assert whole(database, identifier=TWO_QUESTIONS.tracking_id, patient=FIRST) == []
    assert whole(database, user="ward.clerk", patient=FIRST) == [[9]]
    assert whole(database, user="ward.clerk", patient=SECOND) == []


@pytest.mark.usefixtures("three_calls")
def test_bounds_say_where_to_look_and_an_exchange_is_given_whole(database: Database) -> None:
    assert whole(database, first=4, last=4) == [[2, 4]]
    assert whole(database, client="ward", last=2) == [[2, 4]]
    assert whole(database, patient=SECOND, last=5) == []
    assert whole(database, from_=TWO_QUESTIONS.at, to=UNANSWERED.at) == [[3, 6], [2, 4], [5]]
    assert whole(database) == [[1], [2, 4], [3, 6], [5], [7, 8], [9], [10]]


@pytest.mark.usefixtures("three_calls")
@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("conditions", [{}, {"source": "spine"}, {"client": ("ward", "lab")}, {"patient": FIRST}])
def test_an_exchange_comes_once_however_often_it_is_found_and_asked_on(
    database: Database, conditions: dict[str, Any], newest_first: bool
) -> None:
    every = [e.found for e in exchanges(database, VAULT, Query(**conditions), newest_first=newest_first)]
    after, one_by_one = None, list[int]()
    for _ in every:
        options: dict[str, Any] = {"after": after, "newest_first": newest_first}
        one = next(exchanges(database, VAULT, Query(**conditions), **options))
        one_by_one.append(one.found)
        after = one.found
    assert one_by_one == every
    names = [e.records[0].exchange for e in exchanges(database, VAULT, Query(**conditions), newest_first=newest_first)]
    assert len({n for n in names if n}) == len([n for n in names if n])


@pytest.mark.usefixtures("three_calls")
def test_an_id_that_others_mention_is_no_record_of_that_exchange(database: Database, log: AuditLog) -> None:
    shared = sample(EventType.EXCHANGE_SHARED, leader=ORDINARY.exchange, message_id=ORDINARY.spine_id())
    log.append_now(Entry(events=(shared,), exchange="follower"))
    assert whole(database, identifier=ORDINARY.exchange) == [[2, 4], [11]]
    assert whole(database, exchange=ORDINARY.exchange) == [[2, 4]]
    assert {e["sequence"] for e in search.events(database, VAULT, Query(exchange=ORDINARY.exchange))} == {2, 4}


def test_an_exchange_found_by_many_ids_of_one_record_is_one(database: Database, log: AuditLog) -> None:
    log.append_now(ORDINARY.asked)
    log.append_now(ORDINARY.replied)
    either = Query(identifier=(ORDINARY.message_id, ORDINARY.tracking_id, ORDINARY.answer_id()))
    assert [[r.sequence for r in e.records] for e in exchanges(database, VAULT, either)] == [[2, 3]]


# ── against a model ─────────────────────────────────────────────────────────────────────────────────────────────────

POOLS: dict[str, list[str]] = {
    "user": ["ann", "bob", "cyd"],
    "authority": ["dr.x", "dr.y"],
    "patient": ["9434765919", "9449310467", "9434765870"],
    "organisation": ["RXX", "RYY"],
    "client": ["ward", "lab"],
    "event": ["exchange.received", "exchange.replied", "record.displayed", "client.edited"],
    "outcome": ["SMSP-0000", "SMSP-0004"],
    "source": ["spine", "cache"],
    "device": ["WS-1", "WS-2"],
    "item": ["ward", "lab"],
    "identifier": ["M-1", "M-2", "M-3"],
}

Known = dict[str, set[str]]


def random_entry(random: Random) -> tuple[Entry, Known]:
    """An entry, and what it should be found by."""
    one = {name: random.choice(pool) for name, pool in POOLS.items()}
    exchange = random.choice(["X-1", "X-2", "X-3", "X-4"])
    actor = person(one["user"], "Some Body", organisation=one["organisation"], device=one["device"])
    match random.randrange(4):
        case 0:
            event = sample(
                EventType.EXCHANGE_RECEIVED,
                private={"nhs_number": one["patient"]},
                message_id=one["identifier"],
                organisation=one["organisation"],
                user_code=one["user"],
            )
            names = ["client", "identifier", "organisation", "user", "patient"]
        case 1:
            event = sample(EventType.EXCHANGE_REPLIED, source=one["source"], code=one["outcome"])
            names = ["client", "source", "outcome"]
        case 2:
            actor |= {"authority": one["authority"]}
            event = sample(EventType.RECORD_DISPLAYED, private={"nhs_number": one["patient"]}, actor=actor)
            names = ["user", "authority", "organisation", "device", "patient"]
        case _:
            event = sample(EventType.CLIENT_EDITED, actor=actor, key=one["item"])
            names = ["user", "organisation", "device", "item"]
    known = {name: {one[name]} for name in names} | {"event": {event.type.value}}
    if "client" in names:
        known["exchange"] = {exchange}
        return Entry(events=(event,), exchange=exchange, client=one["client"]), known
    return Entry(events=(event,)), known


def random_query(random: Random, last: int) -> Query:
    conditions: dict[str, Any] = {}
    for name in random.sample(sorted(POOLS), random.randrange(4)):
        conditions[name] = tuple(random.sample(POOLS[name], random.randint(1, 2)))
    if random.random() < 0.4:
        conditions["first"], conditions["last"] = random.randint(0, last), random.randint(0, last + 3)
    if random.random() < 0.3:
        conditions["from_"] = START + random.randint(0, last)
    if random.random() < 0.3:
        conditions["to"] = START + random.randint(0, last)
    return Query(**conditions)


@pytest.fixture(params=["pending", "folded"])
def small_index(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shape | None]:
    """The index as it is right after writing, and in segments of few records."""
    if request.param == "pending":
        return None
    shape = Shape(block=16, fan=2, top=2, dense=4, page=5, slice=8)
    monkeypatch.setattr(index, "matching", functools.partial(index.matching, shape=shape))
    return shape


def test_a_search_agrees_with_looking_at_every_record(
    database: Database, log: AuditLog, clock: Clock, small_index: Shape | None
) -> None:
    random = Random(f"{database.kind} {small_index}")
    model: dict[int, Known] = {1: {"event": {"audit.begun"}, "organisation": {"RXX"}}}
    with log.holding() as hold:
        for sequence in range(2, 100):
            clock.us += random.randrange(3)
            entry, known = random_entry(random)
            assert log.append_in(hold, entry).sequence == sequence
            model[sequence] = known
    sealed = {r.sequence: r.sealed_at for r in reading.records(database, model)}
    assert all(one <= other for one, other in pairwise(sealed.values()))
    if small_index is not None:
        assert index.fold(database, shape=small_index)

    def within(query: Query, sequence: int) -> bool:
        return (
            query.first <= sequence <= (99 if query.last is None else query.last)
            and (query.from_ is None or query.from_ <= sealed[sequence])
            and (query.to is None or sealed[sequence] < query.to)
        )

    def meets(query: Query, names: list[str], sequences: list[int]) -> bool:
        return all(any(model[s].get(n, set()) & set(query.values(n)) for s in sequences) for n in names)

    def exchange_of(sequence: int) -> list[int]:
        name = model[sequence].get("exchange")
        return [s for s in model if model[s].get("exchange") == name] if name else [sequence]

    hits = 0
    for _ in range(60):
        query = random_query(random, 99)
        made = [name for name in POOLS if query.values(name)]
        expected = [s for s in model if within(query, s) and meets(query, made, [s])]
        hits += len(expected)
        assert list(search.matching(database, VAULT, query)) == expected, query
        backwards = list(search.matching(database, VAULT, query, newest_first=True))
        assert backwards == expected[::-1], query
        groups = {
            tuple(exchange_of(s))
            for s in model
            if within(query, s) and meets(query, [n for n in search._KINDS if n in made][:1], [s])
        }
        wholes = {group for group in groups if meets(query, made, list(group))}
        for newest_first in (False, True):
            every = exchanges(database, VAULT, query, newest_first=newest_first)
            got = [tuple(r.sequence for r in each.records) for each in every]
            assert set(got) == wholes, query
            assert len(got) == len(wholes), query
    assert hits > 100


# ── what the trail says of patients ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SMSP-AUDIT-009", "f")
@pytest.mark.requirement("IG-3.9.4", "e")
@pytest.mark.usefixtures("three_calls")
def test_rows_about_a_patient_name_them_and_the_message(database: Database) -> None:
    """A call by number, and a search that finds the number."""
    asked = search.search(database, VAULT, Query(patient=FIRST, event="exchange.received"), private=True).events
    assert [(e["client_message_id"], e["private"]["nhs_number"]) for e in asked] == [
        (ORDINARY.message_id, FIRST),
        (UNANSWERED.message_id, FIRST),
    ]
    (answered,) = search.search(database, VAULT, Query(patient=SECOND, event="exchange.replied"), private=True).events
    assert (answered["client_message_id"], answered["private"]["nhs_number"]) == (TWO_QUESTIONS.message_id, SECOND)


@pytest.mark.requirement("IG-3.9.3", "d")
def test_each_of_five_criteria_selects_its_own_row(database: Database, log: AuditLog, clock: Clock) -> None:
    """Patient, user, authority, date and time, sequence number: each value selects a different row."""
    acts = [
        act(EventType.RECORD_DISPLAYED, person("u1", "One"), SECOND),
        act(EventType.RECORD_DISPLAYED, person("u2", "Two"), FIRST),
        act(EventType.RECORD_DISPLAYED, person("u3", "Three", authority="dr.x"), FIRST),
        act(EventType.RECORD_DISPLAYED, person("u4", "Four"), FIRST),
        act(EventType.RECORD_DISPLAYED, person("u5", "Five"), FIRST),
    ]
    for entry in acts:
        clock.us += DAY_US
        log.append_now(entry)
    assert found(database, patient=SECOND) == [2]
    assert found(database, user="u2") == [3]
    assert found(database, authority="dr.x") == [4]
    assert found(database, from_=START + 4 * DAY_US, to=START + 5 * DAY_US) == [5]
    assert found(database, first=6, last=6) == [6]
    assert found(database, first=3, last=5) == [3, 4, 5]


def test_a_record_without_its_messages_is_still_an_exchange(database: Database, log: AuditLog) -> None:
    silent = msgspec.structs.replace(ORDINARY.asked, bodies=())
    log.append_now(silent)
    assert bodies(database, 2, VAULT) == ()
    assert whole(database, identifier=ORDINARY.message_id) == [[2]]
    assert Body("x", b"") not in bodies(database, 2, VAULT)
