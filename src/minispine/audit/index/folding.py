"""Folding: making segments of what is pending, and larger segments of smaller ones, in the background."""

from collections.abc import Callable
from typing import Final

from minispine.audit.index.building import Builder, Overtaken
from minispine.audit.index.layout import (
    SHAPE,
    Coverage,
    PendingRow,
    Segment,
    Shape,
    coverage,
    pending,
    sequence_of,
    split,
)
from minispine.audit.index.turn import turn
from minispine.storage import Database

_LAST_PENDING: Final = "SELECT last FROM audit_index_pending ORDER BY first DESC LIMIT 1"


def fold(database: Database, *, between: Callable[[], None] = lambda: None, shape: Shape = SHAPE) -> int | None:
    """Make every segment that can be made by now: how many were, or None if another process is at it.

    Made to be called every second or so by whichever process serves; when there is nothing to do it writes nothing.
    It takes some 10 MB, and its transactions are short. `between` is called between any two of them: it may wait, to
    leave the database to others, and it may raise, to end the work; the index is right whenever that is.
    Raises `StorageUnavailable`, and `IndexBroken` where pending rows or segments are missing.
    """
    with turn(database, wait=False) as session:
        if session is None:
            return None
        builder = Builder(session, shape, between)
        builder.give_up_what_was_left()
        made = 0
        while True:
            covered = coverage(session, shape)
            builder.sweep(covered.blocks)
            try:
                if not (_fold_block(builder, covered) or _merge(builder, covered)):
                    return made
                made += 1
            except Overtaken:
                continue


def _fold_block(builder: Builder, covered: Coverage) -> bool:
    """Make a segment of the next block, if all of it is pending."""
    number, shape = covered.blocks, builder.shape
    last = builder.session.rows(_LAST_PENDING)
    if not last or last[0][0] < shape.last(number):
        return False
    segment = builder.begin(0, number)
    rows = pending(builder.session, shape.first(number), shape.last(number))
    builder.fill(segment, (_from_to(row, shape.first(number), shape.last(number)) for row in rows))
    builder.put(segment, "live", ())
    return True


def _merge(builder: Builder, covered: Coverage) -> bool:
    """Make a larger segment, if all of its parts are there; the smallest that can be made."""
    shape = builder.shape
    for level in range(shape.top):
        parts: list[Segment] = []
        for part in (s for s in covered.segments if s.level == level):
            if part.number % shape.fan == 0:
                parts.clear()
            parts.append(part)
            if len(parts) == shape.fan:
                segment = builder.begin(level + 1, part.number // shape.fan)
                builder.merge(segment, parts)
                builder.put(segment, "live", parts)
                return True
    return False


def _from_to(row: PendingRow, first: int, last: int) -> bytes:
    """The entries of a row that are of these records: a commit may have records of two blocks."""
    if first <= row.first and row.last <= last:
        return row.entries
    return b"".join(each for each in split(row.entries) if first <= sequence_of(each) <= last)
