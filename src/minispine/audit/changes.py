"""Changing what the registry holds, with the change's record: neither is without the other (Law 11).

PostgreSQL does both in one transaction. On SQLite they are in two files, so that the order carries the promise: the
log's head is locked; the registry commits, and with it the record that is owed, in its outbox; the record commits and
the head is let go; the outbox is emptied. As the registry commits while the head is held, no entry that relies on the
old version can come after it. A crash in between leaves the record in the outbox, and `settle` writes it.
"""

from typing import Any, Final

import msgspec
from sqlalchemy import delete, insert, select

from minispine.audit.actor import Actor
from minispine.audit.encoding import encode_json
from minispine.audit.events import AuditUnavailable, Entry, Event, EventType
from minispine.audit.log import AuditLog
from minispine.audit.sealing import Hold
from minispine.storage import Database, Session, StorageUnavailable, Store
from minispine.storage.registry import put_document
from minispine.storage.tables import registry_outbox

FREE_TEXT: Final = frozenset({"note"})
"""Members of documents in which anybody may have written anything; of a change they stand in the private part."""
_RECORDED: Final = "SELECT sequence FROM audit_change WHERE kind = ? AND key = ? AND version = ?"
_NOW_RECORDED: Final = "INSERT INTO audit_change (kind, key, version, sequence) VALUES (?, ?, ?, ?)"


def change_document(
    database: Database,
    log: AuditLog,
    *,
    kind: str,
    key: str,
    body: dict[str, Any] | None,
    event: EventType,
    actor: dict[str, Any],
    reason: str | None,
    expected_version: int | None,
    shipped: dict[str, Any] | None = None,
) -> int:
    """Give a document its next version (`body` None removes it), record the change, and return the new version.

    The record is an `event` by `actor` with the document before and after; registrations and tables hold nothing of
    patients, but a `reason` is free text, so it stands in the private part. With `expected_version` the change is only
    made to that version (0: only if there is no such document). `shipped` is what is in force while there is no
    document, so that a first version is recorded with what it replaces, and a removal with what comes back
    (IG-3.9.11 b).
    Raises `VersionConflict`, `AuditUnavailable` (no change was made, or, on SQLite, it was made and its record is owed
    until the log is back), `EntryInvalid`.
    """
    settle(database, log)
    at = log.now()
    with log.holding() as hold:
        if database.one_transaction:
            version, entry = _put(hold.registry, kind, key, body, event, actor, reason, expected_version, shipped, at)
            _record(log, hold, entry, kind, key, version)
            return version
        registry = hold.registry
        registry.begin()
        try:
            version, entry = _put(registry, kind, key, body, event, actor, reason, expected_version, shipped, at)
            registry.execute(
                insert(registry_outbox).values(kind=kind, key=key, version=version, event=_outbox_text(entry))
            )
            _record(log, hold, entry, kind, key, version)
            registry.commit()
        except BaseException:
            registry.rollback()
            raise
    _forget(database, kind, key, version)
    return version


def settle(database: Database, log: AuditLog) -> int:
    """Write the records that are owed after a crash, and say how many. Raises `AuditUnavailable`."""
    try:
        with database.session(Store.REGISTRY) as session:
            owed = _owed(session)
    except StorageUnavailable as error:
        raise AuditUnavailable(str(error)) from None
    settled = 0
    for kind, key, version in owed:
        with log.holding() as hold:
            # Looked at again under the lock: whoever was in the middle of it may have finished.
            rows = hold.registry.execute(
                select(registry_outbox.c.event).where(
                    registry_outbox.c.kind == kind, registry_outbox.c.key == key, registry_outbox.c.version == version
                )
            )
            if rows and not hold.audit.rows(_RECORDED, (kind, key, version)):
                event = _as_written_now(msgspec.json.decode(rows[0].event, type=Event))
                _record(log, hold, Entry(events=(event,)), kind, key, version)
                settled += 1
        _forget(database, kind, key, version)
    return settled


def _as_written_now(event: Event) -> Event:
    """An event that the first release owed, in the form that one has now."""
    data, private = dict(event.data), dict(event.private)
    if "reason" in data and (reason := data.pop("reason")):
        private["reason"] = reason
    actor = data.get("actor") or {}
    if "user_id" not in actor:
        account, uid = actor.get("account"), actor.get("uid")
        data["actor"] = Actor(user_id=account or str(uid), account=account, uid=uid).as_data()
    data.setdefault("changed_entries", _differing(data.get("before"), data.get("after")))
    return msgspec.structs.replace(event, data=data, private=private)


def as_recorded(document: dict[str, Any]) -> dict[str, Any]:
    """A document as the leaf of its change has it: without free text, and without floats."""
    held: dict[str, Any] = _exact({name: value for name, value in document.items() if name not in FREE_TEXT})
    return held


def _put(
    registry: Session,
    kind: str,
    key: str,
    body: dict[str, Any] | None,
    event: EventType,
    actor: dict[str, Any],
    reason: str | None,
    expected_version: int | None,
    shipped: dict[str, Any] | None,
    at: int,
) -> tuple[int, Entry]:
    before = put_document(
        registry,
        kind,
        key,
        body,
        expected_version=expected_version,
        changed_at=at,
        changed_by=actor,
        reason=reason,
    )
    version = (before.version if before else 0) + 1
    replaced = before.body if before and before.body is not None else shipped
    replacing = body if body is not None else shipped
    held, private = _apart(replaced, replacing)
    if reason is not None:
        private["reason"] = reason
    told = {
        "kind": kind,
        "key": key,
        "version": version,
        "changed_entries": _differing(replaced, replacing),
        "actor": actor,
        "before": _exact(held[0]),
        "after": _exact(held[1]),
    }
    return version, Entry(events=(Event(type=event, at=at, data=told, private=private),))


def _apart(before: Any, after: Any) -> tuple[list[Any], dict[str, Any]]:
    """Both documents without their free text, and that free text by itself: nobody knows what is in it."""
    held: list[Any] = []
    apart: dict[str, Any] = {}
    for side, document in (("before", before), ("after", after)):
        found = {name: document[name] for name in FREE_TEXT if name in document} if document else {}
        held.append({k: v for k, v in document.items() if k not in FREE_TEXT} if document else document)
        apart |= {f"{name}_{side}": text for name, text in found.items() if text}
    return held, apart


def _differing(before: Any, after: Any) -> int:
    """How many single values were added, removed or changed (IG-3.9.11 b)."""
    if isinstance(before, dict) or isinstance(after, dict):
        mine, theirs = (side if isinstance(side, dict) else {} for side in (before, after))
        return sum(_differing(mine.get(key), theirs.get(key)) for key in mine.keys() | theirs.keys())
    return int(before != after)


def _exact(value: Any) -> Any:
    """A JSON value without floats, which have no canonical form: whole numbers, or their shortest decimal text."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else repr(value)
    if isinstance(value, dict):
        return {key: _exact(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(member) for member in value]
    return value


def _record(log: AuditLog, hold: Hold, entry: Entry, kind: str, key: str, version: int) -> None:
    receipt = log.append_in(hold, entry)
    hold.audit.run(_NOW_RECORDED, (kind, key, version, receipt.sequence))


def _owed(registry: Session) -> list[tuple[str, str, int]]:
    outbox = registry_outbox.c
    return [(r.kind, r.key, r.version) for r in registry.execute(select(outbox.kind, outbox.key, outbox.version))]


def _forget(database: Database, kind: str, key: str, version: int) -> None:
    """Take a change that is recorded out of the outbox. If that fails, `settle` does it another time."""
    outbox = registry_outbox.c
    try:
        with database.session(Store.REGISTRY) as session:
            session.begin()
            session.execute(
                delete(registry_outbox).where(outbox.kind == kind, outbox.key == key, outbox.version == version)
            )
            session.commit()
    except StorageUnavailable:
        return


def _outbox_text(entry: Entry) -> str:
    return encode_json(entry.events[0]).decode()
