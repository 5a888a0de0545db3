"""From settings to an open log: the database, the keys in their files, and whether the two belong together."""

from collections.abc import Callable

from minispine.audit import declaration
from minispine.audit.keyfiles import AuditKeys
from minispine.audit.log import AuditLog
from minispine.audit.note import Signer
from minispine.config.settings import Settings, Storage
from minispine.keys.files import read_password
from minispine.storage import Database


class LogNotReady(Exception):
    """The log cannot be written to with these keys: it was not begun, or it has others. The text says what to do."""


def open_database(storage: Storage) -> Database:
    """Open the database of the settings with the password of its file. Raises `KeyFileRefused`."""
    return Database.open(storage.url, read_password(storage.password_file) if storage.password_file else None)


def open_log(
    database: Database, keys: AuditKeys, *, settings: Settings, instance: str, now: Callable[[], int]
) -> AuditLog:
    """The log of an installation, as the process `instance` writes it. Does no I/O."""
    return AuditLog(database, system_id=settings.system_id, instance=instance, vault=keys.vault(), now=now)


def origin_of(settings: Settings) -> str:
    """The name of the log in its checkpoints."""
    return settings.audit.origin or f"minispine/{settings.system_id}"


def signer_for(database: Database, keys: AuditKeys) -> Signer:
    """Who signs the log's checkpoints.

    Raises `LogNotReady`, `StorageUnavailable`, and `DeclarationInvalid` for a log that cannot say what its keys are.
    """
    declared = declaration.in_force(database)
    if declared is None:
        raise LogNotReady("the audit log has not been begun; run: minispine audit init")
    signer = Signer(declared.name, keys.log_key)
    if signer.verifier != declared.log_key:
        raise LogNotReady(
            f"the key in the audit key folder is {signer.verifier.key_id.hex()}, and the log's own is"
            f" {declared.log_key.key_id.hex()}; put the right audit key folder in its place"
        )
    return signer
