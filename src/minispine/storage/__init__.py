"""The databases: engines, tables, migrations, and the versioned registry of what changes while running.

SQLite is two files in one folder, one for the audit log and one for everything else (Law 9); PostgreSQL is one
database. What is written into the audit tables, and when, is the audit room's business. A driver's or SQLAlchemy's
errors do not leave this room: see ``errors.py``.
"""

from minispine.storage.claim import Claim
from minispine.storage.database import Database, Session
from minispine.storage.errors import (
    AlreadyServed,
    ConnectionLost,
    SchemaOutdated,
    StorageError,
    StorageMisconfigured,
    StorageUnavailable,
    StoreLost,
    VersionConflict,
)
from minispine.storage.registry import Document, DocumentVersion, Registry, Snapshot
from minispine.storage.tables import Store

__all__ = [
    "AlreadyServed",
    "Claim",
    "ConnectionLost",
    "Database",
    "Document",
    "DocumentVersion",
    "Registry",
    "SchemaOutdated",
    "Session",
    "Snapshot",
    "StorageError",
    "StorageMisconfigured",
    "StorageUnavailable",
    "Store",
    "StoreLost",
    "VersionConflict",
]
