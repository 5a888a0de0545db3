"""The index is kept up to date while the provider serves, and long work ends when the worker does."""
# ruff: noqa: F811

import asyncio

import pytest

from minispine.audit.index import SHAPE
from minispine.provider.index_watch import Ending, IndexWatch
from minispine.storage import Database, Store
from tests.audit.checkpoints import grow
from tests.audit.conftest import LogMaker, clock, make_log  # noqa: F401


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
