"""A log in its database, as a verification reads it.

Everything is read in short transactions that hold nobody up. What is appended after the verification has begun is not
looked at.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from minispine.audit.tiles import TILE_WIDTH, Tile
from minispine.audit.vault import Vault
from minispine.audit.verification.archives import Archives
from minispine.audit.verification.chunk import Before, Followed, PayloadRow, Row, follow
from minispine.audit.verification.findings import Broken
from minispine.audit.verification.sources import Head, KeptArchive, KeptCheckpoint
from minispine.storage import Database, Store
from minispine.storage.database import Kind

_PAGE_RECORDS: Final = 1024
_PAGE_CHECKPOINTS: Final = 1000
_BEFORE_THE_FIRST: Final = -(2**63)
_SIZES: Final = "SELECT DISTINCT size FROM audit_checkpoint WHERE size >= ? AND size <= ? AND number <= ?"
_HELD: Final = "SELECT sequence FROM audit_payload WHERE sequence >= ? AND sequence <= ? ORDER BY sequence"
_STRAY: Final = (
    "SELECT MIN(sequence) FROM audit_payload"
    " WHERE sequence < 1 OR sequence > (SELECT COALESCE(MAX(sequence), 0) FROM audit_record)"
)


class _Statements:
    """What is asked of a database.

    SQLite keeps whatever somebody puts into a column, and its driver fails on text that is not UTF-8. So there each
    column is read as of the type that it should be, and texts are read as bytes.
    """

    def __init__(self, kind: Kind) -> None:
        self.head: Final = _read(
            kind,
            "SELECT [sequence], [sealed_at], {hash}, {frontier}, [epoch], [declared],"
            " (SELECT MAX(sequence) FROM audit_record), (SELECT COALESCE(MAX(number), 0) FROM audit_checkpoint)"
            " FROM audit_head WHERE id = 1",
        )
        self.record: Final = _read(kind, "SELECT {hash}, {leaf} FROM audit_record WHERE sequence = ?")
        self.records: Final = _read(
            kind,
            "SELECT sequence, <exchange>, {hash}, {leaf} FROM audit_record"
            " WHERE sequence >= ? AND sequence <= ? ORDER BY sequence LIMIT ?",
        )
        self.payloads: Final = _read(
            kind,
            "SELECT sequence, {salt}, {private}, {bodies}, {wrapped} FROM audit_payload"
            " WHERE sequence >= ? AND sequence <= ?",
        )
        self.archived_keys: Final = _read(
            kind, "SELECT sequence, {wrapped} FROM audit_archived_key WHERE sequence >= ? AND sequence <= ?"
        )
        self.low_tiles: Final = _read(
            kind, "SELECT number, {hashes} FROM audit_tile WHERE level = 0 AND number >= ? AND number < ?"
        )
        self.tile: Final = _read(kind, "SELECT {hashes} FROM audit_tile WHERE level = ? AND number = ?")
        self.checkpoints: Final = _read(
            kind,
            "SELECT number, [at], [epoch], [size], <note> FROM audit_checkpoint"
            " WHERE number > ? AND number <= ? ORDER BY number LIMIT ?",
        )
        self.removals: Final = _read(kind, "SELECT sequence, [record] FROM audit_removal")
        self.archives: Final = _read(
            kind, "SELECT [first], [last], <name>, {digest}, [record] FROM audit_archive ORDER BY first"
        )


_COLUMNS: Final[dict[Kind, dict[str, str]]] = {
    "sqlite": {"{": "CAST({} AS BLOB)", "[": "CAST({} AS INTEGER)", "<": "CAST({} AS BLOB)"},
    "postgresql": {"{": "{}", "[": "{}", "<": "convert_to({}, 'UTF8')"},
}


def _read(kind: Kind, statement: str) -> str:
    """The statement in the words of a database: {bytes}, [numbers], and <texts> as bytes."""
    return re.sub(r"([{\[<])(\w+)[}\]>]", lambda column: _COLUMNS[kind][column[1]].format(column[2]), statement)


_STATEMENTS: Final[dict[Kind, _Statements]] = {kind: _Statements(kind) for kind in _COLUMNS}


class StoredLog:
    """A log in a database: a `Source`. `StoredLog.open` says how far it goes."""

    has_payloads: Final = True

    def __init__(
        self,
        database: Database,
        head: Head,
        highest: int,
        checkpoints: int,
        archives: Archives,
        vault: Vault | None,
    ) -> None:
        self.records: Final = head.sequence
        self.head: Final = head
        self.highest: Final = highest
        self._database = database
        self._checkpoints = checkpoints
        self._archives = archives
        self._vault = vault
        self._say = _STATEMENTS[database.kind]

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredLog, (self._database, self.head, self.highest, self._checkpoints, self._archives, self._vault)

    @classmethod
    def open(cls, database: Database, archives: Archives, vault: Vault | None = None) -> "StoredLog | Broken":
        """The log up to its head as it is now; `vault` opens the keys of its payloads. Raises `StorageUnavailable`."""
        with database.reading(Store.AUDIT) as session:
            rows = session.rows(_STATEMENTS[database.kind].head)
        if not rows:
            return Broken(0, "head", "there is no head")
        *head, highest, checkpoints = rows[0]
        try:
            kept = msgspec.convert(dict(zip(Head.__struct_fields__, head, strict=True)), Head)
        except msgspec.ValidationError:
            return Broken(0, "head", "the head cannot be read")
        return cls(database, kept, highest or 0, checkpoints, archives, vault)

    def chunk(self, first: int, last: int, sizes: Sequence[int], payloads: bool) -> Followed:
        """Read and follow a chunk. Raises `StorageUnavailable`."""
        before = Before()
        start = (first - 1) // TILE_WIDTH
        with self._database.reading(Store.AUDIT) as session:
            if first > 1:
                found = session.rows(self._say.record, (first - 1,))
                before = Before.of(found[0][0] or b"", found[0][1] or b"") if found else before
            tiles = {
                number: hashes or b""
                for number, hashes in session.rows(self._say.low_tiles, (start, last // TILE_WIDTH))
            }
            kept = [row[0] for row in session.rows(_SIZES, (first, last, self._checkpoints))]
        held: dict[int, PayloadRow] = {}
        keys: dict[int, bytes | None] = {}
        return follow(
            self._rows(first, last, held, keys, payloads),
            first=first,
            last=last,
            before=before,
            payloads=held if payloads else None,
            keys=keys if payloads else None,
            vault=self._vault,
            tiles=tiles,
            sizes=sorted({*kept, *sizes}),
        )

    def _rows(
        self, first: int, last: int, held: dict[int, PayloadRow], keys: dict[int, bytes | None], payloads: bool
    ) -> Iterator[Row]:
        """The records of a chunk; before a page of them is given, `held` and `keys` have its payloads, and no others.

        A key that is kept both with its payload and as that of an archived one, which cannot be, is given as an
        empty one.
        """
        while first <= last:
            with self._database.reading(Store.AUDIT) as session:
                page: list[Any] = session.rows(self._say.records, (first, last, _PAGE_RECORDS))
                if not page:
                    return
                end = page[-1][0]
                if payloads:
                    held.clear()
                    held |= self._archives.payloads(first, end)
                    keys.clear()
                    keys |= dict(session.rows(self._say.archived_keys, (first, end)))
                    for sequence, salt, private, bodies, wrapped in session.rows(self._say.payloads, (first, end)):
                        held[sequence] = (salt or b"", private, bodies)
                        keys[sequence] = wrapped if sequence not in keys else b""
            yield from page
            first = end + 1

    def checkpoints(self) -> Iterator[KeptCheckpoint]:
        """The checkpoints by their number. Raises `StorageUnavailable`."""
        number = _BEFORE_THE_FIRST
        while True:
            with self._database.reading(Store.AUDIT) as session:
                page = session.rows(self._say.checkpoints, (number, self._checkpoints, _PAGE_CHECKPOINTS))
            for number, at, epoch, size, note in page:
                yield KeptCheckpoint(size or -1, (note or b"").decode(errors="replace"), number, at, epoch)
            if len(page) < _PAGE_CHECKPOINTS:
                return

    def tile(self, tile: Tile) -> bytes | None:
        """A tile, of which only full ones are kept. Raises `StorageUnavailable`."""
        if tile.width != TILE_WIDTH:
            return None
        with self._database.reading(Store.AUDIT) as session:
            rows = session.rows(self._say.tile, (tile.level, tile.index))
        return rows[0][0] if rows else None

    def removals(self) -> Mapping[int, int]:
        """What `audit_removal` says. Raises `StorageUnavailable`."""
        with self._database.reading(Store.AUDIT) as session:
            return {row[0]: row[1] for row in session.rows(self._say.removals)}

    def archives(self) -> Sequence[KeptArchive]:
        """What `audit_archive` says. Raises `StorageUnavailable`."""
        with self._database.reading(Store.AUDIT) as session:
            rows = session.rows(self._say.archives)
        return [
            KeptArchive(first, last, (name or b"").decode(errors="replace"), digest or b"", record)
            for first, last, name, digest, record in rows
        ]

    def leaf(self, sequence: int) -> bytes | None:
        """One leaf. Raises `StorageUnavailable`."""
        with self._database.reading(Store.AUDIT) as session:
            rows = session.rows(self._say.record, (sequence,))
        return rows[0][1] if rows else None

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
