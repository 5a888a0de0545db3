"""What the configuration was, as the trail remembers it (SMSP-AUDIT-008 c, IG-3.9.11 a).

The trail is the memory: each start records all settings in the private part of its `configuration.read`, and the next
start, or a re-reading, compares with the newest such record. So a file that was changed while nothing ran is noticed,
too, and so is a file that the settings name: of those that are no secret the SHA-256 counts as a setting.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from minispine.audit import index, reading
from minispine.audit.events import EventType
from minispine.audit.vault import Vault
from minispine.config import Settings
from minispine.storage import Database, Store

_SECRET: Final = ("key", "keys", "password_file", "token_file")
"""Settings that end like this name secret files, of which not even a digest is told."""
_LOOKED_AT: Final = 1000
"""How many records of readings are looked at for one that holds the settings: workers' own do not."""

Told = dict[str, Any]


def told(settings: Settings) -> Told:
    """All settings by their full keys, as JSON without floats, and the digests of the files that they name."""
    return {key: _exact(value) for key, value in _flat(settings, "")} | digests(settings)


def digests(settings: Settings) -> Told:
    """The SHA-256 of each file that the settings name and that is no secret, by the setting's key."""
    found: Told = {}
    for key, value in _flat(settings, ""):
        for number, file in enumerate(value if isinstance(value, tuple) else (value,)):
            if isinstance(file, Path) and not key.endswith(_SECRET) and (digest := _digest(file)) is not None:
                found[f"{key} (SHA-256)" if number == 0 else f"{key} (SHA-256) {number + 1}"] = digest
    return found


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each setting that differs: its key, and its value before and after; null where it was or is not there."""
    return [
        {"key": key, "before": before.get(key), "after": after.get(key)}
        for key in dict.fromkeys([*after, *before])
        if before.get(key) != after.get(key)
    ]


def last_told(database: Database, vault: Vault) -> Told | None:
    """The settings of the newest record that holds any; None for a trail that never had one.

    Raises `StorageUnavailable`, `PayloadUnreadable`.
    """
    term = vault.term("event", EventType.CONFIGURATION_READ)
    with database.reading(Store.AUDIT) as session:
        last = session.rows("SELECT sequence FROM audit_head WHERE id = 1")[0][0]
    found = index.matching(database, [[term]], first=1, last=last, newest_first=True)
    for _, sequence in zip(range(_LOOKED_AT), found, strict=False):
        for event in reading.events(database, first=sequence, last=sequence, vault=vault):
            settings = event.get("private", {}).get("settings") if event.get("private") else None
            if isinstance(settings, dict):
                return settings
    return None


def _flat(settings: msgspec.Struct, prefix: str) -> Iterator[tuple[str, Any]]:
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, msgspec.Struct):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _exact(value: Any) -> Any:
    """A setting as JSON that has one form: a float as its shortest text."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, msgspec.Struct):
        return {key: _exact(member) for key, member in _flat(value, "")}
    if isinstance(value, tuple | list):
        return [_exact(member) for member in value]
    return value


def _digest(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None
    except OSError:
        return None
