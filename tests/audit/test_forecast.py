"""How fast a log grows: what the last thirty days tell, and what is honest about it."""

import itertools
import random

import pytest

from minispine.audit.events import Body, Entry
from minispine.audit.forecast import (
    DAY_US,
    INDEX,
    PAYLOADS,
    PUBLISHED,
    RECORDS,
    REST,
    Forecast,
    Part,
    _sampled,
    forecast,
)
from minispine.audit.log import AuditLog
from minispine.storage import Database, Session, StorageUnavailable, Store
from minispine.storage.disk import Space
from tests.audit.conftest import START, Clock, LogMaker, note, received, replied

HOUR_US = DAY_US // 24
GIB = 1 << 30
NUMBERS = itertools.count(1)


def exchange(log: AuditLog, size: int = 4000) -> None:
    """Two records, the first with a message that cannot be compressed to less."""
    name = f"exchange-{next(NUMBERS)}"
    noise = random.Random(name).randbytes(size)
    opening: Entry = received(name, name)
    log.append_now(_with(opening, noise))
    log.append_now(replied(name, name))


def _with(entry: Entry, noise: bytes) -> Entry:
    return Entry(
        events=entry.events,
        exchange=entry.exchange,
        client=entry.client,
        client_message_id=entry.client_message_id,
        bodies=(Body("request", noise),),
        opens=True,
    )


def part(found: Forecast, name: str) -> Part:
    [one] = [part for part in found.parts if part.name == name]
    return one


def a_day(part: Part) -> float:
    assert part.bytes_a_day is not None
    return part.bytes_a_day


def measured(database: Database, now: int, *, space: Space | None = None, published: bool = False) -> Forecast:
    return forecast(database, now=now, space=space, published=published)


def test_records_of_the_last_thirty_days_are_counted_and_no_others(
    database: Database, log: AuditLog, clock: Clock
) -> None:
    for _ in range(5):
        exchange(log)
    clock.us = START + 35 * DAY_US
    for _ in range(30):
        exchange(log)
    clock.us += 29 * DAY_US
    found = measured(database, clock.us)
    assert (found.records, found.measured_us) == (71, 30 * DAY_US)
    assert found.records_a_day == pytest.approx(60 / 30)


def test_a_young_log_tells_of_the_time_that_it_has(database: Database, log: AuditLog, clock: Clock) -> None:
    exchange(log)
    too_young = measured(database, START + HOUR_US - 1)
    assert (too_young.records_a_day, too_young.bytes_a_day) == (None, None)
    young = measured(database, START + 2 * DAY_US)
    assert (young.records_a_day, young.measured_us) == (pytest.approx(3 / 2), 2 * DAY_US)


def test_an_empty_log_tells_nothing(database: Database) -> None:
    found = measured(database, START, space=Space(GIB, GIB), published=True)
    assert (found.records, found.records_a_day, found.days_until(0.05)) == (0, None, None)


def test_the_parts_are_what_is_stored(database: Database, log: AuditLog, clock: Clock) -> None:
    for _ in range(150):
        exchange(log)
    found = measured(database, START + DAY_US)
    assert {part.name for part in found.parts} == {RECORDS, PAYLOADS, INDEX, REST}
    assert sum(part.bytes for part in found.parts) == pytest.approx(_stored(database), rel=0.02)
    payloads = part(found, PAYLOADS).bytes
    assert payloads > 150 * 4000
    assert payloads > part(found, RECORDS).bytes > 300 * 400
    assert part(found, INDEX).bytes > 0


def _stored(database: Database) -> int:
    with database.session(Store.AUDIT) as session:
        if session.kind == "postgresql":
            rows = session.rows(
                "SELECT SUM(pg_total_relation_size(oid)) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                " AND relkind = 'r' AND right(relname, 7) <> '_schema'"
            )
            return int(rows[0][0])
        audit = _file(session)
    with database.session(Store.REGISTRY) as session:
        return audit + _file(session)


def _file(session: Session) -> int:
    [[pages]], [[size]] = session.rows("PRAGMA page_count"), session.rows("PRAGMA page_size")
    return int(pages * size)


def test_growth_foretells_what_the_next_days_bring(database: Database, log: AuditLog, clock: Clock) -> None:
    def day() -> None:
        for _ in range(40):
            exchange(log)
        clock.us += DAY_US

    for _ in range(5):
        day()
    before = measured(database, clock.us)
    for _ in range(5):
        day()
    after = measured(database, clock.us)
    grown = sum(part.bytes for part in after.parts) - sum(part.bytes for part in before.parts)
    assert before.bytes_a_day is not None
    # So small a database is more than its records: PostgreSQL's empty tables have pages too.
    assert 5 * before.bytes_a_day == pytest.approx(grown, rel=0.35)


def test_larger_messages_of_late_count_for_more_than_the_small_ones_of_long_ago(
    database: Database, log: AuditLog, clock: Clock
) -> None:
    for _ in range(60):
        exchange(log, size=800)
    clock.us += 100 * DAY_US
    for _ in range(60):
        exchange(log, size=8000)
    found = measured(database, clock.us)
    on_average = part(found, PAYLOADS).bytes / found.records
    assert found.records_a_day is not None
    assert a_day(part(found, PAYLOADS)) / found.records_a_day > 1.5 * on_average


def test_a_sample_of_a_long_log_is_like_the_whole(
    database: Database, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other record has the large payload, and each is larger than the one before."""
    log.append_now(note())
    for number in range(101):
        exchange(log, size=1000 + 40 * number)
    with database.session(Store.AUDIT) as session:
        exact = _sampled(session, 1, 204)
        monkeypatch.setattr("minispine.audit.forecast._RUNS", 5)
        monkeypatch.setattr("minispine.audit.forecast._RUN", 4)
        sampled = _sampled(session, 1, 204)
    assert sampled != exact
    assert sampled == pytest.approx(exact, rel=0.1)


def test_the_published_log_counts_where_it_is_on_the_same_disk(database: Database, log: AuditLog, clock: Clock) -> None:
    for _ in range(50):
        exchange(log)
    clock.us += DAY_US
    found = measured(database, clock.us, published=True)
    leaves = part(found, PUBLISHED)
    with database.session(Store.AUDIT) as session:
        [[size]] = session.rows("SELECT SUM(LENGTH(leaf)) FROM audit_record")
    assert leaves.bytes == pytest.approx(int(size), rel=0.1)
    assert a_day(leaves) == pytest.approx(leaves.bytes, rel=0.01)


def test_a_build_of_sqlite_that_cannot_measure_tables_shares_the_file_between_the_two_large_parts(
    sqlite_database: Database, make_log: LogMaker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make_log(sqlite_database)
    exchange(log)
    clock.us += DAY_US
    whole = sum(part.bytes for part in measured(sqlite_database, clock.us).parts)
    real = Session.rows

    def without_dbstat(session: Session, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        if "dbstat" in sql:
            raise StorageUnavailable("OperationalError SQLITE_ERROR")
        return real(session, sql, parameters)

    monkeypatch.setattr(Session, "rows", without_dbstat)
    found = measured(sqlite_database, clock.us)
    assert part(found, INDEX).bytes == 0
    assert sum(part.bytes for part in found.parts) == whole


# ── until when ──────────────────────────────────────────────────────────────────────────────────────────────────────


def foretold(space: Space | None, grown: float | None) -> Forecast:
    return Forecast(START, 30 * DAY_US, 10, None if grown is None else 1.0, (Part(RECORDS, 10, grown),), space)


def test_the_day_is_when_so_much_is_left() -> None:
    found = foretold(Space(free=500, usable=1000), 10.0)
    assert found.days_until(0.20) == pytest.approx(30.0)
    assert found.days_until(0.05) == pytest.approx(45.0)
    assert foretold(Space(free=100, usable=1000), 10.0).days_until(0.20) == 0
    assert foretold(Space(free=200, usable=1000), None).days_until(0.20) == 0


@pytest.mark.parametrize(
    ("space", "grown"),
    [(None, 10.0), (Space(500, 1000), None), (Space(500, 1000), 0.0), (Space(500 * GIB, 1000 * GIB), 0.001)],
)
def test_where_nobody_can_tell_or_it_is_never_no_day_is_told(space: Space | None, grown: float | None) -> None:
    assert foretold(space, grown).days_until(0.05) is None
