"""The breaker: when it opens, when it lets a call through again, and what never happens."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from minispine.spine.breaker import LONGEST_S, SLOW_S, Breaker, Permit
from minispine.spine.ports import CallResult


def failed(breaker: Breaker, now: float) -> None:
    permit = breaker.permit(now)
    assert permit is not None
    breaker.settle(permit, "failed", now)


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker(failures=3, open_s=5.0)
    for _ in range(3):
        failed(breaker, at)
    assert breaker.state == "open"
    return breaker


def test_so_many_failures_running_open_it() -> None:
    breaker = Breaker(failures=3, open_s=5.0)
    failed(breaker, 0)
    failed(breaker, 1)
    assert breaker.state == "closed"
    failed(breaker, 2)
    assert breaker.state == "open"
    assert breaker.permit(6.9) is None


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = Breaker(failures=3, open_s=5.0)
    failed(breaker, 0)
    failed(breaker, 0)
    permit = breaker.permit(0)
    assert permit is not None
    breaker.settle(permit, "succeeded", 0)
    failed(breaker, 0)
    failed(breaker, 0)
    assert breaker.state == "closed"


def test_a_call_given_up_says_nothing() -> None:
    breaker = Breaker(failures=1, open_s=5.0)
    permit = breaker.permit(0)
    assert permit is not None
    breaker.settle(permit, "given up", 0)
    assert breaker.state == "closed"


@pytest.mark.parametrize(("result", "state"), [("succeeded", "closed"), ("failed", "open"), ("given up", "open")])
def test_after_the_time_one_call_tries(result: CallResult, state: str) -> None:
    breaker = opened()
    trial = breaker.permit(5.0)
    assert trial is not None
    assert breaker.state == "trying"
    assert breaker.permit(5.0) is None
    breaker.settle(trial, result, 6.0)
    assert breaker.state == state


def test_a_failed_trial_costs_the_whole_time_again_and_one_given_up_none() -> None:
    breaker = opened()
    trial = breaker.permit(5.0)
    assert trial is not None
    breaker.settle(trial, "given up", 6.0)
    trial = breaker.permit(6.0)
    assert trial is not None
    breaker.settle(trial, "failed", 7.0)
    assert breaker.permit(16.9) is None
    assert breaker.permit(17.0) is not None


def test_each_trial_that_fails_doubles_the_time_and_a_success_brings_it_back() -> None:
    breaker = opened()
    now, times = 0.0, []
    for _ in range(6):
        since = now
        while (trial := breaker.permit(now)) is None:
            assert breaker.shut(now)
            now += 0.5
        assert not breaker.shut(now)
        times.append(now - since)
        breaker.settle(trial, "failed", now)
    assert times == [5.0, 10.0, 10.0, 10.0, 10.0, 10.0]
    trial = breaker.permit(now + 60.0)
    assert trial is not None
    breaker.settle(trial, "succeeded", now + 60.0)
    for _ in range(3):
        failed(breaker, now + 60.0)
    assert breaker.permit(now + 64.9) is None
    assert breaker.permit(now + 65.0) is not None


def test_an_opening_longer_than_the_longest_is_kept_and_not_doubled() -> None:
    breaker = Breaker(failures=1, open_s=90.0)
    failed(breaker, 0.0)
    failed(breaker, 90.0)
    assert breaker.permit(179.9) is None
    assert breaker.permit(180.0) is not None


def test_where_little_is_asked_the_second_failure_opens_it() -> None:
    breaker = Breaker(failures=5, open_s=5.0)
    failed(breaker, 100.0)
    failed(breaker, 114.9)
    assert breaker.state == "closed"
    failed(breaker, 115.0)
    assert breaker.state == "open"


def test_where_little_is_asked_a_success_in_between_starts_the_count_again() -> None:
    breaker = Breaker(failures=5, open_s=5.0)
    failed(breaker, 0.0)
    permit = breaker.permit(10.0)
    assert permit is not None
    breaker.settle(permit, "succeeded", 10.0)
    failed(breaker, 20.0)
    assert breaker.state == "closed"
    failed(breaker, 35.0)
    assert breaker.state == "open"


def test_one_failure_alone_opens_nothing_however_late() -> None:
    breaker = Breaker(failures=5, open_s=5.0)
    failed(breaker, 1000.0)
    assert breaker.state == "closed"


def test_a_call_from_before_it_opened_has_no_say() -> None:
    breaker = Breaker(failures=1, open_s=5.0)
    early = breaker.permit(0)
    assert early is not None
    failed(breaker, 0)
    breaker.settle(early, "succeeded", 1)
    assert breaker.state == "open"
    assert breaker.permit(1) is None
    assert not breaker.holds(early)


FAILURES, OPEN_S = 3, 5.0


class BreakerMachine(RuleBasedStateMachine):
    """While it is open nothing is let through but, once its time is up, one trial at a time, and that alone decides
    whether it closes.

    In detail, whatever calls come to, and in whatever order they end:

    - While it is open, nothing is let through before its time is up.
    - There is at most one trial at a time, and only while it is trying.
    - After a success that counts, `FAILURES` failures are needed again, or two far apart.
    - A permit from before it opened changes nothing.
    - However long it was open, a trial is let through within `LONGEST_S`.
    """

    permits: Bundle[Permit] = Bundle("permits")

    @initialize()
    def start(self) -> None:
        self.breaker = Breaker(failures=FAILURES, open_s=OPEN_S)
        self.now = 0.0
        self.opened_at = -1000.0
        self.trials: list[Permit] = []
        self.failed_at: list[float] = []
        """When calls failed since the last success or opening."""

    @rule(seconds=st.one_of(st.floats(0, 4), st.floats(0, 70)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=permits)
    def ask(self) -> object:
        before, shut = self.breaker.state, self.breaker.shut(self.now)
        permit = self.breaker.permit(self.now)
        if permit is None:
            assert before == "trying" or shut
            return multiple()
        assert not shut
        assert self.breaker.holds(permit)
        assert permit.trial == (before == "open")
        if permit.trial:
            assert self.now >= self.opened_at + OPEN_S
            assert not self.trials
            self.trials.append(permit)
        return permit

    @rule(permit=consumes(permits), result=st.sampled_from(["succeeded", "failed", "given up"]))
    def settle(self, permit: Permit, result: CallResult) -> None:
        before, held = self.breaker.state, self.breaker.holds(permit)
        shut = self.breaker.shut(self.now)
        self.breaker.settle(permit, result, self.now)
        after = self.breaker.state
        if permit.trial:
            self.trials.remove(permit)
            assert held
            assert after == ("closed" if result == "succeeded" else "open")
        if not held or result == "given up":
            assert permit.trial or (after, self.breaker.shut(self.now)) == (before, shut)
        elif result == "succeeded":
            assert after == "closed"
            self.failed_at = []
        else:
            self.failed_at.append(self.now)
            count, slow = len(self.failed_at), self.now - self.failed_at[0] >= SLOW_S
            assert (after == "open") == (permit.trial or count >= FAILURES or (count > 1 and slow))
            if after == "open":
                assert self.breaker.shut(self.now)
                self.opened_at = self.now
                self.failed_at = []

    @invariant()
    def trying_means_one_trial(self) -> None:
        assert len(self.trials) == (self.breaker.state == "trying")

    def teardown(self) -> None:
        if hasattr(self, "breaker"):
            for trial in self.trials:
                self.breaker.settle(trial, "given up", self.now)
            assert self.breaker.permit(self.now + LONGEST_S) is not None


BreakerMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestBreaker = BreakerMachine.TestCase
