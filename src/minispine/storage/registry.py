"""The registry: documents of what changes while running, every version kept (Law 11).

A document has a kind ("client", "table"), a key within it and a JSON body; each change makes its next version, and
raises one counter for the whole registry, by which every worker notices within a second. Writing goes through
``audit/changes.py``, because no change is made without its record; here is the part of it that touches the tables.
"""

from typing import Any, Final

import msgspec
from sqlalchemy import and_, func, insert, select, update

from minispine.storage.database import Database, Session
from minispine.storage.errors import VersionConflict
from minispine.storage.tables import Store, registry_document, registry_state


class Document(msgspec.Struct, frozen=True):
    """The version of a document that is in force, and its body: a JSON object."""

    version: int
    body: dict[str, Any]


class DocumentVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version out of a document's history. `body` is None where that version removed the document.

    `changed_at` is UTC microseconds since 1970; `changed_by` says who, as the change's caller put it.
    """

    version: int
    body: dict[str, Any] | None
    changed_at: int
    changed_by: dict[str, Any]
    reason: str | None


class Snapshot(msgspec.Struct, frozen=True):
    """Every document in force, by kind and key, and the counter's value at that moment. Removed ones are not in it."""

    version: int
    documents: dict[str, dict[str, Document]]


_encoder: Final = msgspec.json.Encoder(order="deterministic")


class Registry:
    """Reading the registry. Every method raises `StorageUnavailable` when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def version(self) -> int:
        """The counter: it has changed exactly when some document has."""
        with self._database.session(Store.REGISTRY) as session:
            return version_counter(session)

    def snapshot(self) -> Snapshot:
        """Every document in force, at one moment."""
        documents: dict[str, dict[str, Document]] = {}
        latest = (
            select(registry_document.c.kind, registry_document.c.key, func.max(registry_document.c.version).label("v"))
            .group_by(registry_document.c.kind, registry_document.c.key)
            .subquery()
        )
        document = registry_document.c
        current = select(document.kind, document.key, document.version, document.body).join(
            latest,
            and_(document.kind == latest.c.kind, document.key == latest.c.key, document.version == latest.c.v),
        )
        with self._database.reading(Store.REGISTRY) as session:
            version = version_counter(session)
            for row in session.execute(current.where(document.body.is_not(None))):
                documents.setdefault(row.kind, {})[row.key] = Document(row.version, msgspec.json.decode(row.body))
        return Snapshot(version, documents)

    def history(self, kind: str, key: str) -> list[DocumentVersion]:
        """Every version of one document, the first one first."""
        document = registry_document.c
        query = select(registry_document).where(document.kind == kind, document.key == key).order_by(document.version)
        with self._database.reading(Store.REGISTRY) as session:
            return [
                DocumentVersion(
                    version=row.version,
                    body=None if row.body is None else msgspec.json.decode(row.body),
                    changed_at=row.changed_at,
                    changed_by=msgspec.json.decode(row.changed_by),
                    reason=row.reason,
                )
                for row in session.execute(query)
            ]


def version_counter(session: Session) -> int:
    """The registry's counter, as this session's transaction sees it."""
    counter: int = session.rows("SELECT version FROM registry_state WHERE id = 1")[0][0]
    return counter


def version_in_force(session: Session, kind: str, key: str) -> int | None:
    """The version of a document in force, or None if there is none or it was removed."""
    rows = session.rows(
        "SELECT version, body IS NULL FROM registry_document WHERE kind = ? AND key = ? ORDER BY version DESC LIMIT 1",
        (kind, key),
    )
    return None if not rows or rows[0][1] else rows[0][0]


def put_document(
    session: Session,
    kind: str,
    key: str,
    body: dict[str, Any] | None,
    *,
    expected_version: int | None,
    changed_at: int,
    changed_by: dict[str, Any],
    reason: str | None,
) -> DocumentVersion | None:
    """Make the next version of a document in the session's transaction; returns the version it replaces.

    With `expected_version` the change is only made to that version (0: only if there is no such document), otherwise
    `VersionConflict` is raised and nothing is written. Whoever calls this records the change in the audit log.
    """
    document = registry_document.c
    rows = session.execute(
        select(registry_document)
        .where(document.kind == kind, document.key == key)
        .order_by(document.version.desc())
        .limit(1)
    )
    before = None
    if rows:
        row = rows[0]
        before = DocumentVersion(
            version=row.version,
            body=None if row.body is None else msgspec.json.decode(row.body),
            changed_at=row.changed_at,
            changed_by=msgspec.json.decode(row.changed_by),
            reason=row.reason,
        )
    in_force = before.version if before is not None and before.body is not None else 0
    if expected_version is not None and expected_version != in_force:
        raise VersionConflict(kind, key, in_force)
    session.execute(
        insert(registry_document).values(
            kind=kind,
            key=key,
            version=(before.version if before else 0) + 1,
            body=None if body is None else _encoder.encode(body).decode(),
            changed_at=changed_at,
            changed_by=_encoder.encode(changed_by).decode(),
            reason=reason,
        )
    )
    session.execute(update(registry_state).values(version=registry_state.c.version + 1))
    return before
