"""Searching: the records that have certain terms, in the order of their sequence or the reverse."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

from minispine.audit.index.layout import (
    ENTRY_BYTES,
    KEY_BYTES,
    SHAPE,
    Coverage,
    PendingRow,
    Segment,
    Shape,
    coverage,
    entry,
    numbers,
    pages,
    pending,
)
from minispine.storage import Database, Session, Store

Blocks = dict[int, int]
"""Records by block: in each number, the n-th bit stands for the n-th record of the block."""

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
        blocks = _matches(part, groups, max(first // shape.block, part.start), min(last // shape.block, part.end - 1))
        for block in sorted(blocks, reverse=newest_first):
            bits = blocks[block] & _within(block, first, last, shape)
            found.append((block, bits))
            count += bits.bit_count()
        if count >= _ENOUGH or looked == _PARTS_AT_ONCE:
            return found, part.start * shape.block if newest_first else part.end * shape.block - 1
    return found, first if newest_first else last


class _Part(Protocol):
    """Some blocks in a row, from `start` to before `end`, that are kept in one place."""

    start: int
    end: int

    def of(self, key: bytes, start: int, end: int) -> Blocks:
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

    def of(self, key: bytes, start: int, end: int) -> Blocks:
        shape = self._shape
        blocks = {
            block: int.from_bytes(bits, "little")
            for block, bits in self._session.rows(_BITS, (self._segment, key, start, end))
        }
        low, high = entry(key, start * shape.block), entry(key, (end + 1) * shape.block)
        for _, entries in pages(self._session, self._segment, low, high):
            for at in range(_first_from(entries, low), len(entries), ENTRY_BYTES):
                each = entries[at : at + ENTRY_BYTES]
                if each >= high:
                    break
                block, number = divmod(int.from_bytes(each[KEY_BYTES:]), shape.block)
                blocks[block] = blocks.get(block, 0) | 1 << number
        return blocks


class _Pending:
    """A block that no segment covers yet."""

    def __init__(self, session: Session, block: int, head: int, shape: Shape) -> None:
        self.start = block
        self.end = block + 1
        self._shape = shape
        self._rows: list[PendingRow] = pending(session, shape.first(block), min(shape.last(block), head))

    def of(self, key: bytes, start: int, end: int) -> Blocks:
        first = self.start * self._shape.block
        last = self._shape.last(self.start)
        bits = 0
        for row in self._rows:
            low, high = max(first, row.first), min(last, row.last)
            at = row.entries.find(key)
            while at >= 0:
                if at % ENTRY_BYTES:  # across two fields
                    at = row.entries.find(key, at + 1)
                    continue
                sequence = int.from_bytes(row.entries[at + KEY_BYTES : at + ENTRY_BYTES])
                if low <= sequence <= high:
                    bits |= 1 << (sequence - first)
                at = row.entries.find(key, at + ENTRY_BYTES)
        return {self.start: bits} if bits else {}


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


def _matches(part: _Part, groups: list[tuple[bytes, ...]], start: int, end: int) -> Blocks:
    """The records of a part that have a key of each group. The rarest group comes to be the first, for the next part.

    After each group, only the blocks that can still hold anything are looked at.
    """
    sizes: dict[int, int] = {}
    blocks: Blocks | None = None
    for place, group in enumerate(groups):
        its = _any_of([part.of(key, start, end) for key in group])
        sizes[place] = sum(bits.bit_count() for bits in its.values())
        blocks = its if blocks is None else _both(blocks, its)
        if not blocks:
            break
        start, end = min(blocks), max(blocks)
    rarest = min(sizes, key=sizes.__getitem__)
    groups.insert(0, groups.pop(rarest))
    return blocks or {}


def _any_of(several: list[Blocks]) -> Blocks:
    if len(several) == 1:
        return several[0]
    found: Blocks = {}
    for blocks in several:
        for block, bits in blocks.items():
            found[block] = found.get(block, 0) | bits
    return found


def _both(these: Mapping[int, int], those: Mapping[int, int]) -> Blocks:
    return {block: bits for block in these if (bits := these[block] & those.get(block, 0))}


def _within(block: int, first: int, last: int, shape: Shape) -> int:
    """Those records of a block that lie from `first` to `last`."""
    start = block * shape.block
    low, high = max(first - start, 0), min(last - start, shape.block - 1)
    return (1 << (high + 1)) - (1 << low)


def _first_from(entries: bytes, low: bytes) -> int:
    """Where in sorted entries the first that is not before `low` begins."""
    return ENTRY_BYTES * bisect_left(
        range(len(entries) // ENTRY_BYTES), low, key=lambda n: entries[n * ENTRY_BYTES : (n + 1) * ENTRY_BYTES]
    )
