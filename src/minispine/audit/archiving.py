"""Moving the payloads of a finished month out of the database into a file, when they are old enough.

Nothing is thrown away: the records stay, the file holds what they commit to, and a record names the file and its
digest before a row goes. By default nothing is ever old enough (`audit.keep_days`); see docs/retention.md. The keys of
the payloads stay in the database: see ``archive.py``.
"""

import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from minispine.audit import archive, declaration
from minispine.audit.archive import Archive, Row
from minispine.audit.encoding import commit
from minispine.audit.events import Entry, Event, EventType
from minispine.audit.log import AuditLog
from minispine.audit.reading import first_sealed_from, leaf_of
from minispine.audit.vault import Part
from minispine.keys.files import sync_folder
from minispine.storage import Database, Session, Store

_AT_ONCE: Final = 500
_DAY_US: Final = 86_400_000_000
_ENCRYPTED: Final = (
    "SELECT p.sequence, p.salt, p.private, p.bodies, r.leaf FROM audit_payload p JOIN audit_record r"
    " ON r.sequence = p.sequence WHERE p.sequence BETWEEN ? AND ? AND p.wrapped IS NOT NULL"
    " ORDER BY p.sequence LIMIT ?"
)
_OVERLAPPING: Final = (
    'SELECT "first", "last", name, digest, record FROM audit_archive WHERE "first" <= ? AND "last" >= ?'
)
_NAME: Final = 'INSERT INTO audit_archive ("first", "last", name, digest, record) VALUES (?, ?, ?, ?, ?)'
_KEEP_KEYS: Final = (
    "INSERT INTO audit_archived_key (sequence, wrapped) SELECT sequence, wrapped FROM audit_payload"
    " WHERE sequence BETWEEN ? AND ? AND wrapped IS NOT NULL"
    " ON CONFLICT (sequence) DO UPDATE SET wrapped = excluded.wrapped"
)
"""What somebody else may have put there beforehand is not the key."""
_MOVED: Final = "DELETE FROM audit_payload WHERE sequence BETWEEN ? AND ? AND wrapped IS NOT NULL"


class ArchiveRefused(Exception):
    """What is not to be archived: too young, archived before, or not as it was written. The text says why."""


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """What was moved: the file, the records that it is of, how many payloads, and the record that says so."""

    file: Path
    first: int
    last: int
    payloads: int
    record: int


def month(text: str) -> tuple[int, int]:
    """The beginning of a month like ``2026-09`` and that of the next, UTC microseconds since 1970.

    Raises `ValueError`.
    """
    begin = datetime.datetime.strptime(text, "%Y-%m").replace(tzinfo=datetime.UTC)
    if begin.strftime("%Y-%m") != text:
        raise ValueError("a month is given as 2026-09")
    end = (begin + datetime.timedelta(days=31)).replace(day=1)
    return round(begin.timestamp()) * 1_000_000, round(end.timestamp()) * 1_000_000


def archive_month(
    database: Database, log: AuditLog, which: str, folder: Path, *, keep_days: int | None, actor: Mapping[str, Any]
) -> Archived:
    """Move the payloads of a month into a new file in `folder`. To be repeated when it ended in the middle.

    `database` is that of the tables' owner, `actor` is `Actor.as_data`. Raises `ArchiveRefused`, `ValueError` for what
    is no month, `AuditUnavailable`, `StorageUnavailable`, `ArchiveUnreadable`, `RecordUnreadable`, `OSError`.
    """
    begin, end = month(which)
    now = log.now()
    if keep_days is None:
        raise ArchiveRefused("payloads are kept in the database for ever, as long as audit.keep_days is not set")
    if end + keep_days * _DAY_US > now:
        raise ArchiveRefused(
            f"the payloads of {which} are to be kept in the database for {keep_days} days (audit.keep_days)"
        )
    first, last = first_sealed_from(database, begin), first_sealed_from(database, end) - 1
    if last < first:
        raise ArchiveRefused(f"the log has no records of {which}")
    with database.reading(Store.AUDIT) as session:
        before = session.rows(_OVERLAPPING, (last, first))
    declared = declaration.in_force(database)
    assert declared is not None, "the log that writes was begun"
    file = folder / f"{which}-{first}-{last}{archive.SUFFIX}"
    if before:
        if before[0][:3] != (first, last, file.name):
            raise ArchiveRefused(f"payloads of {which} are in {before[0][2]} already")
        record = _same(file, before[0])
    else:
        made = _made(database, file, origin=declared.origin, first=first, last=last)
        record = _name(log, made, actor)
    return Archived(file=file, first=first, last=last, payloads=_move(database, first, last), record=record)


def _same(file: Path, row: tuple[Any, ...]) -> int:
    """The record of an archive that was begun before, if its file is there and is the one that was made."""
    if Archive.open(file).digest() != bytes(row[3]):
        raise ArchiveRefused(f"{file} is not the archive that record {row[4]} names")
    record: int = row[4]
    return record


def _made(database: Database, file: Path, *, origin: str, first: int, last: int) -> Archive:
    """The file, whole and on the disk under its name, or not at all."""
    unfinished = file.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        archive.write(unfinished, _rows(database, first, last), origin=origin, first=first, last=last)
        if file.exists():
            raise ArchiveRefused(f"{file} is there already")
        unfinished.rename(file)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(file.parent)
    return Archive.open(file)


def _rows(database: Database, first: int, last: int) -> Iterator[Row]:
    """Each encrypted payload of a range, if it is the one that its record commits to."""
    while first <= last:
        with database.reading(Store.AUDIT) as session:
            page = session.rows(_ENCRYPTED, (first, last, _AT_ONCE))
        for sequence, salt, private, bodies, leaf in page:
            committed = leaf_of(sequence, leaf)
            for part, content in ((Part.PRIVATE, private), (Part.BODIES, bodies)):
                expected = committed[part.name.lower()]
                if expected != (None if content is None else commit(bytes(salt), part, bytes(content))):
                    raise ArchiveRefused(
                        f"the payload of record {sequence} is not as it was written; see: minispine audit verify"
                    )
            yield sequence, salt, private, bodies
        if len(page) < _AT_ONCE:
            return
        first = page[-1][0] + 1


def _name(log: AuditLog, made: Archive, actor: Mapping[str, Any]) -> int:
    digest = made.digest()
    told = {
        "actor": dict(actor),
        "first": made.first,
        "last": made.last,
        "name": made.name,
        "sha256": digest.hex(),
    }
    event = Event(type=EventType.AUDIT_ARCHIVED, at=log.now(), data=told)
    with log.holding() as hold:
        record = log.append_in(hold, Entry(events=(event,))).sequence
        hold.audit.run(_NAME, (made.first, made.last, made.name, digest, record))
    return record


def _move(database: Database, first: int, last: int) -> int:
    """Leave of each payload its key alone, a few at a time, so that nobody has to wait long; how many there were."""
    moved = 0
    for start in range(first, last + 1, _AT_ONCE):
        stretch = (start, min(last, start + _AT_ONCE - 1))
        with database.session(Store.AUDIT) as session:
            session.begin()
            moved += _count(session, stretch)
            session.run(_KEEP_KEYS, stretch)
            session.run(_MOVED, stretch)
            session.commit()
    return moved


def _count(session: Session, stretch: tuple[int, int]) -> int:
    counted = "SELECT COUNT(*) FROM audit_payload WHERE sequence BETWEEN ? AND ? AND wrapped IS NOT NULL"
    return int(session.rows(counted, stretch)[0][0])
