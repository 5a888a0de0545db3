"""A witness that is a directory on another disk or machine: it keeps every checkpoint in a file of its own.

It cannot judge for itself, so what it holds is compared with the log here. Whoever verifies reads it there.
"""

from pathlib import Path
from typing import Final

from minispine.audit.checkpoint import Checkpoint
from minispine.audit.declaration import log_name
from minispine.audit.note import MAX_NOTE_BYTES
from minispine.audit.outside import LATEST, keep_in_history, read_plain, write_whole
from minispine.audit.witnesses.recipient import Offer, Refused, Unreachable
from minispine.config.settings import DirectoryWitness

_MODE: Final = 0o644


class DirectoryRecipient:
    """A directory that is offered every checkpoint. It is not made here: a disk that is not mounted has none."""

    def __init__(self, settings: DirectoryWitness) -> None:
        self.name: Final = settings.name
        self.called: Final = f"witness {settings.name}"
        self._folder = settings.directory

    def take(self, offer: Offer) -> str:
        """See `Recipient.take`."""
        try:
            if not self._folder.is_dir():
                raise Unreachable("its directory is not there")
            self._compare(offer)
            keep_in_history(self._folder, offer.stored, mode=_MODE)
            write_whole(self._folder / LATEST, offer.stored.note.encode(), mode=_MODE)
        except OSError as error:
            raise Unreachable(f"its directory cannot be used: {(error.strerror or 'unknown').lower()}") from None
        return offer.stored.note

    def _compare(self, offer: Offer) -> None:
        seen = latest_in(self._folder)
        if seen is None:
            if offer.before.number:
                raise Refused(
                    "what was written to its directory is gone: is the disk mounted?"
                    " To begin anew, give the witness another name"
                )
            return
        if seen.origin == offer.checkpoint.origin:
            offer.check_extends(seen)
        elif not _earlier(seen.origin, offer):
            raise Refused("its directory holds the checkpoints of another log")


def latest_in(folder: Path) -> Checkpoint | None:
    """What the newest checkpoint in a folder says; its signature is not looked at. Raises `Refused`, `OSError`."""
    try:
        note = read_plain(folder / LATEST, MAX_NOTE_BYTES).decode()
        return Checkpoint.decode(note[: note.index("\n\n") + 1])
    except FileNotFoundError:
        return None
    except ValueError:
        raise Refused(f"the file {LATEST} in its directory is not a checkpoint") from None


def _earlier(origin: str, offer: Offer) -> bool:
    """Whether it is the name of an earlier epoch of the log that is offered, which may have lost what that one had."""
    epoch = offer.stored.epoch
    first = offer.checkpoint.origin.removesuffix(f"/{epoch}") if epoch > 1 else offer.checkpoint.origin
    return origin in {log_name(first, each) for each in range(1, epoch)}
