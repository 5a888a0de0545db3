"""What `minispine client` and `minispine table` share: the registry opened, looked at, and changed on the record.

No change is made without a record of who made it, and none that the provider could not take.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from minispine.audit import keyfiles
from minispine.audit.changes import change_document
from minispine.audit.events import EventType
from minispine.audit.log import AuditLog
from minispine.audit.opening import open_database, open_log
from minispine.cli.account import actor
from minispine.cli.trail import now_us
from minispine.config import load
from minispine.provider import in_force
from minispine.storage import Database, Document, DocumentVersion, Registry, Snapshot


class OpenRegistry:
    """The registry of one installation, for the length of one command."""

    def __init__(self, database: Database, log: AuditLog) -> None:
        self._database = database
        self._log = log
        self._registry = Registry(database)
        self.snapshot = self._registry.snapshot()

    def documents(self, kind: str) -> dict[str, Document]:
        """Give the documents of a kind that are in force, by key."""
        return self.snapshot.documents.get(kind, {})

    def history(self, kind: str, key: str) -> list[DocumentVersion]:
        """Give every version of a document, the first one first."""
        return self._registry.history(kind, key)

    def change(
        self,
        kind: str,
        key: str,
        body: dict[str, Any] | None,
        *,
        event: EventType,
        reason: str | None,
        shipped: dict[str, Any] | None = None,
    ) -> int:
        """Put a new version of a document in force, None to remove it, and give the version's number.

        `shipped` is what is in force where there is no document.

        The provider takes a registry whole, so that the whole of what it would find is checked first. A registry that
        does not hold together for another reason can still be changed, lest a client could not be disabled.

        Raises:
            in_force.Unusable: the registry would not hold together.
            VersionConflict: somebody else has changed the document since it was read.
            AuditUnavailable: the record could not be made.
        """
        try:
            in_force.read(self._with(kind, key, body))
        except in_force.Unusable as unusable:
            if unusable.document == f"{kind} {key}" or self._sound():
                raise
        current = self.documents(kind).get(key)
        return change_document(
            self._database,
            self._log,
            kind=kind,
            key=key,
            body=body,
            event=event,
            actor=actor(),
            reason=reason,
            expected_version=current.version if current else 0,
            shipped=shipped,
        )

    def _sound(self) -> bool:
        try:
            in_force.read(self.snapshot)
        except in_force.Unusable:
            return False
        return True

    def _with(self, kind: str, key: str, body: dict[str, Any] | None) -> Snapshot:
        documents = {k: dict(v) for k, v in self.snapshot.documents.items()}
        kept = {name: document for name, document in documents.get(kind, {}).items() if name != key}
        documents[kind] = kept if body is None else {**kept, key: Document(0, body)}
        return msgspec.structs.replace(self.snapshot, documents=documents)


@contextmanager
def opened(config: Path) -> Iterator[OpenRegistry]:
    """Open the registry that a configuration names."""
    settings = load(config)
    keys = keyfiles.load(settings.audit.keys)
    with open_database(settings.storage) as database:
        database.check_schema()
        log = open_log(database, keys, settings=settings, instance=str(uuid.uuid4()), now=now_us)
        try:
            yield OpenRegistry(database, log)
        finally:
            log.close_now()
