"""How the index lies in its tables: entries, blocks, segments, and which records they cover. Reads and judges, no more.

An **entry** is 16 bytes: the key of a term (8 bytes, a keyed hash that is computed elsewhere) and the sequence of a
record that has the term (8 bytes, big-endian). Records are grouped in **blocks** of 4,096 by their sequence, so that
block b holds the sequences from 4,096 b on. A **segment** of level n covers 8 ** n blocks and is aligned to as many; it
keeps, for the records it covers,

- in `audit_index_bits`, for each block and each key that at least 64 of its records have, one bit a record, the first
  record's the lowest of the first byte. Most entries are of such keys (the type of an event, a client), and 4,096
  records of one cost 512 bytes, read at once and intersected by one operation;
- in `audit_index_page`, all other entries, sorted, some 4 KB a row, found by the first of them.

What no segment covers yet is in `audit_index_pending`, a row for each commit.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import msgspec

from minispine.storage import Session, StorageError

KEY_BYTES: Final = 8
ENTRY_BYTES: Final = 16
BEYOND: Final = b"\xff" * (ENTRY_BYTES + 1)
"""Greater than every entry and every key."""

State = Literal["building", "built", "live", "dead"]
"""A segment being written; written, but part of a larger one to be; used by searches; to be removed."""

_SPLIT_AT_ONCE: Final = 240
_CUT_SHORT: Final = "the index has an entry that was cut short"
_LIVE: Final = "SELECT id, level, number FROM audit_index_segment WHERE state = 'live'"
_HEAD: Final = "SELECT sequence FROM audit_head WHERE id = 1"
_PENDING: Final = (
    "SELECT first, last, entries FROM audit_index_pending WHERE first <= ? AND first >= COALESCE("
    "(SELECT first FROM audit_index_pending WHERE first <= ? ORDER BY first DESC LIMIT 1), 0) ORDER BY first"
)
_PAGES: Final = (
    "SELECT first_key, entries FROM audit_index_page WHERE segment = ? AND first_key < ? AND first_key >= COALESCE("
    "(SELECT first_key FROM audit_index_page WHERE segment = ? AND first_key <= ? ORDER BY first_key DESC LIMIT 1), ?)"
    " ORDER BY first_key"
)


class IndexBroken(StorageError):
    """The index does not cover every record, so that a search could not find what is there. A rebuild mends it.

    So it is after an upgrade from a release that had no index, and when somebody removed rows.
    """


class Shape(msgspec.Struct, frozen=True):
    """The measures of the index. They are part of its format: only tests of small indexes have others.

    `block` records make a block, `fan` segments one of the next level, up to level `top`; a key with at least `dense`
    entries in a block is kept as bits; a page has `page` entries; about `slice` entries are merged at a time.
    """

    block: int = 4096
    fan: int = 8
    top: int = 2
    dense: int = 64
    page: int = 240  # with its key and the row's header half a page of either database, which are 8 KB
    slice: int = 16384

    def blocks(self, level: int) -> int:
        """How many blocks a segment of this level covers."""
        return int(self.fan**level)

    def first(self, block: int) -> int:
        """The first sequence of a block that there is: sequences begin at 1."""
        return max(1, block * self.block)

    def last(self, block: int) -> int:
        """The last sequence of a block."""
        return (block + 1) * self.block - 1


SHAPE: Final = Shape()


class Segment(NamedTuple):
    """A segment: the `number`-th of its level."""

    id: int
    level: int
    number: int

    def start(self, shape: Shape) -> int:
        """The first block it covers."""
        return self.number * shape.blocks(self.level)

    def end(self, shape: Shape) -> int:
        """The first block after those it covers."""
        return (self.number + 1) * shape.blocks(self.level)


class Coverage(msgspec.Struct, frozen=True):
    """What there is to search: the live segments in the order of their records, the number of blocks that they cover
    without gap from the first on, and the sequence of the last record."""

    segments: tuple[Segment, ...]
    blocks: int
    head: int


class PendingRow(NamedTuple):
    """The entries of one commit."""

    first: int
    last: int
    entries: bytes


def live_segments(session: Session, shape: Shape) -> list[Segment]:
    """The live segments in the order of their records, whether or not there are gaps between them."""
    return sorted((Segment(*row) for row in session.rows(_LIVE)), key=lambda segment: segment.start(shape))


def coverage(session: Session, shape: Shape) -> Coverage:
    """What there is to search. Raises `IndexBroken` where segments are missing or overlap."""
    segments = live_segments(session, shape)
    blocks = 0
    for segment in segments:
        if segment.start(shape) != blocks:
            raise IndexBroken(f"the index has no single segment for the records from {shape.first(blocks)} on")
        blocks = segment.end(shape)
    return Coverage(tuple(segments), blocks, head(session))


def head(session: Session) -> int:
    """The sequence of the last record."""
    sequence: int = session.rows(_HEAD)[0][0]
    return sequence


def pending(session: Session, first: int, last: int) -> list[PendingRow]:
    """The rows that hold these records, which may hold others too. Raises `IndexBroken` where there are none."""
    rows = [PendingRow(low, high, bytes(entries)) for low, high, entries in session.rows(_PENDING, (last, first))]
    if any(len(row.entries) % ENTRY_BYTES for row in rows):
        raise IndexBroken(_CUT_SHORT)
    expected = first
    for row in rows:
        if row.last < row.first or (row.first > expected if row is rows[0] else row.first != expected):
            break
        expected = max(expected, row.last + 1)
    if expected <= last:
        raise IndexBroken(f"the index has nothing for record {expected}")
    return rows


def pages(session: Session, segment: int, low: bytes, high: bytes) -> list[tuple[bytes, bytes]]:
    """The pages in which a search finds the entries from `low` to before `high`, each with the key it is found by.

    The first page may begin before `low`, and the last one go on after `high`.
    """
    rows: Sequence[tuple[Any, ...]] = session.rows(_PAGES, (segment, high, segment, low, low))
    return [(bytes(first_key), bytes(entries)) for first_key, entries in rows]


def entry(key: bytes, sequence: int) -> bytes:
    """The entry of a term and a record."""
    return key + sequence.to_bytes(8)


def sequence_of(entry: bytes) -> int:
    """The record of an entry: ``sequence_of(entry(key, n)) == n``."""
    return int.from_bytes(entry[KEY_BYTES:])


def split(entries: bytes) -> list[bytes]:
    """Entries one by one: ``b"".join(split(entries)) == entries``. Raises `IndexBroken` if there is half a one."""
    if len(entries) % ENTRY_BYTES:
        raise IndexBroken(_CUT_SHORT)
    count = len(entries) // ENTRY_BYTES
    if count <= _SPLIT_AT_ONCE:
        return list(_several(count).unpack(entries))
    found: list[bytes] = []
    for at in range(0, count, _SPLIT_AT_ONCE):
        found += _several(min(_SPLIT_AT_ONCE, count - at)).unpack_from(entries, at * ENTRY_BYTES)
    return found


def numbers(bits: int, *, newest_first: bool = False) -> Iterator[int]:
    """The numbers of the bits that are set."""
    if newest_first:
        while bits:
            number = bits.bit_length() - 1
            yield number
            bits ^= 1 << number
    else:
        while bits:
            lowest = bits & -bits
            yield lowest.bit_length() - 1
            bits ^= lowest


@lru_cache(maxsize=_SPLIT_AT_ONCE + 1)
def _several(count: int) -> struct.Struct:
    """Cuts so many entries out of bytes, faster than one by one."""
    return struct.Struct(f"{ENTRY_BYTES}s" * count)
