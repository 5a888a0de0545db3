"""How many windows of time hold more calls than a limit allows: exact, over all windows of all lengths."""

import datetime
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

SLACK_US: Final = 50_000
"""What a window may be longer than it is counted: a call leaves up to 20 ms after its slot's instant, and is some
milliseconds on its way to a Spine that is busy with another."""

_SECOND_US: Final = 1_000_000
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def arrivals_us(calls: Iterable[Mapping[str, Any]]) -> list[int]:
    """Give when calls arrived, as the simulated Spine lists them, in microseconds since 1970."""
    microsecond = datetime.timedelta(microseconds=1)
    return [(datetime.datetime.fromisoformat(call["time"]) - _EPOCH) // microsecond for call in calls]


def windows_over_limit(
    arrivals_us: Sequence[int], *, per_second: float, burst: int = 1, slack_us: int = SLACK_US
) -> int:
    """Count the windows that hold more than ``per_second * (W + slack) + burst`` arrivals, W being their length.

    Every pair of arrivals, and every arrival by itself, is the first and last of one window; any other window holds
    the arrivals of one of these and is longer. Whole numbers throughout, so that nothing is rounded.
    """
    weights, bound = _weights(arrivals_us, per_second, burst, slack_us)
    lighter: list[int] = []
    over = 0
    for weight in weights:
        insort(lighter, weight)
        over += bisect_left(lighter, weight - bound)
    return over


def calls_beyond(
    arrivals_us: Sequence[int], *, per_second: float, burst: int = 1, slack_us: int = SLACK_US
) -> float | None:
    """Give by how many calls the fullest window is beyond the limit; below 0 where there was room. None without any."""
    found = fullest(arrivals_us, per_second=per_second, burst=burst, slack_us=slack_us)
    return None if found is None else found[0]


def fullest(
    arrivals_us: Sequence[int], *, per_second: float, burst: int = 1, slack_us: int = SLACK_US
) -> tuple[float, int, int] | None:
    """Give by how many calls the fullest window is beyond the limit, and its first and last arrival."""
    weights, bound = _weights(arrivals_us, per_second, burst, slack_us)
    if not weights:
        return None
    ordered = sorted(arrivals_us)
    lightest = most_first = most_last = 0
    for place, weight in enumerate(weights):
        if weight < weights[lightest]:
            lightest = place
        if weight - weights[lightest] > weights[most_last] - weights[most_first]:
            most_first, most_last = lightest, place
    beyond = (weights[most_last] - weights[most_first] - bound) / (_SECOND_US * Fraction(per_second).denominator)
    return beyond, ordered[most_first], ordered[most_last]


def _weights(arrivals_us: Sequence[int], per_second: float, burst: int, slack_us: int) -> tuple[list[int], int]:
    """Give a weight for each arrival: a window is over the limit when its last one weighs so much more than its first.

    With r = p/q calls a second, ``j - i + 1 > r * (t_j - t_i + slack) + b`` is ``w_j - w_i > bound`` for
    ``w_k = k * q * 10^6 - p * t_k`` and ``bound = p * slack + (b - 1) * q * 10^6``.
    """
    rate = Fraction(per_second)
    call = rate.denominator * _SECOND_US
    ordered = sorted(arrivals_us)
    return [k * call - rate.numerator * t for k, t in enumerate(ordered)], rate.numerator * slack_us + (
        burst - 1
    ) * call
