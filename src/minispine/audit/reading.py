"""Reading the log: its records by their sequence, their events, and the messages kept with them.

Everything is read in short transactions, a page at a time, so that a reader never holds up a writer or keeps more than
a page in memory. Which records meet a condition is ``search.py``'s question, whether the log is intact that of
``verification/``, and that reading is itself recorded is its caller's duty (``looking.py``).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from sqlalchemy import Row, select

from minispine.audit.encoding import FIRST_VERSION, commit, iso_time, read_leaf, unframe_bodies, version_of
from minispine.audit.events import Body
from minispine.audit.vault import Part, PayloadUnreadable, Vault
from minispine.storage import Database, Store
from minispine.storage.tables import audit_archive, audit_head, audit_payload, audit_record, audit_removal

PAGE_RECORDS: Final = 500
Moment = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999_999)]
"""UTC microseconds since 1970, up to the year 9999."""
_PRIVATE: Final = (audit_payload.c.private, audit_payload.c.salt, audit_payload.c.wrapped)


class Absent(msgspec.Struct, frozen=True):
    """Why the payload that a record commits to is not in the database.

    `removed` on the order that `reference` names, `archived` in the file `reference`; `record` is the one that says
    so. `missing` without any record that accounts for it: then somebody tampered with the log.
    """

    why: Literal["removed", "archived", "missing"]
    record: int | None = None
    reference: str | None = None


class RecordUnreadable(Exception):
    """A record that is not one, because it is not as it was written. The text names it and quotes nothing of it."""

    def __init__(self, sequence: int) -> None:
        super().__init__(f"record {sequence} cannot be read; run: minispine audit verify")
        self.sequence = sequence


class _Event(msgspec.Struct):
    at: Moment
    data: dict[str, Any]
    type: str


class _Leaf(msgspec.Struct):
    """What every version of a leaf has."""

    bodies: str | None
    client: str | None
    client_message_id: str | None
    events: list[_Event]
    exchange: str | None
    instance: str
    private: str | None
    repeats: str | None
    sealed_at: Moment
    system_id: str


def leaf_of(sequence: int, leaf: bytes) -> dict[str, Any]:
    """What the leaf of a record says, if it has the members that every leaf has. Raises `RecordUnreadable`."""
    try:
        fields = read_leaf(bytes(leaf))
        msgspec.convert(fields, _Leaf)
    except ValueError:
        raise RecordUnreadable(sequence) from None
    return fields


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One record as it is read. Times are UTC microseconds since 1970.

    `privates` are the private parts of its events; None where they were not asked for or are not to be had, of which
    `absent` gives the reason.
    """

    sequence: int
    hash: bytes
    sealed_at: int
    system: str
    instance: str
    exchange: str | None
    client: str | None
    client_message_id: str | None
    repeats: str | None
    events: tuple[dict[str, Any], ...]
    """Each with its `type`, `at` and `data`."""
    privates: tuple[dict[str, Any], ...] | None = None
    absent: Absent | None = None


def last_sequence(database: Database) -> int:
    """The sequence number of the last record, 0 for an empty log. Raises `StorageUnavailable`."""
    with database.reading(Store.AUDIT) as session:
        return int(session.execute(select(audit_head.c.sequence))[0].sequence)


def last_system(database: Database) -> str | None:
    """The installation that wrote the last record, None for an empty log.

    Raises `StorageUnavailable`, `RecordUnreadable`.
    """
    query = select(audit_record.c.sequence, audit_record.c.leaf).order_by(audit_record.c.sequence.desc()).limit(1)
    with database.reading(Store.AUDIT) as session:
        rows = session.execute(query)
    return str(leaf_of(rows[0].sequence, rows[0].leaf)["system_id"]) if rows else None


def first_sealed_from(database: Database, us: int) -> int:
    """The sequence of the first record that was sealed at `us` or later; of the next one to come if there is none.

    Sealed time never goes back from one record to the next, so that is found by halving. Raises `StorageUnavailable`,
    `RecordUnreadable`.
    """
    with database.reading(Store.AUDIT) as session:
        low, high = 1, int(session.execute(select(audit_head.c.sequence))[0].sequence) + 1
        while low < high:
            middle = (low + high) // 2
            leaf = session.rows("SELECT leaf FROM audit_record WHERE sequence = ?", (middle,))
            try:
                sealed_at = _sealed_at(bytes(leaf[0][0])[1:]).sealed_at
            except (IndexError, ValueError):
                raise RecordUnreadable(middle) from None
            if sealed_at < us:
                low = middle + 1
            else:
                high = middle
    return low


def records(database: Database, sequences: Iterable[int], *, vault: Vault | None = None) -> Iterator[Record]:
    """The records of these sequence numbers, in the order given; numbers that no record has are passed over.

    With a `vault` to open them, each record has the private parts of its events. Raises `StorageUnavailable`,
    `PayloadUnreadable`, `RecordUnreadable`.
    """
    for page in _pages(sequences):
        yield from _records(database, page, vault)


def events(
    database: Database, *, first: int = 1, last: int | None = None, vault: Vault | None = None
) -> Iterator[dict[str, Any]]:
    """The events of the records from `first` to `last`, both included, in order, as `told` gives them.

    Events written after the call has begun are not among them. Raises `StorageUnavailable`, `PayloadUnreadable`,
    `RecordUnreadable`.
    """
    end = last_sequence(database)
    end = end if last is None else min(last, end)
    for record in records(database, range(max(first, 1), end + 1), vault=vault):
        yield from told(record)


def told(record: Record) -> Iterator[dict[str, Any]]:
    """The events of a record, one dict for each.

    Keys: sequence, index (of the event in its record), sealed_at, at, type, system, instance, exchange, client,
    client_message_id, repeats, data; and if they were asked for, private. Where the record's payload is not there,
    `private` is None, and another key says why: `removed`, with the order's reference, `archived`, with the file's
    name, or `missing`.
    """
    for index, event in enumerate(record.events):
        one = {
            "sequence": record.sequence,
            "index": index,
            "sealed_at": iso_time(record.sealed_at),
            "at": iso_time(event["at"]),
            "type": event["type"],
            "system": record.system,
            "instance": record.instance,
            "exchange": record.exchange,
            "client": record.client,
            "client_message_id": record.client_message_id,
            "repeats": record.repeats,
            "data": event["data"],
        }
        if record.privates is not None:
            one["private"] = record.privates[index]
        if record.absent is not None:
            one |= {"private": None, record.absent.why: record.absent.reference or True}
        yield one


def bodies(database: Database, sequence: int, vault: Vault) -> tuple[Body, ...]:
    """The messages kept with one record, none where there are none here.

    Raises `StorageUnavailable`, `PayloadUnreadable`, `RecordUnreadable`.
    """
    query = (
        select(audit_record.c.leaf, audit_payload.c.salt, audit_payload.c.wrapped, audit_payload.c.bodies)
        .join(audit_payload, audit_payload.c.sequence == audit_record.c.sequence)
        .where(audit_record.c.sequence == sequence)
    )
    with database.reading(Store.AUDIT) as session:
        rows = session.execute(query)
    framed = (
        _as_committed(vault, Part.BODIES, rows[0].bodies, rows[0], leaf_of(sequence, rows[0].leaf)) if rows else None
    )
    return unframe_bodies(framed) if framed is not None else ()


def opened(vault: Vault, part: Part, content: bytes | None, salt: bytes, wrapped: bytes | None) -> bytes | None:
    """One part of a payload's row in the clear; those of the first release are. Raises `PayloadUnreadable`."""
    if content is None or wrapped is None:
        return None if content is None else bytes(content)
    return vault.open(part, bytes(content), salt=bytes(salt), wrapped=bytes(wrapped))


def _as_committed(vault: Vault, part: Part, content: bytes | None, row: Row[Any], leaf: dict[str, Any]) -> bytes | None:
    """The same of a payload that is the one its leaf commits to, so that nobody is shown what somebody put there."""
    committed = leaf[part.name.lower()]
    if committed != (None if content is None else commit(bytes(row.salt), part, bytes(content))) or (
        content is not None and row.wrapped is None and version_of(bytes(row.leaf)) != FIRST_VERSION
    ):
        raise PayloadUnreadable("a payload is not the one that its record commits to; run: minispine audit verify")
    return None if content is None else opened(vault, part, content, row.salt, row.wrapped)


class _SealedAt(msgspec.Struct):
    sealed_at: int


_sealed_at: Final = msgspec.json.Decoder(_SealedAt).decode
_privates: Final = msgspec.json.Decoder(tuple[dict[str, Any], ...]).decode


def _records(database: Database, page: Sequence[int], vault: Vault | None) -> Iterator[Record]:
    columns = (audit_record.c.sequence, audit_record.c.hash, audit_record.c.leaf)
    low, high = min(page), max(page)
    whole = high - low == len(page) - 1  # neighbours, which are quicker to get as such
    query = select(*columns).where(
        audit_record.c.sequence.between(low, high) if whole else audit_record.c.sequence.in_(page)
    )
    if vault is not None:
        query = query.add_columns(audit_payload.c.sequence.label("kept"), *_PRIVATE).outerjoin(
            audit_payload, audit_payload.c.sequence == audit_record.c.sequence
        )
    with database.reading(Store.AUDIT) as session:  # to fetch only: on PostgreSQL a transaction may not stand idle
        fetched = session.execute(query)
    rows = {row.sequence: (row, leaf_of(row.sequence, row.leaf)) for row in fetched}
    gone = [
        sequence
        for sequence, (row, leaf) in rows.items()
        if vault is not None and row.kept is None and (leaf["private"], leaf["bodies"]) != (None, None)
    ]
    absent = _absent(database, gone) if gone else {}
    for sequence in page:
        if sequence in rows:
            row, leaf = rows[sequence]
            yield _record(row, leaf, vault, absent.get(sequence))


def _record(row: Row[Any], leaf: dict[str, Any], vault: Vault | None, absent: Absent | None) -> Record:
    events = tuple(leaf["events"])
    privates: tuple[dict[str, Any], ...] | None = None
    if vault is not None and absent is None:
        private = _as_committed(vault, Part.PRIVATE, row.private, row, leaf)
        privates = tuple({} for _ in events) if private is None else _privates(private)
    return Record(
        sequence=row.sequence,
        hash=bytes(row.hash),
        sealed_at=leaf["sealed_at"],
        system=leaf["system_id"],
        instance=leaf["instance"],
        exchange=leaf["exchange"],
        client=leaf["client"],
        client_message_id=leaf["client_message_id"],
        repeats=leaf["repeats"],
        events=events,
        privates=privates,
        absent=absent,
    )


def _absent(database: Database, sequences: Sequence[int]) -> dict[int, Absent]:
    """Why the payloads of these records are not here."""
    removed = select(audit_removal, audit_record.c.leaf).join(
        audit_record, audit_record.c.sequence == audit_removal.c.record
    )
    archived = select(audit_archive).where(
        audit_archive.c.first <= max(sequences), audit_archive.c.last >= min(sequences)
    )
    with database.reading(Store.AUDIT) as session:
        removals = {
            row.sequence: row for row in session.execute(removed.where(audit_removal.c.sequence.in_(sequences)))
        }
        archives = session.execute(archived)
    found = {}
    for sequence in sequences:
        if removal := removals.get(sequence):
            found[sequence] = Absent("removed", removal.record, _reference(leaf_of(removal.record, removal.leaf)))
        elif archive := next((a for a in archives if a.first <= sequence <= a.last), None):
            found[sequence] = Absent("archived", archive.record, archive.name)
        else:
            found[sequence] = Absent("missing")
    return found


def _reference(leaf: dict[str, Any]) -> str | None:
    return next((reference for event in leaf["events"] if (reference := event["data"].get("reference"))), None)


def _pages(sequences: Iterable[int]) -> Iterator[list[int]]:
    page: list[int] = []
    for sequence in sequences:
        page.append(sequence)
        if len(page) == PAGE_RECORDS:
            yield page
            page = []
    if page:
        yield page
