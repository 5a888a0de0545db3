"""Spans of time, and what is left of a run when some of them are left out; seconds since 1970."""

from collections.abc import Iterable

Span = tuple[float, float]
"""When it begins and when it ends."""


def union(spans: Iterable[Span]) -> list[Span]:
    """Give the same time in spans that do not touch each other, in their order."""
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def without(span: Span, left_out: Iterable[Span]) -> list[Span]:
    """Give what is left of a span."""
    rest = []
    begin, end = span
    for out_begin, out_end in union(left_out):
        if out_begin >= end:
            break
        if out_begin > begin:
            rest.append((begin, out_begin))
        begin = max(begin, out_end)
    if begin < end:
        rest.append((begin, end))
    return rest


def touches(span: Span, others: Iterable[Span]) -> bool:
    """Tell whether a span has a moment in common with any of the others."""
    return any(span[0] <= end and begin <= span[1] for begin, end in others)


def length_s(spans: Iterable[Span]) -> float:
    """Give how long they are together; they must not overlap."""
    return sum(end - begin for begin, end in spans)
