"""The keys of a log as its own records state them, one declaration after another, and the checkpoints they sign."""

from typing import Any, Final

import msgspec

from minispine.audit import declaration
from minispine.audit.checkpoint import Checkpoint, CheckpointMalformed, open_checkpoint
from minispine.audit.declaration import Declaration, DeclarationInvalid, log_name
from minispine.audit.events import EventType
from minispine.audit.note import CosignatureVerifier, NoteMalformed, NoteUnverified, Verifier, cosigned_at_s, open_note
from minispine.audit.verification.findings import Broken


class Restored(msgspec.Struct, frozen=True):
    """Where an epoch begins: the record that says so, and what it says was lost of the one before."""

    sequence: int
    epoch: int
    first_lost: int | None
    last_lost: int | None
    approved_by: str
    checkpoint: str | None
    """The last one of the epoch before that somebody outside had."""

    def covers(self, size: int) -> bool:
        """Whether it says that the last of so many records of the epoch before was lost, or could be."""
        return self.first_lost is not None and self.first_lost <= size and size <= (self.last_lost or size)

    @property
    def lost(self) -> str:
        """What was lost, in words."""
        if self.first_lost is None:
            return "nothing that was seen outside was lost"
        last = "an unknown one" if self.last_lost is None else self.last_lost
        return f"records {self.first_lost} to {last} of epoch {self.epoch - 1} were lost"


class StatedKeys:
    """The declarations of a log, taken in order."""

    def __init__(self) -> None:
        self.declarations: Final[list[tuple[int, Declaration]]] = []
        self.restored: Final[list[Restored]] = []

    @property
    def last(self) -> Declaration | None:
        """The keys in force after what was taken so far."""
        return self.declarations[-1][1] if self.declarations else None

    @property
    def declared(self) -> int:
        """The record that states them, 0 when there is none."""
        return self.declarations[-1][0] if self.declarations else 0

    def take(self, sequence: int, event: dict[str, Any]) -> Broken | None:
        """Take the next record that states keys."""
        before = self.last
        try:
            stated = declaration.signed_by(declaration.note_of(event) or "", before)
        except DeclarationInvalid as error:
            return Broken(sequence, "declaration", str(error))
        wrong = self._wrong(sequence, event, before, stated)
        if wrong is not None:
            return Broken(sequence, "declaration", wrong)
        if event["type"] == EventType.AUDIT_RESTORED:
            place = {"sequence": sequence, "epoch": stated.epoch}
            try:
                restored = msgspec.convert(event["data"] | place, Restored)
            except msgspec.ValidationError:
                return Broken(sequence, "declaration", "the record of a restoration does not say what was lost")
            if before is None or not _consistent(restored, before):
                return Broken(sequence, "declaration", "what was lost is not what the checkpoint shows that it names")
            self.restored.append(restored)
        self.declarations.append((sequence, stated))
        return None

    def known(self, name: str) -> bool:
        """Whether a checkpoint's origin is this log's, in whatever epoch."""
        return self.epoch_of(name) is not None

    def epoch_of(self, name: str) -> int | None:
        """Of which epoch of this log a checkpoint is, None if it is of another log."""
        if not self.declarations:
            return None
        origin = self.declarations[0][1].origin
        if name == origin:
            return 1
        number = name.removeprefix(f"{origin}/")
        return int(number) if number.isascii() and number.isdigit() and log_name(origin, int(number)) == name else None

    def key_of(self, epoch: int) -> Verifier | None:
        """The last key of an epoch."""
        return next((each.log_key for _, each in reversed(self.declarations) if each.epoch == epoch), None)

    def end_of(self, epoch: int) -> int | None:
        """The last record of an epoch, or of what is left of it; None for the one that the log is in."""
        return next((each.sequence - 1 for each in self.restored if each.epoch == epoch + 1), None)

    @staticmethod
    def _wrong(sequence: int, event: dict[str, Any], before: Declaration | None, stated: Declaration) -> str | None:
        if event["type"] == EventType.AUDIT_BEGUN:
            if before is not None:
                return "the log begins a second time"
            if event["data"].get("earlier_records") != sequence - 1:
                return "the log says that it began after another number of records"
            return None if stated.epoch == 1 else "the first epoch is not 1"
        if before is None:
            return "keys are changed that were never stated"
        if stated.origin != before.origin:
            return "the keys are for another log"
        if stated.epoch - before.epoch != (event["type"] == EventType.AUDIT_RESTORED):
            return "the epoch is not the next"
        return None


def _consistent(restored: Restored, before: Declaration) -> bool:
    """Whether what is said to be lost are the records from this one to the last that the checkpoint is over."""
    if restored.first_lost not in (None, restored.sequence):
        return False
    if restored.checkpoint is None:
        return restored.last_lost is None
    try:
        seen = open_checkpoint(restored.checkpoint, before.log_key)
    except ValueError:
        return False
    if restored.first_lost is None:
        return restored.last_lost is None and seen.size < restored.sequence
    return restored.last_lost == seen.size


def wrong_with(note: str, *, key: Verifier, size: int, root: bytes | None, at: int | None = None) -> str | None:
    """What is wrong with a checkpoint that should be signed by a key and be over a tree; None if it is as it should be.

    `root` is None where it is not known. `at` is when it is said to have been made, in microseconds since 1970: it has
    to be the time that the log has signed with it.
    """
    timed = CosignatureVerifier(key.name, key.public_key)
    try:
        opened = open_note(note, [key, timed])
        checkpoint = Checkpoint.decode(opened.text)
    except (NoteUnverified, NoteMalformed, CheckpointMalformed) as error:
        return str(error)
    signed = {(each.name, each.key_id): each for each in opened.verified}
    if (key.name, key.key_id) not in signed:
        return "the log's key has not signed it"
    if checkpoint.origin != key.name:
        return "it is of another log than its key"
    if checkpoint.size != size:
        return "it is over another number of records than is said beside it"
    if root is not None and checkpoint.root != root:
        return f"the first {size} records have another root"
    cosigned = signed.get((timed.name, timed.key_id))
    if at is not None and cosigned is not None and cosigned_at_s(cosigned) != max(0, at // 1_000_000):
        return "it was made at another time than is said beside it"
    return None
