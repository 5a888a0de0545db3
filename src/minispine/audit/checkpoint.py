"""Checkpoints: what a log says of itself, to be signed as a note (C2SP tlog-checkpoint).

A checkpoint is the log's name, its size, its root and any extension lines, each on a line. When checkpoints are made
and where they go is not decided here.

A checkpoint does not say when it was made, so that of a log to which nothing was added would always be the same. The
log's key can therefore sign it twice: the text, as the format wants it, and the text with the time, as a cosignature
(C2SP tlog-cosignature) under the same name. Whoever knows the first kind only ignores the second.
"""

import base64
import re
from dataclasses import dataclass
from typing import Final

from minispine.audit.merkle import EMPTY_ROOT, HASH_BYTES
from minispine.audit.note import (
    CosignatureVerifier,
    Cosigner,
    NoteMalformed,
    NoteUnverified,
    Signer,
    Verifier,
    cosigned_at_s,
    decode_base64,
    open_note,
    sign,
    write_note,
)

MAX_SIZE: Final = 2**63 - 1
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\ud800-\udfff]")


class CheckpointMalformed(NoteMalformed):
    """What is not a checkpoint. The message quotes nothing of it."""


class OriginMismatch(NoteUnverified):
    """A checkpoint of another log than the one whose key has signed it."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a log: of the log `origin`, that at `size` leaves its root is `root`.

    Raises `CheckpointMalformed` for an origin or extension that is not one line of text, a size that is negative or of
    more than 63 bits, a root that is not 32 bytes, and an empty log with another root than that of the empty tree.

    `Checkpoint.decode(c.encode()) == c` and `Checkpoint.decode(t).encode() == t`
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(line and not _CONTROL.search(line) for line in (self.origin, *self.extensions)):
            raise CheckpointMalformed("an origin or extension is one line of text")
        if not 0 <= self.size <= MAX_SIZE:
            raise CheckpointMalformed("the size is out of range")
        if len(self.root) != HASH_BYTES:
            raise CheckpointMalformed("a root has 32 bytes")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise CheckpointMalformed("an empty log has the root of the empty tree")

    def encode(self) -> str:
        """The text of the note."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def decode(cls, text: str) -> "Checkpoint":
        """The checkpoint that the text of a note holds. Raises `CheckpointMalformed` for any other text."""
        if not text.endswith("\n"):
            raise CheckpointMalformed("a checkpoint ends with a newline")
        lines = text[:-1].split("\n")
        if len(lines) < 3:
            raise CheckpointMalformed("a checkpoint has an origin, a size and a root")
        origin, size, root, *extensions = lines
        if not _SIZE.fullmatch(size):
            raise CheckpointMalformed("the size is not a decimal number")
        try:
            return cls(origin, int(size), decode_base64(root), tuple(extensions))
        except CheckpointMalformed:
            raise
        except ValueError:
            raise CheckpointMalformed("the root is not base64") from None


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer, *, at_s: int | None = None) -> str:
    """A checkpoint as a note signed by its log.

    With `at_s`, in seconds since 1970 UTC, the log says too when it made it.

    Raises `OriginMismatch` when the signer's name is not the origin: here a log and its key have one name.

    `open_checkpoint(sign_checkpoint(c, s), s.verifier) == c`
    `signed_at_s(sign_checkpoint(c, s, at_s=t), s.verifier) == t`
    """
    _check_origin(checkpoint, signer.name)
    text = checkpoint.encode()
    if at_s is None:
        return sign(text, [signer])
    cosigner = Cosigner(signer.name, signer.private_key)
    return write_note(text, [signer.sign(text.encode()), cosigner.cosign(text.encode(), at_s)])


def open_checkpoint(note: str | bytes, verifier: Verifier) -> Checkpoint:
    """The checkpoint in a note that the log has signed; other signatures are not looked at.

    Raises `NoteMalformed`, `CheckpointMalformed`, `SignatureInvalid`, `NoteUnverified` (see `open_note`), and
    `OriginMismatch` when it speaks of another log than the key is of.
    """
    checkpoint = Checkpoint.decode(open_note(note, [verifier]).text)
    _check_origin(checkpoint, verifier.name)
    return checkpoint


def signed_at_s(note: str | bytes, verifier: Verifier) -> int | None:
    """When the log says that it made a checkpoint, in seconds since 1970 UTC; None where it does not say.

    Raises as `open_checkpoint` does, and `SignatureInvalid` when the log's cosignature is wrong.
    """
    open_checkpoint(note, verifier)
    timed = CosignatureVerifier(verifier.name, verifier.public_key)
    found = [each for each in open_note(note, [verifier, timed]).verified if each.key_id == timed.key_id]
    return cosigned_at_s(found[0]) if found else None


def _check_origin(checkpoint: Checkpoint, name: str) -> None:
    if checkpoint.origin != name:
        raise OriginMismatch("the checkpoint is of another log than its key")
