"""A log in its database, as a verification reads it.

Everything is read in short transactions that hold nobody up. What is appended after the verification has begun is not
looked at.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from minispine.audit.tiles import TILE_WIDTH, Tile
from minispine.audit.verification.archives import Archives
from minispine.audit.verification.chunk import Before, Followed, PayloadRow, Row, follow
from minispine.audit.verification.findings import Broken
from minispine.audit.verification.sources import Head, KeptArchive, KeptCheckpoint
from minispine.storage import Database, Store

_PAGE_RECORDS: Final = 1024
_PAGE_CHECKPOINTS: Final = 1000
_HEAD: Final = (
    "SELECT sequence, sealed_at, hash, frontier, epoch, declared,"
    " (SELECT MAX(sequence) FROM audit_record), (SELECT COALESCE(MAX(number), 0) FROM audit_checkpoint)"
    " FROM audit_head WHERE id = 1"
)
_BEFORE: Final = "SELECT hash, leaf FROM audit_record WHERE sequence = ?"
_RECORDS: Final = (
    "SELECT sequence, exchange, hash, leaf FROM audit_record"
    " WHERE sequence >= ? AND sequence <= ? ORDER BY sequence LIMIT ?"
)
_PAYLOADS: Final = "SELECT sequence, salt, private, bodies FROM audit_payload WHERE sequence >= ? AND sequence <= ?"
_TILES: Final = "SELECT number, hashes FROM audit_tile WHERE level = 0 AND number >= ? AND number < ?"
_TILE: Final = "SELECT hashes FROM audit_tile WHERE level = ? AND number = ?"
_SIZES: Final = "SELECT DISTINCT size FROM audit_checkpoint WHERE size >= ? AND size <= ? AND number <= ?"
_CHECKPOINTS: Final = (
    "SELECT number, at, epoch, size, note FROM audit_checkpoint"
    " WHERE number > ? AND number <= ? ORDER BY number LIMIT ?"
)
_BEFORE_THE_FIRST: Final = -(2**63)
_HELD: Final = "SELECT sequence FROM audit_payload WHERE sequence >= ? AND sequence <= ? ORDER BY sequence"
_STRAY: Final = (
    "SELECT MIN(sequence) FROM audit_payload"
    " WHERE sequence < 1 OR sequence > (SELECT COALESCE(MAX(sequence), 0) FROM audit_record)"
)


class StoredLog:
    """A log in a database: a `Source`. `StoredLog.open` says how far it goes."""

    has_payloads: Final = True

    def __init__(self, database: Database, head: Head, highest: int, checkpoints: int, archives: Archives) -> None:
        self.records: Final = head.sequence
        self.head: Final = head
        self.highest: Final = highest
        self._database = database
        self._checkpoints = checkpoints
        self._archives = archives

    @classmethod
    def open(cls, database: Database, archives: Archives) -> "StoredLog | Broken":
        """The log up to its head as it is now. Raises `StorageUnavailable`."""
        with database.reading(Store.AUDIT) as session:
            rows = session.rows(_HEAD)
        if not rows:
            return Broken(0, "head", "there is no head")
        *head, highest, checkpoints = rows[0]
        try:
            return cls(
                database,
                msgspec.convert(dict(zip(Head.__struct_fields__, head, strict=True)), Head),
                highest or 0,
                checkpoints,
                archives,
            )
        except msgspec.ValidationError:
            return Broken(0, "head", "the head cannot be read")

    def chunk(self, first: int, last: int, sizes: Sequence[int], payloads: bool) -> Followed:
        """Read and follow a chunk. Raises `StorageUnavailable`."""
        before = Before()
        start = (first - 1) // TILE_WIDTH
        with self._database.reading(Store.AUDIT) as session:
            if first > 1:
                found = session.rows(_BEFORE, (first - 1,))
                before = Before.of(bytes(found[0][0]), bytes(found[0][1])) if found else before
            tiles = {
                number: _blob(hashes) or b"" for number, hashes in session.rows(_TILES, (start, last // TILE_WIDTH))
            }
            kept = [row[0] for row in session.rows(_SIZES, (first, last, self._checkpoints))]
        held: dict[int, PayloadRow] = {}
        return follow(
            self._rows(first, last, held if payloads else None),
            first=first,
            last=last,
            before=before,
            payloads=held if payloads else None,
            tiles=tiles,
            sizes=sorted({*kept, *sizes}),
        )

    def _rows(self, first: int, last: int, held: dict[int, PayloadRow] | None) -> Iterator[Row]:
        """The records of a chunk; before a page of them is given, `held` has its payloads, and no others."""
        while first <= last:
            with self._database.reading(Store.AUDIT) as session:
                page: list[Any] = session.rows(_RECORDS, (first, last, _PAGE_RECORDS))
                if not page:
                    return
                end = page[-1][0]
                if held is not None:
                    held.clear()
                    held |= self._archives.payloads(first, end)
                    for sequence, salt, private, bodies in session.rows(_PAYLOADS, (first, end)):
                        held[sequence] = (_blob(salt) or b"", _blob(private), _blob(bodies))
            yield from page
            first = end + 1

    def checkpoints(self) -> Iterator[KeptCheckpoint]:
        """The checkpoints by their number. Raises `StorageUnavailable`."""
        number = _BEFORE_THE_FIRST
        while True:
            with self._database.reading(Store.AUDIT) as session:
                page = session.rows(_CHECKPOINTS, (number, self._checkpoints, _PAGE_CHECKPOINTS))
            for number, at, epoch, size, note in page:
                try:
                    yield msgspec.convert(
                        {"number": number, "at": at, "epoch": epoch, "size": size, "note": note}, KeptCheckpoint
                    )
                except msgspec.ValidationError:
                    yield KeptCheckpoint(-1, "", number)  # of no size that there is
            if len(page) < _PAGE_CHECKPOINTS:
                return

    def tile(self, tile: Tile) -> bytes | None:
        """A tile, of which only full ones are kept. Raises `StorageUnavailable`."""
        if tile.width != TILE_WIDTH:
            return None
        with self._database.reading(Store.AUDIT) as session:
            rows = session.rows(_TILE, (tile.level, tile.index))
        return _blob(rows[0][0]) if rows else None

    def removals(self) -> Mapping[int, int]:
        """What `audit_removal` says. Raises `StorageUnavailable`."""
        with self._database.reading(Store.AUDIT) as session:
            return {row[0]: row[1] for row in session.rows("SELECT sequence, record FROM audit_removal")}

    def archives(self) -> Sequence[KeptArchive]:
        """What `audit_archive` says. Raises `StorageUnavailable`."""
        with self._database.reading(Store.AUDIT) as session:
            rows = session.rows("SELECT first, last, name, digest, record FROM audit_archive ORDER BY first")
        return [KeptArchive(first, last, name, bytes(digest), record) for first, last, name, digest, record in rows]

    def leaf(self, sequence: int) -> bytes | None:
        """One leaf. Raises `StorageUnavailable`."""
        with self._database.reading(Store.AUDIT) as session:
            rows = session.rows(_BEFORE, (sequence,))
        return bytes(rows[0][1]) if rows else None

    def payloads_within(self, first: int, last: int) -> Sequence[int]:
        """The records of a range that have a payload. Raises `StorageUnavailable`."""
        with self._database.reading(Store.AUDIT) as session:
            return [row[0] for row in session.rows(_HELD, (first, last))]

    def end(self) -> Broken | None:
        """Records after the head, and payloads of no record. Raises `StorageUnavailable`."""
        if self.highest > self.records:
            return Broken(self.records + 1, "head", "there is a record after the one that the head says is the last")
        with self._database.reading(Store.AUDIT) as session:
            stray = session.rows(_STRAY)[0][0]
        return None if stray is None else Broken(stray, "payload", "there is a payload of no record")


def _blob(value: object) -> bytes | None:
    """What a column of bytes holds. In SQLite it could be anything: what is not bytes is nothing that was written."""
    return value if value is None or isinstance(value, bytes) else b""
