"""Windows over a limit are counted exactly: held against the plain definition, pair by pair."""

import pytest
from benchmarks.windows import SLACK_US, calls_beyond, fullest, windows_over_limit
from hypothesis import given
from hypothesis import strategies as st

RATES = st.sampled_from([0.5, 1.0, 5.0, 7.3, 100.0, 150.0])


def plainly(arrivals: list[int], rate: float, burst: int, slack_us: int) -> list[float]:
    """By how many calls each window is beyond the limit."""
    ordered = sorted(arrivals)
    return [
        (j - i + 1) - (rate * (ordered[j] - ordered[i] + slack_us) / 1e6 + burst)
        for i in range(len(ordered))
        for j in range(i, len(ordered))
    ]


@given(st.lists(st.integers(0, 3_000_000), max_size=40), RATES, st.integers(1, 5), st.sampled_from([0, SLACK_US]))
def test_it_is_the_plain_definition(arrivals: list[int], rate: float, burst: int, slack_us: int) -> None:
    beyond = plainly(arrivals, rate, burst, slack_us)
    limit = {"per_second": rate, "burst": burst, "slack_us": slack_us}
    counted = windows_over_limit(arrivals, **limit)  # type: ignore[arg-type]
    assert sum(each > 1e-6 for each in beyond) <= counted <= sum(each > -1e-6 for each in beyond)
    most = calls_beyond(arrivals, **limit)  # type: ignore[arg-type]
    assert most == (pytest.approx(max(beyond)) if beyond else None)


def test_calls_at_the_limit_are_within_it_and_a_microsecond_less_is_not() -> None:
    second = 1_000_000
    even = [n * second // 5 for n in range(50)]
    assert windows_over_limit(even, per_second=5, slack_us=0) == 0
    assert calls_beyond(even, per_second=5, slack_us=0) == 0
    assert windows_over_limit([*even[:-1], even[-1] - 1], per_second=5, slack_us=0) == 49
    assert windows_over_limit([0, 150_000], per_second=5) == 0
    assert windows_over_limit([0, 149_999], per_second=5) == 1


def test_a_burst_is_one_call_more_for_each() -> None:
    assert windows_over_limit([0, 0, 0], per_second=1, burst=3) == 0
    assert windows_over_limit([0, 0, 0], per_second=1, burst=2) == 1
    assert windows_over_limit([0, 0, 0], per_second=1, burst=1) == 3


def test_nothing_is_within_any_limit() -> None:
    assert windows_over_limit([], per_second=5) == 0


def test_the_fullest_window_is_where_the_calls_are() -> None:
    calm = [n * 1_000_000 for n in range(10)]
    assert fullest([*calm, 5_100_000, 5_200_000], per_second=2, slack_us=0) == (
        pytest.approx(1.6),
        5_000_000,
        5_200_000,
    )
