"""Reading the log: its records one after another, and the events of those that a search finds.

Everything is read in short transactions, a page at a time, so that a reader never holds up a writer or keeps more than
a page in memory. Whether the log is intact is `verification.py`'s question, and that reading is itself recorded is its
caller's duty.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Row, Select, func, or_, select

from minispine.audit.encoding import encode_text, iso_time, read_leaf, unframe_bodies
from minispine.audit.events import Body
from minispine.audit.terms import bare
from minispine.audit.vault import Part, Vault
from minispine.storage import Database, Store
from minispine.storage.tables import audit_head, audit_payload, audit_record

T = TypeVar("T")

PAGE_RECORDS: Final = 500
_SCAN_RECORDS: Final = 20_000
"""How many records a search looks at in one statement."""
_PRIVATE: Final = (audit_payload.c.private, audit_payload.c.salt, audit_payload.c.wrapped)


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
    vault: Vault | None = None,
) -> Iterator[dict[str, Any]]:
    """The events of the log in order, one dict for each.

    `first` and `last` bound the sequence, both included. `exchange` wants the records of one exchange. `identifier` is
    any id: of a client's message, a tracking id, a Spine message, an audit identity, an exchange; a UUID is found in
    either case, with or without ``urn:uuid:``. `nhs_number` looks into the private parts. Both of these give *all*
    records of every exchange in which they are found (SMSP-AUDIT-004, ACCESS-2 c). Conditions together all have to
    hold. Events written after the call has begun are not among them.

    Keys: sequence, index (of the event in its record), sealed_at, at, type, system, instance, exchange, client,
    client_message_id, repeats, data, and, if there is a `vault` to open them with, private. Raises
    `StorageUnavailable`, `PayloadUnreadable`.
    """
    if last is None:
        last = last_sequence(database)
    conditions: list[set[int]] = []
    if exchange is not None:
        conditions.append(_of_exchanges(database, {exchange}))
    if identifier is not None:
        conditions.append(_with_identifier(database, identifier, last))
    if nhs_number is not None:
        if vault is None:
            raise ValueError("patients stand in the private parts, which take a vault to open")
        conditions.append(_with_nhs_number(database, nhs_number, last, vault))
    if conditions:
        found = sorted(s for s in set.intersection(*conditions) if first <= s <= last)
        pages = (audit_record.c.sequence.in_(chunk) for chunk in _chunks(found, PAGE_RECORDS))
    else:
        pages = (audit_record.c.sequence.between(*span) for span in _spans(first, last, PAGE_RECORDS))
    for page in pages:
        yield from _events_on(database, page, vault)


def bodies(database: Database, sequence: int, vault: Vault) -> tuple[Body, ...]:
    """The messages kept with one record. Raises `StorageUnavailable`, `PayloadUnreadable`."""
    query = select(audit_payload.c.salt, audit_payload.c.wrapped, audit_payload.c.bodies).where(
        audit_payload.c.sequence == sequence
    )
    with database.reading(Store.AUDIT) as session:
        rows = session.execute(query)
    framed = opened(vault, Part.BODIES, rows[0].bodies, rows[0].salt, rows[0].wrapped) if rows else None
    return unframe_bodies(framed) if framed is not None else ()


def opened(vault: Vault, part: Part, content: bytes | None, salt: bytes, wrapped: bytes | None) -> bytes | None:
    """One part of a payload's row in the clear; those of the first release are. Raises `PayloadUnreadable`."""
    if content is None or wrapped is None:
        return None if content is None else bytes(content)
    return vault.open(part, bytes(content), salt=bytes(salt), wrapped=bytes(wrapped))


def _with_identifier(database: Database, identifier: str, last: int) -> set[int]:
    wanted = bare(identifier)
    needles = {wanted, wanted.lower()} if wanted != identifier or len(wanted) == 36 else {identifier}
    contains = func.instr if database.kind == "sqlite" else func.pg_catalog.position
    contained = or_(*(contains(audit_record.c.leaf, encode_text(needle)[1:-1]) > 0 for needle in sorted(needles)))
    query = select(audit_record.c.sequence, audit_record.c.exchange, audit_record.c.leaf).where(contained)
    return _search(
        database, query, last, lambda row: any(bare(text) == wanted for text in _texts(read_leaf(bytes(row.leaf))))
    )


def _with_nhs_number(database: Database, nhs_number: str, last: int, vault: Vault) -> set[int]:
    wanted = nhs_number.replace(" ", "")
    query = select(audit_record.c.sequence, audit_record.c.exchange, *_PRIVATE).join(
        audit_payload, audit_payload.c.sequence == audit_record.c.sequence
    )

    def holds(row: Row[Any]) -> bool:
        private = opened(vault, Part.PRIVATE, row.private, row.salt, row.wrapped)
        return private is not None and any(text == wanted for text in _texts(msgspec.json.decode(private)))

    return _search(database, query, last, holds)


def _search(database: Database, query: Select[Any], last: int, holds: Callable[[Row[Any]], bool]) -> set[int]:
    """Every record that the query gives and of which `holds` is true, and those of the same exchanges."""
    exchanges: set[str] = set()
    alone: set[int] = set()
    for span in _spans(1, last, _SCAN_RECORDS):
        with database.reading(Store.AUDIT) as session:
            found = session.execute(query.where(audit_record.c.sequence.between(*span)))
        for row in found:
            if not holds(row):
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


def _events_on(database: Database, page: ColumnElement[bool], vault: Vault | None) -> Iterator[dict[str, Any]]:
    query = select(audit_record.c.sequence, audit_record.c.leaf).where(page).order_by(audit_record.c.sequence)
    if vault is not None:
        query = query.add_columns(*_PRIVATE).outerjoin(
            audit_payload, audit_payload.c.sequence == audit_record.c.sequence
        )
    with database.reading(Store.AUDIT) as session:
        rows = session.execute(query)
    for row in rows:
        leaf = read_leaf(bytes(row.leaf))
        privates = None
        if vault is not None:
            private = opened(vault, Part.PRIVATE, row.private, row.salt, row.wrapped)
            privates = _privates(private, len(leaf["events"]))
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
    return msgspec.json.decode(private, type=list[dict[str, Any]])


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
