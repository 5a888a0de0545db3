"""The file of evidence: UTF-8, one JSON object a line, each in the one form in which it is written here.

The first line is the `Heading`, then comes a `Line` for each record in order, and in the end the `Ending`. Bytes are in
base64 with padding (RFC 4648, section 4).
"""

import hashlib
from typing import Any, Final, TypeVar

import msgspec

FORM: Final = "minispine audit evidence 1"
MOST_LINE_BYTES: Final = 256 * 1024 * 1024
"""More than any record with its messages."""

T = TypeVar("T", bound=msgspec.Struct)
_encode: Final = msgspec.json.Encoder().encode


class Placed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record from outside the period: its leaf, and the proof that it is in the tree (RFC 6962, section 2.1.1).

    `version` is the first byte of the leaf, `leaf` the rest, which is JSON. The proof is null for a record that was
    written after the checkpoint.
    """

    sequence: int
    version: int
    leaf: str
    proof: list[bytes] | None


class Heading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is proven of the records, and by what.

    With `left`, the roots of the perfect subtrees over the records before the first, the largest first, and the hashes
    of the records, a tree is built up to the last; with `right`, the roots of the perfect subtrees over the records
    after it, each the largest that fits, up to the size of the checkpoint, whose root it then has to have.
    """

    form: str
    first: int
    last: int
    checkpoint: str
    """The signed note of the log."""
    left: list[bytes]
    right: list[bytes]
    declarations: list[Placed]
    """Every record up to the checkpoint that states the log's keys, in order."""
    explanations: list[Placed]
    """The records that say why payloads of the period are not there."""


class Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept beside a record (see ``encoding.py`` and ``vault.py``).

    With `data_key` it can be read by whoever has the file; otherwise there is the key as it is kept, `wrapped`, for
    those who have the log's master keys. Neither is there in records of the first release, which are in the clear.
    """

    salt: bytes
    private: bytes | None
    bodies: bytes | None
    wrapped: bytes | None
    data_key: bytes | None


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One record: its number, the hash of its leaf in the tree, the leaf as in `Placed`, and the payload."""

    sequence: int
    hash: bytes
    version: int
    leaf: str
    payload: Payload | None


class Ending(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The SHA-256 of everything before, in hex, so that no byte can change unnoticed."""

    sha256: str


class Malformed(ValueError):
    """A line that is not in the form in which it is written. The message quotes nothing of it."""


def encode(line: msgspec.Struct) -> bytes:
    """A line with its end."""
    return _encode(line) + b"\n"


def decode(line: bytes, kind: type[T]) -> T:
    """The inverse of `encode`. Raises `Malformed` for anything else, also another form of the same."""
    try:
        found: T = msgspec.json.decode(line, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise Malformed("a line is not what it should be") from None
    if encode(found) != line:
        raise Malformed("a line is not in the form in which it is written")
    return found


def leaf_of(line: Line | Placed) -> bytes:
    """The leaf as it was hashed. Raises `Malformed` for what cannot be one."""
    if not 0 <= line.version < 256:
        raise Malformed("a leaf has no such version")
    return bytes((line.version,)) + line.leaf.encode("utf-8", "surrogatepass")


def digest() -> Any:
    """The hash that the ending is of."""
    return hashlib.sha256()
