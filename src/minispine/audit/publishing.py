"""Publishing the log in a directory, where others can check it with tools of their own (C2SP tlog-tiles).

::

    checkpoint                   the newest checkpoint, put in place last of all
    tile/<level>/<index>         the hashes of the tree
    tile/entries/<index>         the leaves that they are hashes of, without any payload
    checkpoints/<month>/<file>   every checkpoint
    <epoch>/...                  the same of each later epoch of the log

A leaf holds no patient datum, but who used the system and when: the files are for our own account and its group.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from minispine.audit.outside import LATEST, keep_in_history, make_folder, write_whole
from minispine.audit.tiles import TILE_WIDTH, Tile, encode_entries, entries_path, tiles_between
from minispine.audit.tree import StoredTree
from minispine.audit.witnesses.directory import latest_in
from minispine.audit.witnesses.recipient import Offer, Refused, Unreachable

NAME: Final = "(published)"
"""Under this it is remembered what was published; no witness can have the name."""

_MODE: Final = 0o640
_HISTORY: Final = "checkpoints"


class Publication:
    """The directory in which a log is published: a recipient of its checkpoints like a witness.

    It goes forward only. What was published is what others may have read, so a log that does not extend it is not
    published over it.
    """

    def __init__(self, directory: Path) -> None:
        self.name: Final = NAME
        self.called: Final = "the published log"
        self._directory = directory

    def take(self, offer: Offer) -> str:
        """See `Recipient.take`."""
        try:
            make_folder(self._directory, mode=_MODE)
            with self._alone():
                self._publish(offer)
        except OSError as error:
            raise Unreachable(f"its directory cannot be used: {(error.strerror or 'unknown').lower()}") from None
        return offer.stored.note

    def _publish(self, offer: Offer) -> None:
        stored = offer.stored
        log = self._directory if stored.epoch == 1 else self._directory / str(stored.epoch)
        seen = latest_in(log)
        if seen is not None:
            if seen.origin != offer.checkpoint.origin:
                raise Refused("its directory holds another log")
            offer.check_extends(seen)
        new = list(tiles_between(seen.size if seen is not None else 0, stored.size))
        for tile in new:
            _write_tile(log, tile, offer)
        keep_in_history(self._directory / _HISTORY, stored, mode=_MODE)
        write_whole(log / LATEST, stored.note.encode(), mode=_MODE)
        for tile in new:
            # Narrower ones belong to checkpoints whose readers find this one now.
            if tile.width == TILE_WIDTH:
                for path in _paths(tile):
                    shutil.rmtree(log / f"{path}.p", ignore_errors=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Of several processes one publishes; the others' checkpoints are in its next one."""
        lock = os.open(self._directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise Unreachable("another process is publishing") from None
        finally:
            os.close(lock)


def _write_tile(log: Path, tile: Tile, offer: Offer) -> None:
    """Write a tile, and at level 0 the entries that its hashes are of."""

    def content(tree: StoredTree) -> tuple[bytes, list[bytes]]:
        start = tile.index * TILE_WIDTH
        leaves = tree.leaves(start, start + tile.width) if tile.level == 0 else []
        return tree.fetch(tile), leaves

    hashes, leaves = offer.of_tree(content)
    try:
        contents = [hashes, encode_entries(leaves)]
    except ValueError:
        raise Refused("a record is longer than an entry may be") from None
    for path, written in zip(_paths(tile), contents, strict=False):
        write_whole(log / path, written, mode=_MODE)


def _paths(tile: Tile) -> list[str]:
    """Where a tile is and, at level 0, its entries."""
    return [tile.path, entries_path(tile.index, tile.width)] if tile.level == 0 else [tile.path]
