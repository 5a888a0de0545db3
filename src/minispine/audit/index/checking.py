"""Comparing the index with what it should be, as computed from the records."""

from collections.abc import Iterator
from itertools import pairwise
from operator import le
from typing import Final, Literal

import msgspec

from minispine.audit.index.building import slices
from minispine.audit.index.layout import (
    BEYOND,
    ENTRY_BYTES,
    KEY_BYTES,
    SHAPE,
    IndexBroken,
    Segment,
    Shape,
    entry,
    head,
    live_segments,
    numbers,
    pages,
    pending,
    sequence_of,
    split,
)
from minispine.audit.index.rebuilding import EntriesOf
from minispine.storage import Database, Session, Store

_BITS: Final = "SELECT key, block, bits FROM audit_index_bits WHERE segment = ? AND key >= ? AND key < ?"
_SLICE_RECORDS: Final = 2048


class Difference(msgspec.Struct, frozen=True):
    """Where the index is not what it should be, for the records from `sequence` to `last`.

    `missing`: a search by `key` should find the record, and the entry is not there, or not in a place where a search
    is sure to come upon it. `false`: the index says that the record has the term, and it has not. `gap`: nothing in
    the index covers these records. `overlap`: segments cover them twice, or before there are such records.
    """

    kind: Literal["missing", "false", "gap", "overlap"]
    sequence: int
    last: int
    key: bytes = b""


def differences(
    database: Database, entries_of: EntriesOf, first: int = 1, last: int | None = None, *, shape: Shape = SHAPE
) -> Iterator[Difference]:
    """Every difference of the index, for the records from `first` to `last`, from what `entries_of` says of them.

    The records are taken a quarter of a million at a time, with their entries as 16 bytes each: with 16 entries a
    record that is 70 MB. The index may be searched, folded and written meanwhile; an entry that is removed by a
    redaction meanwhile may be named. Raises `StorageUnavailable`.
    """
    with database.reading(Store.AUDIT) as session:
        segments = live_segments(session, shape)
        records = head(session)
    first = max(1, first)
    for kind, low, high in _stretches(segments, records, shape):
        if high < first or (last is not None and last < low):
            continue
        if kind != "covered":
            yield Difference(kind, low, high)
            continue
        try:
            to = high if last is None else min(last, high)
            yield from _compared(database, entries_of, max(first, low), to, shape)
        except IndexBroken:
            yield Difference("gap", low, high)


def _stretches(
    segments: list[Segment], records: int, shape: Shape
) -> Iterator[tuple[Literal["covered", "gap", "overlap"], int, int]]:
    """The records in stretches: of a segment, of a pending block, or of what is covered by none or by several."""
    blocks = 0
    for segment in segments:
        start, end = segment.start(shape), segment.end(shape)
        if blocks < start:
            yield "gap", shape.first(blocks), shape.last(start - 1)
        elif start < blocks:
            yield "overlap", shape.first(start), shape.last(min(blocks, end) - 1)
        if records < shape.last(end - 1):
            yield "overlap", max(records + 1, shape.first(start)), shape.last(end - 1)
        if shape.first(start) <= records:
            yield "covered", shape.first(start), min(shape.last(end - 1), records)
        blocks = max(blocks, end)
    for block in range(blocks, records // shape.block + 1):
        if shape.first(block) <= records:
            yield "covered", shape.first(block), min(shape.last(block), records)


def _compared(database: Database, entries_of: EntriesOf, first: int, last: int, shape: Shape) -> Iterator[Difference]:
    """The differences of a stretch. Each slice of the keys is read in a state of its own, so that none is held long."""
    doublings = ((last - first + 1) // _SLICE_RECORDS).bit_length()
    computed = _computed(entries_of, first, last, doublings)
    for (low, high), expected_bytes in zip(slices(1 << doublings), computed, strict=True):
        expected = set(split(bytes(expected_bytes)))
        with database.reading(Store.AUDIT) as session:
            seen = _Seen(session, first, last, shape)
            for segment in live_segments(session, shape):
                seen.segment(segment, low, high)
            seen.pending(low, high)
        for each in sorted(expected - seen.findable):
            yield Difference("missing", sequence_of(each), sequence_of(each), each[:KEY_BYTES])
        for each in sorted(seen.said - expected):
            yield Difference("false", sequence_of(each), sequence_of(each), each[:KEY_BYTES])


def _computed(entries_of: EntriesOf, first: int, last: int, doublings: int) -> list[bytearray]:
    """The entries that there should be, in as many slices by key as `slices` makes."""
    parts = [bytearray() for _ in range(1 << doublings)]
    shift = 16 - doublings
    for sequence, keys in entries_of(first, last):
        for key in keys:
            parts[int.from_bytes(key[:2]) >> shift] += entry(key, sequence)
    return parts


class _Seen:
    """The entries of one slice of the keys as the index has them, for the records from `first` to `last`.

    `said` are all of them; `findable` only those that a search is sure to come upon, because they are where they
    belong. Entries of records that their segment does not cover are `said` whatever the record: no search finds them,
    but somebody put them there.
    """

    def __init__(self, session: Session, first: int, last: int, shape: Shape) -> None:
        self.said: set[bytes] = set()
        self.findable: set[bytes] = set()
        self._session = session
        self._first = first
        self._last = last
        self._shape = shape
        self._folded = 0  # blocks

    def segment(self, segment: Segment, low: bytes, high: bytes) -> None:
        """What a segment has."""
        shape = self._shape
        self._folded = max(self._folded, segment.end(shape))
        start, end = shape.first(segment.start(shape)), shape.last(segment.end(shape) - 1)
        if end < self._first or self._last < start:
            return
        for key, block, bits in self._session.rows(_BITS, (segment.id, low, high)):
            begins = block * shape.block
            its = {entry(bytes(key), begins + n) for n in numbers(int.from_bytes(bits, "little"))}
            in_place = len(key) == KEY_BYTES and len(bits) * 8 == shape.block
            self._add(its, start, end, findable=in_place)
        found = pages(self._session, segment.id, low, high)
        for (first_key, entries), (following, _) in pairwise([*found, (BEYOND, b"")]):
            if len(entries) % ENTRY_BYTES:
                continue
            several = split(entries)
            in_order = several[:1] == [first_key] and all(map(le, several, several[1:]))
            in_place = in_order and several[-1] < following
            self._add({each for each in several if low <= each < high}, start, end, findable=in_place)

    def pending(self, low: bytes, high: bytes) -> None:
        """What is not in a segment yet. Raises `IndexBroken` if something is not covered."""
        first = max(self._first, self._shape.first(self._folded))
        if first > self._last:
            return
        for row in pending(self._session, first, self._last):
            its = {each for each in split(row.entries) if low <= each < high}
            self._add(its, row.first, row.last, findable=True)

    def _add(self, entries: set[bytes], start: int, end: int, *, findable: bool) -> None:
        for each in entries:
            sequence = sequence_of(each)
            covered = start <= sequence <= end
            if not covered or self._first <= sequence <= self._last:
                self.said.add(each)
                if covered and findable:
                    self.findable.add(each)
