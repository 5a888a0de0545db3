"""Searching: the records that have certain terms, in the order of their sequence or the reverse."""

import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import or_
from typing import Final, Protocol

from minispine.audit.index.layout import (
    ENTRY_BYTES,
    KEY_BYTES,
    SHAPE,
    Coverage,
    Segment,
    Shape,
    coverage,
    entry,
    numbers,
    pages,
    pending,
)
from minispine.storage import Database, Session, Store

_SEQUENCE: Final = struct.Struct(f">{KEY_BYTES}xQ")
_ENOUGH: Final = 256  # records found, before the state of the tables that is being looked at is let go
_PARTS_AT_ONCE: Final = 32
_UNBOUNDED: Final = 2**63 - 1
_BITS: Final = "SELECT block, bits FROM audit_index_bits WHERE segment = ? AND key = ? AND block BETWEEN ? AND ?"


def postings(
    database: Database,
    key: bytes,
    *,
    first: int = 1,
    last: int | None = None,
    newest_first: bool = False,
    shape: Shape = SHAPE,
) -> Iterator[int]:
    """The records that have a term: see `matching`."""
    return matching(database, [[key]], first=first, last=last, newest_first=newest_first, shape=shape)


def matching(
    database: Database,
    groups: Sequence[Sequence[bytes]],
    *,
    first: int = 1,
    last: int | None = None,
    newest_first: bool = False,
    shape: Shape = SHAPE,
) -> Iterator[int]:
    """The sequences of the records from `first` to `last` that have, of each group of keys, one or more.

    They come in order, or from the newest one back, each once, and as they are asked for: the first ones cost the same
    however many there are. Between any two the caller may take its time: no state of the database is held meanwhile.
    Records written after the first was asked for are not among them. To go on later, ask again from the sequence
    after (before) the last one that came.

    Raises `ValueError` without a group, `StorageUnavailable`, and `IndexBroken` rather than leave out what it cannot
    see.
    """
    if not groups or any(len(key) != KEY_BYTES for group in groups for key in group):
        raise ValueError("a search needs groups of keys of eight bytes each")
    wanted = [tuple(dict.fromkeys(group)) for group in groups]
    return _matching(database, wanted, max(1, first), _UNBOUNDED if last is None else last, newest_first, shape)


def _matching(
    database: Database, groups: list[tuple[bytes, ...]], first: int, last: int, newest_first: bool, shape: Shape
) -> Iterator[int]:
    while first <= last:
        with database.reading(Store.AUDIT) as session:
            covered = coverage(session, shape)
            last = min(last, covered.head)
            found, looked_at = _look(session, covered, groups, first, last, newest_first, shape)
        for block, bits in found:
            for number in numbers(bits, newest_first=newest_first):
                yield block * shape.block + number
        if newest_first:
            last = looked_at - 1
        else:
            first = looked_at + 1


def _look(
    session: Session,
    covered: Coverage,
    groups: list[tuple[bytes, ...]],
    first: int,
    last: int,
    newest_first: bool,
    shape: Shape,
) -> tuple[list[tuple[int, int]], int]:
    """What is found part by part until it is enough, and the last sequence (the first, of the newest) looked at."""
    found: list[tuple[int, int]] = []
    count = 0
    parts = _parts(session, covered, first // shape.block, last // shape.block, newest_first, shape)
    for looked, part in enumerate(parts, start=1):
        start, end = max(first // shape.block, part.start), min(last // shape.block, part.end - 1)
        blocks = _matches(part, groups, start, end, shape).blocks()
        for block in sorted(blocks, reverse=newest_first):
            bits = blocks[block] & _within(block, first, last, shape)
            found.append((block, bits))
            count += bits.bit_count()
        if count >= _ENOUGH or looked == _PARTS_AT_ONCE:
            return found, part.start * shape.block if newest_first else part.end * shape.block - 1
    return found, first if newest_first else last


class _Records:
    """Some records of a part: those of frequent terms as bits by block, others by their sequence.

    The n-th bit stands for the n-th record of the block.
    """

    __slots__ = ("bits", "sequences", "shape")

    def __init__(self, bits: dict[int, int], sequences: set[int], shape: Shape) -> None:
        self.bits = bits
        self.sequences = sequences
        self.shape = shape

    def __or__(self, other: "_Records") -> "_Records":
        bits = dict(self.bits)
        for block, its in other.bits.items():
            bits[block] = bits.get(block, 0) | its
        return _Records(bits, self.sequences | other.sequences, self.shape)

    def __and__(self, other: "_Records") -> "_Records":
        bits = {block: both for block in self.bits if (both := self.bits[block] & other.bits.get(block, 0))}
        sequences = self.sequences & other.sequences | self.among(other.sequences) | other.among(self.sequences)
        return _Records(bits, sequences, self.shape)

    def among(self, sequences: set[int]) -> set[int]:
        """Which of these sequences the bits stand for."""
        bits, size = self.bits, self.shape.block
        return {n for n in sequences if bits.get(n // size, 0) >> n % size & 1} if bits else set()

    def __len__(self) -> int:
        """How many they are; those that are there both ways count twice."""
        return len(self.sequences) + sum(bits.bit_count() for bits in self.bits.values())

    def blocks(self) -> dict[int, int]:
        """All of them as bits."""
        blocks = dict(self.bits)
        for sequence in self.sequences:
            block, number = divmod(sequence, self.shape.block)
            blocks[block] = blocks.get(block, 0) | 1 << number
        return blocks

    def span(self) -> tuple[int, int]:
        """The first and the last block that has any of them; there is one."""
        blocks = list(self.bits)
        if self.sequences:
            blocks += [min(self.sequences) // self.shape.block, max(self.sequences) // self.shape.block]
        return min(blocks), max(blocks)


class _Part(Protocol):
    """Some blocks in a row, from `start` to before `end`, that are kept in one place."""

    start: int
    end: int

    def of(self, key: bytes, start: int, end: int) -> _Records:
        """The records of the blocks from `start` to `end` that have a term."""
        ...


class _Folded:
    """A segment."""

    def __init__(self, session: Session, segment: Segment, shape: Shape) -> None:
        self.start = segment.start(shape)
        self.end = segment.end(shape)
        self._session = session
        self._segment = segment.id
        self._shape = shape

    def of(self, key: bytes, start: int, end: int) -> _Records:
        rows = self._session.rows(_BITS, (self._segment, key, start, end))
        low, high = entry(key, start * self._shape.block), entry(key, (end + 1) * self._shape.block)
        sequences: set[int] = set()
        for _, entries in pages(self._session, self._segment, low, high):
            its = entries[_place(entries, low) : _place(entries, high)]
            sequences.update(sequence for (sequence,) in _SEQUENCE.iter_unpack(its))
        return _Records({block: int.from_bytes(bits, "little") for block, bits in rows}, sequences, self._shape)


class _Pending:
    """A block that no segment covers yet."""

    def __init__(self, session: Session, block: int, head: int, shape: Shape) -> None:
        self.start = block
        self.end = block + 1
        self._shape = shape
        self._first = shape.first(block)
        self._last = min(shape.last(block), head)
        self._rows = pending(session, self._first, self._last)

    def of(self, key: bytes, start: int, end: int) -> _Records:
        found: set[int] = set()
        for row in self._rows:
            low, high = max(self._first, row.first), min(self._last, row.last)
            at = row.entries.find(key)
            while at >= 0:
                if at % ENTRY_BYTES:  # across two fields
                    at = row.entries.find(key, at + 1)
                    continue
                sequence = int.from_bytes(row.entries[at + KEY_BYTES : at + ENTRY_BYTES])
                if low <= sequence <= high:
                    found.add(sequence)
                at = row.entries.find(key, at + ENTRY_BYTES)
        return _Records({}, found, self._shape)


def _parts(
    session: Session, covered: Coverage, start: int, end: int, newest_first: bool, shape: Shape
) -> Iterator[_Part]:
    """The parts that have any of the blocks from `start` to `end`, in order or the reverse."""
    segments = [s for s in covered.segments if s.start(shape) <= end and start < s.end(shape)]
    tail = range(max(start, covered.blocks), end + 1)
    if newest_first:
        yield from (_Pending(session, block, covered.head, shape) for block in reversed(tail))
        yield from (_Folded(session, segment, shape) for segment in reversed(segments))
    else:
        yield from (_Folded(session, segment, shape) for segment in segments)
        yield from (_Pending(session, block, covered.head, shape) for block in tail)


def _matches(part: _Part, groups: list[tuple[bytes, ...]], start: int, end: int, shape: Shape) -> _Records:
    """The records of a part that have a key of each group. The rarest group comes to be the first, for the next part.

    After each group, only the blocks that can still hold anything are looked at.
    """
    nothing = _Records({}, set(), shape)
    sizes: list[int] = []
    matches: _Records | None = None
    for group in groups:
        its = reduce(or_, (part.of(key, start, end) for key in group), nothing)
        sizes.append(len(its))
        matches = its if matches is None else matches & its
        if not matches:
            break
        start, end = matches.span()
    groups.insert(0, groups.pop(sizes.index(min(sizes))))
    return matches or nothing


def _within(block: int, first: int, last: int, shape: Shape) -> int:
    """Those records of a block that lie from `first` to `last`."""
    start = block * shape.block
    low, high = max(first - start, 0), min(last - start, shape.block - 1)
    return (1 << (high + 1)) - (1 << low)


def _place(entries: bytes, bound: bytes) -> int:
    """Where in sorted entries the first that is not before a bound begins."""
    return ENTRY_BYTES * bisect_left(
        range(len(entries) // ENTRY_BYTES), bound, key=lambda n: entries[n * ENTRY_BYTES : (n + 1) * ENTRY_BYTES]
    )
