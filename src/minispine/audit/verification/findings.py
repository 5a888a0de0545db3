"""What a verification comes to: the log is intact, or where it is not, and what was noticed besides."""

from typing import Final, Literal

import msgspec

Check = Literal[
    "sequence",
    "leaf",
    "hash",
    "chain",
    "exchange",
    "sealed-time",
    "payload",
    "removal",
    "archive",
    "tile",
    "declaration",
    "checkpoint",
    "trusted-checkpoint",
    "key",
    "head",
    "proof",
    "file",
]
"""By what a change shows.

``sequence``            the numbers go from 1 up without a gap
``leaf``                the leaf can be read, names its own number, and no older form follows a newer
``hash``, ``chain``     the hash beside the leaf is the leaf's; in the first release, it chains it to the one before
``exchange``            the column by which an exchange is found says what the leaf does
``sealed-time``         sealed time does not go back
``payload``             the payload is the one that was committed to, and its key is kept and, where the keys are at
                        hand, is the right one; where it is missing, a record says why
``removal``             a removal of a payload has its record, which both authorities have signed
``archive``             an archive has its record, and the file given is the one that it names
``tile``                the tile kept of the tree has these hashes
``declaration``         the log's keys are stated where and as they have to be, and signed by those before them
``checkpoint``          each checkpoint is signed by the key in force, is of this tree, and none is missing
``trusted-checkpoint``  so is each that was kept elsewhere, and what a restored log says was lost agrees with it
``key``                 the key known from elsewhere is the log's, and so is the origin
``head``                the head is the last record, and the tree over all
``proof``, ``file``     an export is in the tree of its checkpoint, and in the form in which it is written
"""

UNVERIFIED: Final = "consistent, not proven"


class Broken(msgspec.Struct, frozen=True):
    """The first record that is not as it was written, by which check it showed, and what was found.

    Where a check is of many records at once, as a checkpoint's is, `sequence` is the first that it can be. `detail`
    quotes nothing of a record.
    """

    sequence: int
    check: Check
    detail: str = ""


class Unrecorded(msgspec.Struct, frozen=True):
    """The first change of the registry of which a log that holds together has no record."""

    kind: str
    key: str
    version: int


class Observation(msgspec.Struct, frozen=True):
    """Something that is no sign of tampering by itself, and that whoever verifies should know.

    `kind` says what: clock, started, stopped, removed, archived, checkpoints, tiles, restored, key or open. `sequence`
    is 0 where it is of no one record.
    """

    kind: str
    sequence: int
    text: str


class Proof(msgspec.Struct, frozen=True):
    """What is proven, and by what: records 1 to `size` are those that the checkpoint `source` was made over."""

    size: int
    source: str


class Verified(msgspec.Struct, frozen=True):
    """Everything holds together: how many records there are, and the root of the tree over them.

    It is proven only as far as `proof` goes. Without one the log is `UNVERIFIED`: somebody who can write to all of it,
    and has its keys, can make such a log anew. So it is while there are `doubts`: what the log says of itself and
    nobody else has confirmed, each in words that say how it can be.
    """

    records: int
    root: bytes
    proof: Proof | None = None
    observations: tuple[Observation, ...] = ()
    doubts: tuple[str, ...] = ()


Result = Verified | Broken | Unrecorded
