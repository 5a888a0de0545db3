"""The tiles above the lowest level, which are made of what the tiles below them come to."""

from collections.abc import Sequence

from minispine.audit.merkle import HASH_BYTES, perfect_root
from minispine.audit.tiles import TILE_HEIGHT, TILE_WIDTH
from minispine.audit.verification.findings import Broken
from minispine.audit.verification.sources import Source


class UpperTiles:
    """Compares the full tiles of level 1 and above that are kept, as the tree grows."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._rows: list[list[bytes]] = []
        self._numbers: list[int] = []

    def take(self, blocks: Sequence[bytes], level: int = 1) -> Broken | None:
        """Take the next nodes of a tile's level: the roots over the next 256 leaves each, for level 1."""
        if len(self._rows) < level:
            self._rows.append([])
            self._numbers.append(0)
        row = self._rows[level - 1]
        for block in blocks:
            row.append(block)
            if len(row) < TILE_WIDTH:
                continue
            found = self._difference(level, self._numbers[level - 1], row)
            root = perfect_root(row)
            row.clear()
            self._numbers[level - 1] += 1
            if found is None:
                found = self.take([root], level + 1)
            if found is not None:
                return found
        return None

    def _difference(self, level: int, index: int, row: Sequence[bytes]) -> Broken | None:
        kept = self._source.tile(level, index)
        if kept is None or kept == b"".join(row):
            return None
        different = next(
            (i for i, ours in enumerate(row) if kept[i * HASH_BYTES : (i + 1) * HASH_BYTES] != ours), TILE_WIDTH - 1
        )
        first = ((index * TILE_WIDTH + different) << (TILE_HEIGHT * level)) + 1
        return Broken(first, "tile", f"the tile of level {level} has another hash over the records from here on")
