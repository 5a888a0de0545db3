"""What a verification reads from: a log, wherever it is kept. Databases are in ``stored.py``."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from minispine.audit.tiles import Tile
from minispine.audit.verification.chunk import Followed
from minispine.audit.verification.findings import Broken


class KeptCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint as it is kept beside the log. `number`, `at` and `epoch` are None where only notes are kept."""

    size: int
    note: str
    number: int | None = None
    at: int | None = None
    epoch: int | None = None


class KeptArchive(msgspec.Struct, frozen=True):
    """What the database says of one file of archived payloads."""

    first: int
    last: int
    name: str
    digest: bytes
    record: int


class Head(msgspec.Struct, frozen=True):
    """What is kept of the last record."""

    sequence: int
    sealed_at: int
    hash: bytes
    frontier: bytes
    epoch: int
    declared: int


class Source(Protocol):
    """A log to be verified. It can be pickled, to be read from by several processes."""

    @property
    def records(self) -> int:
        """How many records there are said to be."""

    @property
    def head(self) -> Head | None:
        """What is kept of the last record, where something is."""

    @property
    def has_payloads(self) -> bool:
        """Whether the payloads are kept there too."""

    def chunk(self, first: int, last: int, sizes: Sequence[int], payloads: bool) -> Followed:
        """Read and follow a chunk; `sizes` are asked for besides those of the checkpoints kept."""

    def checkpoints(self) -> Iterator[KeptCheckpoint]:
        """The checkpoints kept, in the order in which they were made."""

    def tile(self, tile: Tile) -> bytes | None:
        """The bytes of a tile of level 1 or above, if it is kept."""

    def removals(self) -> Mapping[int, int]:
        """The records whose payload was destroyed, each with the record that should say so."""

    def archives(self) -> Sequence[KeptArchive]:
        """The segments of payloads that were moved away."""

    def leaf(self, sequence: int) -> bytes | None:
        """One leaf."""

    def payloads_within(self, first: int, last: int) -> Sequence[int]:
        """The records of a range that have a payload."""

    def end(self) -> Broken | None:
        """What only this source can be asked when every record is good."""
