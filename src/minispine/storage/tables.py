"""The tables, as both databases know them. How they come about on a disk is in ``migrations/``.

Times are UTC microseconds since 1970. Rows of `audit_record` and `audit_payload` are never changed nor removed:
triggers refuse it.
"""

from enum import StrEnum
from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, LargeBinary, MetaData, SmallInteger, Table, Text


class Store(StrEnum):
    """A group of tables that commit together; on SQLite a file of its own."""

    AUDIT = "audit"
    REGISTRY = "registry"


AUDIT: Final = MetaData()
REGISTRY: Final = MetaData()

_Sequence = BigInteger().with_variant(Integer, "sqlite")  # on SQLite only an INTEGER key is the table's own order

audit_head = Table(
    "audit_head",
    AUDIT,
    Column("id", SmallInteger, CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("sealed_at", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
"""One row: the last record. Whoever appends locks it first, so that there is one order of records."""

audit_record = Table(
    "audit_record",
    AUDIT,
    Column("sequence", _Sequence, primary_key=True, autoincrement=False),
    Column("exchange", Text, index=True),
    Column("hash", LargeBinary, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
)
"""The log. `leaf` is the record (see audit/encoding.py), `hash` chains it to the record before."""

audit_payload = Table(
    "audit_payload",
    AUDIT,
    Column("sequence", _Sequence, primary_key=True, autoincrement=False),
    Column("salt", LargeBinary, nullable=False),
    Column("private", LargeBinary),
    Column("bodies", LargeBinary),
)
"""What may be known of a record only by those entitled: the private parts of its events, and its messages."""

audit_open = Table(
    "audit_open",
    AUDIT,
    Column("exchange", Text, primary_key=True),
    Column("instance", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Exchanges opened and not closed: which process opened it, and the record that did."""

audit_message = Table(
    "audit_message",
    AUDIT,
    Column("key", LargeBinary, primary_key=True),
    Column("exchange", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""The first exchange of each message id of each client; `key` is a digest of both, so it is short whatever they are."""

audit_change = Table(
    "audit_change",
    AUDIT,
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""The record of each change of a registry document, so that none is recorded twice when a crash is made good."""

registry_state = Table(
    "registry_state",
    REGISTRY,
    Column("id", SmallInteger, CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
)
"""One row: a counter that every change of any document raises."""

registry_document = Table(
    "registry_document",
    REGISTRY,
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("body", Text),
    Column("changed_at", BigInteger, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("reason", Text),
    sqlite_with_rowid=False,
)
"""Every version of every document: JSON text, or null where that version removed it. The highest is in force."""

registry_outbox = Table(
    "registry_outbox",
    REGISTRY,
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("event", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""Changes committed but perhaps not yet in the audit log, with the event to write (SQLite: two files, two commits)."""
