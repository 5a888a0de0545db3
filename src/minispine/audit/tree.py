"""The tree as it stands in the database: hashes of leaves from the records, and full tiles from where they are kept.

What a tree is and how it is laid out in tiles is in ``merkle.py`` and ``tiles.py``. What is read here is believed: it
has to be compared with a root that somebody signed.
"""

from collections.abc import Callable, Iterator
from typing import Final

from minispine.audit.encoding import FIRST_VERSION
from minispine.audit.merkle import HASH_BYTES, leaf_hash, perfect_root
from minispine.audit.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, TileHashes
from minispine.storage import Database, Session, Store

_TILES_AT_ONCE: Final = 32
_TILE: Final = "SELECT hashes FROM audit_tile WHERE level = ? AND number = ?"
_NEXT_TILE: Final = "SELECT COALESCE(MAX(number) + 1, 0) FROM audit_tile WHERE level = ?"
_KEEP_TILE: Final = "INSERT INTO audit_tile (level, number, hashes) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_LEAVES: Final = "SELECT leaf FROM audit_record WHERE sequence > ? AND sequence <= ? ORDER BY sequence"
_LEAF_HASHES: Final = (
    "SELECT hash, CASE WHEN substr(leaf, 1, 1) = ? THEN leaf END FROM audit_record"
    " WHERE sequence > ? AND sequence <= ? ORDER BY sequence"
)
"""The hash of a record of the first release is a link of its chain, so its leaf is hashed anew."""


class TreeDamaged(Exception):
    """Hashes of the tree cannot be had: records are missing, or a tile is not one. The text says which."""


class StoredTree:
    """The tree of the first `size` records, within one transaction of `session`.

    `hashes` reads any node of it. Raises `StorageUnavailable`, and `TreeDamaged` where hashes cannot be had.
    """

    def __init__(self, session: Session, size: int) -> None:
        self.size: Final = size
        self.hashes: Final = TileHashes(self.fetch, size)
        self._session = session
        self._read: dict[Tile, bytes] = {}

    def fetch(self, tile: Tile) -> bytes:
        """The bytes of a tile: as it is kept, else made from what is below it."""
        found = self._read.get(tile)
        if found is None:
            found = self._read[tile] = self._kept(tile) or self._made(tile)
        return found

    def leaves(self, start: int, end: int) -> list[bytes]:
        """The leaves [start, end), counted from 0."""
        leaves = [bytes(row[0]) for row in self._session.rows(_LEAVES, (start, end))]
        if len(leaves) != end - start:
            raise TreeDamaged("records are missing")
        return leaves

    def _kept(self, tile: Tile) -> bytes | None:
        if tile.width != TILE_WIDTH:
            return None
        rows = self._session.rows(_TILE, (tile.level, tile.index))
        if rows and len(rows[0][0]) != TILE_WIDTH * HASH_BYTES:
            raise TreeDamaged(f"tile {tile.level}/{tile.index} has another length than a tile")
        return bytes(rows[0][0]) if rows else None

    def _made(self, tile: Tile) -> bytes:
        start = tile.index * TILE_WIDTH
        if tile.level == 0:
            return self._leaf_hashes(start, start + tile.width)
        below = (self.fetch(Tile(tile.level - 1, start + i)) for i in range(tile.width))
        return b"".join(perfect_root(_hashes(each)) for each in below)

    def _leaf_hashes(self, start: int, end: int) -> bytes:
        rows = self._session.rows(_LEAF_HASHES, (bytes((FIRST_VERSION,)), start, end))
        if len(rows) != end - start:
            raise TreeDamaged("records are missing")
        return b"".join(bytes(digest) if first is None else leaf_hash(bytes(first)) for digest, first in rows)


def keep_tiles(database: Database, size: int, *, between: Callable[[], None] = lambda: None) -> None:
    """Keep every full tile of the tree of the first `size` records.

    Several processes may do so at once. No transaction is long: the log goes on being written. `between` is called
    between any two; it may raise to end the work, which then goes on the next time. Raises `StorageUnavailable`,
    `TreeDamaged`.
    """
    for level, tiles in _full_tiles(size):
        with database.reading(Store.AUDIT) as session:
            first = session.rows(_NEXT_TILE, (level,))[0][0]
        for start in range(first, tiles, _TILES_AT_ONCE):
            between()
            numbers = range(start, min(start + _TILES_AT_ONCE, tiles))
            with database.reading(Store.AUDIT) as session:
                tree = StoredTree(session, size)
                rows = [(level, number, tree.fetch(Tile(level, number))) for number in numbers]
            with database.session(Store.AUDIT) as session:
                session.begin()
                session.run_many(_KEEP_TILE, rows)
                session.commit()


def _full_tiles(size: int) -> Iterator[tuple[int, int]]:
    """Each level of a tree that has full tiles, and how many."""
    level = 0
    while tiles := size >> TILE_HEIGHT * (level + 1):
        yield level, tiles
        level += 1


def _hashes(tile: bytes) -> list[bytes]:
    return [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]
