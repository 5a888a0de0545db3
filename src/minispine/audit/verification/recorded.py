"""What tables beside the log say of it: that each change of the registry has its record, and what is still open."""

from typing import Any, Final

import msgspec

from minispine.audit.changes import as_recorded
from minispine.audit.encoding import read_leaf
from minispine.audit.verification.findings import Observation, Unrecorded
from minispine.storage import Database, Session, Store

_CHANGES: Final = (
    "SELECT kind, key, version, body FROM registry_document d WHERE NOT EXISTS"
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
    """The changes that the registry holds: kind, key, version, and the document. Raises `StorageUnavailable`.

    To be read before the log is: a change that is seen here has its record there.
    """
    with database.reading(Store.REGISTRY) as session:
        return session.rows(_CHANGES)


def unrecorded(database: Database, changes: list[Change]) -> Unrecorded | None:
    """The first of these changes of which no record says that it came to this document. Raises `StorageUnavailable`."""
    with database.reading(Store.AUDIT) as session:
        return next((Unrecorded(*change[:3]) for change in changes if not _recorded(session, *change)), None)


def left_open(database: Database, last: int) -> Observation | None:
    """How many exchanges are not over, of those opened up to a record. Raises `StorageUnavailable`."""
    with database.reading(Store.AUDIT) as session:
        count, first = session.rows(_OPEN, (last,))[0]
    return Observation("open", first, f"{count} exchanges are not over; the first was opened here") if count else None


def _recorded(session: Session, kind: str, key: str, version: int, body: str | None) -> bool:
    told = [event["data"] for row in session.rows(_RECORD_OF, (kind, key, version)) for event in _events(row[0])]
    return any(
        (data.get("kind"), data.get("key"), data.get("version")) == (kind, key, version)
        and _is_of(body, data.get("after"))
        for data in told
    )


def _is_of(body: str | None, after: Any) -> bool:
    """Whether a document is the one that a record says; of a removal, and one too long for the leaf, it says nothing.

    A member that is free text is not in the leaf, and not compared.
    """
    if body is None or after is None:
        return True
    try:
        return as_recorded(msgspec.json.decode(body)) == as_recorded(after)
    except (msgspec.MsgspecError, ValueError, AttributeError):
        return False


def _events(leaf: bytes) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = read_leaf(bytes(leaf))["events"]
    return events
