"""When the store is away, slow or full: nobody waits for ever, nothing is lost, and service resumes by itself."""

import asyncio
import os
import resource
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import psycopg
import pytest

from minispine.audit.encoding import Prepared, prepare
from minispine.audit.events import AuditUnavailable, Body, Entry, Receipt
from minispine.audit.log import AuditLog
from minispine.audit.reading import last_sequence
from minispine.audit.sealing import Sealer
from minispine.audit.verification import Verified, verify
from minispine.audit.writer import Writer
from minispine.storage import Database, Session, Store
from tests.audit.conftest import FIRST, VAULT, LogMaker, note, reasons
from tests.databases import Postgres

PATIENCE_S = 10.0


async def until(true: Callable[[], bool]) -> None:
    """Wait for the writer's thread to find something out by itself."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.005)


async def refused(append: Awaitable[Receipt]) -> bool:
    try:
        await append
    except AuditUnavailable:
        return True
    return False


@contextmanager
def stopped_holder(url: str) -> Iterator[None]:
    """Another process that took the head of the log and then stands still, without the time-outs of our own."""
    with Database.open(url) as database, database.session(Store.AUDIT) as session:
        session.begin()
        if database.kind == "postgresql":
            session.run("SET LOCAL idle_in_transaction_session_timeout = 0")
            session.rows("SELECT sequence FROM audit_head FOR UPDATE")
        yield
        session.rollback()


def test_a_stopped_lock_holder_costs_a_bounded_wait_and_service_resumes(database_url: str, make_log: LogMaker) -> None:
    with Database.open(database_url, lock_timeout_s=0.5) as database:
        log = make_log(database)

        async def story() -> None:
            assert (await log.append(note())).sequence == FIRST
            with stopped_holder(database_url):
                began = time.monotonic()
                results = await asyncio.gather(*(refused(log.append(note("lost"))) for _ in range(5)))
                assert results == [True] * 5
                assert time.monotonic() - began < 2.0  # the lock is waited for half a second, the deadline is five
                assert not log.healthy
                assert log.reason
            await until(lambda: log.healthy)
            assert (await log.append(note())).sequence == FIRST + 1

        asyncio.run(story())
        assert "lost" not in reasons(database)


def test_waiting_ends_at_the_time_allowed_and_what_was_given_up_is_not_written(
    database_url: str, make_log: LogMaker
) -> None:
    with Database.open(database_url, lock_timeout_s=1.0) as database:
        log = make_log(database, timeout_s=0.1)

        async def story() -> None:
            assert (await log.append(note("first"))).sequence == FIRST
            with stopped_holder(database_url):
                began = time.monotonic()
                in_flight = asyncio.ensure_future(refused(log.append(note("in flight"))))
                await asyncio.sleep(0.05)
                assert await refused(log.append(note("waiting")))
                assert await in_flight
                assert time.monotonic() - began < 0.5
            await until(lambda: log._writer is not None and log._writer._queue.empty())
            await log.append(note("last"))

        asyncio.run(story())
        assert "waiting" not in reasons(database)
        assert isinstance(verify(database), Verified)


def test_no_more_than_the_queue_may_wait(database: Database, database_url: str, make_log: LogMaker) -> None:
    log = make_log(database, queue=3)

    async def story() -> None:
        await log.append(note())
        with stopped_holder(database_url):
            in_flight = asyncio.ensure_future(refused(log.append(note())))
            await asyncio.sleep(0)
            await until(lambda: log._writer is not None and log._writer._queue.empty())
            waiting = [asyncio.ensure_future(refused(log.append(note()))) for _ in range(3)]
            await asyncio.sleep(0)
            began = time.monotonic()
            assert await refused(log.append(note()))
            assert time.monotonic() - began < 0.1
            assert all(await asyncio.gather(in_flight, *waiting))

    asyncio.run(story())


def test_a_cancelled_caller_leaves_its_entry_to_be_written(database: Database, make_log: LogMaker) -> None:
    log = make_log(database)

    async def story() -> None:
        task = asyncio.ensure_future(log.append(note("left behind")))
        await asyncio.sleep(0)
        task.cancel()
        await log.append(note("next"))
        assert task.cancelled()

    asyncio.run(story())
    assert reasons(database) == ["left behind", "next"]


def test_a_loop_that_is_gone_does_not_stop_the_writer(database: Database, make_log: LogMaker) -> None:
    log = make_log(database)

    async def leave() -> None:
        asyncio.ensure_future(log.append(note("left behind")))  # noqa: RUF006
        await asyncio.sleep(0)

    asyncio.run(leave())
    assert asyncio.run(log.append(note("next"))) == Receipt(FIRST + 1)


def test_a_folder_moved_away_and_back(sqlite_database: Database, make_log: LogMaker) -> None:
    log = make_log(sqlite_database)
    folder = sqlite_database.folder
    assert folder is not None
    away = folder.with_name("away")

    async def story() -> None:
        await log.append(note("before"))
        folder.rename(away)
        assert await refused(log.append(note("lost")))
        assert log.reason is not None
        assert not folder.exists()
        away.rename(folder)
        await until(lambda: log.healthy)
        assert (await log.append(note("after"))).sequence == FIRST + 1

    asyncio.run(story())
    assert reasons(sqlite_database) == ["before", "after"]


def test_a_log_that_is_gone_is_not_begun_again(sqlite_database: Database, make_log: LogMaker) -> None:
    log = make_log(sqlite_database)
    assert sqlite_database.folder is not None
    (sqlite_database.folder / "audit.db").unlink()
    assert asyncio.run(refused(log.append(note())))
    assert not (sqlite_database.folder / "audit.db").exists()


def test_a_full_disk(sqlite_database: Database, make_log: LogMaker) -> None:
    log = make_log(sqlite_database)
    assert sqlite_database.folder is not None
    largest = max(file.stat().st_size for file in sqlite_database.folder.iterdir())
    big = Entry(
        events=note().events,
        bodies=tuple(Body(f"request-{n}", os.urandom(2**18)) for n in range(largest // 2**18 + 2)),
    )

    async def story() -> None:
        await log.append(note("before"))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 2**16, limits[1]))
        try:
            assert await refused(log.append(big))
            assert not log.healthy
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        await until(lambda: log.healthy)
        assert (await log.append(big)).sequence == FIRST + 1

    asyncio.run(story())
    assert isinstance(verify(sqlite_database), Verified)


def test_a_slow_flush_costs_a_bounded_wait_and_nothing_is_lost(
    database: Database, make_log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a disk that does not come to an end is told so in time; what it did write is in the log."""
    log = make_log(database, timeout_s=0.2)
    commit, slow, go_on = Session.commit, threading.Event(), threading.Event()

    def slowly(session: Session) -> None:
        if slow.is_set() and threading.current_thread().name == "audit-writer":
            go_on.wait(PATIENCE_S)
        commit(session)

    monkeypatch.setattr(Session, "commit", slowly)

    async def story() -> None:
        await log.append(note("before"))
        slow.set()
        began = time.monotonic()
        in_flight = asyncio.ensure_future(refused(log.append(note("in flight"))))
        await asyncio.sleep(0.05)
        behind = asyncio.ensure_future(refused(log.append(note("given up"))))
        assert await in_flight
        assert await behind
        assert time.monotonic() - began < 1.0
        slow.clear()
        go_on.set()
        await until(lambda: reasons(database)[-1:] == ["in flight"])
        await log.append(note("after"))

    asyncio.run(story())
    assert reasons(database) == ["before", "in flight", "after"]
    assert isinstance(verify(database), Verified)


def test_a_server_stopped_and_started(own_postgres: Postgres, make_log: LogMaker) -> None:
    with Database.open(own_postgres.url("postgres"), lock_timeout_s=0.5) as database:
        database.migrate()
        log = make_log(database)

        async def story() -> None:
            await log.append(note("before"))
            own_postgres.stop()
            assert await refused(log.append(note("lost")))
            await asyncio.to_thread(own_postgres.start)
            await until(lambda: log.healthy)
            assert (await log.append(note("after"))).sequence == FIRST + 1

        asyncio.run(story())
        assert reasons(database) == ["before", "after"]


def test_a_server_restarted_between_two_entries_is_not_noticed(own_postgres: Postgres, make_log: LogMaker) -> None:
    with Database.open(own_postgres.url("postgres")) as database:
        database.migrate()
        log = make_log(database)

        async def story() -> None:
            await log.append(note())
            await asyncio.to_thread(own_postgres.stop)
            await asyncio.to_thread(own_postgres.start)
            assert (await log.append(note())).sequence == FIRST + 1

        asyncio.run(story())
        assert log.append_now(note()).sequence == FIRST + 2


@pytest.mark.parametrize("done", [True, False], ids=["committed", "not committed"])
def test_a_connection_lost_during_the_commit_is_cleared_up(
    postgresql_url: str, make_log: LogMaker, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    """The answer to COMMIT is lost: the log tells whether it was done, and the entry is there once either way."""
    from minispine.storage import ConnectionLost, Session

    commit, lost = Session.commit, threading.Event()

    def losing(session: Session) -> None:
        if not lost.is_set() and threading.current_thread().name == "audit-writer":
            lost.set()
            if done:
                commit(session)
            raise ConnectionLost("the line is dead")
        commit(session)

    with Database.open(postgresql_url) as database:
        log = make_log(database)
        monkeypatch.setattr(Session, "commit", losing)
        assert asyncio.run(log.append(note("once"))) == Receipt(FIRST)
        assert lost.is_set()
        assert reasons(database) == ["once"]
        assert isinstance(verify(database), Verified)


def test_a_defect_of_the_writer_is_an_unavailable_log_and_not_a_dead_thread(
    database: Database, make_log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make_log(database)

    def broken() -> int:
        raise ZeroDivisionError

    async def story() -> None:
        await log.append(note())
        assert log._writer is not None
        sealer = log._writer._sealer
        with monkeypatch.context() as patch:
            patch.setattr(sealer, "now", broken)
            assert await refused(log.append(note("lost")))
            assert log.reason == "the writer failed (ZeroDivisionError)"
        assert (await log.append(note())).sequence == FIRST + 1

    asyncio.run(story())
    assert last_sequence(database) == FIRST + 1


def test_connections_ended_by_the_server_are_made_anew(postgresql_url: str, make_log: LogMaker) -> None:
    with Database.open(postgresql_url) as database:
        log = make_log(database)
        log.append_now(note())
        with psycopg.connect(postgresql_url, autocommit=True) as operator:
            operator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert log.append_now(note()).sequence == FIRST + 1


def test_healthy_before_anything_was_tried(log: AuditLog) -> None:
    assert log.healthy
    assert log.reason is None


class CountingSealer:
    """Commits to nothing, and remembers how many entries each commit had. The first waits until it is let go."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.begun, self.first = threading.Event(), threading.Event()

    def seal(self, batch: Sequence[Prepared]) -> list[Receipt]:
        self.begun.set()
        self.first.wait(PATIENCE_S)
        self.batches.append(len(batch))
        return [Receipt(sequence=1)] * len(batch)

    def disconnect(self) -> None: ...


def test_only_entries_that_come_in_company_wait_for_others() -> None:
    sealer, arrived, pauses = CountingSealer(), threading.Event(), list[float]()

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        arrived.wait(PATIENCE_S)

    writer = Writer(cast("Sealer", sealer), timeout_s=PATIENCE_S, queue=100, pause=pause)

    def entry() -> asyncio.Future[Receipt]:
        return asyncio.ensure_future(writer.write(prepare(note(), instance="a", vault=VAULT)))

    async def story() -> None:
        alone = entry()
        await until(sealer.begun.is_set)
        company = [entry() for _ in range(3)]
        await asyncio.sleep(0)
        sealer.first.set()
        await asyncio.gather(alone, *company)
        assert (sealer.batches, pauses) == ([1, 3], [])
        one = entry()
        await until(lambda: bool(pauses))
        other = entry()
        await asyncio.sleep(0)
        arrived.set()
        await asyncio.gather(one, other)
        await entry()
        await entry()
        assert sealer.batches == [1, 3, 2, 1, 1]
        assert len(pauses) == 2

    asyncio.run(story())
    writer.close()
