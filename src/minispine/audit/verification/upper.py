"""The tiles above the lowest level, which are made of what the tiles below them come to."""

from collections.abc import Sequence
from typing import Final

from minispine.audit.merkle import HASH_BYTES, perfect_root
from minispine.audit.tiles import TILE_HEIGHT, TILE_WIDTH, Tile
from minispine.audit.verification.findings import Broken
from minispine.audit.verification.sources import Source


class UpperTiles:
    """Compares the tiles of level 1 and above that are kept, as the tree grows."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._rows: Final[list[list[bytes]]] = []
        """Of each level, the hashes in the tile that is not yet full."""
        self._full: Final[list[int]] = []
        """And how many tiles are."""

    def take(self, blocks: Sequence[bytes], level: int = 1) -> Broken | None:
        """Take the next nodes of a level: of level 1, the roots over the next 256 leaves each."""
        if len(self._rows) < level:
            self._rows.append([])
            self._full.append(0)
        row = self._rows[level - 1]
        for block in blocks:
            row.append(block)
            if len(row) < TILE_WIDTH:
                continue
            found = self._difference(level, row)
            root = perfect_root(row)
            row.clear()
            self._full[level - 1] += 1
            found = found or self.take([root], level + 1)
            if found is not None:
                return found
        return None

    def finish(self) -> Broken | None:
        """The tree has come to its end: compare the tiles that are not full, where such are kept."""
        for level, row in enumerate(self._rows, 1):
            found = self._difference(level, row) if row else None
            if found is not None:
                return found
        return None

    def _difference(self, level: int, row: Sequence[bytes]) -> Broken | None:
        index = self._full[level - 1]
        kept = self._source.tile(Tile(level, index, len(row)))
        if kept is None or kept == b"".join(row):
            return None
        wrong = (i for i, ours in enumerate(row) if kept[i * HASH_BYTES : (i + 1) * HASH_BYTES] != ours)
        first = ((index * TILE_WIDTH + next(wrong, 0)) << (TILE_HEIGHT * level)) + 1
        return Broken(first, "tile", f"a tile of level {level} has another hash over the records from here on")
