"""A copy of a whole installation's records while it is being used: the files, and what was copied.

A backup is a folder with both stores as SQLite files, from whatever database they are, so that every command that reads
a log reads it too (`--storage sqlite:FOLDER`); and beside them `backup.json`, the **manifest**, which is written last:
a folder without it is no backup. The keys are not in it: without them it can be verified, and its payloads cannot be
read. How a log goes on from a backup is in ``restoration.py``.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from minispine import __version__
from minispine.audit import declaration
from minispine.audit.checkpointing import last_checkpoint
from minispine.audit.encoding import iso_time
from minispine.audit.events import Entry, Event, EventType, Receipt
from minispine.audit.log import AuditLog
from minispine.audit.merkle import Frontier
from minispine.keys.files import write_secret
from minispine.storage import Database, StorageUnavailable, Store
from minispine.storage.copying import copy_out

MANIFEST: Final = "backup.json"
_FORMAT: Final = 1


class BackupRefused(Exception):
    """A folder cannot be made a backup, or is none. The text says why."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds.

    The log's origin and epoch, how many records, the root of the tree over them in base64, the last checkpoint that the
    log had made, or null, and the SHA-256 of each file.
    """

    format: int
    minispine: str
    made_at: str
    origin: str
    epoch: int
    size: int
    root: str
    checkpoint: str | None
    files: dict[str, str]


def make(database: Database, folder: Path, *, now: int) -> Manifest:
    """Copy both stores into a folder that is new or empty. `now` is UTC microseconds.

    Raises `BackupRefused`, `StorageUnavailable`, `DeclarationInvalid`, `OSError`.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise BackupRefused(f"{folder} is not empty; each backup has a folder of its own")
    folder.chmod(0o700)
    copy_out(database, folder)
    with Database.open(f"sqlite:{folder}") as copy:
        declared = declaration.in_force(copy)
        if declared is None:
            raise BackupRefused("the log has not been begun: there is nothing to be kept")
        with copy.reading(Store.AUDIT) as session:
            [(size, frontier)] = session.rows("SELECT sequence, frontier FROM audit_head WHERE id = 1")
            checkpoint = last_checkpoint(session)
    try:
        root = Frontier.decode(size, bytes(frontier)).root()
    except ValueError:
        raise StorageUnavailable("the head of the log is damaged; run: minispine audit verify") from None
    manifest = Manifest(
        format=_FORMAT,
        minispine=__version__,
        made_at=iso_time(now),
        origin=declared.origin,
        epoch=declared.epoch,
        size=size,
        root=base64.b64encode(root).decode(),
        checkpoint=checkpoint.note if checkpoint else None,
        files={f"{store}.db": digest_of(folder / f"{store}.db") for store in Store},
    )
    write_secret(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    return manifest


def record(log: AuditLog, folder: Path, manifest: Manifest, *, actor: Mapping[str, Any]) -> Receipt:
    """Say in the log that a backup of it was made. Raises `AuditUnavailable`."""
    told = {
        "actor": dict(actor),
        "name": folder.name,
        "size": manifest.size,
        "sha256": manifest.files[f"{Store.AUDIT}.db"],
    }
    return log.append_now(Entry(events=(Event(type=EventType.AUDIT_BACKED_UP, at=log.now(), data=told),)))


def read(folder: Path) -> Manifest:
    """The manifest of a backup whose files are as they were made.

    Raises `BackupRefused` where there is none, and for a file that was changed, as by a command that wrote into it.
    """
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError):
        raise BackupRefused(f"{folder} is not a whole backup: it has no {MANIFEST} that can be read") from None
    if manifest.format != _FORMAT:
        raise BackupRefused(f"{folder} was made by a later release")
    for name in (f"{store}.db" for store in Store):
        try:
            if manifest.files.get(name) != digest_of(folder / name):
                raise BackupRefused(f"{folder / name} was changed since the backup was made")
        except OSError as error:
            raise BackupRefused(f"{folder / name}: {(error.strerror or 'cannot be read').lower()}") from None
    return manifest


def digest_of(file: Path) -> str:
    """The SHA-256 of a file in hex. Raises `OSError`."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
