"""What is left out of a run is left out once, and nothing else is."""

from benchmarks.spans import Span, length_s, touches, union, without
from hypothesis import given
from hypothesis import strategies as st

SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)).map(lambda s: (float(s[0]), float(sum(s)))))


def holds(spans: list[Span], moment: float) -> bool:
    return any(begin <= moment < end for begin, end in spans)


@given(SPANS, st.tuples(st.integers(0, 20), st.integers(1, 20)).map(lambda s: (float(s[0]), float(sum(s)))))
def test_what_is_left_is_what_is_in_the_span_and_in_none_of_the_others(out: list[Span], span: Span) -> None:
    rest = without(span, out)
    for tick in range(90):
        moment = tick / 2 + 0.25
        assert holds(rest, moment) == (holds([span], moment) and not holds(out, moment))
    assert length_s(rest) == sum(holds(rest, tick / 2 + 0.25) for tick in range(90)) / 2


def test_spans_that_touch_become_one() -> None:
    assert union([(3, 4), (0, 1), (1, 2), (0, 0.5)]) == [(0, 2), (3, 4)]


def test_a_span_touches_what_it_shares_a_moment_with() -> None:
    assert touches((1, 2), [(2, 3)])
    assert touches((1, 2), [(0, 5)])
    assert not touches((1, 2), [(2.1, 3), (0, 0.9)])
