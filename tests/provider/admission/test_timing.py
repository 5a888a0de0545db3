"""Where the shared clock's moments are on our own: every bound holds, and a clock that is set is noticed."""

from hypothesis import given
from hypothesis import strategies as st

from minispine.provider.admission.book import SECOND
from minispine.provider.admission.store import Reading
from minispine.provider.admission.timing import DRIFT, LookTime, SharedClock


def reading(now_s: float, before_s: float, after_s: float) -> Reading:
    return Reading(now=round(now_s * SECOND), before_s=before_s, after_s=after_s)


def test_one_reading_bounds_a_moment() -> None:
    clock = SharedClock()
    clock.learn(reading(100.0, 7.0, 7.010))
    assert abs(clock.earliest_s(101 * SECOND) - 8.0) < 1e-6
    assert abs(clock.latest_s(101 * SECOND) - 8.010) < 1e-6
    assert abs(clock.shared(8.005) - 101 * SECOND) <= 1


def test_a_slow_reading_does_not_undo_a_quick_one() -> None:
    clock = SharedClock()
    clock.learn(reading(100.0, 7.0, 7.001))
    clock.learn(reading(101.0, 7.9, 8.2))
    assert clock.latest_s(102 * SECOND) - clock.earliest_s(102 * SECOND) < 0.001 + 2 * DRIFT * 1.3


def test_where_the_clock_was_set_only_the_last_reading_counts() -> None:
    clock = SharedClock()
    clock.learn(reading(100.0, 7.0, 7.001))
    clock.learn(reading(300.0, 8.0, 8.003))
    assert abs(clock.earliest_s(301 * SECOND) - 9.0) < 1e-6
    assert abs(clock.latest_s(301 * SECOND) - 9.003) < 1e-6


@given(
    steps=st.lists(st.tuples(st.floats(0.001, 20), st.floats(0, 0.05), st.floats(0, 0.05)), min_size=1, max_size=20),
    drift=st.floats(-0.9 * DRIFT, 0.9 * DRIFT),
)
def test_the_true_moment_is_always_within_the_bounds(steps: list[tuple[float, float, float]], drift: float) -> None:
    """Whatever the readings took, and while neither clock is set, a moment lies between its bounds."""
    clock = SharedClock()
    ours_s = 50.0
    for pause_s, out_s, back_s in steps:
        ours_s += pause_s
        before_s, at_s, ours_s = ours_s, ours_s + out_s, ours_s + out_s + back_s
        clock.learn(reading(1000 + at_s * (1 + drift), before_s, ours_s))
        true_s = ours_s + 0.01
        instant = round((1000 + true_s * (1 + drift)) * SECOND)
        assert clock.earliest_s(instant) - 1e-4 <= true_s <= clock.latest_s(instant) + 1e-4


def test_looks_are_allowed_for_as_they_take_within_bounds() -> None:
    time = LookTime()
    for _ in range(100):
        time.learn(0.0001)
    assert time.ahead_us == 500
    for _ in range(100):
        time.learn(0.004)
    assert 4000 <= time.ahead_us <= 6000
    for _ in range(100):
        time.learn(3.0)
    assert time.ahead_us == 15_000
