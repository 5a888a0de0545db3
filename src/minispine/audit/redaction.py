"""Destroying payloads on the order of both authorities, as a court or the like demands it: the only way there is.

The record stays, and the log verifies as before; what it commits to is gone, with its salt, its key, and the patient's
entries in the search index. One transaction does all of it, in which the signatures are checked against the keys that
the log states, and a record says what was destroyed on whose order (SMSP-AUDIT-001 d). What the text of an order is, is
in ``removal_request.py``.

What was copied before is out of reach here: backups, the server's own write-ahead log, blocks that a disk has not yet
written over. All of it is encrypted; docs/retention.md says how the key to it is destroyed too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from minispine.audit import declaration, index
from minispine.audit.archive import Archive, Row
from minispine.audit.declaration import Declaration
from minispine.audit.events import AuditUnavailable, Entry, Event, EventType
from minispine.audit.log import AuditLog
from minispine.audit.reading import opened, records
from minispine.audit.removal_request import Range, RemovalRequest, RequestInvalid, signed_request
from minispine.audit.sealing import Hold
from minispine.audit.terms import private_terms
from minispine.audit.vault import Part, Vault
from minispine.keys.files import write_public
from minispine.storage import Database, Session, StorageError, StorageUnavailable, Store

FOLDER: Final = "redactions"
"""Where, in the directory in which a log is published, the orders that were carried out are."""

_PAYLOADS: Final = (
    "SELECT sequence, salt, wrapped, private FROM audit_payload WHERE sequence BETWEEN ? AND ? ORDER BY sequence"
)
_KEYS_OF_ARCHIVED: Final = (
    "SELECT sequence, wrapped FROM audit_archived_key WHERE sequence BETWEEN ? AND ? ORDER BY sequence"
)
_PRESENT: Final = (
    "SELECT sequence FROM audit_payload WHERE sequence BETWEEN ? AND ?"
    " UNION SELECT sequence FROM audit_archived_key WHERE sequence BETWEEN ? AND ? ORDER BY sequence"
)
_REMOVED: Final = "SELECT record FROM audit_removal WHERE sequence BETWEEN ? AND ?"
_NAME: Final = "INSERT INTO audit_removal (sequence, record) VALUES (?, ?)"
_DESTROY: Final = "DELETE FROM audit_payload WHERE sequence = ?"
_DESTROY_KEY: Final = "DELETE FROM audit_archived_key WHERE sequence = ?"
_HELD_APART: Final = (
    "audit_payload",
    "audit_archived_key",
    "audit_index_pending",
    "audit_index_page",
    "audit_index_bits",
)
_privates: Final = msgspec.json.Decoder(tuple[dict[str, Any], ...]).decode

Terms = Mapping[int, tuple[bytes, ...]]


class AlreadyRemoved(Exception):
    """Everything that a request names was destroyed before; `record` says so."""

    def __init__(self, record: int) -> None:
        super().__init__(f"this was carried out before, as record {record} says; nothing was done")
        self.record = record


class NotTheOwner(StorageError):
    """The account of the database may not destroy anything; that of the tables' owner may."""


class ArchiveNeeded(Exception):
    """A payload is in an archive that was not given: only the archive tells by what the index finds its record."""


class Removed(msgspec.Struct, frozen=True):
    """What was destroyed: the record that says so, the request, and the records whose payload it was.

    `cleared` is false when the database's own files may still hold the old bytes, because others were reading.
    """

    record: int
    request: RemovalRequest
    sequences: tuple[int, ...]
    cleared: bool


def redact(
    database: Database, log: AuditLog, note: str, *, actor: Mapping[str, Any], archives: Sequence[Archive] = ()
) -> Removed:
    """Destroy the payloads that a signed request names, and say so in the log.

    Of an archived payload the key is destroyed, so that no copy of the archive can be read again; its archive has to be
    among `archives`. `actor` is `Actor.as_data`.

    Raises `RequestInvalid`, `AlreadyRemoved`, `NotTheOwner`, `ArchiveNeeded`, `PayloadUnreadable` (without its master
    key nobody can tell which entries of the index are a payload's), `AuditUnavailable` and `StorageUnavailable`; then
    nothing was done.
    """
    declared = declaration.in_force(database)
    request = signed_request(note, declared)
    assert declared is not None, "or nobody's signature would have been taken"
    end = None if request.epoch == declared.epoch else _end_of(request.epoch, database, log.vault)
    with database.session(Store.AUDIT) as session:
        _check_owner(session)
        terms = dict(sorted(_patient_terms(session, request.ranges_up_to(end), log.vault, archives)))
    with log.holding() as hold:
        # Once more, with the keys that are in force while nobody can change them.
        request = signed_request(note, declaration.in_force_in(hold.audit))
        record = _carry_out(hold, log, request, note, terms, actor, end)
    return Removed(record, request, tuple(terms), _clear(database))


def refused(log: AuditLog, problem: RequestInvalid, text: str, *, actor: Mapping[str, Any]) -> None:
    """Record that somebody tried without what it takes. Raises `AuditUnavailable`."""
    told: dict[str, Any] = {"actor": dict(actor), "cause": problem.cause}
    private: dict[str, Any] = {}
    try:
        request = RemovalRequest.decode(text.partition("\n\n")[0].rstrip("\n") + "\n")
    except RequestInvalid:
        pass
    else:
        told["records"] = request.records
        private["reference"] = request.reference
    event = Event(type=EventType.AUDIT_REMOVAL_REFUSED, at=log.now(), data=told, private=private)
    log.append_now(Entry(events=(event,)))


def publish(directory: Path, note: str, request: RemovalRequest) -> Path:
    """Put an order that was carried out beside the log's checkpoints, from where a restored log gets it again.

    Raises `OSError`.
    """
    folder = directory / FOLDER
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    file = folder / f"{request.number}.txt"
    write_public(file, note.encode())
    return file


def _carry_out(
    hold: Hold,
    log: AuditLog,
    request: RemovalRequest,
    note: str,
    terms: Terms,
    actor: Mapping[str, Any],
    end: int | None,
) -> int:
    session = hold.audit
    if end is None and request.ranges[-1][1] > hold.sequence:
        raise RequestInvalid("no-such-record", f"the log has {hold.sequence} records")
    ranges = request.ranges_up_to(end)
    present = tuple(_in_ranges(session, _PRESENT, (each * 2 for each in ranges)))
    if not present:
        before = tuple(_in_ranges(session, _REMOVED, ranges))
        if before:
            raise AlreadyRemoved(before[-1])
        raise RequestInvalid("no-payload", "none of these records has a payload that could be destroyed")
    if present != tuple(terms):
        raise AuditUnavailable("some of these payloads were moved meanwhile; run it again")
    told = {"actor": dict(actor), "records": request.records, "reference": request.reference, "request": note}
    event = Event(type=EventType.AUDIT_PAYLOAD_REMOVED, at=log.now(), data=told)
    record = log.append_in(hold, Entry(events=(event,))).sequence
    session.run_many(_NAME, [(sequence, record) for sequence in present])
    for sequence, keys in terms.items():
        index.remove(session, sequence, keys)
    for destroy in (_DESTROY, _DESTROY_KEY):
        session.run_many(destroy, [(sequence,) for sequence in present])
    return record


def _end_of(epoch: int, database: Database, vault: Vault) -> int:
    """The last record of an epoch of this log, or of what is left of it: those after it have numbers of others."""
    restored = index.postings(database, vault.term("event", EventType.AUDIT_RESTORED))
    for record in records(database, restored):
        for event in record.events:
            if event["type"] == EventType.AUDIT_RESTORED and _epoch_begun_by(event) == epoch + 1:
                return record.sequence - 1
    raise RequestInvalid("another-log", "no record says that the log went on from the epoch of the request")


def _epoch_begun_by(event: Mapping[str, Any]) -> int:
    note: str = declaration.note_of(event) or ""
    return Declaration.decode(note.partition("\n\n")[0] + "\n").epoch


def _patient_terms(
    session: Session, ranges: Iterable[Range], vault: Vault, archives: Sequence[Archive]
) -> Iterator[tuple[int, tuple[bytes, ...]]]:
    """The records that have a payload, each with the terms by which it is found and that only the payload tells."""
    for each in ranges:
        for sequence, salt, wrapped, private in session.rows(_PAYLOADS, each):
            yield sequence, _terms_in(opened(vault, Part.PRIVATE, private, salt, wrapped), vault)
        for sequence, wrapped in session.rows(_KEYS_OF_ARCHIVED, each):
            _, salt, private, _ = _archived(sequence, archives)
            yield sequence, _terms_in(opened(vault, Part.PRIVATE, private, salt, wrapped), vault)


def _terms_in(private: bytes | None, vault: Vault) -> tuple[bytes, ...]:
    privates = () if private is None else _privates(private)
    return tuple(vault.term(kind, value) for kind, value in sorted(private_terms(privates)))


def _archived(sequence: int, archives: Sequence[Archive]) -> Row:
    for archive in archives:
        for row in archive.rows(sequence, sequence):
            return row
    raise ArchiveNeeded(f"the payload of record {sequence} is in an archive; give that with --archive")


def _in_ranges(session: Session, query: str, ranges: Iterable[tuple[int, ...]]) -> Iterator[int]:
    for each in ranges:
        for (value,) in session.rows(query, each):
            yield value


def _check_owner(session: Session) -> None:
    if session.kind == "postgresql" and not session.rows("SELECT has_table_privilege('audit_payload', 'DELETE')")[0][0]:
        raise NotTheOwner(
            "this account of the database may not destroy anything; give --owner-url of the tables' owner"
        )


def _clear(database: Database) -> bool:
    """Have the database drop the old bytes from its own files as far as it can; whether it did. Never raises."""
    try:
        with database.session(Store.AUDIT) as session:
            if session.kind == "sqlite":
                busy: int = session.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]
                return not busy
            for table in _HELD_APART:
                session.run(f"VACUUM {table}")
    except StorageUnavailable:
        return False
    return True
