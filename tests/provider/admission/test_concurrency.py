"""How many calls may be in flight: found out by trying, halved by failures, never nothing."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from minispine.provider.admission.concurrency import START, Concurrency


def answered(limiter: Concurrency, calls: int, *, took_s: float = 0.1, from_s: float = 0.0) -> float:
    """Have so many calls answered one after another while as many as permitted are in flight; gives when that ends."""
    now_s = from_s
    for _ in range(calls):
        now_s += took_s / limiter.limit
        limiter.succeeded(left_s=now_s - took_s, now_s=now_s, in_flight=limiter.limit)
    return now_s


@pytest.mark.parametrize(("most", "start"), [(1, 1), (10, 10), (500, START)])
def test_it_begins_with_16_or_what_there_may_be(most: int, start: int) -> None:
    assert Concurrency(most).limit == start


def test_until_the_first_failure_it_doubles_with_a_limits_worth_of_successes() -> None:
    limiter = Concurrency(500)
    now_s = answered(limiter, START)
    assert limiter.limit == 2 * START
    now_s = answered(limiter, 2 * START, from_s=now_s)
    assert limiter.limit == 4 * START
    limiter.failed(left_s=now_s, now_s=now_s + 0.1)
    assert limiter.limit == 2 * START
    answered(limiter, 2 * START + 1, from_s=now_s + 1)
    assert limiter.limit == 2 * START + 1


def test_it_no_longer_doubles_once_answers_have_become_slow() -> None:
    limiter = Concurrency(1000)
    now_s = answered(limiter, START)
    for _ in range(50):
        now_s += 0.05
        limiter.succeeded(left_s=now_s - 2, now_s=now_s, in_flight=limiter.limit)
    before = limiter.limit
    for n in range(10 * before):
        limiter.succeeded(left_s=now_s + n, now_s=now_s + n + 0.05, in_flight=limiter.limit)
    assert before <= limiter.limit < 2 * before + 10


def test_after_the_start_it_grows_by_one_for_a_limits_worth_of_successes() -> None:
    limiter = Concurrency(500)
    limiter.failed(left_s=0.0, now_s=0.1)
    answered(limiter, START // 2 + 1, from_s=1.0)
    assert limiter.limit == START // 2 + 1


def test_it_does_not_grow_where_it_was_not_used() -> None:
    limiter = Concurrency(500)
    for n in range(1000):
        limiter.succeeded(left_s=n - 0.1, now_s=float(n), in_flight=START - 1)
    assert limiter.limit == START


def test_it_never_grows_beyond_the_most() -> None:
    limiter = Concurrency(20)
    answered(limiter, 5000)
    assert limiter.limit == 20


def test_a_failure_halves_it_once_for_all_calls_that_were_under_way() -> None:
    limiter = Concurrency(500)
    now_s = answered(limiter, 1)
    for _ in range(10):
        limiter.failed(left_s=now_s - 0.01, now_s=now_s + 0.001)
    assert limiter.limit == START // 2


def test_failures_within_the_time_of_an_answer_count_once() -> None:
    limiter = Concurrency(500)
    now_s = answered(limiter, 1, took_s=1.0)
    for n in range(1, 10):
        limiter.failed(left_s=now_s + n / 100, now_s=now_s + n / 100)
    assert limiter.limit == START // 2
    limiter.failed(left_s=now_s + 1.5, now_s=now_s + 1.5)
    assert limiter.limit == START // 4


def test_failures_never_bring_it_to_nothing_and_it_comes_back() -> None:
    limiter = Concurrency(500)
    for n in range(20):
        limiter.failed(left_s=float(n), now_s=n + 0.5)
    assert limiter.limit == 1
    answered(limiter, 200, from_s=100.0)
    assert limiter.limit >= START


def test_answers_that_become_slow_lower_it_but_not_below_what_it_began_with() -> None:
    limiter = Concurrency(500)
    now_s = answered(limiter, 2000)
    grown = limiter.limit
    assert grown > 2 * START
    for n in range(200):
        now_s += 0.05
        limiter.succeeded(left_s=now_s - 2, now_s=now_s, in_flight=limiter.limit)
        if n == 100:
            assert limiter.limit < grown
    for _ in range(200):
        now_s += 0.1
        limiter.succeeded(left_s=now_s - 30, now_s=now_s, in_flight=limiter.limit)
    assert limiter.limit >= START


def test_a_service_that_stays_slow_is_usual_after_a_while() -> None:
    limiter = Concurrency(500)
    now_s = answered(limiter, 100)
    for _ in range(1200):
        now_s += 0.1
        limiter.succeeded(left_s=now_s - 2, now_s=now_s, in_flight=limiter.limit)
    before = limiter.limit
    for _ in range(before * 3):
        now_s += 0.1
        limiter.succeeded(left_s=now_s - 2, now_s=now_s, in_flight=limiter.limit)
    assert limiter.limit > before


class Trying(RuleBasedStateMachine):
    """However calls end, the limit stays between 1 and the most, and all successes in use bring it up again.

    Before the first failure each success in use may raise it by one, afterwards only a limit's worth of them.
    """

    @initialize(most=st.integers(1, 100))
    def begin(self, most: int) -> None:
        self.most = most
        self.limiter = Concurrency(most)
        self.now_s = 0.0
        self.left: list[float] = []
        self.since_failure: tuple[int, int] | None = None
        """The limit that the last failure left, and how many successes there were since."""

    @rule(pause_s=st.floats(0, 20))
    def time_passes(self, pause_s: float) -> None:
        self.now_s += pause_s

    @precondition(lambda self: len(self.left) < self.limiter.limit)
    @rule()
    def call(self) -> None:
        self.left.append(self.now_s)

    @precondition(lambda self: self.left)
    @rule(which=st.integers(0, 99), good=st.booleans())
    def end(self, which: int, good: bool) -> None:
        in_flight = len(self.left)
        left_s = self.left.pop(which % in_flight)
        before = self.limiter.limit
        if good:
            self.limiter.succeeded(left_s=left_s, now_s=self.now_s, in_flight=in_flight)
            assert self.limiter.limit <= before + 1
            if self.since_failure is not None:
                failed_at, good = self.since_failure
                self.since_failure = failed_at, good + 1
                assert self.limiter.limit <= failed_at + 1 + (good + 1) / failed_at
        else:
            self.limiter.failed(left_s=left_s, now_s=self.now_s)
            assert before // 2 <= self.limiter.limit <= before
            self.since_failure = self.limiter.limit, 0

    @invariant()
    def within_bounds(self) -> None:
        if hasattr(self, "limiter"):
            assert 1 <= self.limiter.limit <= self.most

    def teardown(self) -> None:
        if not hasattr(self, "limiter"):
            return
        self.now_s += 100
        for _ in range(self.most**2):
            self.now_s += 1
            self.limiter.succeeded(left_s=self.now_s - 0.01, now_s=self.now_s, in_flight=self.limiter.limit)
        assert self.limiter.limit >= min(START, self.most)


TestTrying = Trying.TestCase
