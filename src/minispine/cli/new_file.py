"""A file that a command writes: a new one, for its owner only, and whole or not there at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from minispine.cli.errors import Mistaken


def check_new(file: Path) -> None:
    """Return if there is no such file yet; asked before anything else is done. Raises `Mistaken`."""
    if file.exists():
        raise Mistaken(f"{file}: is there already")


@contextmanager
def new_file(file: Path) -> Iterator[BinaryIO]:
    """The file, on the disk in the end, or gone again if writing it fails: nobody takes a half for the whole of it.

    Raises `OSError`, also where somebody else made it meanwhile.
    """
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as stream:
        try:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        except BaseException:
            file.unlink(missing_ok=True)
            raise
