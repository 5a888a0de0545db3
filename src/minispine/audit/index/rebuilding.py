"""Making the whole index anew from the records, while it is searched and records are written."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from minispine.audit.index.building import Builder, Overtaken
from minispine.audit.index.layout import SHAPE, Segment, Shape, entry, head
from minispine.audit.index.turn import turn
from minispine.storage import Database

EntriesOf = Callable[[int, int], Iterator[tuple[int, Sequence[bytes]]]]
"""The keys of each record from one sequence to another, as computed from the records themselves."""

_ROW_RECORDS: Final = 256
_DEAD: Final = "UPDATE audit_index_segment SET state = 'dead' WHERE id = ?"
_FORGET: Final = "DELETE FROM audit_index_pending WHERE first <= ?"
_PENDING: Final = "INSERT INTO audit_index_pending (first, last, entries) VALUES (?, ?, ?)"


def rebuild(
    database: Database,
    entries_of: EntriesOf,
    *,
    progress: Callable[[int, int], None] = lambda done, records: None,
    between: Callable[[], None] = lambda: None,
    shape: Shape = SHAPE,
) -> None:
    """Make the index anew from what `entries_of` says of the records, and leave nothing of the old one.

    A search meanwhile finds, of any stretch of records, what the old index knew of it or what the new one does. Folding
    waits until the end. `progress` is told how many records are done, and of how many; `between` is as in `fold`.
    What is done stays done if it ends in the middle, but then it has to be started again from the beginning.
    Raises `StorageUnavailable`.
    """
    with turn(database, wait=True) as session:
        assert session is not None
        builder = Builder(session, shape, between)
        builder.give_up_what_was_left()
        builder.bury_strays()
        making = _Making(builder, entries_of, progress)
        done = 0  # blocks
        while True:
            whole = (head(session) + 1) // shape.block
            while done < whole:
                level = _largest(done, whole, shape)
                segment = making.segment(level, done // shape.blocks(level))
                done = segment.end(shape)
                builder.put_live(segment)
                builder.sweep(done)
            if (head(session) + 1) // shape.block == done:
                break
        builder.retire_from(done)
        making.pending_from(done)
        builder.sweep(done)


class _Making:
    """Makes parts of the index from the records."""

    def __init__(self, builder: Builder, entries_of: EntriesOf, progress: Callable[[int, int], None]) -> None:
        self._builder = builder
        self._shape = builder.shape
        self._entries_of = entries_of
        self._progress = progress

    def segment(self, level: int, number: int) -> Segment:
        """A segment that is built and not live."""
        parts = [self.segment(level - 1, number * self._shape.fan + n) for n in range(self._shape.fan if level else 0)]
        builder = self._builder
        while True:
            segment = builder.begin(level, number)
            try:
                if parts:
                    builder.merge(segment, parts)
                else:
                    first, last = self._shape.first(number), self._shape.last(number)
                    builder.fill(segment, (entries for *_, entries in self._rows(first, last)))
                    self._progress(last, head(builder.session))
                builder.put(segment, "built", parts)
            except Overtaken:
                continue
            builder.sweep(0)
            return segment

    def pending_from(self, block: int) -> None:
        """Rows of all records from a block on, in the place of those that there are."""
        builder = self._builder
        while True:
            # Nothing goes into this segment: while it lives, nothing was removed.
            segment = builder.begin(0, block)
            last = head(builder.session)
            rows = list(self._rows(self._shape.first(block), last))
            try:
                with builder.step(segment):
                    builder.session.run(_FORGET, (last,))
                    builder.session.run_many(_PENDING, rows)
                    builder.session.run(_DEAD, (segment.id,))
            except Overtaken:
                continue
            self._progress(last, last)
            return

    def _rows(self, first: int, last: int) -> Iterator[tuple[int, int, bytes]]:
        while first <= last:
            end = min(first + _ROW_RECORDS - 1, last)
            found = self._entries_of(first, end)
            yield first, end, b"".join(entry(key, sequence) for sequence, keys in found for key in keys)
            first = end + 1


def _largest(done: int, whole: int, shape: Shape) -> int:
    """The highest level of which a segment can follow so many blocks, of so many that there are."""
    fitting = (level for level in range(shape.top, 0, -1) if done % shape.blocks(level) == 0)
    return next((level for level in fitting if done + shape.blocks(level) <= whole), 0)
