"""How fast a log grows, and when its disk will be full: what was added in the last thirty days, carried on.

What is known exactly: how many records there are and how many of them came in that time, how large the tables are on
PostgreSQL, and the whole of an SQLite file. What is estimated: how much of what is to come goes into each part, by the
average size of sampled records of that time; and on SQLite how the file is shared between records and payloads, because
telling it exactly would mean to read the whole file. Nothing but the log is taken to grow.
"""

from typing import Final

import msgspec

from minispine.audit.reading import first_sealed_from, last_sequence, records
from minispine.storage import Database, Session, StorageUnavailable, Store
from minispine.storage.disk import Space
from minispine.storage.tables import AUDIT, REGISTRY

DAY_US: Final = 86_400_000_000
PERIOD_US: Final = 30 * DAY_US
LEAST_US: Final = DAY_US // 24
"""From less than this nothing is foretold."""
FURTHEST_DAYS: Final = 36_500
"""What is further away than a hundred years is as good as never."""

_RUNS: Final = 100
_RUN: Final = 10
"""Records are sampled in runs, because an exchange leaves two unlike ones that alternate."""
_SIZES: Final = (
    "SELECT COUNT(*), SUM(LENGTH(r.leaf)), SUM(COALESCE(LENGTH(p.salt), 0) + COALESCE(LENGTH(p.private), 0)"
    " + COALESCE(LENGTH(p.bodies), 0) + COALESCE(LENGTH(p.wrapped), 0))"
    " FROM audit_record r LEFT JOIN audit_payload p ON p.sequence = r.sequence WHERE r.sequence BETWEEN ? AND ?"
)
_PUBLISHED_BESIDE_A_LEAF: Final = 2 + 33
"""Its length in the file of entries, and its share of the tiles of hashes."""

RECORDS: Final = "records"
PAYLOADS: Final = "payloads"
INDEX: Final = "search index"
REST: Final = "everything else"
PUBLISHED: Final = "published log"


class Part(msgspec.Struct, frozen=True):
    """A part of what is stored: its bytes now, and how many a day are added, None where that cannot be told."""

    name: str
    bytes: int
    bytes_a_day: float | None


class Forecast(msgspec.Struct, frozen=True):
    """What there is, and what is to be expected.

    `at` is when it was made, `measured_us` over how long growth was measured, both in microseconds; `records_a_day` is
    None for a log too young to tell.
    """

    at: int
    measured_us: int
    records: int
    records_a_day: float | None
    parts: tuple[Part, ...]
    space: Space | None

    @property
    def bytes_a_day(self) -> float | None:
        """How much everything together grows a day."""
        return None if self.records_a_day is None else sum(part.bytes_a_day or 0.0 for part in self.parts)

    def days_until(self, share: float) -> float | None:
        """In how many days so small a share of the disk is free, 0 if it is now; None where nobody can tell, or never.

        `share` is 0 to 1.
        """
        if self.space is None:
            return None
        left = self.space.free - share * self.space.usable
        if left <= 0:
            return 0.0
        if not self.bytes_a_day:
            return None
        days = left / self.bytes_a_day
        return days if days <= FURTHEST_DAYS else None


def forecast(database: Database, *, now: int, space: Space | None, published: bool) -> Forecast:
    """Measure a log and carry its growth on. `now` is UTC microseconds.

    `space` is that of the disk it is on, None where that is not known; `published` says whether the published log is on
    the same one. Raises `StorageUnavailable`.
    """
    last = last_sequence(database)
    first, measured_us = _period(database, now, last)
    a_day = (last - first + 1) * DAY_US / measured_us if measured_us >= LEAST_US else None
    with database.session(Store.AUDIT) as session:
        whole, recent = _sampled(session, 1, last), _sampled(session, first, last)
        held = _held_postgresql(session) if session.kind == "postgresql" else _held_sqlite(session, whole, last)
    if database.folder is not None:
        held[REST] = held.get(REST, 0) + _registry_file(database)
    if published:
        whole[PUBLISHED], recent[PUBLISHED] = (
            each[RECORDS] + _PUBLISHED_BESIDE_A_LEAF if last else 0.0 for each in (whole, recent)
        )
        held[PUBLISHED] = round(whole[PUBLISHED] * last)
    parts = tuple(Part(name, size, _growth(name, size, a_day, whole, recent, last)) for name, size in held.items())
    return Forecast(now, measured_us, last, a_day, parts, space)


def _period(database: Database, now: int, last: int) -> tuple[int, int]:
    """The first record of the time that is looked at, and how long that is: the log may be younger than thirty days."""
    if not last:
        return 1, 0
    first = first_sealed_from(database, now - PERIOD_US)
    if first > 1:
        return first, PERIOD_US
    [record] = records(database, [1])
    return 1, max(0, now - record.sealed_at)


def _sampled(session: Session, first: int, last: int) -> dict[str, float]:
    """The average bytes that a record of a range has in itself and in its payload."""
    count = last - first + 1
    if count <= _RUNS * _RUN:
        runs = [(first, last)]
    else:
        starts = [first + number * (count - _RUN) // (_RUNS - 1) for number in range(_RUNS)]
        runs = [(start, start + _RUN - 1) for start in starts]
    found = [session.rows(_SIZES, run)[0] for run in runs if run[0] <= run[1]]
    number = sum(row[0] for row in found) or 1
    return {name: float(sum(row[at] or 0 for row in found)) / number for at, name in ((1, RECORDS), (2, PAYLOADS))}


def _growth(
    name: str, size: int, a_day: float | None, whole: dict[str, float], recent: dict[str, float], last: int
) -> float | None:
    """How many bytes a day a part grows: as it did by each record until now, and as records are larger or smaller."""
    if a_day is None or not last:
        return None
    change = recent[name] / whole[name] if whole.get(name) else 1.0
    return a_day * size / last * change


def _held_postgresql(session: Session) -> dict[str, int]:
    """The parts with all that belongs to their tables: indices, and what is kept out of line."""
    held = dict.fromkeys((RECORDS, PAYLOADS, INDEX, REST), 0)
    for table in (*AUDIT.tables, *REGISTRY.tables):
        held[_part_of(table)] += session.rows("SELECT pg_total_relation_size(?::regclass)", (table,))[0][0]
    return held


def _held_sqlite(session: Session, whole: dict[str, float], last: int) -> dict[str, int]:
    """The parts of the audit log's file: the small ones are measured, the others share what is left of it."""
    held = dict.fromkeys((RECORDS, PAYLOADS, INDEX, REST), 0)
    left = _pragma(session, "page_size") * (_pragma(session, "page_count") - _pragma(session, "freelist_count"))
    try:
        for name, table in session.rows("SELECT name, tbl_name FROM sqlite_schema WHERE rootpage > 0"):
            if (part := _part_of(table)) not in (RECORDS, PAYLOADS):
                [[size]] = session.rows("SELECT SUM(pgsize) FROM dbstat WHERE name = ? AND aggregate = TRUE", (name,))
                held[part] += size or 0
    except StorageUnavailable:  # this build of SQLite cannot measure a table
        held.update({INDEX: 0, REST: 0})
    left = max(0, left - held[INDEX] - held[REST])
    content = (whole[RECORDS] + whole[PAYLOADS]) * last
    held[RECORDS] = round(left * whole[RECORDS] * last / content) if content else left
    held[PAYLOADS] = left - held[RECORDS]
    return held


def _registry_file(database: Database) -> int:
    with database.session(Store.REGISTRY) as session:
        return _pragma(session, "page_size") * _pragma(session, "page_count")


def _part_of(table: str) -> str:
    if table.startswith("audit_index_"):
        return INDEX
    return {"audit_record": RECORDS, "audit_payload": PAYLOADS}.get(table, REST)


def _pragma(session: Session, name: str) -> int:
    [[value]] = session.rows(f"PRAGMA {name}")
    return int(value)
