"""Reading the log: its records one after another, and the events of those that a search finds.

Everything is read in short transactions, a page at a time, so that a reader never holds up a writer or keeps more than
a page in memory. Whether the log is intact is `verification.py`'s question, and that reading is itself recorded is its
caller's duty.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import ColumnElement, func, or_, select

from minispine.audit.encoding import encode_text, iso_time, read_leaf, unframe_bodies
from minispine.audit.events import Body
from minispine.storage import Database, Store
from minispine.storage.tables import audit_head, audit_payload, audit_record

T = TypeVar("T")

PAGE_RECORDS: Final = 500
_SCAN_RECORDS: Final = 20_000
"""How many records a search looks at in one statement."""
_UUID: Final = re.compile(r"(?:urn:)?(?:uuid:)?([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})", re.IGNORECASE)


def last_sequence(database: Database) -> int:
    """The sequence number of the last record, 0 for an empty log. Raises `StorageUnavailable`."""
    with database.reading(Store.AUDIT) as session:
        return int(session.execute(select(audit_head.c.sequence))[0].sequence)


def last_system(database: Database) -> str | None:
    """The installation that wrote the last record, None for an empty log. Raises `StorageUnavailable`."""
    query = select(audit_record.c.leaf).order_by(audit_record.c.sequence.desc()).limit(1)
    with database.reading(Store.AUDIT) as session:
        rows = session.execute(query)
    return str(read_leaf(bytes(rows[0].leaf))["system_id"]) if rows else None


def events(
    database: Database,
    *,
    first: int = 1,
    last: int | None = None,
    exchange: str | None = None,
    identifier: str | None = None,
    nhs_number: str | None = None,
    include_private: bool = False,
) -> Iterator[dict[str, Any]]:
    """The events of the log in order, one dict for each.

    `first` and `last` bound the sequence, both included. `exchange` wants the records of one exchange. `identifier` is
    any id: of a client's message, a tracking id, a Spine message, an audit identity, an exchange; a UUID is found in
    either case, with or without ``urn:uuid:``. `nhs_number` looks into the private parts. Both of these give *all*
    records of every exchange in which they are found (SMSP-AUDIT-004, ACCESS-2 c). Conditions together all have to
    hold. Events written after the call has begun are not among them.

    Keys: sequence, index (of the event in its record), sealed_at, at, type, system, instance, exchange, client,
    client_message_id, repeats, data, and private if asked for. Raises `StorageUnavailable`.
    """
    if last is None:
        last = last_sequence(database)
    conditions: list[set[int]] = []
    if exchange is not None:
        conditions.append(_of_exchanges(database, {exchange}))
    if identifier is not None:
        conditions.append(_with_identifier(database, identifier, last))
    if nhs_number is not None:
        conditions.append(_with_nhs_number(database, nhs_number, last))
    if conditions:
        found = sorted(s for s in set.intersection(*conditions) if first <= s <= last)
        pages = (audit_record.c.sequence.in_(chunk) for chunk in _chunks(found, PAGE_RECORDS))
    else:
        pages = (audit_record.c.sequence.between(*span) for span in _spans(first, last, PAGE_RECORDS))
    for page in pages:
        yield from _events_on(database, page, include_private)


def bodies(database: Database, sequence: int) -> tuple[Body, ...]:
    """The messages kept with one record. Raises `StorageUnavailable`."""
    query = select(audit_payload.c.bodies).where(audit_payload.c.sequence == sequence)
    with database.reading(Store.AUDIT) as session:
        rows = session.execute(query)
    return unframe_bodies(bytes(rows[0].bodies)) if rows and rows[0].bodies is not None else ()


def _with_identifier(database: Database, identifier: str, last: int) -> set[int]:
    uuid = _UUID.fullmatch(identifier)
    needles = {uuid[1].upper(), uuid[1].lower()} if uuid else {identifier}
    wanted = _bare(identifier)

    def holds(leaf: bytes) -> bool:
        return any(_bare(text) == wanted for text in _texts(read_leaf(leaf)))

    return _search(database, audit_record.c.leaf, needles, last, holds)


def _with_nhs_number(database: Database, nhs_number: str, last: int) -> set[int]:
    wanted = nhs_number.replace(" ", "")

    def holds(private: bytes) -> bool:
        return any(text == wanted for text in _texts(msgspec.json.decode(private)))

    return _search(database, audit_payload.c.private, {wanted}, last, holds)


def _search(
    database: Database, column: ColumnElement[bytes], needles: set[str], last: int, holds: Callable[[bytes], bool]
) -> set[int]:
    """Every record in whose column a needle stands and of which `holds` is true, and those of the same exchanges.

    The needles only spare us most of the records: they are looked for as bytes, wherever they stand.
    """
    contains = func.instr if database.kind == "sqlite" else func.pg_catalog.position
    contained = or_(*(contains(column, encode_text(needle)[1:-1]) > 0 for needle in sorted(needles)))
    query = select(audit_record.c.sequence, audit_record.c.exchange, column.label("content")).where(contained)
    if column.table is audit_payload:
        query = query.join(audit_payload, audit_payload.c.sequence == audit_record.c.sequence)
    exchanges: set[str] = set()
    alone: set[int] = set()
    for span in _spans(1, last, _SCAN_RECORDS):
        with database.reading(Store.AUDIT) as session:
            found = session.execute(query.where(audit_record.c.sequence.between(*span)))
        for row in found:
            if not holds(bytes(row.content)):
                continue
            if row.exchange is None:
                alone.add(row.sequence)
            else:
                exchanges.add(row.exchange)
    return alone | _of_exchanges(database, exchanges)


def _of_exchanges(database: Database, exchanges: set[str]) -> set[int]:
    sequences: set[int] = set()
    for chunk in _chunks(sorted(exchanges), PAGE_RECORDS):
        with database.reading(Store.AUDIT) as session:
            rows = session.execute(select(audit_record.c.sequence).where(audit_record.c.exchange.in_(chunk)))
        sequences.update(row.sequence for row in rows)
    return sequences


def _events_on(database: Database, page: ColumnElement[bool], include_private: bool) -> Iterator[dict[str, Any]]:
    query = select(audit_record.c.sequence, audit_record.c.leaf).where(page).order_by(audit_record.c.sequence)
    if include_private:
        query = query.add_columns(audit_payload.c.private).outerjoin(
            audit_payload, audit_payload.c.sequence == audit_record.c.sequence
        )
    with database.reading(Store.AUDIT) as session:
        rows = session.execute(query)
    for row in rows:
        leaf = read_leaf(bytes(row.leaf))
        privates = _privates(row.private, len(leaf["events"])) if include_private else None
        for index, event in enumerate(leaf["events"]):
            told = {
                "sequence": leaf["sequence"],
                "index": index,
                "sealed_at": iso_time(leaf["sealed_at"]),
                "at": iso_time(event["at"]),
                "type": event["type"],
                "system": leaf["system_id"],
                "instance": leaf["instance"],
                "exchange": leaf["exchange"],
                "client": leaf["client"],
                "client_message_id": leaf["client_message_id"],
                "repeats": leaf["repeats"],
                "data": event["data"],
            }
            if privates is not None:
                told["private"] = privates[index]
            yield told


def _privates(private: bytes | None, count: int) -> list[dict[str, Any]]:
    if private is None:
        return [{} for _ in range(count)]
    return msgspec.json.decode(bytes(private), type=list[dict[str, Any]])


def _bare(identifier: str) -> str:
    """An identifier as it is compared: of a UUID, the digits alone, in upper case."""
    uuid = _UUID.fullmatch(identifier)
    return uuid[1].upper() if uuid else identifier


def _texts(value: Any) -> Iterable[str]:
    """Every string in a JSON value, keys of objects apart."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


def _spans(first: int, last: int, size: int) -> Iterator[tuple[int, int]]:
    """First to last, both included, in spans of at most `size`."""
    for start in range(max(first, 1), last + 1, size):
        yield start, min(start + size - 1, last)


def _chunks(members: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for at in range(0, len(members), size):
        yield members[at : at + size]
