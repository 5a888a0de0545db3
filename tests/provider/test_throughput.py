"""What is counted of requests: by the hour, over all workers, and never anything of a patient."""

import asyncio
import datetime
import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest

from minispine.observe import metrics
from minispine.provider import throughput
from minispine.provider.throughput import HOUR_US, OTHER, HourCount, Throughput, by_day, counted
from minispine.storage import ConnectionLost, Database, Session, StorageUnavailable, Store

UK = ZoneInfo("Europe/London")
NOON = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=UK)
SECOND_US = 1_000_000


class Clock:
    def __init__(self, at: datetime.datetime = NOON) -> None:
        self.us = 0
        self.set(at)

    def set(self, at: datetime.datetime) -> None:
        self.us = round(at.timestamp() * SECOND_US)

    def __call__(self) -> int:
        return self.us


def verify(throughput: Throughput, times: int = 1, **other: str) -> None:
    what = {"operation": "verifyNHSNumber", "organisation": "RXX", "lane": "attended", "outcome": "SMSP-0000"}
    for _ in range(times):
        throughput.count(**what | other)


def uk_day(hour: int) -> datetime.date:
    return datetime.datetime.fromtimestamp(hour * 3600, UK).date()


def everything(database: Database, *by: throughput.Dimension) -> list[HourCount]:
    return list(counted(database, first_hour=0, end_hour=10**9, by=by))


def total(database: Database) -> int:
    return sum(one.count for one in everything(database))


@pytest.mark.requirement("SMSP-PERF-002", "b")
def test_a_day_has_its_total_and_its_peak_hour_also_after_a_restart(database: Database) -> None:
    clock = Clock()
    before_restart = Throughput(database, now=clock)
    clock.set(NOON.replace(hour=9, minute=59, second=59))
    verify(before_restart, 10)
    clock.set(NOON.replace(hour=14, minute=5))
    verify(before_restart, 20)
    asyncio.run(before_restart.flush())

    after_restart = Throughput(database, now=clock)
    verify(after_restart, 5)
    clock.set(NOON.replace(hour=20, minute=30))
    verify(after_restart, 5)
    asyncio.run(after_restart.flush())

    (day,) = by_day(everything(database), uk_day)
    assert (day.day, day.total, day.peak_count) == (NOON.date(), 40, 25)
    assert day.peak_hour is not None
    assert datetime.datetime.fromtimestamp(day.peak_hour * 3600, UK).hour == 14


@pytest.mark.requirement("SMSP-PERF-002", "a")
def test_sixty_requests_in_a_minute_are_read_as_sixty(sqlite_database: Database) -> None:
    clock = Clock()
    counting = Throughput(sqlite_database, now=clock)
    for _ in range(60):
        verify(counting)
        clock.us += SECOND_US
    clock.us -= SECOND_US
    assert counting.measure() == 60
    assert b"minispine_exchanges_last_minute 60.0" in metrics.exposition()[0]
    clock.us += 30 * SECOND_US
    assert counting.measure() == 30
    clock.us += 30 * SECOND_US
    assert counting.measure() == 0


def test_a_clock_set_back_leaves_nothing_in_the_last_minute(sqlite_database: Database) -> None:
    clock = Clock()
    counting = Throughput(sqlite_database, now=clock)
    verify(counting, 7)
    clock.us -= 3600 * SECOND_US
    assert counting.measure() == 0
    verify(counting, 2)
    assert counting.measure() == 2


def test_workers_add_to_the_same_rows_at_once(database: Database) -> None:
    clock = Clock()
    workers = [Throughput(database, now=clock) for _ in range(4)]

    def work(worker: Throughput, number: int) -> None:
        for turn in range(5):
            # Each in another order, so that workers that locked rows as they come would wait for each other.
            for organisation in sorted(("RXX", "RYY", "RZZ"), reverse=bool((turn + number) % 2)):
                verify(worker, 2, organisation=organisation)
            worker._write()

    threads = [threading.Thread(target=work, args=(worker, n)) for n, worker in enumerate(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers:
        asyncio.run(worker.flush())
    hour = clock.us // HOUR_US
    assert everything(database, "organisation") == [HourCount(hour, (ods,), 40) for ods in ("RXX", "RYY", "RZZ")]


def test_what_cannot_be_written_is_kept_and_written_once(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Throughput(sqlite_database, now=Clock())
    verify(counting, 3)
    with monkeypatch.context() as broken:

        def away(_: Database, __: Store) -> Session:
            raise StorageUnavailable("away")

        broken.setattr(Database, "session", away)
        asyncio.run(counting.flush())
        verify(counting, 2)
        assert counting.warnings() == ["the throughput cannot be written and is kept in memory: away"]
    asyncio.run(counting.flush())
    asyncio.run(counting.flush())
    assert (total(sqlite_database), counting.warnings()) == (5, [])


@pytest.mark.parametrize(("error", "kept"), [(StorageUnavailable("full"), True), (ConnectionLost("gone"), False)])
def test_a_commit_of_unknown_outcome_is_never_counted_twice(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch, error: StorageUnavailable, kept: bool
) -> None:
    counting = Throughput(sqlite_database, now=Clock())
    verify(counting, 3)
    with monkeypatch.context() as broken:

        def commit(session: Session) -> None:
            if not kept:
                session.run("COMMIT")
            raise error

        broken.setattr(Session, "commit", commit)
        asyncio.run(counting.flush())
    asyncio.run(counting.flush())
    assert total(sqlite_database) == 3


def test_a_flush_at_the_end_waits_for_one_that_was_cancelled(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Throughput(sqlite_database, now=Clock())
    within, go_on, within_again = threading.Event(), threading.Event(), threading.Event()
    begin = Session.begin

    def slowly(session: Session) -> None:
        (within_again if within.is_set() else within).set()
        assert go_on.wait(20)
        begin(session)

    monkeypatch.setattr(Session, "begin", slowly)

    async def end() -> None:
        verify(counting, 3)
        first = asyncio.create_task(counting.flush())
        await asyncio.to_thread(within.wait, 20)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        verify(counting, 2)
        last = asyncio.create_task(counting.flush())
        assert not await asyncio.to_thread(within_again.wait, 0.1), "the first has not written yet"
        go_on.set()
        await last

    asyncio.run(end())
    assert total(sqlite_database) == 5


def test_rows_are_written_in_one_order_so_that_workers_do_not_wait_for_each_other(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[list[tuple[object, ...]]] = []
    monkeypatch.setattr(Session, "run_many", lambda _, __, rows: written.append(list(rows)))
    counting = Throughput(sqlite_database, now=Clock())
    for organisation in ("RZZ", "RXX", "RYY"):
        verify(counting, organisation=organisation)
    asyncio.run(counting.flush())
    assert [[row[2] for row in rows] for rows in written] == [["RXX", "RYY", "RZZ"]]


def test_the_watch_measures_every_second_and_writes_about_every_ten(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    pauses: Counter[float] = Counter()

    async def sleep(seconds: float) -> None:
        pauses[seconds] += 1
        if pauses[seconds] > 2:
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    counting = Throughput(sqlite_database, now=clock, sleep=sleep, draw=lambda: 0.75)
    verify(counting, 4)

    async def serve() -> None:
        watch = asyncio.create_task(counting.watch())
        while sum(pauses.values()) < 6:
            await asyncio.sleep(0.001)
        watch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watch

    asyncio.run(asyncio.wait_for(serve(), 20))
    assert pauses == {1.0: 3, 11.0: 3}
    assert total(sqlite_database) == 4
    assert b"minispine_exchanges_last_minute 4.0" in metrics.exposition()[0]


@pytest.mark.requirement("SMSP-PERF-002", "d")
def test_nothing_of_a_patient_can_be_counted_by(sqlite_database: Database) -> None:
    counting = Throughput(sqlite_database, now=Clock())
    markers = ("9449310467", "944 931 0467", "LANGAN", "1950-03-10", "19500310", "KT21 2PN", "10 MOLE VALLEY PLACE")
    for marker in markers:
        for place in ("operation", "lane", "outcome"):
            verify(counting, **{place: marker})
    for marker in ("9449310467", "944 931 0467", "1950-03-10", "KT21 2PN", "10 MOLE VALLEY PLACE", "langan"):
        verify(counting, organisation=marker)
    asyncio.run(counting.flush())
    with sqlite_database.reading(Store.REGISTRY) as session:
        rows = session.rows("SELECT operation, organisation, lane, outcome FROM throughput_hour")
    assert not {word for row in rows for word in row} & set(markers)
    assert all(OTHER in row for row in rows)


def test_memory_is_bounded_while_nothing_can_be_written(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "MOST_KEYS", 50)
    counting = Throughput(sqlite_database, now=Clock())
    with monkeypatch.context() as broken:
        numbers = iter(range(300))

        def fails(*_: object) -> None:
            for number in itertools.islice(numbers, 20):  # while it is written, more is counted
                verify(counting, organisation=f"R{number:04d}")
            raise StorageUnavailable("full")

        broken.setattr(Session, "run_many", fails)
        verify(counting)
        for _ in range(15):
            asyncio.run(counting.flush())
        assert len(counting._counted) <= 51
    asyncio.run(counting.flush())
    found = {one.group[0]: one.count for one in everything(sqlite_database, "organisation")}
    assert (len(found), found[OTHER], sum(found.values())) == (51, 251, 301)


def test_counts_are_told_apart_by_what_is_asked(sqlite_database: Database) -> None:
    clock = Clock()
    counting = Throughput(sqlite_database, now=clock)
    verify(counting, 2)
    verify(counting, 3, operation="getNHSNumber", lane="batch")
    verify(counting, 4, operation="unknown", organisation="", lane="", outcome="fault-2100")
    asyncio.run(counting.flush())
    hour = clock.us // HOUR_US
    assert everything(sqlite_database, "service") == [
        *_each(hour, ("pds",), 3),
        *_each(hour, ("unknown",), 4),
        *_each(hour, ("pds",), 2),
    ]
    assert everything(sqlite_database, "outcome", "lane") == [
        HourCount(hour, ("SMSP-0000", "attended"), 2),
        HourCount(hour, ("SMSP-0000", "batch"), 3),
        HourCount(hour, ("fault-2100", ""), 4),
    ]
    assert not list(counted(sqlite_database, first_hour=hour + 1, end_hour=hour + 2))


def _each(hour: int, group: tuple[str, ...], *counts: int) -> Iterator[HourCount]:
    return (HourCount(hour, group, count) for count in counts)


@pytest.mark.parametrize("outcome", ["SMSP-0000", "DEMOG-0099", "fault-2100", "fault-must-understand", "abandoned"])
def test_codes_faults_and_words_are_counted_as_they_are(sqlite_database: Database, outcome: str) -> None:
    counting = Throughput(sqlite_database, now=Clock())
    verify(counting, outcome=outcome)
    asyncio.run(counting.flush())
    assert [one.group for one in everything(sqlite_database, "outcome")] == [(outcome,)]


def test_the_first_of_equal_hours_is_the_peak_and_groups_have_their_own() -> None:
    hours = [HourCount(10, ("a",), 5), HourCount(11, ("a",), 5), HourCount(11, ("b",), 1), HourCount(10, ("a",), 0)]
    found = by_day(hours, lambda _: NOON.date())
    assert [(day.group, day.total, day.peak_hour, day.peak_count) for day in found] == [
        (("a",), 10, 10, 5),
        (("b",), 1, 11, 1),
    ]
