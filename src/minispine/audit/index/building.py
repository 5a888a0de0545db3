"""Writing segments: of the entries of a block, and of segments of the level below; and removing dead ones.

All of it is short transactions on a segment that no search sees, until one last transaction puts it in the place of
what it was made of. So it can end anywhere: what is left then is removed by whoever has the turn next.
"""

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Final

from minispine.audit.index.layout import (
    BEYOND,
    KEY_BYTES,
    Segment,
    Shape,
    State,
    live_segments,
    pages,
    split,
)
from minispine.audit.index.turn import writing
from minispine.storage import Session

_SEQUENCE: Final = struct.Struct(f">{KEY_BYTES}xQ")
_PARTS: Final = 16  # a block is sorted in so many parts, each in less than the time for which a thread may run
_ROWS_AT_ONCE: Final = 512

_NEXT_ID: Final = (
    "SELECT MAX(id) + 1 FROM (SELECT COALESCE(MAX(id), 0) AS id FROM audit_index_segment"
    " UNION ALL SELECT COALESCE(MAX(segment), 0) FROM audit_index_page"
    " UNION ALL SELECT COALESCE(MAX(segment), 0) FROM audit_index_bits) AS taken"
)
_OPEN: Final = "INSERT INTO audit_index_segment (id, level, number, state) VALUES (?, ?, ?, 'building')"
_STATE: Final = "SELECT state FROM audit_index_segment WHERE id = ?"
_SET_STATE: Final = "UPDATE audit_index_segment SET state = ? WHERE id = ?"
_PAGE: Final = "INSERT INTO audit_index_page (segment, first_key, entries) VALUES (?, ?, ?)"
_BITS: Final = "INSERT INTO audit_index_bits (segment, key, block, bits) VALUES (?, ?, ?, ?)"
_TAKE_BITS: Final = (
    "INSERT INTO audit_index_bits (segment, key, block, bits) SELECT ?, key, block, bits FROM audit_index_bits"
    " WHERE segment = ? AND key >= ? AND key < ?"
)
_COUNT_PAGES: Final = "SELECT COUNT(*) FROM audit_index_page WHERE segment = ?"
_BURY: Final = "INSERT INTO audit_index_segment (id, level, number, state) VALUES (?, 0, 0, 'dead')"
_LEFT_OVER: Final = "SELECT id FROM audit_index_segment WHERE state IN ('building', 'built')"
_DEAD: Final = "SELECT id FROM audit_index_segment WHERE state = 'dead' ORDER BY id"
_OUTDATED: Final = "SELECT first FROM audit_index_pending WHERE first < ? AND last < ? ORDER BY first LIMIT ?"


class Overtaken(Exception):
    """A record's entries were removed while a segment was being written, which may hold them: it is to be made anew."""


class Builder:
    """Makes segments on the session of whoever has the turn. `between` is called between any two transactions."""

    def __init__(self, session: Session, shape: Shape, between: Callable[[], None]) -> None:
        self.session: Final = session
        self.shape: Final = shape
        self._between = between

    def begin(self, level: int, number: int) -> Segment:
        """A segment that nobody sees yet. Whatever is to go into it has to be read after this."""
        with writing(self.session):
            segment = Segment(self.session.rows(_NEXT_ID)[0][0], level, number)
            self.session.run(_OPEN, segment)
        self._between()
        return segment

    def fill(self, segment: Segment, rows: Iterable[bytes]) -> None:
        """Write a segment of level 0 from rows of entries in any order.

        Takes some 8 MB while it runs. Raises `Overtaken`.
        """
        dense: list[tuple[int, bytes, int, bytes]] = []
        waiting: list[bytes] = []
        for part in _sorted(rows):
            done = 0
            for start, end in _frequent(part, self.shape):
                bits = _bits(part[start:end], segment.number, self.shape)
                dense.append((segment.id, part[start][:KEY_BYTES], segment.number, bits))
                waiting += part[done:start]
                done = end
            waiting += part[done:]
            if len(waiting) >= self.shape.slice:
                self._write_pages(segment, waiting)
                waiting = []
        self._write_pages(segment, waiting)
        for at in range(0, len(dense), _ROWS_AT_ONCE):
            with self.step(segment):
                self.session.run_many(_BITS, dense[at : at + _ROWS_AT_ONCE])
            self._between()

    def merge(self, segment: Segment, parts: Sequence[Segment]) -> None:
        """Write a segment from those of the level below. Takes some 2 MB while it runs. Raises `Overtaken`."""
        session = self.session
        count = sum(session.rows(_COUNT_PAGES, (part.id,))[0][0] for part in parts)
        for low, high in slices(max(1, count * self.shape.page // self.shape.slice)):
            merged: list[bytes] = []
            for part in parts:
                found = split(b"".join(entries for _, entries in pages(session, part.id, low, high)))
                merged += found[bisect_left(found, low) : bisect_left(found, high)]
            merged.sort()
            with self.step(segment):
                session.run_many(_PAGE, self._pages(segment, merged))
                for part in parts:
                    session.run(_TAKE_BITS, (segment.id, part.id, low, high))
            self._between()

    @contextmanager
    def step(self, segment: Segment) -> Iterator[None]:
        """A transaction on a segment that is still to be. Raises `Overtaken`."""
        with writing(self.session):
            if self.session.rows(_STATE, (segment.id,)) != [("building",)]:
                raise Overtaken
            yield

    def put(self, segment: Segment, state: State, instead_of: Sequence[Segment]) -> None:
        """Put a segment that is written in the place of others, all at once. Raises `Overtaken`."""
        with self.step(segment):
            self.session.run(_SET_STATE, (state, segment.id))
            self.session.run_many(_SET_STATE, [("dead", other.id) for other in instead_of])
        self._between()

    def put_live(self, segment: Segment) -> None:
        """Put a built segment in the place of all that is live and covers any of the same records."""
        start, end = segment.start(self.shape), segment.end(self.shape)
        live = live_segments(self.session, self.shape)
        others = [("dead", s.id) for s in live if s.start(self.shape) < end and start < s.end(self.shape)]
        with writing(self.session):
            self.session.run_many(_SET_STATE, [("live", segment.id), *others])
        self._between()

    def retire_from(self, block: int) -> None:
        """Give up segments of records from a block on."""
        live = live_segments(self.session, self.shape)
        if beyond := [("dead", s.id) for s in live if s.end(self.shape) > block]:
            with writing(self.session):
                self.session.run_many(_SET_STATE, beyond)
            self._between()

    def give_up_what_was_left(self) -> None:
        """Nobody is writing a segment but us: what is neither live nor dead is what a process left when it ended."""
        if left := self.session.rows(_LEFT_OVER):
            with writing(self.session):
                self.session.run_many(_SET_STATE, [("dead", segment) for (segment,) in left])
            self._between()

    def bury_strays(self) -> None:
        """Have the rows removed of segments of which nothing is known: somebody removed what was."""
        known = {segment for (segment,) in self.session.rows("SELECT id FROM audit_index_segment")}
        found: set[int] = set()
        for table in ("audit_index_page", "audit_index_bits"):
            statement = f"SELECT MIN(segment) FROM {table} WHERE segment > ?"  # noqa: S608
            segment: int | None = -(2**63)
            while segment is not None:
                found.add(segment)
                segment = self.session.rows(statement, (segment,))[0][0]
        if strays := found - known - {-(2**63)}:
            with writing(self.session):
                self.session.run_many(_BURY, [(segment,) for segment in strays])
            self._between()

    def sweep(self, blocks: int) -> None:
        """Remove dead segments, and pending rows of the first so many blocks, which segments cover."""
        for (segment,) in self.session.rows(_DEAD):
            self._sweep(segment, "audit_index_page", "first_key")
            self._sweep(segment, "audit_index_bits", "key")
            with writing(self.session):
                self.session.run("DELETE FROM audit_index_segment WHERE id = ?", (segment,))
            self._between()
        covered = blocks * self.shape.block
        while rows := self.session.rows(_OUTDATED, (covered, covered, _ROWS_AT_ONCE)):
            with writing(self.session):
                self.session.run_many("DELETE FROM audit_index_pending WHERE first = ?", rows)
            self._between()

    def _sweep(self, segment: int, table: str, key: str) -> None:
        after = f"SELECT {key} FROM {table} WHERE segment = ? ORDER BY {key} LIMIT 1 OFFSET {_ROWS_AT_ONCE}"  # noqa: S608
        delete = f"DELETE FROM {table} WHERE segment = ? AND {key} <= ?"  # noqa: S608
        more = True
        while more:
            rows = self.session.rows(after, (segment,))
            more = bool(rows)
            with writing(self.session):
                self.session.run(delete, (segment, rows[0][0] if rows else BEYOND))
            self._between()

    def _write_pages(self, segment: Segment, entries: list[bytes]) -> None:
        if entries:
            with self.step(segment):
                self.session.run_many(_PAGE, self._pages(segment, entries))
            self._between()

    def _pages(self, segment: Segment, entries: list[bytes]) -> list[tuple[int, bytes, bytes]]:
        size = self.shape.page
        return [(segment.id, entries[at], b"".join(entries[at : at + size])) for at in range(0, len(entries), size)]


def slices(count: int) -> Iterator[tuple[bytes, bytes]]:
    """So many ranges, [from, to), that share out all entries about evenly, as keys are random."""
    count = min(count, 0x10000)
    bounds = [b"", *((0x10000 * n // count).to_bytes(2) for n in range(1, count)), BEYOND]
    return pairwise(bounds)


def _sorted(rows: Iterable[bytes]) -> Iterator[list[bytes]]:
    """All entries of rows in order, part by part."""
    parts: list[list[bytes]] = [[] for _ in range(_PARTS)]
    for row in rows:
        for each in split(row):
            parts[each[0] * _PARTS >> 8].append(each)
    for part in parts:
        part.sort()
        yield part


def _frequent(entries: list[bytes], shape: Shape) -> Iterator[tuple[int, int]]:
    """From where to where in sorted entries those of a key lie that has enough of them to be kept as bits.

    So many entries of one key include two that are half as many apart, at multiples of that.
    """
    half = shape.dense // 2
    end = 0
    for at in range(0, len(entries) - half, half):
        key = entries[at][:KEY_BYTES]
        if at >= end and entries[at + half].startswith(key):
            start, end = bisect_left(entries, key), bisect_left(entries, key + BEYOND)
            if end - start >= shape.dense:
                yield start, end


def _bits(entries: list[bytes], block: int, shape: Shape) -> bytes:
    """The bits of one key's entries; those of another block, which would be false, are left out."""
    start = block * shape.block
    flags = bytearray(b"0") * shape.block
    for (sequence,) in _SEQUENCE.iter_unpack(b"".join(entries)):
        if start <= sequence < start + shape.block:
            flags[sequence - start] = ord("1")
    flags.reverse()
    return int(flags, 2).to_bytes(shape.block // 8, "little")
