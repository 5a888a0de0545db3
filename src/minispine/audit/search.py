"""Searching the log: what can be asked of it, and the records and exchanges that answer (SMSP-AUDIT-004, 007).

A question is a `Query`. It is answered from the index (``index/``), so that the first page costs the same however many
records there are; only the records of the page are then read, their private parts only if they are asked for, and
their messages never. Nothing of that is recorded here: see ``looking.py``.

A query is met by records, or by exchanges. `search` finds each *record* that meets all of it by itself, which takes
the index alone. `exchanges` finds each *exchange* whose records meet it together, and gives all of them, in order: it
is how one comes from any one id to everything that was done. A record of no exchange counts as an exchange of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from minispine.audit import index
from minispine.audit.reading import Record, first_sealed_from, last_sequence, records, told
from minispine.audit.terms import Kind, bare, bare_number, terms_of
from minispine.audit.vault import PATIENT, Vault
from minispine.storage import Database

Values = str | tuple[str, ...]
"""One value, or several of which any will do."""

_EXCHANGES_AT_ONCE: Final = 32
_MOST: Final = 2**63 - 1


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for. Conditions together all have to be met; of several values of one, any.

    Times are UTC microseconds, and those at which records were *sealed*, as their order is that of sealed time; an
    event happened some milliseconds before, or longer where a clock was wrong. Raises `ValueError` for a blank value,
    which would otherwise find everything or nothing, and for numbers that no record or time can have.
    """

    user: Values = ()
    """A log-in name, a local user's code, a User ID, role profile or audit identity: whoever did it or is concerned."""
    authority: Values = ()
    """The user id of the person on whose authority it was done."""
    patient: Values = ()
    """An NHS number, with or without blanks, or a patient's identifier here."""
    identifier: Values = ()
    """Any id: of a client's message, a message to Spine or its answer, an exchange; a tracking id; an audit identity. A
    UUID is found in either case, with or without ``urn:uuid:``."""
    exchange: Values = ()
    """The id that joins the records of one exchange, and nothing else that mentions it."""
    organisation: Values = ()
    client: Values = ()
    event: Values = ()
    """Types of event; of the records found, `search` then gives only these."""
    outcome: Values = ()
    """A response code, a fault, an outcome in one word, or the reason of a refusal."""
    source: Values = ()
    """Where an answer came from (SMSP-AUDIT-006)."""
    device: Values = ()
    item: Values = ()
    """The key of what was changed: of a registration, a table, a setting."""
    from_: int | None = None
    to: int | None = None
    """Up to, and not including, this time."""
    first: int = 1
    last: int | None = None
    """The last sequence number, included."""

    def __post_init__(self) -> None:
        for name in _KINDS:
            if not all(value.strip() for value in self.values(name)):
                raise ValueError(f"the {name} searched for is blank")
        for number in (self.from_, self.to, self.first, self.last):
            if number is not None and abs(number) > _MOST:
                raise ValueError(f"{number} is beyond every record and time")

    def values(self, name: str) -> tuple[str, ...]:
        """The values of one condition, none if it is not made."""
        value: Values = getattr(self, name)
        return (value,) if isinstance(value, str) else value

    @property
    def conditions(self) -> dict[str, Any]:
        """Every condition that is made, by the name that records of reading have for it (see the catalogue)."""
        made: dict[str, Any] = {
            _RECORDED_AS.get(name, name): values[0] if len(values) == 1 else list(values)
            for name in _KINDS
            if (values := self.values(name))
        }
        return made | {name.strip("_"): us for name in ("from_", "to") if (us := getattr(self, name)) is not None}


_KINDS: Final[Mapping[str, Kind]] = {
    "identifier": "id",
    "exchange": "id",
    "patient": "patient",
    "item": "item",
    "device": "device",
    "authority": "authority",
    "user": "user",
    "outcome": "outcome",
    "organisation": "organisation",
    "event": "event",
    "client": "client",
    "source": "source",
}
"""The terms by which each condition is found. Those that few records meet come first: an exchange is found by the
first condition that is made, and held to the others."""

_RECORDED_AS: Final = {"patient": "nhs_number"}


class Page(msgspec.Struct, frozen=True):
    """Some of what a query finds: events, as `reading.told` gives them, in the order of their records.

    `after` is what to ask on with, None when there is no more.
    """

    events: tuple[dict[str, Any], ...]
    after: int | None


class Exchange(msgspec.Struct, frozen=True):
    """All records of one exchange, in order, or one record of none. `found` is the first that led to it."""

    found: int
    records: tuple[Record, ...]


def search(
    database: Database,
    vault: Vault,
    query: Query,
    *,
    after: int | None = None,
    limit: int = 100,
    newest_first: bool = False,
    private: bool = False,
) -> Page:
    """The events of the first `limit` records that meet a query, or of those after a page.

    With `private`, also what they hold of patients. Raises `StorageUnavailable`, `index.IndexBroken`,
    `PayloadUnreadable`.
    """
    met = list(islice(matching(database, vault, query, after=after, newest_first=newest_first), limit + 1))
    page = records(database, met[:limit], vault=vault if private else None)
    events_of_page = tuple(event for record in page for event in asked_for(record, query))
    return Page(events_of_page, met[limit - 1] if len(met) > limit else None)


def matching(
    database: Database, vault: Vault, query: Query, *, after: int | None = None, newest_first: bool = False
) -> Iterator[int]:
    """The sequence numbers of all records that meet a query, one by one. Raises as `search` does."""
    first, last = _bounds(database, query)
    if after is not None:
        first, last = (first, min(last, after - 1)) if newest_first else (max(first, after + 1), last)
    return _matching(database, _groups(vault, query), first, last, newest_first)


def events(
    database: Database, vault: Vault, query: Query, *, newest_first: bool = False, private: bool = False
) -> Iterator[dict[str, Any]]:
    """The events of all records that meet a query, one by one. Raises as `search` does."""
    for record in found(database, vault, query, newest_first=newest_first, private=private):
        yield from asked_for(record, query)


def found(
    database: Database, vault: Vault, query: Query, *, newest_first: bool = False, private: bool = False
) -> Iterator[Record]:
    """All records that meet a query, one by one. Raises as `search` does."""
    sequences = matching(database, vault, query, newest_first=newest_first)
    yield from records(database, sequences, vault=vault if private else None)


def asked_for(record: Record, query: Query) -> Iterator[dict[str, Any]]:
    """The events of a record that was found: those of the types that the query names, or all."""
    if query.exchange and record.exchange not in query.values("exchange"):
        return
    types = query.values("event")
    yield from (event for event in told(record) if not types or event["type"] in types)


def exchanges(
    database: Database,
    vault: Vault,
    query: Query,
    *,
    after: int | None = None,
    newest_first: bool = False,
    private: bool = False,
) -> Iterator[Exchange]:
    """The exchanges whose records together meet a query, each whole, one by one (SMSP-AUDIT-004, ACCESS-2 c).

    They come in the order in which their records are found, the records of each in the order of the log, also those
    beyond the bounds of sequence and time, which only say where to look. To go on after one, give its `found` as
    `after`. Raises as `search` does.
    """
    first, last = _bounds(database, query)
    made = [name for name in _KINDS if query.values(name)]
    led_by = made[:1]
    bounds = range(first, last + 1)
    start, end = first, last
    if after is not None:
        start, end = (first, min(last, after - 1)) if newest_first else (max(first, after + 1), last)
    leading = _matching(database, _groups(vault, query, led_by), start, end, newest_first)
    for some in _chunks(leading, _EXCHANGES_AT_ONCE):
        for found, its in _whole(database, vault, some, private=private):
            if _met_before(database, vault, query, found, its, bounds, newest_first=newest_first):
                continue
            if all(_meets(database, vault, query, name, its) for name in made):
                yield Exchange(found, its)


def _matching(
    database: Database, groups: Sequence[Sequence[bytes]], first: int, last: int, newest_first: bool
) -> Iterator[int]:
    if groups:
        return index.matching(database, groups, first=first, last=last, newest_first=newest_first)
    return iter(range(last, first - 1, -1) if newest_first else range(first, last + 1))


def _bounds(database: Database, query: Query) -> tuple[int, int]:
    """The first and the last record that the bounds of sequence and time allow."""
    first, last = max(1, query.first), last_sequence(database)
    if query.last is not None:
        last = min(last, query.last)
    if query.from_ is not None:
        first = max(first, first_sealed_from(database, query.from_))
    if query.to is not None:
        last = min(last, first_sealed_from(database, query.to) - 1)
    return first, last


def _groups(vault: Vault, query: Query, names: Sequence[str] = tuple(_KINDS)) -> list[list[bytes]]:
    """The terms that a record has to have: of each group, one."""
    return [
        [vault.term(_KINDS[name], value) for value in _compared(name, query)] for name in names if query.values(name)
    ]


def _compared(name: str, query: Query) -> Iterator[str]:
    """The values of a condition, as terms have them."""
    for value in query.values(name):
        match _KINDS[name]:
            case "id":
                yield bare(value)
            case "patient":
                yield bare_number(value)
            case _:
                yield value


# ── whole exchanges ─────────────────────────────────────────────────────────────────────────────────────────────────


def _whole(
    database: Database, vault: Vault, found: Sequence[int], *, private: bool
) -> Iterator[tuple[int, tuple[Record, ...]]]:
    """Each record found, with all records of its exchange."""
    opening = vault if private else None
    read = {record.sequence: record for record in records(database, found, vault=opening)}
    names = sorted({record.exchange for record in read.values() if record.exchange is not None})
    by_exchange: dict[str, list[Record]] = {name: [] for name in names}
    if names:
        theirs = index.matching(database, [[vault.term("id", bare(name)) for name in names]])
        others = [sequence for sequence in theirs if sequence not in read]
        read |= {record.sequence: record for record in records(database, others, vault=opening)}
        for _, record in sorted(read.items()):
            if record.exchange in by_exchange:
                by_exchange[record.exchange].append(record)
    for sequence in found:
        record = read[sequence]
        yield sequence, (record,) if record.exchange is None else tuple(by_exchange[record.exchange])


def _met_before(
    database: Database,
    vault: Vault,
    query: Query,
    found: int,
    its: Sequence[Record],
    bounds: range,
    *,
    newest_first: bool,
) -> bool:
    """Whether an exchange has been met already, by another of its records."""
    before = [
        record
        for record in its
        if record.sequence in bounds and (record.sequence > found if newest_first else record.sequence < found)
    ]
    led_by = next((name for name in _KINDS if query.values(name)), None)
    return bool(before) and (led_by is None or _meets(database, vault, query, led_by, before))


def _meets(database: Database, vault: Vault, query: Query, name: str, its: Sequence[Record]) -> bool:
    """Whether any of these records of one exchange meets one condition of a query."""
    if name == "exchange":
        return its[0].exchange in query.values("exchange")
    wanted = {(_KINDS[name], value) for value in _compared(name, query)}
    if _KINDS[name] == PATIENT:  # stands in the private parts, so it is the index that knows
        keys = [vault.term(*term) for term in sorted(wanted)]
        numbers = {record.sequence for record in its}
        groups = [keys]
        if (exchange := its[0].exchange) is not None:
            groups.append([vault.term("id", bare(exchange))])
        found = index.matching(database, groups, first=min(numbers), last=max(numbers))
        return any(sequence in numbers for sequence in found)
    return any(not wanted.isdisjoint(_open_terms(record)) for record in its)


def _open_terms(record: Record) -> set[tuple[Kind, str]]:
    """The terms of a record but for those of its private parts."""
    return terms_of(
        exchange=record.exchange,
        client=record.client,
        client_message_id=record.client_message_id,
        events=[(event["type"], event["data"]) for event in record.events],
        privates=(),
    )


def _chunks(sequences: Iterator[int], size: int) -> Iterator[list[int]]:
    chunk: list[int] = []
    for sequence in sequences:
        chunk.append(sequence)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
