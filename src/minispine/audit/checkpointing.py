"""Making checkpoints: when one is due, and that the log never signs what does not extend what it signed before.

What a checkpoint says is in ``checkpoint.py``; where it is taken to is in ``issuing.py``. Every checkpoint is kept in
`audit_checkpoint`, numbered without a gap, and signed by the log's key twice, once with the time (see `signed_at_s`).
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from minispine.audit import declaration
from minispine.audit.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from minispine.audit.merkle import Frontier, root_at
from minispine.audit.note import NoteUnverified, Signer
from minispine.audit.sealing import NotBegun
from minispine.audit.tree import StoredTree, TreeDamaged, keep_tiles
from minispine.storage import Database, Session, Store
from minispine.storage.turns import Turn, take

IDLE_INTERVALS: Final = 10
"""A log to which nothing is added gets a checkpoint after so many intervals, which shows that it is still there."""

_LAST: Final = "SELECT number, at, epoch, size, note FROM audit_checkpoint ORDER BY number DESC LIMIT 1"
_HEAD: Final = "SELECT sequence, frontier, epoch, declared FROM audit_head WHERE id = 1"
_KEEP: Final = "INSERT INTO audit_checkpoint (number, at, epoch, size, note) VALUES (?, ?, ?, ?, ?)"


class LogRewritten(Exception):
    """The log does not extend a checkpoint of it: records were changed or lost. Nothing is signed in its name any more.

    The text says which checkpoint, and by what it shows.
    """


class WrongLogKey(Exception):
    """The key at hand is not the one that the log states as its own."""


class StoredCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint as it is kept. `at` is when it was made, UTC microseconds; `note` is the signed note."""

    number: int
    at: int
    epoch: int
    size: int
    note: str

    @property
    def text(self) -> str:
        """What is signed."""
        return self.note[: self.note.index("\n\n") + 1]

    @property
    def checkpoint(self) -> Checkpoint:
        """What it says. Raises `CheckpointMalformed`."""
        return Checkpoint.decode(self.text)


class Checkpointer:
    """Signs the state of a log. Any number of processes may have one; together they make one checkpoint an interval.

    `now` gives UTC microseconds since 1970. `between` is called between the transactions of a checkpoint that covers
    very many records; it may raise, to end the work.
    """

    def __init__(
        self,
        database: Database,
        log_key: Ed25519PrivateKey,
        *,
        now: Callable[[], int],
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._log_key = log_key
        self._now = now
        self._between = between
        self._signed: Checkpoint | None = None

    def make(self) -> StoredCheckpoint:
        """Make a checkpoint of the log as it is now.

        Raises `LogRewritten`, `WrongLogKey`, `NotBegun`, `StorageUnavailable`, and `DeclarationInvalid` for a log that
        cannot say what its keys are.
        """
        made = self._make(_always)
        assert made is not None, "a checkpoint is always due when it is asked for"
        return made

    def make_if_due(self, interval_s: float) -> StoredCheckpoint | None:
        """Make a checkpoint if the last one is an interval old and does not cover every record, or is very old.

        Raises as `make` does.
        """
        interval = round(interval_s * 1_000_000)

        def due(last: StoredCheckpoint | None, size: int, now: int) -> bool:
            if last is None:
                return True
            # A clock that was set back by more than an interval must not keep the next one waiting until it has come
            # back to where it was.
            age = now - last.at if now >= last.at - interval else IDLE_INTERVALS * interval
            return age >= interval * (1 if size > last.size else IDLE_INTERVALS)

        return self._make(due)

    def _make(self, due: Callable[[StoredCheckpoint | None, int, int], bool]) -> StoredCheckpoint | None:
        with self._database.reading(Store.AUDIT) as session:
            size = _head(session)[0]
            if not due(last_checkpoint(session), size, self._now()):
                return None
        try:
            # Before the transaction, so that it is short however much was added.
            keep_tiles(self._database, size, between=self._between)
            with self._database.session(Store.AUDIT) as session:
                session.begin()
                take(session, Turn.CHECKPOINT)
                made = self._made(session, due)
                session.commit()
        except TreeDamaged as damage:
            raise LogRewritten(str(damage)) from None
        return made

    def _made(
        self, session: Session, due: Callable[[StoredCheckpoint | None, int, int], bool]
    ) -> StoredCheckpoint | None:
        """Sign and keep a checkpoint within a transaction that nobody else makes one in."""
        size, frontier, epoch, declared_by = _head(session)
        last = last_checkpoint(session)
        now = self._now()
        if not due(last, size, now):
            return None
        signer = self._signer(session)
        try:
            root = Frontier.decode(size, frontier).root()
        except ValueError:
            raise LogRewritten("the head of the log is damaged") from None
        checkpoint = Checkpoint(signer.name, size, root)
        tree = StoredTree(session, size)
        if last is not None:
            check_extends(tree, _read(last, signer if declared_by <= last.size else None))
        if self._signed is not None:
            # What is in the database could have been put back to where it was, together with its checkpoints.
            check_extends(tree, self._signed)
        if root_at(tree.hashes, size) != root:
            raise LogRewritten("the records are not those that the head of the log was computed from")
        made = StoredCheckpoint(
            number=last.number + 1 if last is not None else 1,
            at=now,
            epoch=epoch,
            size=size,
            note=sign_checkpoint(checkpoint, signer, at_s=max(0, now // 1_000_000)),
        )
        session.run(_KEEP, (made.number, made.at, made.epoch, made.size, made.note))
        self._signed = checkpoint
        return made

    def _signer(self, session: Session) -> Signer:
        declared = declaration.in_force_in(session)
        if declared is None:
            raise NotBegun
        signer = Signer(declared.name, self._log_key)
        if signer.verifier != declared.log_key:
            raise WrongLogKey(
                "the log states another key as its own than the one read from the audit key folder; if that key was"
                " changed since, start the provider again"
            )
        return signer


def check_extends(tree: StoredTree, seen: Checkpoint) -> None:
    """Return if the tree begins with the leaves that a checkpoint is of, whatever name it has; else `LogRewritten`."""
    if seen.size > tree.size:
        raise LogRewritten(f"a checkpoint is of {seen.size} records, and there are {tree.size}")
    if root_at(tree.hashes, seen.size) != seen.root:
        raise LogRewritten(f"the first {seen.size} records are not those that a checkpoint of them was made of")


def last_checkpoint(session: Session) -> StoredCheckpoint | None:
    """The newest checkpoint in the database. Raises `StorageUnavailable`."""
    rows = session.rows(_LAST)
    return StoredCheckpoint(*rows[0]) if rows else None


def _read(last: StoredCheckpoint, signer: Signer | None) -> Checkpoint:
    """The last checkpoint; signed by this key, unless keys were changed since: whose it is, is for `verify` to say."""
    try:
        return last.checkpoint if signer is None else open_checkpoint(last.note, signer.verifier)
    except NoteUnverified:
        raise LogRewritten(f"checkpoint {last.number} is not signed with the key of the log") from None
    except ValueError:
        raise LogRewritten(f"checkpoint {last.number} cannot be read") from None


def _head(session: Session) -> tuple[int, bytes, int, int]:
    rows: list[tuple[Any, ...]] = session.rows(_HEAD)
    if not rows or not rows[0][3]:
        raise NotBegun
    size, frontier, epoch, declared_by = rows[0]
    return size, bytes(frontier), epoch, declared_by


def _always(*_: object) -> bool:
    return True
