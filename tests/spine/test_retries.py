"""The budget of retries: a part of what is asked the first time, and a little more."""

from hypothesis import given
from hypothesis import strategies as st

from minispine.spine.retries import PER_REPEAT, REFILL_S, RESERVE, RetryBudget


def permitted(budget: RetryBudget, now: float) -> int:
    """How many may be repeated at once at this moment."""
    return next(count for count in range(1000) if not budget.permit(now))


def test_a_few_may_be_repeated_after_a_quiet_time() -> None:
    assert permitted(RetryBudget(0.0), 0.0) == RESERVE


def test_a_tenth_of_what_is_asked_may_be_repeated() -> None:
    budget = RetryBudget(0.0)
    permitted(budget, 0.0)
    for _ in range(2 * PER_REPEAT - 1):
        budget.asked()
    assert permitted(budget, 0.0) == 1
    budget.asked()
    assert permitted(budget, 0.0) == 1


def test_time_fills_the_reserve_and_no_more() -> None:
    budget = RetryBudget(0.0)
    permitted(budget, 0.0)
    assert not budget.permit(REFILL_S - 1)
    assert budget.permit(REFILL_S)
    assert permitted(budget, 100 * REFILL_S) == RESERVE


def test_what_was_asked_in_good_times_is_not_saved_up() -> None:
    budget = RetryBudget(0.0)
    for _ in range(1000):
        budget.asked()
    assert permitted(budget, 0.0) == RESERVE


@given(st.lists(st.one_of(st.just("asked"), st.just("repeat"), st.floats(0, 100)), max_size=200))
def test_repeats_stay_within_their_bound(steps: list[str | float]) -> None:
    """While n first attempts are made in t seconds, no more than RESERVE + n / PER_REPEAT + t / REFILL_S repeats are
    permitted."""
    budget, now, asked, repeats = RetryBudget(0.0), 0.0, 0, 0
    for step in steps:
        if step == "asked":
            budget.asked()
            asked += 1
        elif step == "repeat":
            repeats += budget.permit(now)
        else:
            now += float(step)
        assert repeats <= RESERVE + asked / PER_REPEAT + now / REFILL_S + 1e-6
