"""The index is kept up to date while the provider serves, and long work ends when the worker does."""
# ruff: noqa: F811

import asyncio

import pytest

from minispine.audit.found_by import entries_of
from minispine.audit.index import SHAPE, rebuild
from minispine.provider.index_watch import Ending, IndexWatch
from minispine.storage import Database, Store
from tests.audit.checkpoints import grow
from tests.audit.conftest import VAULT, LogMaker, clock, make_log  # noqa: F401


def segments(database: Database) -> int:
    with database.reading(Store.AUDIT) as session:
        count: int = session.rows("SELECT COUNT(*) FROM audit_index_segment WHERE state = 'live'")[0][0]
        return count


def test_what_was_recorded_is_folded_while_the_watch_runs(sqlite_database: Database, make_log: LogMaker) -> None:
    log = make_log(sqlite_database)
    slept: list[float] = []
    block = SHAPE.last(0)
    folder = sqlite_database.folder
    assert folder is not None

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        match len(slept):
            case 1:
                assert segments(sqlite_database) == 0
                grow(log, block)
            case 2:
                assert segments(sqlite_database) == 1
                (folder / "audit.db").rename(folder / "away.db")
            case 3:
                (folder / "away.db").rename(folder / "audit.db")
                grow(log, block)
            case 4:
                assert segments(sqlite_database) == 2
                raise asyncio.CancelledError

    watch = IndexWatch(sqlite_database, between=lambda: None, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch.watch())
    assert slept == [1.0] * 4


def test_a_worker_that_ends_does_not_wait_for_long_work(sqlite_database: Database, make_log: LogMaker) -> None:
    log = make_log(sqlite_database)
    grow(log, SHAPE.last(0))

    def end() -> None:
        raise Ending

    async def sleep(_: float) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(IndexWatch(sqlite_database, between=end, sleep=sleep).watch())
    assert segments(sqlite_database) == 0


def test_an_index_with_a_hole_is_warned_of_until_it_is_made_anew(sqlite_database: Database, make_log: LogMaker) -> None:
    log = make_log(sqlite_database)
    grow(log, 10)
    grow(log, SHAPE.last(0))
    with sqlite_database.session(Store.AUDIT) as session:
        session.run("DELETE FROM audit_index_pending WHERE first = 2")
    warned: list[list[str]] = []
    watch: IndexWatch

    async def sleep(_: float) -> None:
        warned.append(watch.warnings())
        if len(warned) == 2:
            raise asyncio.CancelledError
        rebuild(sqlite_database, entries_of(sqlite_database, VAULT))

    watch = IndexWatch(sqlite_database, between=lambda: None, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch.watch())
    assert warned == [["the index of the audit trail has to be made anew; run: minispine audit reindex"], []]


def test_a_lock_that_cannot_be_written_is_warned_of_until_it_can(sqlite_database: Database, make_log: LogMaker) -> None:
    log = make_log(sqlite_database)
    grow(log, SHAPE.last(0))
    assert sqlite_database.folder is not None
    lock = sqlite_database.folder / "index.lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()
    warned: list[list[str]] = []
    watch: IndexWatch

    async def sleep(_: float) -> None:
        warned.append(watch.warnings())
        if len(warned) == 2:
            raise asyncio.CancelledError
        lock.rmdir()

    watch = IndexWatch(sqlite_database, between=lambda: None, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch.watch())
    assert warned == [
        [f"the index of the audit trail cannot be kept up to date: {lock}: Is a directory"],
        [],
    ]
    assert segments(sqlite_database) == 1
