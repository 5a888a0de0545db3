"""Files outside the database that others read: written whole or not at all, and on the disk before anything goes on."""

import contextlib
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from minispine.audit.checkpointing import StoredCheckpoint
from minispine.keys.files import put_in_place, sync_folder

LATEST: Final = "checkpoint"
"""The name of the file with the newest checkpoint, as C2SP tlog-tiles has it."""


def write_whole(file: Path, content: bytes, *, mode: int) -> None:
    """Put a file in place whose reader sees the old content or the new, also after the power was cut.

    A file that has this content already is left as it is. Folders are made, for those to search who may read the file.
    Raises `OSError`.
    """
    with contextlib.suppress(FileNotFoundError):
        if file.read_bytes() == content:
            return
    make_folder(file.parent, mode=mode)
    put_in_place(file, content, mode=mode)


def make_folder(folder: Path, *, mode: int) -> None:
    """Make a folder, and those above it, for files of this mode. Raises `OSError`."""
    if folder.is_dir():
        return
    make_folder(folder.parent, mode=mode)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(mode | (mode & 0o444) >> 2 | 0o100)
    sync_folder(folder.parent)


def keep_in_history(folder: Path, stored: StoredCheckpoint, *, mode: int) -> None:
    """Keep a checkpoint for ever, in a file of its own: ``<year>-<month>/<epoch>-<size>-<seconds since 1970>``.

    Raises `OSError`.
    """
    at_s = stored.at // 1_000_000
    month = f"{datetime.datetime.fromtimestamp(at_s, datetime.UTC):%Y-%m}"
    name = f"{stored.epoch}-{stored.size}-{at_s}"
    write_whole(folder / month / name, stored.note.encode(), mode=mode)


def notes_in(folder: Path) -> Iterator[Path]:
    """Every file that may hold a checkpoint in the folder of a witness or of a history, the oldest month first.

    What another program left there is not told apart: whoever reads them opens each as a note. Raises `OSError`.
    """
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            yield from notes_in(entry)
        elif entry.is_file() and not entry.name.startswith("."):
            yield entry
