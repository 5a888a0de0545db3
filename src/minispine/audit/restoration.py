"""Going on from a backup: what was lost is said for ever in the first record of a new epoch.

The records after the backup are gone, and somebody outside may have seen checkpoints of them. So a log that goes on
from a backup never pretends to be the one that was: its checkpoints get another name (`declaration.log_name`), and its
first record names the last checkpoint that a witness has, the records that are lost, and who approved it. That record
and the copied ones come about in one transaction. Then what was ordered destroyed after the backup is destroyed again.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from minispine.audit import backup, declaration, redaction, verification
from minispine.audit.archive import Archive
from minispine.audit.checkpoint import Checkpoint, open_checkpoint
from minispine.audit.declaration import Declaration
from minispine.audit.events import Entry, Event, EventType
from minispine.audit.keyfiles import AuditKeys
from minispine.audit.log import AuditLog
from minispine.audit.merkle import root_at
from minispine.audit.note import MAX_NOTE_BYTES
from minispine.audit.outside import NotPlain, read_plain
from minispine.audit.reading import opened
from minispine.audit.redaction import AlreadyRemoved, ArchiveNeeded, Removed
from minispine.audit.removal_request import RequestInvalid
from minispine.audit.tree import StoredTree
from minispine.audit.vault import Part, PayloadUnreadable
from minispine.audit.verification import Broken, Unrecorded
from minispine.storage import Database, Session, Store
from minispine.storage.copying import copy_rows, is_empty

_NEWEST_PAYLOAD: Final = (
    "SELECT salt, wrapped, private FROM audit_payload WHERE private IS NOT NULL ORDER BY sequence DESC LIMIT 1"
)


class RestoreRefused(Exception):
    """A log cannot go on from this backup, or not into this database. The text says why; nothing was done."""


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """How a log goes on: from how many records, in which epoch, by which record, and what is known to be lost."""

    size: int
    epoch: int
    record: int
    first_lost: int | None
    last_lost: int | None


def restore(
    folder: Path,
    target: Database,
    log: AuditLog,
    keys: AuditKeys,
    *,
    witnessed: str | None,
    approved_by: str,
    reason: str,
    actor: Mapping[str, Any],
) -> Restored:
    """Put a backup into an empty database, and begin a new epoch there.

    `log` writes to `target`, whose tables are those of this release, as their owner. `witnessed` is the last checkpoint
    of the lost log that anybody outside has, a signed note; None when there is none. `actor` is `Actor.as_data`.

    Raises `RestoreRefused`, `BackupRefused`, `AuditUnavailable`, `StorageError`.
    """
    manifest = backup.read(folder)
    with Database.open(f"sqlite:{folder}") as source:
        source.check_schema()
        before = declaration.in_force(source)
        if before is None:
            raise RestoreRefused(f"{folder} holds no log that was begun")
        _check_keys(source, before, keys)
        _check_intact(source)
        lost = _lost(source, before, witnessed, manifest.size)
        fresh, note = declaration.next_epoch(before, keys.log_key)
        told = {
            "actor": dict(actor),
            "declaration": note,
            "checkpoint": witnessed,
            "first_lost": lost[0],
            "last_lost": lost[1],
            "approved_by": approved_by,
        }
        event = Event(type=EventType.AUDIT_RESTORED, at=log.now(), data=told, private={"reason": reason})
        with log.holding() as hold, hold.changing_registry():
            _copy(source, hold.audit, Store.AUDIT)
            _copy(source, hold.registry, Store.REGISTRY)
            hold.read()
            receipt = log.declare_in(hold, Entry(events=(event,)), epoch=fresh.epoch)
    return Restored(
        size=manifest.size,
        epoch=fresh.epoch,
        record=receipt.sequence,
        first_lost=lost[0],
        last_lost=lost[1],
    )


def remove_again(
    database: Database, log: AuditLog, folder: Path, *, actor: Mapping[str, Any], archives: Sequence[Archive] = ()
) -> Iterator[tuple[Path, Removed | RequestInvalid | ArchiveNeeded]]:
    """Carry out again each published order that the log does not know of: what was done, or why it cannot be.

    Orders that were carried out before the backup are passed over. Raises as `redaction.redact` does otherwise, and
    `OSError`.
    """
    for file in sorted(folder.glob("*.txt")):
        try:
            note = read_plain(file, MAX_NOTE_BYTES + 1).decode()
        except (UnicodeDecodeError, NotPlain):
            yield file, RequestInvalid("not-a-request", "this is not a request to destroy payloads")
            continue
        try:
            yield file, redaction.redact(database, log, note, actor=actor, archives=archives)
        except AlreadyRemoved:
            continue
        except ArchiveNeeded as needed:
            yield file, needed
        except RequestInvalid as problem:
            if problem.cause != "no-payload":
                yield file, problem


def _check_keys(source: Database, declared: Declaration, keys: AuditKeys) -> None:
    try:
        declaration.next_epoch(declared, keys.log_key)
    except declaration.DeclarationInvalid:
        raise RestoreRefused(
            f"the key in the audit key folder is not the log's, {declared.log_key}; bring that folder back first"
        ) from None
    with source.reading(Store.AUDIT) as session:
        newest = session.rows(_NEWEST_PAYLOAD)
    try:
        for salt, wrapped, private in newest:
            opened(keys.vault(), Part.PRIVATE, private, salt, wrapped)
    except PayloadUnreadable as problem:
        raise RestoreRefused(f"the payloads of the backup cannot be read: {problem}") from None


def _check_intact(source: Database) -> None:
    found = verification.verify(source)
    if isinstance(found, Broken):
        raise RestoreRefused(
            f"record {found.sequence} of the backup is not as it was written ({found.check}: {found.detail}); see:"
            " minispine audit verify"
        )
    if isinstance(found, Unrecorded):
        raise RestoreRefused(f"the backup's registry holds a change of {found.kind} that no record tells of")


def _lost(source: Database, declared: Declaration, witnessed: str | None, size: int) -> tuple[int | None, int | None]:
    """The first and last record that are lost, as far as is known."""
    if witnessed is None:
        return size + 1, None
    try:
        seen: Checkpoint = open_checkpoint(witnessed, declared.log_key)
    except ValueError as problem:
        raise RestoreRefused(f"the witnessed checkpoint is not of this log and epoch: {problem}") from None
    if seen.size > size:
        return size + 1, seen.size
    with source.reading(Store.AUDIT) as session:
        if root_at(StoredTree(session, size).hashes, seen.size) != seen.root:
            raise RestoreRefused(f"the first {seen.size} records of the backup are not those that the witness has seen")
    return None, None


def _copy(source: Database, target: Session, store: Store) -> None:
    _check_empty(target, store)
    with source.reading(store) as session:
        copy_rows(session, target, store)


def _check_empty(session: Session, store: Store) -> None:
    if not is_empty(session, store):
        raise RestoreRefused("there are records in the database already; a backup goes into an empty one")
