"""The breaker: when it opens, when it lets a call through again, and what never happens."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from minispine.spine.breaker import Breaker, Permit
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


def test_a_call_from_before_it_opened_has_no_say() -> None:
    breaker = Breaker(failures=1, open_s=5.0)
    early = breaker.permit(0)
    assert early is not None
    failed(breaker, 0)
    breaker.settle(early, "succeeded", 1)
    assert breaker.state == "open"
    assert breaker.permit(1) is None


FAILURES, OPEN_S = 3, 5.0


class BreakerMachine(RuleBasedStateMachine):
    """Invariant: no call is let through in the time after it opened, and while it tries there is only one trial."""

    permits: Bundle[Permit] = Bundle("permits")

    @initialize()
    def start(self) -> None:
        self.breaker = Breaker(failures=FAILURES, open_s=OPEN_S)
        self.now = 0.0
        self.closed_until = 0.0
        self.trials: set[int] = set()
        self.in_hand: list[Permit] = []

    @rule(seconds=st.floats(0, 10))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=permits)
    def ask(self) -> object:
        before = self.breaker.state
        permit = self.breaker.permit(self.now)
        if permit is None:
            assert before != "closed"
            return multiple()
        assert self.now >= self.closed_until
        if permit.trial:
            assert before == "open"
            assert not self.trials
            self.trials.add(id(permit))
        else:
            assert before == "closed"
        self.in_hand.append(permit)  # keeps it alive, so that its identity is its own
        return permit

    @rule(permit=consumes(permits), result=st.sampled_from(["succeeded", "failed", "given up"]))
    def settle(self, permit: Permit, result: CallResult) -> None:
        before = self.breaker.state
        self.breaker.settle(permit, result, self.now)
        self.trials.discard(id(permit))
        if self.breaker.state == "open" and before != "open" and result == "failed":
            self.closed_until = self.now + OPEN_S

    @invariant()
    def trying_means_one_trial(self) -> None:
        assert (self.breaker.state == "trying") == bool(self.trials)


BreakerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestBreaker = BreakerMachine.TestCase
