"""The rules of the book of slots, one by one: who is next, when the next slot is, and what a newcomer can expect."""

from typing import Any

import msgspec
import pytest

from minispine.domain.lanes import Lane
from minispine.provider.admission.book import (
    BLOCK_US,
    FORGET_US,
    FURTHEST_US,
    GONE_US,
    LEAD_US,
    SECOND,
    Book,
    Grant,
    Taken,
    Want,
    decode,
    distrust,
    encode,
    forecast_s,
    take,
)
from minispine.vocabulary.budgets import Limit, ServiceBudget, shipped_budgets

ASID = "200000000001"
OTHER_ASID = "200000000002"
ATTENDED, UNATTENDED, BATCH = range(3)
T0 = 1_760_000_000 * SECOND
INTERVAL = SECOND // 5
BUDGET = ServiceBudget(default=Limit(per_second=5.0))
SHARED = ServiceBudget(default=Limit(per_second=5.0), shares={"unattended": 0.1, "batch": 0.05})


def want(lane: int = ATTENDED, client: str = "ward", count: int = 1, **options: Any) -> Want:
    given: dict[str, Any] = {"asid": ASID, "again": False, "waiting": count, "since": T0} | options
    return Want(lane=lane, client=client, count=count, **given)


def look(book: Book, now: int, *wants: Want, at: str = "w1", budget: ServiceBudget = BUDGET, **options: Any) -> Taken:
    given: dict[str, Any] = {"room": 100} | options
    return take(book, now=now, instance=at, wants=wants, budget=budget, **given)


def instants(taken: Taken) -> list[int]:
    return [grant.instant for grant in taken.grants]


def calls(book: Book, n: int, *wants: Want, budget: ServiceBudget = BUDGET) -> list[Grant]:
    """The next calls that leave, of one worker whose calls never run out."""
    grants: list[Grant] = []
    now = T0
    while len(grants) < n:
        taken = look(book, now, *wants, budget=budget)
        grants += taken.grants
        assert taken.next_at is not None
        now = max(now, taken.next_at - LEAD_US)
    return grants


# ── slots ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_call_leaves_at_once_and_the_next_an_interval_later() -> None:
    book = Book()
    first = look(book, T0, want(count=2))
    assert first == Taken(
        grants=[Grant(asid=ASID, instant=T0, lane=ATTENDED, client="ward")],
        next_at=T0 + INTERVAL,
        left_to_others=False,
    )
    assert look(book, T0 + INTERVAL - LEAD_US - 1, want()).grants == []
    assert instants(look(book, T0 + INTERVAL - LEAD_US, want())) == [T0 + INTERVAL]


def test_nothing_that_waits_takes_nothing_and_leaves_no_trace() -> None:
    book = Book()
    assert look(book, T0) == Taken(grants=[], next_at=None, left_to_others=False)
    assert book == Book()


def test_a_slot_that_nobody_uses_is_lost() -> None:
    book = Book()
    look(book, T0, want())
    late = T0 + 10 * INTERVAL + 7
    assert instants(look(book, late, want(count=2))) == [late]
    assert look(book, late, want()).next_at == late + INTERVAL


def test_no_slot_is_before_it_can_be_at_hand() -> None:
    assert instants(look(Book(), T0, want(), ahead=3_000)) == [T0 + 3_000]


def test_however_long_it_takes_until_slots_are_at_hand_none_is_far_ahead() -> None:
    book = Book()
    assert look(book, T0, want(), ahead=FURTHEST_US + 1).grants == []
    assert instants(look(book, T0, want(), ahead=FURTHEST_US)) == [T0 + FURTHEST_US]


@pytest.mark.requirement("SMSP-PERF-001", "a")
def test_of_two_hundred_calls_at_once_the_burst_leaves_and_then_five_a_second() -> None:
    budget = ServiceBudget(default=Limit(per_second=5.0, burst=3))
    left = [grant.instant for grant in calls(Book(), 20, want(count=200), budget=budget)]
    assert left[:3] == [T0] * 3
    assert left[3:] == [T0 + n * INTERVAL for n in range(1, 18)]


@pytest.mark.requirement("SMSP-PERF-001", "b")
@pytest.mark.parametrize("rate", [5.0, 10.0, 50.0])
def test_the_rate_is_what_the_budget_says(rate: float) -> None:
    budget = ServiceBudget(default=Limit(per_second=1.0), asids={ASID: Limit(per_second=rate)})
    left = [grant.instant for grant in calls(Book(), 11, want(count=99), budget=budget)]
    assert left[-1] - left[0] == 10 * SECOND / rate


@pytest.mark.requirement("SMSP-PERF-001", "b")
def test_a_rate_that_is_raised_holds_from_the_next_slot_on() -> None:
    book = Book()
    look(book, T0, want(), budget=ServiceBudget(default=Limit(per_second=0.001)))
    raised = look(book, T0 + 1, want())
    assert raised.next_at is not None
    assert raised.next_at <= T0 + 2 * SECOND


def test_without_a_configuration_five_calls_a_second_leave() -> None:
    pds = next(iter(shipped_budgets().services.values()))
    assert [grant.instant - T0 for grant in calls(Book(), 3, want(count=9), budget=pds)] == [0, INTERVAL, 2 * INTERVAL]


def test_accredited_systems_have_a_bucket_each() -> None:
    book = Book()
    taken = look(book, T0, want(count=2), want(asid=OTHER_ASID, count=2))
    assert [(grant.asid, grant.instant) for grant in taken.grants] == [(ASID, T0), (OTHER_ASID, T0)]


def test_where_there_is_not_room_for_all_the_more_urgent_of_two_systems_goes_first() -> None:
    taken = look(Book(), T0, want(BATCH), want(ATTENDED, asid=OTHER_ASID), room=1)
    assert [grant.asid for grant in taken.grants] == [OTHER_ASID]


def test_a_minute_holds_no_more_than_it_may() -> None:
    budget = ServiceBudget(default=Limit(per_second=5.0, per_minute=10))
    left = [grant.instant for grant in calls(Book(), 25, want(count=99), budget=budget)]
    for first, eleventh in zip(left, left[10:], strict=False):
        assert eleventh - first > 60 * SECOND
    assert left[10] <= T0 + 61 * SECOND


def test_a_minute_is_any_sixty_seconds_and_not_one_by_the_clock() -> None:
    book = Book()
    budget = ServiceBudget(default=Limit(per_second=5.0, per_minute=1))
    almost_a_second_later = T0 + SECOND - 1
    assert instants(look(book, almost_a_second_later, want(), budget=budget)) == [almost_a_second_later]
    a_minute_later = T0 + 60 * SECOND + SECOND // 2
    assert look(book, a_minute_later, want(), budget=budget).next_at == T0 + 61 * SECOND
    assert look(book, T0 + 61 * SECOND, want(), budget=budget).grants


def test_a_clients_own_limit_holds_over_all_systems_and_stops_nobody_else() -> None:
    book = Book()
    budget = ServiceBudget(default=Limit(per_second=50.0), clients={"batch": Limit(per_second=1.0)})
    assert [g.client for g in calls(book, 4, want(client="batch", count=9), want(BATCH, "ward", 9), budget=budget)] == [
        "batch",
        "ward",
        "ward",
        "ward",
    ]
    elsewhere = look(book, T0 + SECOND // 2, want(client="batch", asid=OTHER_ASID), budget=budget)
    assert elsewhere.grants == []
    assert elsewhere.next_at == T0 + SECOND
    assert not elsewhere.left_to_others


def test_a_block_gives_each_slot_an_instant_of_its_own() -> None:
    budget = ServiceBudget(default=Limit(per_second=200.0))
    taken = look(Book(), T0, want(count=50), budget=budget, ahead=1_000)
    assert instants(taken) == [T0 + 1_000 + n * 5_000 for n in range(10)]
    assert taken.next_at == T0 + 1_000 + BLOCK_US


def test_below_a_hundred_a_second_one_slot_is_taken_at_a_time() -> None:
    budget = ServiceBudget(default=Limit(per_second=99.0, burst=10))
    assert len(look(Book(), T0, want(count=50), budget=budget).grants) == 1


def test_open_slots_are_taken_in_blocks_where_nobody_waits_for_them() -> None:
    fast = ServiceBudget(default=Limit(per_second=200.0))
    spare = {ASID: 3}
    taken = look(Book(), T0, budget=fast, spare=spare)
    assert taken.grants == [Grant(asid=ASID, instant=T0 + n * 5_000) for n in range(3)]
    assert look(Book(), T0, spare=spare).grants == []
    assert len(look(Book(), T0, budget=fast, spare=spare, room=2).grants) == 2
    assert len(look(Book(), T0, budget=fast, spare={ASID: 99}).grants) == 10
    for count, apart in ((3, BLOCK_US // 3), (99, 5_000)):
        taken = look(Book(), T0, budget=fast, spare={ASID: count}, spread=True)
        assert taken.grants == [Grant(asid=ASID, instant=T0 + n * apart) for n in range(min(count, 10))]
    book = Book()
    look(book, T0, want(), budget=fast, at="w2", room=0)
    look(book, T0, want(count=11), budget=fast, at="w3", room=1)
    assert look(book, T0, budget=fast, spare=spare).grants == []


def test_no_more_slots_are_taken_than_there_is_room_for() -> None:
    budget = ServiceBudget(default=Limit(per_second=200.0))
    taken = look(Book(), T0, want(count=50), budget=budget, room=3)
    assert len(taken.grants) == 3
    assert taken.next_at == T0 + 15_000
    assert look(Book(), T0, want(), room=0).grants == []


def test_what_cannot_leave_now_takes_no_slot_and_has_none_coming() -> None:
    assert look(Book(), T0, want(count=0, waiting=5)) == Taken(grants=[], next_at=None, left_to_others=False)


# ── whose turn it is ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SMSP-PERF-007", "a", "b")
def test_a_person_goes_before_a_machine_and_both_before_a_batch() -> None:
    book = Book()
    queued = [want(BATCH, "trace", 500, since=T0 - 60 * SECOND), want(UNATTENDED, "feed"), want(ATTENDED, "ward")]
    order = []
    for n in range(3):
        grant = look(book, T0 + n * INTERVAL, *queued).grants[0]
        order.append(grant.client)
        queued = [each for each in queued if each.client != grant.client]
    assert order == ["ward", "feed", "trace"]


@pytest.mark.requirement("SMSP-PERF-007", "b")
@pytest.mark.parametrize("slots_before", range(25))
def test_a_person_waits_for_one_slot_of_others_at_most(slots_before: int) -> None:
    """Wherever the shares of the lower lanes stand, the second slot is the person's."""
    book = Book()
    lower = [want(UNATTENDED, "feed", 500), want(BATCH, "trace", 500)]
    now = T0 + INTERVAL * (len(calls(book, slots_before, *lower, budget=SHARED)) + 1)
    clients = []
    for _ in range(2):
        taken = look(book, now, *lower, want(ATTENDED, "ward", since=now), budget=SHARED)
        clients.append(taken.grants[0].client)
        now += INTERVAL
    assert "ward" in clients


@pytest.mark.requirement("SMSP-PERF-007", "b")
def test_with_equal_priority_a_newcomer_waits_its_turn() -> None:
    book = Book()
    waiting = [want(BATCH, name, 500) for name in ("a", "b", "c")]
    calls(book, 4, *waiting)
    later = [grant.client for grant in calls(book, 4, *waiting, want(BATCH, "ward", since=T0 + SECOND))]
    assert sorted(str(client) for client in later) == ["a", "b", "c", "ward"]
    assert later.index("ward") > 0


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({"unattended": 0.1, "batch": 0.05}, (340, 40, 20)),
        ({"unattended": 0.3, "batch": 0.15}, (220, 120, 60)),
        ({"unattended": 0.45, "batch": 0.05}, (200, 180, 20)),
        ({"batch": 0.35}, (260, 0, 140)),
    ],
)
def test_shares_are_what_they_say(shares: dict[Lane, float], expected: tuple[int, ...]) -> None:
    budget = ServiceBudget(default=Limit(per_second=5.0), shares=shares)
    waiting = [want(ATTENDED, count=999), want(UNATTENDED, count=999), want(BATCH, count=999)]
    lanes = [grant.lane for grant in calls(Book(), 400, *waiting, budget=budget)]
    assert [lanes.count(lane) for lane in range(3)] == [pytest.approx(n, abs=2) for n in expected]


def test_a_lane_without_a_share_waits_until_the_others_are_empty() -> None:
    lanes = {grant.lane for grant in calls(Book(), 100, want(ATTENDED, count=999), want(BATCH, count=999))}
    assert lanes == {ATTENDED}


def test_a_lane_that_was_empty_is_owed_nothing() -> None:
    book = Book()
    calls(book, 19, want(ATTENDED, count=99), want(BATCH, count=99), budget=SHARED)
    line = book.lines[ASID]
    assert line.owed[BATCH] == pytest.approx(0.95)
    look(book, line.bucket.until, want(ATTENDED), budget=SHARED)
    assert book.lines[ASID].owed == [0.0, 0.0, 0.0]


def test_a_lane_that_waits_elsewhere_is_owed_its_share_also_where_that_worker_does_not_count() -> None:
    book = Book()
    look(book, T0, want(ATTENDED), budget=SHARED)
    look(book, T0, want(BATCH, count=9), budget=SHARED, at="w2")
    look(book, T0 + INTERVAL, want(ATTENDED), budget=SHARED, alone=True)
    assert book.lines[ASID].owed[BATCH] == pytest.approx(0.05)


def test_a_lane_whose_clients_are_at_their_limits_does_not_save_up() -> None:
    budget = msgspec.structs.replace(SHARED, clients={"trace": Limit(per_second=0.01)})
    book = Book()
    calls(book, 100, want(ATTENDED, count=999), want(BATCH, "trace", 999), budget=budget)
    assert book.lines[ASID].owed[BATCH] <= 2.0


def test_what_must_go_on_goes_before_what_begins_oldest_first() -> None:
    book = Book()
    calls(book, 5, want(client="a", count=9))
    again = [want(client="a", again=True, since=T0 + 5), want(client="b", again=True, since=T0 + 3)]
    order = []
    queued = [want(client="c", count=1, since=T0), *again]
    for n in range(3):
        grant = look(book, T0 + SECOND * (n + 2), *queued).grants[0]
        order.append((grant.client, grant.again))
        queued = [each for each in queued if (each.client, each.again) != order[-1]]
    assert order == [("b", True), ("a", True), ("c", False)]


def test_what_must_go_on_waits_behind_a_higher_lane() -> None:
    assert look(Book(), T0, want(BATCH, "a", again=True), want(ATTENDED, "b")).grants[0].client == "b"


def test_clients_take_turns_however_many_calls_each_has_waiting() -> None:
    clients = [grant.client for grant in calls(Book(), 9, want(client="a", count=99), want(client="b", count=3))]
    assert sorted(str(client) for client in clients[:6]) == ["a"] * 3 + ["b"] * 3


def test_a_second_question_counts_as_a_call_of_its_client() -> None:
    book = Book()
    order = []
    waiting = [want(client="a", count=9), want(client="b", count=9, since=T0 + 1)]
    for n in range(4):
        grant = look(book, T0 + n * INTERVAL, *waiting, *([want(client="a", again=True)] if n == 1 else [])).grants[0]
        order.append(grant.client)
    assert order == ["a", "a", "b", "b"]


def test_a_client_that_was_away_has_saved_nothing_up() -> None:
    book = Book()
    calls(book, 50, want(client="a", count=99))
    later = [grant.client for grant in calls(book, 10, want(client="a", count=99), want(client="b", count=99))]
    assert later.count("b") == 5


def test_a_client_that_is_held_back_by_its_own_limit_has_saved_nothing_up_and_gives_nothing_to_newcomers() -> None:
    budget = ServiceBudget(default=Limit(per_second=5.0), clients={"slow": Limit(per_second=0.1)})
    book = Book()
    calls(book, 60, want(client="a", count=99), want(client="slow", count=99), budget=budget)
    waiting = [want(client="a", count=99), want(client="slow", count=99), want(client="new", count=99)]
    later = [grant.client for grant in calls(book, 10, *waiting, budget=budget)]
    assert abs(later.count("new") - later.count("a")) <= 1


def test_what_is_remembered_of_clients_does_not_grow() -> None:
    book = Book()
    for n in range(200):
        look(book, T0 + n * INTERVAL, want(client=f"client-{n}"), want(BATCH, client=f"other-{n}"))
    assert sum(len(tags) for tags in book.lines[ASID].tags) <= 1


# ── several workers ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_leaves_the_slot_to_one_where_somebody_better_waits() -> None:
    book = Book()
    look(book, T0, want(count=2))
    behind = look(book, T0 + INTERVAL, want(BATCH), at="w2")
    assert behind == Taken(grants=[], next_at=T0 + INTERVAL, left_to_others=True)
    assert look(book, T0 + INTERVAL, want()).grants


def test_what_a_worker_has_taken_a_slot_for_does_not_wait_any_more() -> None:
    book = Book()
    look(book, T0, want(count=1))
    assert book.desks == {}
    look(book, T0 + INTERVAL, want(count=3))
    assert [(each.count, each.waiting) for each in book.desks["w1"].wants] == [(2, 2)]
    assert look(book, T0 + 2 * INTERVAL, want(BATCH, count=3), at="w2").left_to_others


def test_a_worker_that_has_no_room_keeps_nobody_waiting() -> None:
    book = Book()
    look(book, T0, want(count=3), room=0)
    assert [(each.count, each.waiting) for each in book.desks["w1"].wants] == [(0, 3)]
    assert look(book, T0, want(BATCH), at="w2").grants


def test_a_worker_that_does_not_come_for_its_slot_is_passed_over_by_those_who_do() -> None:
    book = Book()
    look(book, T0, want(count=2))
    due = T0 + INTERVAL
    look(book, due - LEAD_US, want(UNATTENDED), at="w2")
    assert look(book, due + 3_000, want(BATCH), at="w3", shown_since=due - LEAD_US - 5_000).left_to_others  # to w2
    assert look(book, due + 8_000, want(BATCH), at="w3", alone=True).grants
    book = Book()
    look(book, T0, want(count=2))
    assert look(book, due + 3_000, want(BATCH), at="w3", shown_since=due - LEAD_US - 5_000).grants


def test_a_worker_that_has_not_shown_itself_for_a_second_is_forgotten() -> None:
    book = Book()
    look(book, T0, want(count=2))
    assert look(book, T0 + GONE_US, want(BATCH), at="w2").left_to_others
    assert look(book, T0 + GONE_US + 1, want(BATCH), at="w2").grants
    assert set(book.desks) <= {"w2"}


def test_of_a_block_each_worker_takes_what_falls_to_its_own() -> None:
    budget = ServiceBudget(default=Limit(per_second=200.0))
    book = Book()
    look(book, T0, want(client="a", count=50), budget=budget, at="w2", room=0)
    book.desks["w2"].wants[0].count = 50
    first = look(book, T0, want(client="b", count=50), budget=budget)
    assert instants(first) == [T0 + n * 5_000 for n in range(5)]
    assert first.left_to_others
    again = look(book, T0, want(client="b", count=45), budget=budget)
    assert again.grants == []
    second = look(book, T0, want(client="a", count=50), budget=budget, at="w2")
    assert instants(second) == [T0 + n * 5_000 for n in range(5, 10)]


def test_of_a_block_what_waits_in_a_higher_lane_elsewhere_is_left_out() -> None:
    budget = ServiceBudget(default=Limit(per_second=200.0))
    book = Book()
    look(book, T0, want(ATTENDED, count=4), budget=budget, at="w2", room=1)
    book.desks["w2"].wants[0].count = 3
    assert len(look(book, T0, want(BATCH, count=50), budget=budget).grants) == 6


def test_a_worker_with_nothing_left_to_ask_for_has_left_nothing_to_others() -> None:
    budget = ServiceBudget(default=Limit(per_second=200.0))
    book = Book()
    look(book, T0, want(ATTENDED, count=4), budget=budget, at="w2", room=1)
    taken = look(book, T0, want(BATCH), budget=budget)
    assert len(taken.grants) == 1
    assert taken.next_at is None
    assert not taken.left_to_others


def test_of_a_block_no_slots_are_left_for_calls_beyond_a_clients_own_limit() -> None:
    budget = ServiceBudget(default=Limit(per_second=200.0), clients={"slow": Limit(per_second=1.0)})
    book = Book()
    look(book, T0, want(ATTENDED, "slow", 50), budget=budget, at="w2", room=0)
    book.desks["w2"].wants[0].count = 50
    assert len(look(book, T0, want(BATCH, count=50), budget=budget).grants) == 9


# ── what is not trusted ─────────────────────────────────────────────────────────────────────────────────────────────


def test_after_a_failure_of_the_database_every_bucket_is_empty() -> None:
    budget = ServiceBudget(default=Limit(per_second=5.0, burst=10), clients={"own": Limit(per_second=1.0)})
    book = Book()
    look(book, T0, want(client="own"), budget=budget)
    now = T0 + 30 * SECOND
    distrust(book, now, budget)
    assert look(book, now, want(), budget=budget).next_at == now + FURTHEST_US + INTERVAL
    assert look(book, now, want(client="own"), budget=budget).next_at == now + FURTHEST_US + SECOND
    assert look(book, now, want(asid=OTHER_ASID), budget=budget).next_at == now + FURTHEST_US + INTERVAL


def test_several_workers_that_distrust_one_failure_count_what_was_lost_once() -> None:
    budget = ServiceBudget(default=Limit(per_second=5.0, per_minute=100))
    book = Book()
    look(book, T0, want(), budget=budget)
    distrust(book, T0 + 10 * SECOND, budget)
    once = sum(book.lines[ASID].bucket.seconds.values())
    assert once >= 1 + 6
    for n in range(1, 20):
        distrust(book, T0 + 10 * SECOND + n, budget)
    assert sum(book.lines[ASID].bucket.seconds.values()) == once


def test_after_a_failure_what_may_have_been_lost_counts_towards_the_minute() -> None:
    budget = ServiceBudget(default=Limit(per_second=5.0, per_minute=10))
    book = Book()
    for n in range(4):
        look(book, T0 + n * INTERVAL, want(), budget=budget)
    # So soon after the last call that is known there was time for two more of them, and later for all of a second's.
    soon = decode(encode(book))
    distrust(soon, T0 + SECOND, budget)
    assert sum(soon.lines[ASID].bucket.seconds.values()) == 4 + 2
    distrust(book, T0 + 5 * SECOND, budget)
    assert look(book, T0 + 10 * SECOND, want(), budget=budget).next_at == T0 + 61 * SECOND


def test_where_the_book_could_not_be_read_the_minute_before_counts_as_full() -> None:
    budget = ServiceBudget(default=Limit(per_second=5.0, per_minute=10))
    book = Book(lost_at=T0)
    distrust(book, T0, budget)
    assert look(book, T0 + 30 * SECOND, want(), budget=budget).next_at == T0 + 61 * SECOND


@pytest.mark.parametrize("back", [2 * SECOND, 3600 * SECOND, T0])
def test_a_clock_that_was_put_back_holds_the_budget_up_for_little_more_than_a_second(back: int) -> None:
    book = Book()
    look(book, T0, want(count=3))
    now = T0 - back
    assert look(book, now, want(BATCH), at="w2").left_to_others is False
    following = look(book, now, want(BATCH), at="w2").next_at
    assert following is not None
    assert following <= now + SECOND + FURTHEST_US + 2 * INTERVAL


def test_a_failure_from_before_the_clock_was_put_back_shuts_nobody_out_until_then() -> None:
    budget = ServiceBudget(default=Limit(per_second=5.0, per_minute=10))
    book = Book(lost_at=T0)
    distrust(book, T0, budget)
    now = T0 - 3600 * SECOND
    following = look(book, now, want(asid=OTHER_ASID), budget=budget).next_at
    assert following is not None
    assert now + 60 * SECOND <= following <= now + 62 * SECOND


def test_calls_of_several_seconds_still_count_when_the_clock_was_put_back() -> None:
    budget = ServiceBudget(default=Limit(per_second=5.0, per_minute=10))
    book = Book()
    for n in range(10):
        look(book, T0 + n * SECOND, want(), budget=budget)
    now = T0 - 3600 * SECOND
    assert look(book, now, want(), budget=budget).next_at == now + 61 * SECOND


def test_who_has_not_called_for_long_is_forgotten() -> None:
    budget = ServiceBudget(default=Limit(per_second=5.0), clients={"own": Limit(per_second=1.0)})
    book = Book()
    look(book, T0, want(client="own"), budget=budget)
    assert set(book.lines) == {ASID}
    assert set(book.clients) == {"own"}
    look(book, T0 + FORGET_US + 2 * SECOND, budget=budget)
    assert (book.lines, book.clients) == ({}, {})


def test_a_client_that_has_no_limit_any_more_is_forgotten() -> None:
    book = Book()
    look(book, T0, want(), budget=msgspec.structs.replace(BUDGET, clients={"ward": Limit(per_second=1.0)}))
    assert look(book, T0 + INTERVAL, want()).grants
    assert book.clients == {}


def test_a_book_is_its_bytes() -> None:
    book = Book()
    calls(book, 30, want(count=99), want(BATCH, "trace", 99), budget=SHARED)
    assert decode(encode(book)) == book


@pytest.mark.parametrize(
    "spoil",
    [
        lambda book: book.lines[ASID].owed.pop(),
        lambda book: book.lines[ASID].owed.__setitem__(0, float("nan")),
        lambda book: book.lines[ASID].rates.__setitem__(0, float("inf")),
        lambda book: book.lines[ASID].tags.append({}),
        lambda book: book.lines[ASID].floor.__setitem__(0, -1),
        lambda book: setattr(book.desks["w1"].wants[0], "lane", 3),
        lambda book: setattr(book.desks["w1"].wants[0], "count", -1),
    ],
)
def test_a_book_that_cannot_be_one_is_refused(spoil: Any) -> None:
    book = Book()
    look(book, T0, want(count=3))
    spoil(book)
    with pytest.raises(msgspec.ValidationError):
        decode(encode(book))


# ── what a newcomer can expect ──────────────────────────────────────────────────────────────────────────────────────


def forecast(book: Book, lane: int = ATTENDED, client: str = "new", calls: int = 1, **options: Any) -> float:
    given: dict[str, Any] = {"budget": BUDGET, "now": T0, "asid": ASID} | options
    return forecast_s(book, lane=lane, client=client, calls=calls, **given)


def waiting(*wants: Want, budget: ServiceBudget = BUDGET) -> Book:
    """A book in which these wait at one worker, and no slot was taken."""
    book = Book()
    look(book, T0, *wants, budget=budget, room=0)
    return book


def test_with_nobody_waiting_a_call_leaves_at_once() -> None:
    assert forecast(Book()) == 0
    assert forecast(Book(), calls=3) == pytest.approx(0.4)


def test_behind_ten_at_five_a_second_it_takes_two_seconds() -> None:
    assert forecast(waiting(want(client="new", count=10))) == pytest.approx(2.0)
    assert forecast(waiting(want(ATTENDED, count=10)), BATCH) == pytest.approx(2.0)


def test_another_client_of_the_same_lane_has_as_many_turns_and_no_more() -> None:
    assert forecast(waiting(want(client="other", count=100))) == pytest.approx(0.2)
    assert forecast(waiting(want(client="other", count=100)), calls=3) == pytest.approx(1.0)


def test_what_must_go_on_goes_before_a_newcomer() -> None:
    assert forecast(waiting(want(client="other", count=10, again=True))) == pytest.approx(2.0)


def test_lower_lanes_and_other_systems_do_not_matter() -> None:
    assert forecast(waiting(want(BATCH, count=100), want(asid=OTHER_ASID, count=100))) == 0


def test_a_worker_that_is_gone_does_not_matter() -> None:
    assert forecast(waiting(want(client="new", count=10)), now=T0 + GONE_US + 1) == 0


def test_the_slot_that_was_just_taken_has_to_pass() -> None:
    book = Book()
    look(book, T0, want())
    assert forecast(book) == pytest.approx(0.2)


def test_a_share_is_faster_than_to_wait_for_everybody_above() -> None:
    book = waiting(want(ATTENDED, count=1000), budget=SHARED)
    assert forecast(book, BATCH) == pytest.approx(200.0)
    assert forecast(book, BATCH, budget=SHARED) == pytest.approx(4.0)


def test_calls_that_keep_coming_in_a_higher_lane_are_expected() -> None:
    book = Book()
    for n in range(100):
        look(book, T0 + n * SECOND // 2, want(ATTENDED))  # two a second of five
    now = T0 + 50 * SECOND
    assert forecast(book, BATCH, calls=16, now=now) == pytest.approx(15 / 3, rel=0.1)
    assert forecast(book, ATTENDED, calls=16, now=now) == pytest.approx(15 / 5)


def test_a_burst_leaves_at_once() -> None:
    budget = ServiceBudget(default=Limit(per_second=5.0, burst=10))
    assert forecast(Book(), calls=10, budget=budget) == 0
    assert forecast(Book(), calls=11, budget=budget) == pytest.approx(0.2)


def test_a_minute_that_is_full_has_to_pass() -> None:
    budget = ServiceBudget(default=Limit(per_second=5.0, per_minute=10))
    book = Book()
    calls(book, 10, want(count=99), budget=budget)
    book.desks.clear()
    assert forecast(book, budget=budget, now=T0 + 10 * SECOND) == pytest.approx(51.0)
    assert forecast(book, budget=budget, now=T0 + 62 * SECOND) == 0
    assert forecast(Book(), calls=11, budget=budget) == pytest.approx(60.0)


def test_a_clients_own_limit_is_waited_for() -> None:
    budget = ServiceBudget(default=Limit(per_second=50.0), clients={"new": Limit(per_second=1.0, per_minute=5)})
    assert forecast(Book(), calls=4, budget=budget) == pytest.approx(3.0)
    assert forecast(Book(), calls=6, budget=budget) == pytest.approx(60.0)
    book = Book()
    look(book, T0, want(client="new"), budget=budget)
    assert forecast(book, budget=budget) == pytest.approx(1.0)


def test_after_a_failure_of_the_database_a_newcomer_waits_until_the_buckets_have_filled() -> None:
    book = Book()
    distrust(book, T0, BUDGET)
    assert forecast(book) == pytest.approx((FURTHEST_US + INTERVAL) / SECOND)
