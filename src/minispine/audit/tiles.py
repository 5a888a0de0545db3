"""Tiles and entry bundles: how a log is laid out in files for others to read (C2SP tlog-tiles).

A tile holds up to 256 hashes, side by side at one level of the tree: tile (level, index) holds the nodes
(8 * level, index * 256 + i) for i below its width. Only those at every eighth level are kept; `TileHashes` computes the
rest. A bundle holds the entries whose hashes are in the tile of level 0 with its index.

Here are the names and the bytes. Where they are written, and what a `HashReader` reads from, is elsewhere.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from minispine.audit.merkle import HASH_BYTES, HashReader, perfect_root

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
MAX_ENTRY_BYTES: Final = 65535
"""What an entry's length of two bytes can say."""

_LEVELS: Final = 64
_LENGTH_BYTES: Final = 2
_PATH: Final = re.compile(r"tile/([0-9]{1,2})/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([0-9]{1,3}))?")


@dataclass(frozen=True, slots=True)
class Tile:
    """The name of a tile: its level, its index in the level, and how many hashes it has: 256 when it is full.

    Raises `ValueError` for a level that is not 0 to 63, a negative index and a width that is not 1 to 256.

    `Tile.parse(t.path) == t` and `Tile.parse(p).path == p`
    """

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not (0 <= self.level < _LEVELS and self.index >= 0 and 1 <= self.width <= TILE_WIDTH):
            raise ValueError("there is no such tile")

    @property
    def path(self) -> str:
        """Where it is, below the log's prefix: ``tile/<level>/<index>[.p/<width>]``."""
        return f"tile/{self.level}/{_place(self.index, self.width)}"

    @classmethod
    def parse(cls, path: str) -> "Tile":
        """The tile at a path. Raises `ValueError` for a path that no tile has."""
        match = _PATH.fullmatch(path)
        if match is None:
            raise ValueError("this is not the path of a tile")
        level, index, width = match.groups()
        digits = index.replace("/", "").replace("x", "")
        tile = cls(int(level), int(digits), TILE_WIDTH if width is None else int(width))
        if tile.path != path:
            raise ValueError("this is not the path of a tile")
        return tile


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """Where the bundle is with the entries of the tile (0, index, width). Raises `ValueError` as `Tile` does."""
    tile = Tile(0, index, width)
    return f"tile/entries/{_place(tile.index, tile.width)}"


def _place(index: int, width: int) -> str:
    """An index in elements of three digits, all but the last after an x, so that no file has a directory's name."""
    index, last = divmod(index, 1000)
    place = f"{last:03}"
    while index:
        index, digits = divmod(index, 1000)
        place = f"x{digits:03}/{place}"
    return place if width == TILE_WIDTH else f"{place}.p/{width}"


def tiles_between(old_size: int, new_size: int) -> Iterator[Tile]:
    """The tiles of a tree that a tree of an older size does not have: those that are new, and those that are wider.

    From 0 they are all that a tree consists of. The bundles that are new are those of the tiles of level 0. Raises
    `ValueError` when the older tree is the larger.
    """
    if not 0 <= old_size <= new_size:
        raise ValueError("the older tree is the larger")
    for level in range(_LEVELS):
        old, new = old_size >> TILE_HEIGHT * level, new_size >> TILE_HEIGHT * level
        if old == new:
            return
        full, rest = divmod(new, TILE_WIDTH)
        for index in range(old // TILE_WIDTH, full):
            yield Tile(level, index)
        if rest:
            yield Tile(level, full, rest)


def read_tile(reader: HashReader, tile: Tile) -> bytes:
    """The bytes of a tile: its hashes, one after the other."""
    start = tile.index * TILE_WIDTH
    return b"".join(reader.read(TILE_HEIGHT * tile.level, start + i) for i in range(tile.width))


class TileHashes:
    """The hashes of a tree of `size` leaves, from its tiles: a `HashReader`.

    `fetch` gives the bytes of a tile. It is asked for those of this size only, and each time one is needed: put a cache
    (``functools.lru_cache``) around one that is slow.

    The tiles are believed: what is computed from them has to be checked against a signed root.
    """

    def __init__(self, fetch: Callable[[Tile], bytes], size: int) -> None:
        self.size: Final = size
        self._fetch = fetch

    def read(self, level: int, index: int) -> bytes:
        """The hash of the node (level, index).

        Raises `ValueError` for a node whose leaves the tree does not all have, and for a tile of another length than
        its width.
        """
        if level < 0 or index < 0 or (index + 1) << level > self.size:
            raise ValueError("the tree has no such node")
        tile_level, height = divmod(level, TILE_HEIGHT)
        tile_index, start = divmod(index << height, TILE_WIDTH)
        width = min(TILE_WIDTH, (self.size >> TILE_HEIGHT * tile_level) - tile_index * TILE_WIDTH)
        tile = self._fetch(Tile(tile_level, tile_index, width))
        if len(tile) != width * HASH_BYTES:
            raise ValueError("the tile is not of its width")
        ends = range(start * HASH_BYTES, (start + (1 << height)) * HASH_BYTES, HASH_BYTES)
        return perfect_root([tile[at : at + HASH_BYTES] for at in ends])


def encode_entries(leaves: Iterable[bytes]) -> bytes:
    """A bundle: each entry after its length in two bytes.

    Raises `ValueError` for an entry of more than `MAX_ENTRY_BYTES` and for more than 256 entries.

    `decode_entries(encode_entries(e)) == list(e)`
    """
    parts: list[bytes] = []
    for leaf in leaves:
        if len(leaf) > MAX_ENTRY_BYTES:
            raise ValueError("the entry is too long")
        parts += (len(leaf).to_bytes(_LENGTH_BYTES), leaf)
    if len(parts) > 2 * TILE_WIDTH:
        raise ValueError("a bundle has at most 256 entries")
    return b"".join(parts)


def decode_entries(bundle: bytes) -> list[bytes]:
    """The entries of a bundle. Raises `ValueError` for one that is cut short and for more than 256 entries."""
    entries = []
    at = 0
    while at < len(bundle):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(bundle[at:start])
        if at > len(bundle):
            raise ValueError("the bundle is cut short")
        entries.append(bundle[start:at])
    if len(entries) > TILE_WIDTH:
        raise ValueError("a bundle has at most 256 entries")
    return entries
