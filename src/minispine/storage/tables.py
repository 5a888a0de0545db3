"""The tables, as both databases know them. How they come about on a disk is in ``migrations/``.

Times are UTC microseconds since 1970. Rows of the audit records, checkpoints, removals and archives are
never changed nor removed, and those of `audit_payload` only as said there: triggers refuse it.
"""

from enum import StrEnum
from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)


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
    Column("frontier", LargeBinary, nullable=False, server_default=text("''")),
    Column("epoch", BigInteger, nullable=False, server_default="1"),
    Column("declared", BigInteger, nullable=False, server_default="0"),
    Column("retired", LargeBinary, nullable=False, server_default=text("''")),
)
"""One row: the last record. Whoever appends locks it first, so that there is one order of records.

`frontier` is the tree over all records (see audit/merkle.py), `epoch` counts how often the log was restored, `declared`
is the record that states the keys in force, 0 before the log is begun. `retired` holds the ids of the master keys under
which nothing may be written any more (see audit/rotation.py), one after another.
"""

audit_record = Table(
    "audit_record",
    AUDIT,
    Column("sequence", _Sequence, primary_key=True, autoincrement=False),
    Column("exchange", Text),
    Column("hash", LargeBinary, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
)
"""The log. `leaf` is the record (see audit/encoding.py), `hash` its hash in the tree.

In records of the first release, whose leaf is of version 1, `hash` chains the record to the one before instead.
"""

audit_payload = Table(
    "audit_payload",
    AUDIT,
    Column("sequence", _Sequence, primary_key=True, autoincrement=False),
    Column("salt", LargeBinary, nullable=False),
    Column("private", LargeBinary),
    Column("bodies", LargeBinary),
    Column("wrapped", LargeBinary),
)
"""What may be known of a record only by those entitled: the private parts of its events, and its messages, encrypted.

`wrapped` is the record's data key, encrypted by a master key (see audit/vault.py); null in the first release's rows,
which are in the clear. It alone may change. A row may go when `audit_removal` or `audit_archive` names it.
"""

audit_tile = Table(
    "audit_tile",
    AUDIT,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""Full tiles of the tree up to the last checkpoint: 256 hashes each. They follow from the records."""

audit_checkpoint = Table(
    "audit_checkpoint",
    AUDIT,
    Column("number", _Sequence, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False, index=True),
    Column("note", Text, nullable=False),
)
"""Every signed checkpoint, in the order in which they were made."""

audit_witness = Table(
    "audit_witness",
    AUDIT,
    Column("name", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("at", BigInteger),
    Column("note", Text),
    Column("problem", Text),
    Column("conflict", SmallInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""The last checkpoint that each recipient has taken: its number, epoch and size (0 each: none yet), when, and the note
with the recipient's own signatures; then why it has taken no later one, and whether it was because the log was
rewritten. It proves nothing: what a witness has seen, the witness knows.
"""

audit_removal = Table(
    "audit_removal",
    AUDIT,
    Column("sequence", _Sequence, primary_key=True, autoincrement=False),
    Column("record", BigInteger, nullable=False),
)
"""Records whose payload was destroyed on the order of both authorities, each with the record that says so."""

audit_archive = Table(
    "audit_archive",
    AUDIT,
    Column("first", _Sequence, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("record", BigInteger, nullable=False),
)
"""Segments of payloads that were moved to a file: its name, its SHA-256, and the record that says so."""

audit_archived_key = Table(
    "audit_archived_key",
    AUDIT,
    Column("sequence", _Sequence, primary_key=True, autoincrement=False),
    Column("wrapped", LargeBinary, nullable=False),
)
"""The wrapped data keys of archived payloads, which are not in the archives. One goes when `audit_removal` names it."""

audit_index_pending = Table(
    "audit_index_pending",
    AUDIT,
    Column("first", _Sequence, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("entries", LargeBinary, nullable=False),
)
"""Index entries of one commit, not yet in a segment: see audit/index/."""

audit_index_segment = Table(
    "audit_index_segment",
    AUDIT,
    Column("id", _Sequence, primary_key=True, autoincrement=False),
    Column("level", SmallInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
)
"""Segments of the index: which records each covers, and whether searches may use it (see audit/index/)."""

audit_index_page = Table(
    "audit_index_page",
    AUDIT,
    Column("segment", BigInteger, primary_key=True, autoincrement=False),
    Column("first_key", LargeBinary, primary_key=True),
    Column("entries", LargeBinary, nullable=False),
)
"""Sorted entries of a segment. On SQLite the row has a number of its own beside its key, because a table without one
would spill such long rows."""

audit_index_bits = Table(
    "audit_index_bits",
    AUDIT,
    Column("segment", BigInteger, primary_key=True, autoincrement=False),
    Column("key", LargeBinary, primary_key=True),
    Column("block", BigInteger, primary_key=True, autoincrement=False),
    Column("bits", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""Terms that many records of a block have: one bit for each record."""

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

spine_slots = Table(
    "spine_slots",
    REGISTRY,
    Column("service", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""One row for each national service: when its next calls may leave, and who waits for them, over all workers (Law 3).

`state` is a `provider.admission.book.Book`, in MessagePack; names of clients, ASIDs and counts, nothing of patients. It
is replaced only where `version` is still the one that was read, so that no process that stands still holds a lock.
"""

cache_entry = Table(
    "cache_entry",
    REGISTRY,
    Column("key", LargeBinary, primary_key=True),
    Column("patient", LargeBinary, nullable=False, index=True),
    Column("client", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("fetched_at", BigInteger, nullable=False),
    Column("strip_at", BigInteger, nullable=False, index=True),
    Column("gone_at", BigInteger, nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),
    Index("ix_cache_entry_of_operation", "client", "operation", "fetched_at"),
    sqlite_with_rowid=False,
)
"""Answers of Spine that are kept (see provider/cache/): `sealed` is encrypted, `key` and `patient` are keyed digests.

`patient` is that of the NHS number; `strip_at` is when what locates the person is taken out, `gone_at` when the row is.
"""

throughput_hour = Table(
    "throughput_hour",
    REGISTRY,
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("operation", Text, primary_key=True),
    Column("organisation", Text, primary_key=True),
    Column("lane", Text, primary_key=True),
    Column("outcome", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""How many requests ended in each hour (hours since 1970, UTC), by what they were and how they ended (SMSP-PERF-002).

`organisation` is empty where the request did not get so far as to say one.
"""
