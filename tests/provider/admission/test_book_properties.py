"""What holds of the book of slots whatever workers, clients, clocks and databases do.

The state machine knows nothing of how slots are chosen: it keeps every instant that was given, and compares it with
what is promised. Each promise is one sentence in the docstring of what checks it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from minispine.domain.lanes import LANES, Lane
from minispine.provider.admission.book import (
    BLOCK_US,
    BLOCKS_FROM_PER_S,
    FURTHEST_US,
    LEAD_US,
    LOST_US,
    SECOND,
    Book,
    Desk,
    Grant,
    Taken,
    Want,
    decode,
    distrust,
    encode,
    take,
)
from minispine.vocabulary.budgets import Limit, ServiceBudget

ASIDS = ("200000000001", "200000000002")
CLIENTS = ("north", "south", "east", "slow", "slower")
WORKERS = ("w1", "w2", "w3")
START = 1_760_000_000 * SECOND

Group = tuple[str, int, str, bool]

FORGOTTEN_US = 100 * SECOND
"""What is said of lanes is not asked of two slots that are further apart: nothing is owed after so long."""
MOST_OWED = 2.0
"""How many slots a share can have saved up at most."""
NEARLY = 1e-6


class Lanes:
    """What is promised of the slots of one accredited system, as far as it can be told by what is certain.

    `at_most` and `at_least` are bounds of what its share owes each lane, in slots: the first counts every slot towards
    it, the second only those for which the lane is known to have waited.
    """

    def __init__(self, shares: dict[Lane, float]) -> None:
        self.shares = [shares.get(lane, 0.0) for lane in LANES]
        self.forget()

    def forget(self) -> None:
        """Take nothing for certain: the book is another, or what it remembered has gone."""
        self.at_most = [MOST_OWED] * len(LANES)
        self.at_least = [0.0] * len(LANES)
        self.last: Grant | None = None
        self.last_stepped_down = False

    def given(self, grant: Grant, waiting: set[int], certain: set[int]) -> None:
        """Hold a slot against what was promised, and count it.

        `waiting` are the lanes in which somebody waits where it was taken, `certain` those of them with somebody whom
        no limit of its own can hold back.
        """
        if self.last is not None and grant.instant - self.last.instant > FORGOTTEN_US:
            self.forget()
        stepped_down = any(lane < grant.lane for lane in certain)
        if stepped_down:
            assert self.at_most[grant.lane] + self.shares[grant.lane] >= 1 - NEARLY, "a slot that was not owed"
            assert not self.last_stepped_down, "two owed slots running"
        if grant.lane == 0 and self.last is not None and self.last.lane == 0:
            for lane in certain - {0}:
                assert self.at_least[lane] + self.shares[lane] < 1 + NEARLY, "passed over although a slot was owed"
        for lane, share in enumerate(self.shares):
            got = lane == grant.lane
            self.at_most[lane] = max(0.0, min(self.at_most[lane] + share, MOST_OWED) - got)
            owed = min(self.at_least[lane] + share, MOST_OWED) if lane in waiting else 0.0
            self.at_least[lane] = max(0.0, owed - got)
        self.last, self.last_stepped_down = grant, stepped_down


def over_the_limit(instants: Sequence[int], limit: Limit) -> Iterator[tuple[int, int, int]]:
    """Every stretch from one instant to another that holds more than the limit allows: its ends, and how many."""
    ordered = sorted(instants)
    for first, begin in enumerate(ordered):
        for last in range(first, len(ordered)):
            window, held = ordered[last] - begin, last - first + 1
            if held * SECOND > limit.per_second * window + limit.burst * SECOND + 1e-3:
                yield begin, ordered[last], held
            if limit.per_minute is not None and window <= 60 * SECOND and held > limit.per_minute:
                yield begin, ordered[last], held


limits = st.builds(
    Limit,
    per_second=st.sampled_from([0.5, 3.0, 5.0, 7.0, 50.0, 100.0, 333.0]),
    burst=st.sampled_from([1, 1, 2, 10]),
    per_minute=st.sampled_from([None, None, 4, 12, 100]),
)
slow_limits = st.builds(
    Limit,
    per_second=st.sampled_from([0.5, 1.0, 4.0]),
    burst=st.integers(1, 3),
    per_minute=st.sampled_from([None, 3, 20]),
)
groups = st.tuples(st.sampled_from(ASIDS), st.sampled_from(range(len(LANES))), st.sampled_from(CLIENTS), st.booleans())
moments = st.sampled_from([0, 1, 700, 3_000, 8_000, 20_000, 50_000, 190_000, 250_000, 1_100_000, 7_000_000, 61_000_000])


class Slots(RuleBasedStateMachine):
    """No window holds more slots than its limit allows, a higher lane is left for a lower one only for a slot that a
    share owes it and never twice running, and no lower lane is passed over for longer than its share says.

    Workers come, stop and go, on a clock and a database that can both be set back. What is promised of lanes is looked
    at as each slot is taken (`Lanes.given`), where slots are taken one by one; of blocks a worker takes its own part
    without waiting for those who get the rest.
    """

    @initialize(
        first=limits,
        second=limits,
        slow=slow_limits,
        slower=slow_limits,
        unattended=st.sampled_from([0.1, 0.3, 0.45]),
        batch=st.sampled_from([0.0, 0.05, 0.05]),
    )
    def open(self, first: Limit, second: Limit, slow: Limit, slower: Limit, unattended: float, batch: float) -> None:
        self.budget = ServiceBudget(
            default=first,
            asids={ASIDS[1]: second},
            clients={"slow": slow, "slower": slower},
            shares={"unattended": unattended, "batch": batch},
        )
        self.lanes = {asid: Lanes(self.budget.shares) for asid in ASIDS}
        self.now = START
        self.book = encode(Book())
        self.kept = [(START, self.book)]
        self.waiting: dict[str, dict[Group, tuple[int, int]]] = {name: {} for name in WORKERS}
        self.distrusting = set(WORKERS)
        self.forget_instants()

    def forget_instants(self) -> None:
        self.by_asid: dict[str, list[int]] = {asid: [] for asid in ASIDS}
        self.by_client: dict[str, list[int]] = {name: [] for name in self.budget.clients}

    def forget_lanes(self) -> None:
        for lanes in self.lanes.values():
            lanes.forget()

    def wants(self, worker: str) -> list[Want]:
        return [
            Want(asid=asid, lane=lane, client=client, again=again, count=count, waiting=count, since=since)
            for (asid, lane, client, again), (count, since) in self.waiting[worker].items()
        ]

    def look(
        self,
        worker: str,
        *,
        room: int = 1000,
        ahead: int = 0,
        shown_since: int | None = None,
        alone: bool = False,
        spare: dict[str, int] | None = None,
        spread: bool = False,
        put_back: bool = True,
        only: str | None = None,
    ) -> Taken:
        book = decode(self.book)
        if worker in self.distrusting:
            distrust(book, self.now, self.budget)
        taken = take(
            book,
            now=self.now,
            instance=worker,
            wants=[want for want in self.wants(worker) if only in (None, want.asid)],
            budget=self.budget,
            room=room,
            ahead=ahead,
            shown_since=shown_since,
            alone=alone,
            spare=spare,
            spread=spread,
        )
        assert decode(encode(book)) == book
        self.check(worker, taken, room, ahead)
        if put_back:
            self.distrusting.discard(worker)
            self.book = encode(book)
            self.kept.append((self.now, self.book))
            self.use(worker, taken.grants)
        return taken

    def check(self, worker: str, taken: Taken, room: int, ahead: int) -> None:
        """No slot is before what it takes until it is at hand, nor too far ahead; none is for what does not wait."""
        assert len(taken.grants) <= room
        wanted: dict[Group, int] = defaultdict(int)
        for grant in taken.grants:
            rate = self.budget.limit(grant.asid).per_second
            reach = BLOCK_US if rate >= BLOCKS_FROM_PER_S else LEAD_US
            assert self.now + ahead <= grant.instant <= self.now + min(ahead + reach, FURTHEST_US)
            if grant.client is None:
                assert rate >= BLOCKS_FROM_PER_S
            else:
                wanted[grant.asid, grant.lane, grant.client, grant.again] += 1
        for group, count in wanted.items():
            assert count <= self.waiting[worker].get(group, (0, 0))[0]
        if taken.next_at is not None:
            assert taken.next_at >= self.now

    def use(self, worker: str, grants: Sequence[Grant]) -> None:
        for grant in grants:
            self.by_asid[grant.asid].append(grant.instant)
            if grant.client is None:
                continue
            if self.budget.limit(grant.asid).per_second < BLOCKS_FROM_PER_S:
                here = [(lane, client) for asid, lane, client, _ in self.waiting[worker] if asid == grant.asid]
                certain = {lane for lane, client in here if client not in self.by_client}
                self.lanes[grant.asid].given(grant, {lane for lane, _ in here}, certain)
            group = grant.asid, grant.lane, grant.client, grant.again
            count, since = self.waiting[worker][group]
            if count > 1:
                self.waiting[worker][group] = count - 1, since
            else:
                del self.waiting[worker][group]
            if grant.client in self.by_client:
                self.by_client[grant.client].append(grant.instant)

    @rule(worker=st.sampled_from(WORKERS), group=groups, count=st.sampled_from([1, 1, 2, 30]))
    def calls_come(self, worker: str, group: Group, count: int) -> None:
        before, since = self.waiting[worker].get(group, (0, self.now))
        self.waiting[worker][group] = before + count, since

    @rule(worker=st.sampled_from(WORKERS), data=st.data())
    def calls_give_up(self, worker: str, data: st.DataObject) -> None:
        if self.waiting[worker]:
            del self.waiting[worker][data.draw(st.sampled_from(sorted(self.waiting[worker])))]

    @rule(
        worker=st.sampled_from(WORKERS),
        room=st.sampled_from([0, 1, 3, 1000]),
        ahead=st.sampled_from([0, 500, 15_000, 90_000]),
        alone=st.booleans(),
        recent=st.sampled_from([None, 0, 5_000, 300_000]),
        spare=st.sampled_from([None, {ASIDS[0]: 5}, {ASIDS[0]: 100, ASIDS[1]: 2}]),
        spread=st.booleans(),
        put_back=st.sampled_from([True, True, True, False]),
    )
    def worker_looks(
        self,
        worker: str,
        room: int,
        ahead: int,
        alone: bool,
        recent: int | None,
        spare: dict[str, int] | None,
        spread: bool,
        put_back: bool,
    ) -> None:
        since = None if recent is None else self.now - recent
        self.look(
            worker,
            room=room,
            ahead=ahead,
            shown_since=since,
            alone=alone,
            spare=spare,
            spread=spread,
            put_back=put_back,
        )

    @rule(
        worker=st.sampled_from(WORKERS),
        asid=st.sampled_from(ASIDS),
        lanes=st.sets(st.sampled_from(range(len(LANES))), min_size=2),
        times=st.integers(1, 25),
    )
    def all_lanes_wait_for_a_while(self, worker: str, asid: str, lanes: set[int], times: int) -> None:
        for lane in lanes:
            self.calls_come(worker, (asid, lane, "north", False), 30)
        self.call_alone(worker, times)

    @rule(worker=st.sampled_from(WORKERS))
    def worker_dies_and_starts_again(self, worker: str) -> None:
        self.waiting[worker] = {}
        self.distrusting.add(worker)

    @rule(step=moments)
    def time_goes_on(self, step: int) -> None:
        self.now += step

    @rule(step=st.sampled_from([2 * SECOND, 100 * SECOND, 3600 * SECOND]))
    def clock_is_put_forwards(self, step: int) -> None:
        self.now += step

    def call_alone(self, worker: str, times: int) -> None:
        """Have one worker take what slots it can get, as long as they last."""
        for _ in range(times):
            following = self.look(worker, alone=True).next_at
            if following is not None:
                self.now = min(max(self.now, following - LEAD_US), self.now + SECOND)

    @rule(
        worker=st.sampled_from(WORKERS),
        step=st.sampled_from([1, 300_000, 2 * SECOND, 100 * SECOND, 3600 * SECOND]),
        before=st.integers(0, 8),
        after=st.integers(0, 8),
    )
    def clock_is_put_back(self, worker: str, step: int, before: int, after: int) -> None:
        self.call_alone(worker, before)
        self.now -= step
        self.kept = self.kept[-3:]
        self.forget_instants()
        self.forget_lanes()
        self.call_alone(worker, after)

    @rule(
        data=st.data(),
        worker=st.sampled_from(WORKERS),
        group=groups,
        before=st.integers(0, 8),
        after=st.integers(0, 8),
    )
    def database_fails(self, data: st.DataObject, worker: str, group: Group, before: int, after: int) -> None:
        """It loses the last of what was written to it, as much as a second of it, and all connections."""
        self.waiting[worker][group] = 30, self.now
        self.call_alone(worker, before)
        times = [at for at, _ in self.kept]
        recent = [i for i in range(len(self.kept)) if i + 1 == len(times) or times[i + 1] >= self.now - LOST_US]
        left = data.draw(st.sampled_from(recent))
        if left + 1 < len(self.kept):
            self.forget_lanes()
        self.kept = self.kept[: left + 1]
        self.book = self.kept[-1][1]
        self.distrusting = set(WORKERS)
        self.call_alone(worker, after)

    @rule(worker=st.sampled_from(WORKERS), group=groups, before=st.integers(0, 8), after=st.integers(0, 8))
    def book_is_lost(self, worker: str, group: Group, before: int, after: int) -> None:
        """It cannot be read any more: `SlotStore` then begins with one that says so, and distrusts it."""
        self.waiting[worker][group] = 30, self.now
        self.call_alone(worker, before)
        self.forget_lanes()
        book = Book(lost_at=self.now)
        distrust(book, self.now, self.budget)
        self.book = encode(book)
        self.kept = [(self.now, self.book)]
        self.call_alone(worker, after)

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data())
    def a_slot_falls_due(self, data: st.DataObject) -> None:
        """While somebody waits, a slot is taken once every living worker has looked for it, and looked again."""
        dead = data.draw(st.sampled_from([None, *WORKERS]))  # or it stands still, with whatever it left at its desk
        living = [name for name in data.draw(st.permutations(WORKERS)) if name != dead]
        waiting = {
            asid for name in living for (asid, _, client, _) in self.waiting[name] if client not in self.by_client
        }
        for asid in sorted(waiting):
            if dead is not None:
                self.waiting[dead][asid, 0, "north", True] = 30, self.now - SECOND
                self.look(dead, only=asid, room=1)
            before = len(self.by_asid[asid])
            for name in living:  # new connections are distrusted, which is a reason to wait for longer
                self.look(name, only=asid, room=0)
            looks = [self.look(name, only=asid) for name in living]
            due = min((look.next_at for look in looks if look.next_at is not None), default=self.now)
            self.now = max(self.now, due - LEAD_US)
            for name in living:
                self.look(name, only=asid)
            self.now = max(self.now, due + 3_000)
            for name in living:
                self.look(name, only=asid, shown_since=due - LEAD_US - 5_000)
            self.now += 5_000
            for name in living:
                self.look(name, only=asid, alone=True)
            assert len(self.by_asid[asid]) > before

    @invariant()
    def the_budget_is_kept(self) -> None:
        """Between two steps back of the clock no window of W seconds holds more than r * W + b slots, of an accredited
        system or of a client with a limit, and no window of a minute more than `per_minute`."""
        if hasattr(self, "budget"):
            for asid, instants in self.by_asid.items():
                assert not list(over_the_limit(instants, self.budget.limit(asid)))
            for client, instants in self.by_client.items():
                assert not list(over_the_limit(instants, self.budget.clients[client]))


Slots.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.requirement("SMSP-PERF-001", "a")
@pytest.mark.requirement("SMSP-PERF-007", "a")
class TestSlots(Slots.TestCase):  # type: ignore[valid-type,misc]
    """The state machine, as pytest finds it."""


# ── lanes and fairness: workers that all live, and always look in time ──────────────────────────────────────────────


class Served:
    """Slots of one accredited system given one after another to workers whose calls never run out.

    `slots` are those of one look after another, of whichever worker; in slot mode each is one slot.
    """

    def __init__(self, budget: ServiceBudget, waiting: dict[str, list[tuple[int, str]]], asid: str = ASIDS[0]) -> None:
        self.budget = budget
        self.waiting = waiting
        self.asid = asid
        self.book = Book()
        self.now = START
        self.slots: list[Grant] = []

    def play(self, order: Sequence[str]) -> None:
        """Have every worker look before the next slot is due, in this order."""
        following = []
        for name in order:
            taken = take(
                self.book,
                now=self.now,
                instance=name,
                wants=[Want(self.asid, lane, client, False, 1000, 1000, START) for lane, client in self.waiting[name]],
                budget=self.budget,
                room=1000,
            )
            self.slots += taken.grants
            if taken.next_at is not None:
                following.append(taken.next_at)
        if following:
            self.now = max(self.now + 1, min(following) - LEAD_US)


several = st.lists(st.permutations(WORKERS), min_size=20, max_size=120)
shares = st.fixed_dictionaries(
    {}, optional={"unattended": st.sampled_from([0.03, 0.1, 0.25, 0.3]), "batch": st.sampled_from([0.05, 0.07, 0.2])}
)


@settings(max_examples=60, deadline=None)
@given(orders=several, shares=shares, at=st.lists(st.sampled_from(WORKERS), min_size=3, max_size=3))
@pytest.mark.requirement("SMSP-PERF-007", "a")
def test_a_lower_lane_gets_its_share_and_no_more(
    orders: list[list[str]], shares: dict[Lane, float], at: list[str]
) -> None:
    """Of any slots for which all lanes wait, at whichever workers, a lower lane gets its share to within two, the first
    lane gets all others, and no two slots in a row are given to lower lanes."""
    waiting: dict[str, list[tuple[int, str]]] = {name: [] for name in WORKERS}
    for lane, name in enumerate(at):
        waiting[name].append((lane, "north"))
    served = Served(ServiceBudget(default=Limit(per_second=5.0), shares=shares), waiting)
    for order in [WORKERS, *orders]:  # first everybody says that they wait
        served.play(order)
    lanes = [grant.lane for grant in served.slots[1:]]
    assert len(lanes) >= len(orders) // 2 - 1
    assert all(0 in pair for pair in pairwise(lanes))
    for lane, name in enumerate(LANES[1:], start=1):
        for begin in range(0, len(lanes), 5):
            of = lanes[begin:]
            assert abs(of.count(lane) - shares.get(name, 0.0) * len(of)) <= 2, name


@settings(max_examples=60, deadline=None)
@given(
    orders=several,
    at=st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e"]), st.sets(st.sampled_from(WORKERS), min_size=1)),
)
def test_clients_that_always_wait_get_the_same(orders: list[list[str]], at: dict[str, set[str]]) -> None:
    """Of equal clients that wait from the beginning on, at one worker or several, none is ever more than one call
    ahead of another."""
    waiting = {name: [(2, client) for client in sorted(at) if name in at[client]] for name in WORKERS}
    served = Served(ServiceBudget(default=Limit(per_second=5.0)), waiting)
    calls = dict.fromkeys(at, 0)
    served.book.desks = {
        name: Desk(START, [Want(ASIDS[0], lane, client, False, 9, 9, START) for lane, client in waiting[name]])
        for name in WORKERS
    }
    for order in orders:
        served.play(order)
    for grant in served.slots:
        assert grant.client is not None
        calls[grant.client] += 1
        assert max(calls.values()) - min(calls.values()) <= 1


@settings(max_examples=30, deadline=None)
@given(orders=several, rate=st.sampled_from([100.0, 450.0, 2000.0]))
def test_clients_get_the_same_where_slots_are_taken_in_blocks(orders: list[list[str]], rate: float) -> None:
    """In block mode equal clients that always wait are never further apart than the slots of two blocks."""
    waiting = {"w1": [(2, "a")], "w2": [(2, "b"), (2, "c")], "w3": [(2, "c")]}
    served = Served(ServiceBudget(default=Limit(per_second=rate)), waiting)
    for order in orders:
        served.play(order)
    calls = [sum(grant.client == client for grant in served.slots) for client in "abc"]
    assert max(calls) - min(calls) <= 2 * rate * BLOCK_US / SECOND
