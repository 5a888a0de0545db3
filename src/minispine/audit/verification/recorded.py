"""What tables beside the log say of it: that each change of the registry has its record, and what is still open."""

from typing import Any, Final

from minispine.audit.encoding import read_leaf
from minispine.audit.verification.findings import Observation, Unrecorded
from minispine.storage import Database, Session, Store

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
_OPEN: Final = "SELECT COUNT(*), MIN(sequence) FROM audit_open WHERE sequence <= ?"
Change = tuple[Any, ...]


def changes_told(database: Database) -> list[Change]:
    """The changes that the registry holds: kind, key, version. Raises `StorageUnavailable`.

    To be read before the log is: a change that is seen here has its record there.
    """
    with database.reading(Store.REGISTRY) as session:
        return session.rows(_CHANGES)


def unrecorded(database: Database, changes: list[Change]) -> Unrecorded | None:
    """The first of these changes that has no record. Raises `StorageUnavailable`."""
    with database.reading(Store.AUDIT) as session:
        return next((Unrecorded(*change) for change in changes if not _recorded(session, *change)), None)


def left_open(database: Database, last: int) -> Observation | None:
    """How many exchanges are not over, of those opened up to a record. Raises `StorageUnavailable`."""
    with database.reading(Store.AUDIT) as session:
        count, first = session.rows(_OPEN, (last,))[0]
    return Observation("open", first, f"{count} exchanges are not over; the first was opened here") if count else None


def _recorded(session: Session, kind: str, key: str, version: int) -> bool:
    told = [event["data"] for row in session.rows(_RECORD_OF, (kind, key, version)) for event in _events(row[0])]
    return any((data.get("kind"), data.get("key"), data.get("version")) == (kind, key, version) for data in told)


def _events(leaf: bytes) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = read_leaf(bytes(leaf))["events"]
    return events
