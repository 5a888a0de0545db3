"""Checkpoints that were kept where those who keep the log could not change them."""

from pathlib import Path

import msgspec

from minispine.audit.checkpoint import Checkpoint, CheckpointMalformed

_MOST_BYTES = 1_000_000


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
    """The checkpoint in a file, or every one in a directory: in itself, and in its ``checkpoints``.

    Raises `NoCheckpoint`, also for a directory without any; files in a directory that are no checkpoints are passed
    over. Raises `OSError`.
    """
    if path.is_dir():
        files = sorted(file for folder in (path, path / "checkpoints") if folder.is_dir() for file in folder.iterdir())
        found = [each for file in files if file.is_file() and (each := _read(file)) is not None]
        if not found:
            raise NoCheckpoint(f"{path} holds no checkpoint")
        return found
    one = _read(path)
    if one is None:
        raise NoCheckpoint(f"{path} is not a checkpoint")
    return [one]


def _read(file: Path) -> Trusted | None:
    with file.open("rb") as stream:
        content = stream.read(_MOST_BYTES)
    try:
        return Trusted.of(str(file), content.decode())
    except ValueError:
        return None
