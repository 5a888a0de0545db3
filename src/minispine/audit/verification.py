"""Checking that the log is what was written: nothing left out, put in, moved or changed.

A hash chain by itself shows that the log is consistent, not that it was not rewritten as a whole: for that, somebody
outside has to know a hash of it. What the registry knows is a small part of such knowledge: a log that lacks the record
of a change that the registry holds is not the log it was.
"""

from typing import Any, Final, Literal

import msgspec

from minispine.audit.encoding import FIRST_VERSION, GENESIS, chain, commit, read_leaf, version_of
from minispine.audit.merkle import Frontier, leaf_hash
from minispine.audit.vault import Part
from minispine.storage import Database, Session, Store

Check = Literal["sequence", "leaf", "chain", "sealed-time", "exchange", "payload", "head"]
"""What was checked: the numbers have no gap; the leaf can be read and names its own number; the hash chain; sealed
time does not go back; the column by which an exchange is found says what the leaf does; the payload is the one that
was committed to; the head is the last record."""

_PAGE_RECORDS: Final = 1000
_HEAD: Final = (
    "SELECT sequence, sealed_at, hash, frontier, (SELECT MAX(sequence) FROM audit_record) FROM audit_head WHERE id = 1"
)
_RECORDS: Final = (
    "SELECT r.sequence, r.exchange, r.hash, r.leaf, p.salt, p.private, p.bodies"
    " FROM audit_record r LEFT JOIN audit_payload p ON p.sequence = r.sequence"
    " WHERE r.sequence > ? ORDER BY r.sequence LIMIT ?"
)
_STRAY: Final = (
    "SELECT MIN(sequence) FROM audit_payload"
    " WHERE sequence < 1 OR sequence > (SELECT COALESCE(MAX(sequence), 0) FROM audit_record)"
)
_CHANGES: Final = (
    "SELECT kind, key, version FROM registry_document d WHERE NOT EXISTS"
    " (SELECT 1 FROM registry_outbox o WHERE o.kind = d.kind AND o.key = d.key AND o.version = d.version)"
    " ORDER BY changed_at, kind, key, version"
)
"""Every change whose record is not owed any more."""
_RECORD_OF: Final = (
    "SELECT r.leaf FROM audit_change c JOIN audit_record r ON r.sequence = c.sequence"
    " WHERE c.kind = ? AND c.key = ? AND c.version = ?"
)


class Verified(msgspec.Struct, frozen=True):
    """The log holds together: how many records there are, and the root of the tree over them."""

    records: int
    root: bytes


class Broken(msgspec.Struct, frozen=True):
    """The first record that is not as it was written, and by which check it showed."""

    sequence: int
    check: Check


class Unrecorded(msgspec.Struct, frozen=True):
    """The first change of the registry of which a log that holds together has no record."""

    kind: str
    key: str
    version: int


def verify(database: Database) -> Verified | Broken | Unrecorded:
    """Check every record up to the last one at the time of the call, and that each change of the registry has one.

    Raises `StorageUnavailable`.
    """
    with database.reading(Store.REGISTRY) as session:
        # Read before the log is: a change that is seen here has its record there.
        changes = session.rows(_CHANGES)
    with database.reading(Store.AUDIT) as session:
        rows = session.rows(_HEAD)
    if not rows:
        return Broken(0, "head")
    head_sequence, head_sealed_at, head_hash, frontier, highest = rows[0]
    state = _State()
    while state.sequence < head_sequence:
        with database.reading(Store.AUDIT) as session:
            page = session.rows(_RECORDS, (state.sequence, min(_PAGE_RECORDS, head_sequence - state.sequence)))
        if not page:
            return Broken(state.sequence + 1, "sequence")
        for row in page:
            check = state.follow(*row)
            if check is not None:
                return Broken(state.sequence + 1, check)
    if (highest or 0) > head_sequence:
        return Broken(head_sequence + 1, "head")
    if (state.hash, state.sealed_at, state.frontier.encode()) != (bytes(head_hash), head_sealed_at, bytes(frontier)):
        return Broken(head_sequence, "head")
    return _stray_payload(database) or _unrecorded(database, changes) or Verified(state.sequence, state.frontier.root())


class _State:
    """How far the log is checked: the last good record."""

    def __init__(self) -> None:
        self.sequence = 0
        self.sealed_at = 0
        self.hash = GENESIS
        self.frontier = Frontier.EMPTY

    def follow(
        self,
        sequence: int,
        exchange: str | None,
        stored_hash: bytes,
        leaf: bytes,
        salt: bytes | None,
        private: bytes | None,
        bodies: bytes | None,
    ) -> Check | None:
        """Check the next record: the check that it fails, or None, and then it is the last good one."""
        if sequence != self.sequence + 1:
            return "sequence"
        leaf = bytes(leaf)
        hashed = leaf_hash(leaf)
        digest = chain(self.hash, leaf) if version_of(leaf) == FIRST_VERSION else hashed
        if digest != bytes(stored_hash):
            return "chain"
        try:
            fields = read_leaf(leaf)
        except ValueError:
            return "leaf"
        if fields.get("sequence") != sequence:
            return "leaf"
        if fields.get("sealed_at", -1) < self.sealed_at:
            return "sealed-time"
        if fields.get("exchange") != exchange:
            return "exchange"
        kept = bytes(salt or b"")
        if fields.get("private") != (None if private is None else commit(kept, Part.PRIVATE, bytes(private))):
            return "payload"
        if fields.get("bodies") != (None if bodies is None else commit(kept, Part.BODIES, bytes(bodies))):
            return "payload"
        self.sequence, self.sealed_at, self.hash = sequence, fields["sealed_at"], digest
        self.frontier = self.frontier.extend([hashed])
        return None


def _stray_payload(database: Database) -> Broken | None:
    """A payload of no record."""
    with database.reading(Store.AUDIT) as session:
        stray = session.rows(_STRAY)[0][0]
    return None if stray is None else Broken(stray, "payload")


def _unrecorded(database: Database, changes: list[tuple[Any, ...]]) -> Unrecorded | None:
    """The first of these changes that has no record."""
    with database.reading(Store.AUDIT) as session:
        return next((Unrecorded(*change) for change in changes if not _recorded(session, *change)), None)


def _recorded(session: Session, kind: str, key: str, version: int) -> bool:
    told = [event["data"] for row in session.rows(_RECORD_OF, (kind, key, version)) for event in _events(row[0])]
    return any((data.get("kind"), data.get("key"), data.get("version")) == (kind, key, version) for data in told)


def _events(leaf: bytes) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = read_leaf(bytes(leaf))["events"]
    return events
