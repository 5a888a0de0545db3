"""Files outside the database that others read: written whole or not at all, and on the disk before anything goes on."""

import contextlib
import datetime
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from minispine.audit.checkpointing import StoredCheckpoint
from minispine.keys.files import put_in_place, sync_folder

LATEST: Final = "checkpoint"
"""The name of the file with the newest checkpoint, as C2SP tlog-tiles has it."""


class NotPlain(OSError):
    """A pipe, a device or a folder, where a file should be."""


def read_plain(file: Path, most_bytes: int) -> bytes:
    """The beginning of a file that others can write: so many bytes at most, and nothing of what is not a plain file.

    A pipe would have its reader wait for ever, and a device need not have an end. Raises `OSError`, `NotPlain`.
    """
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise NotPlain(errno.EINVAL, "not a plain file")
        with os.fdopen(handle, "rb", closefd=False) as stream:
            return stream.read(most_bytes)
    finally:
        os.close(handle)


def write_whole(file: Path, content: bytes, *, mode: int) -> None:
    """Put a file in place whose reader sees the old content or the new, also after the power was cut.

    A file that has this content already is left as it is. Folders are made, for those to search who may read the file.
    Raises `OSError`, `NotPlain` for a name that is there already and is no file's.
    """
    with contextlib.suppress(FileNotFoundError):
        if read_plain(file, len(content) + 1) == content:
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
