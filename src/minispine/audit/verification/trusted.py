"""Checkpoints that were kept where those who keep the log could not change them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from minispine.audit.checkpoint import Checkpoint, CheckpointMalformed
from minispine.audit.note import MAX_NOTE_BYTES
from minispine.audit.outside import LATEST, notes_in

_PUBLISHED: Final = "tile"
_HISTORY: Final = "checkpoints"


class NoCheckpoint(Exception):
    """A file or directory holds no checkpoint. The text says which."""


class Trusted(msgspec.Struct, frozen=True):
    """A checkpoint from elsewhere: the note, what it says, which is not believed unsigned, and where it was found."""

    source: str
    note: str
    checkpoint: Checkpoint

    @classmethod
    def of(cls, source: str, note: str) -> "Trusted":
        """Raises `CheckpointMalformed`."""
        text, blank, _ = note.partition("\n\n")
        if not blank:
            raise CheckpointMalformed("a checkpoint is a signed note")
        return cls(source, note, Checkpoint.decode(f"{text}\n"))


def read(path: Path) -> list[Trusted]:
    """The checkpoint in a file, or every one in a directory, as a witness keeps them or as a log is published.

    What else is in a directory is passed over. Raises `NoCheckpoint` for a file that is none and a directory without
    any, and `OSError`.
    """
    found = [each for file in _files(path) if (each := _read(file)) is not None]
    if not found:
        raise NoCheckpoint(f"{path} holds no checkpoint" if path.is_dir() else f"{path} is not a checkpoint")
    return found


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
    elif (path / _PUBLISHED).is_dir():
        yield path / LATEST
        yield from notes_in(path / _HISTORY)
    else:
        yield from notes_in(path)


def _read(file: Path) -> Trusted | None:
    with file.open("rb") as stream:
        content = stream.read(MAX_NOTE_BYTES)
    try:
        return Trusted.of(str(file), content.decode())
    except ValueError:
        return None
