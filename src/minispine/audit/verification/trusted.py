"""Checkpoints that were kept where those who keep the log could not change them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from minispine.audit.checkpoint import Checkpoint, CheckpointMalformed
from minispine.audit.note import MAX_NOTE_BYTES
from minispine.audit.outside import LATEST, NotPlain, notes_in, read_plain

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

    What else is in a directory is passed over, also a pipe; one that is named itself is read. Raises `NoCheckpoint` for
    a file that is none and a directory without any, and `OSError`.
    """
    in_folder = path.is_dir()
    taken = map(_read_plain, _files(path)) if in_folder else [_read(path)]
    found = [each for each in taken if each is not None]
    if not found:
        raise NoCheckpoint(f"{path} holds no checkpoint" if in_folder else f"{path} is not a checkpoint")
    return found


def _files(path: Path) -> Iterator[Path]:
    if (path / _PUBLISHED).is_dir():
        yield path / LATEST
        yield from notes_in(path / _HISTORY)
    else:
        yield from notes_in(path)


def _read(file: Path) -> Trusted | None:
    with file.open("rb") as stream:
        return _trusted(file, stream.read(MAX_NOTE_BYTES))


def _read_plain(file: Path) -> Trusted | None:
    try:
        return _trusted(file, read_plain(file, MAX_NOTE_BYTES))
    except NotPlain:
        return None


def _trusted(file: Path, content: bytes) -> Trusted | None:
    try:
        return Trusted.of(str(file), content.decode())
    except ValueError:
        return None
