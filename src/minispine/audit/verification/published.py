"""A log as it is published in files, as a verification reads it (C2SP tlog-tiles; see ``publishing.py``).

There are no payloads there. The checkpoint beside the tiles is whoever's who can write to them, so it proves nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from minispine.audit.note import MAX_NOTE_BYTES
from minispine.audit.outside import LATEST
from minispine.audit.tiles import TILE_WIDTH, Tile, decode_entries, entries_path
from minispine.audit.verification.chunk import Before, Followed, Row, follow
from minispine.audit.verification.findings import Broken
from minispine.audit.verification.sources import Head, KeptArchive, KeptCheckpoint
from minispine.audit.verification.trusted import NoCheckpoint, Trusted


class PublishedLog:
    """A log in the files of a directory, up to the checkpoint there: a `Source`."""

    head: Final[Head | None] = None
    has_payloads: Final = False

    def __init__(self, folder: Path, checkpoint: Trusted) -> None:
        self.records: Final = checkpoint.checkpoint.size
        self._folder = folder
        self._note = checkpoint.note

    @classmethod
    def open(cls, folder: Path) -> "PublishedLog":
        """The log in a directory; its latest epoch, where there are several. Raises `NoCheckpoint`, `OSError`."""
        epochs = [int(each.name) for each in folder.iterdir() if each.name.isascii() and each.name.isdigit()]
        if epochs:
            folder /= str(max(epochs))
        try:
            with (folder / LATEST).open("rb") as stream:
                return cls(folder, Trusted.of(str(folder / LATEST), stream.read(MAX_NOTE_BYTES).decode()))
        except (ValueError, FileNotFoundError):
            raise NoCheckpoint(f"{folder} holds no log with a checkpoint") from None

    def chunk(self, first: int, last: int, sizes: Sequence[int], payloads: bool) -> Followed:
        """Read and follow a chunk. Raises `OSError`."""
        starts = range(first - 1, last, TILE_WIDTH)
        tiles = {start // TILE_WIDTH: self._tile(0, start // TILE_WIDTH, last - start) for start in starts}
        before = Before()
        if first > 1:
            leaves = self._leaves(first - 1 - TILE_WIDTH, first - 1)
            before = Before.of(b"", leaves[-1]) if leaves else before
        return follow(
            self._rows(first, last),
            first=first,
            last=last,
            before=before,
            kept=False,
            tiles={index: tile for index, tile in tiles.items() if tile is not None},
            sizes=sorted({*sizes, *((self.records,) if last == self.records else ())}),
        )

    def checkpoints(self) -> Iterator[KeptCheckpoint]:
        """The one that the tiles are of."""
        yield KeptCheckpoint(self.records, self._note)

    def tile(self, tile: Tile) -> bytes | None:
        """A tile. Raises `OSError`."""
        return self._tile(tile.level, tile.index, tile.width)

    def removals(self) -> Mapping[int, int]:
        """None: there are no payloads."""
        return {}

    def archives(self) -> Sequence[KeptArchive]:
        """None: there are no payloads."""
        return ()

    def leaf(self, sequence: int) -> bytes | None:
        """None is looked up."""
        return None

    def payloads_within(self, first: int, last: int) -> Sequence[int]:
        """None: there are no payloads."""
        return ()

    def end(self) -> Broken | None:
        """Nothing more."""
        return None

    def _rows(self, first: int, last: int) -> Iterator[Row]:
        for start in range(first - 1, last, TILE_WIDTH):
            for number, leaf in enumerate(self._leaves(start, min(last, start + TILE_WIDTH)), start + 1):
                yield number, None, b"", leaf

    def _leaves(self, start: int, end: int) -> list[bytes]:
        """The leaves [start, end) of one bundle, counted from 0; fewer if they are not there."""
        content = self._content(entries_path(start // TILE_WIDTH, end - start))
        try:
            return decode_entries(content or b"")
        except ValueError:
            return []

    def _tile(self, level: int, index: int, width: int) -> bytes | None:
        return self._content(Tile(level, index, min(TILE_WIDTH, width)).path)

    def _content(self, path: str) -> bytes | None:
        try:
            return (self._folder / path).read_bytes()
        except FileNotFoundError:
            return None
