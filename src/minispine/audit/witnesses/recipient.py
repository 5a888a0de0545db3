"""What every recipient of checkpoints has in common: what it is offered, and how it can turn that down.

A recipient is a witness, or the directory in which the log is published. When it is offered a checkpoint, and what is
remembered of its answer, is in ``feeding.py``.
"""

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import msgspec

from minispine.audit.checkpoint import Checkpoint
from minispine.audit.checkpointing import LogRewritten, StoredCheckpoint, check_extends
from minispine.audit.merkle import consistency_proof
from minispine.audit.tree import StoredTree, TreeDamaged
from minispine.storage import Database, Store

T = TypeVar("T")

_HEAD: Final = "SELECT sequence FROM audit_head WHERE id = 1"


class NotTaken(Exception):
    """A recipient did not take a checkpoint. The text says why in our own words, never in the recipient's."""


class Unreachable(NotTaken):
    """It did not answer, or could not do its work now."""


class Refused(NotTaken):
    """It answered, and will not take it: something is configured wrongly, here or there."""


class Conflict(NotTaken):
    """The log does not extend what it has seen of it: records were changed or lost."""


class Superseded(Exception):
    """The recipient has taken a later checkpoint of this log by now, which does extend this one."""


class Taken(msgspec.Struct, frozen=True):
    """The last checkpoint that a recipient took; `number` and `size` are 0 when it never took one."""

    number: int = 0
    epoch: int = 0
    size: int = 0


class Offer:
    """A checkpoint that a recipient is offered, what it took before, and what of the tree stands behind it.

    Raises `StorageUnavailable` where the database is needed and away.
    """

    def __init__(self, database: Database, stored: StoredCheckpoint, before: Taken) -> None:
        self.stored: Final = stored
        self.checkpoint: Final = stored.checkpoint
        self.before: Final = before
        self._database = database

    def proof_since(self, size: int) -> list[bytes]:
        """The consistency proof from an earlier size, at most that of the checkpoint."""
        return self.of_tree(lambda tree: consistency_proof(tree.hashes, size, self.checkpoint.size))

    def check_extends(self, seen: Checkpoint) -> None:
        """Return if the log extends what the recipient has seen of it, and that is not more than it is offered now.

        Raises `Conflict`, and `Superseded` when there is a later checkpoint, which the recipient has.
        """
        try:
            self.of_tree(lambda tree: check_extends(tree, seen))
        except LogRewritten as rewritten:
            raise Conflict(str(rewritten)) from None
        if seen.size > self.checkpoint.size:
            raise Superseded

    def check_size(self, seen: int) -> None:
        """The same where only the size is known of what the recipient has seen."""
        if seen > self.of_tree(lambda tree: tree.size):
            raise Conflict(f"it has seen {seen} records of this log, which has fewer")
        if seen > self.checkpoint.size:
            raise Superseded

    def of_tree(self, read: Callable[[StoredTree], T]) -> T:
        """What is read of the tree, as it is now, in one short transaction."""
        with self._database.reading(Store.AUDIT) as session:
            tree = StoredTree(session, session.rows(_HEAD)[0][0])
            try:
                return read(tree)
            except TreeDamaged as damage:
                raise Conflict(str(damage)) from None


class Recipient(Protocol):
    """Who is offered every checkpoint. Called from one thread at a time."""

    @property
    def name(self) -> str:
        """The name under which it is remembered what it took."""
        ...

    @property
    def called(self) -> str:
        """What it is called in messages."""
        ...

    def take(self, offer: Offer) -> str:
        """Have it take a checkpoint; gives the note as it has it, with any signatures of its own.

        Raises `Unreachable`, `Refused`, `Conflict`, `Superseded`, `StorageUnavailable`. May take as long as its
        time-outs allow.
        """
        ...
