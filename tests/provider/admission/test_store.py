"""The shared book in a real database: no change is lost, nobody is held up, and nothing is trusted that may be lost."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Barrier, Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minispine.provider.admission.book import SECOND, Book, Bucket, distrust, encode
from minispine.provider.admission.store import Reading, SlotStore
from minispine.storage import Database, StorageUnavailable, Store
from minispine.vocabulary.budgets import Limit, ServiceBudget

BUDGET = ServiceBudget(default=Limit(per_second=5.0))


def distrusted(book: Book, now: int) -> None:
    """What the gate gives: here with a mark by which a test sees it."""
    distrust(book, now, BUDGET)
    book.clients["distrusted"] = Bucket(until=book.clients.get("distrusted", Bucket()).until + 1)


def count(book: Book, _now: int) -> int:
    """A change of which none must be lost: it counts itself."""
    counted = book.clients.setdefault("counted", Bucket())
    counted.until += 1
    return counted.until


def counted(store: SlotStore) -> int:
    return store.look()[0].clients.get("counted", Bucket()).until


def times_distrusted(store: SlotStore) -> int:
    return store.look()[0].clients.get("distrusted", Bucket()).until


class Changes:
    """A `change` that counts, and lets somebody else come between its reading and its writing, the first times."""

    def __init__(self, between: Callable[[], object], times: int = 1) -> None:
        self._between = between
        self._left = times

    def __call__(self, book: Book, now: int) -> int:
        if self._left:
            self._left -= 1
            self._between()
        return count(book, now)


@pytest.fixture
def store(database: Database) -> Iterator[SlotStore]:
    store = SlotStore(database, "pds")
    yield store
    store.close()


@pytest.fixture
def other(database: Database) -> Iterator[SlotStore]:
    store = SlotStore(database, "pds")
    yield store
    store.close()


def test_what_is_changed_is_there_for_others(store: SlotStore, other: SlotStore) -> None:
    assert store.change(count, distrust=distrusted)[0] == 1
    assert other.change(count, distrust=distrusted)[0] == 2
    assert store.change(count, distrust=distrusted)[0] == 3


def test_each_service_has_a_book_of_its_own(database: Database, store: SlotStore) -> None:
    store.change(count, distrust=distrusted)
    scr = SlotStore(database, "scr")
    assert counted(scr) == 0
    assert scr.change(count, distrust=distrusted)[0] == 1
    scr.close()


def test_a_change_that_somebody_else_overtook_is_made_anew(store: SlotStore, other: SlotStore) -> None:
    store.change(count, distrust=distrusted)
    overtaken = Changes(lambda: other.change(count, distrust=distrusted), times=3)
    assert store.change(overtaken, distrust=distrusted)[0] == 5
    assert counted(store) == 5


def test_on_sqlite_a_book_that_nobody_else_has_changed_is_not_read_again(sqlite_database: Database) -> None:
    store, other = SlotStore(sqlite_database, "pds"), SlotStore(sqlite_database, "pds")
    store.change(count, distrust=distrusted)
    with sqlite_database.session(Store.REGISTRY) as session:
        session.run("UPDATE spine_slots SET state = ?", (b"",))  # its version is as it was: only who reads it sees this
    assert store.change(count, distrust=distrusted)[0] == 2
    assert other.change(count, distrust=distrusted)[0] == 3
    assert store.change(count, distrust=distrusted)[0] == 4
    store.close()
    other.close()


def test_two_that_both_find_no_book_make_one(store: SlotStore, other: SlotStore) -> None:
    overtaken = Changes(lambda: other.change(count, distrust=distrusted))
    assert store.change(overtaken, distrust=distrusted)[0] == 2


def test_a_book_that_others_change_every_time_is_given_up(store: SlotStore, other: SlotStore) -> None:
    always = Changes(lambda: other.change(count, distrust=distrusted), times=1000)
    with pytest.raises(StorageUnavailable, match="first"):
        store.change(always, distrust=distrusted)


def test_no_change_of_several_threads_is_lost(database: Database) -> None:
    together = Barrier(4)

    def work() -> None:
        mine = SlotStore(database, "pds")
        together.wait()
        for _ in range(50):
            while True:
                try:
                    mine.change(count, distrust=distrusted)
                except StorageUnavailable:
                    continue
                break
        mine.close()

    workers = [Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    store = SlotStore(database, "pds")
    assert counted(store) == 4 * 50
    store.close()


def work_and_stop(url: str, parent: Connection) -> None:
    """A process that counts, and is stopped between reading the book and writing it."""
    with Database.open(url) as database:
        store = SlotStore(database, "pds")
        store.change(count, distrust=distrusted)
        results = [store.change(Changes(lambda: os.kill(os.getpid(), signal.SIGSTOP)), distrust=distrusted)[0]]
        parent.send(results)
        store.close()


def stopped(process: BaseProcess) -> bool:
    assert process.pid is not None
    result = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT | os.WEXITED)
    return result is not None and result.si_code == os.CLD_STOPPED


@pytest.mark.skipif(sys.platform != "linux", reason="tells a stopped process by Linux's words")
def test_a_process_stopped_between_reading_and_writing_holds_nobody_up_and_overwrites_nothing(
    postgresql_url: str,
) -> None:
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=work_and_stop, args=(postgresql_url, theirs))
    process.start()
    try:
        assert process.pid is not None
        assert stopped(process)
        with Database.open(postgresql_url, lock_timeout_s=0.3) as database:
            store = SlotStore(database, "pds")
            assert [store.change(count, distrust=distrusted)[0] for _ in range(10)] == list(range(2, 12))
            os.kill(process.pid, signal.SIGCONT)
            assert ours.recv() == [12]
            assert counted(store) == 12
            store.close()
    finally:
        process.kill()
        process.join()


def test_the_first_change_of_a_connection_and_no_other_distrusts(store: SlotStore, other: SlotStore) -> None:
    store.look()
    store.change(count, distrust=distrusted)
    store.change(count, distrust=distrusted)
    assert times_distrusted(store) == 1
    other.change(count, distrust=distrusted)
    assert times_distrusted(store) == 2


def test_distrust_that_was_overtaken_is_not_forgotten(store: SlotStore, other: SlotStore) -> None:
    other.change(count, distrust=distrusted)
    overtaken = Changes(lambda: other.change(count, distrust=distrusted))
    store.change(overtaken, distrust=distrusted)
    assert times_distrusted(store) == 2


def test_a_killed_connection_is_made_anew_and_distrusts(postgresql_url: str) -> None:
    with Database.open(postgresql_url) as database:
        store = SlotStore(database, "pds")
        store.change(count, distrust=distrusted)
        with database.session(Store.AUDIT) as session:
            session.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert store.change(count, distrust=distrusted)[0] == 2
        assert times_distrusted(store) == 2
        store.close()


def test_a_connection_killed_between_reading_and_writing_is_made_anew_and_distrusts(postgresql_url: str) -> None:
    with Database.open(postgresql_url) as database:
        store, killer = SlotStore(database, "pds"), database.session(Store.AUDIT)
        store.change(count, distrust=distrusted)

        def kill() -> None:
            killer.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

        assert store.change(Changes(kill), distrust=distrusted)[0] == 2
        assert times_distrusted(store) == 2
        killer.close()
        store.close()


def test_a_store_that_was_closed_opens_anew_and_distrusts(store: SlotStore) -> None:
    store.change(count, distrust=distrusted)
    store.close()
    assert store.change(count, distrust=distrusted)[0] == 2
    assert times_distrusted(store) == 2


def test_a_defect_of_the_change_changes_nothing_and_leaves_the_store_usable(store: SlotStore) -> None:
    store.change(count, distrust=distrusted)

    def broken(book: Book, now: int) -> None:
        count(book, now)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.change(broken, distrust=distrusted)
    assert store.change(count, distrust=distrusted)[0] == 2


def test_a_file_that_was_moved_away_is_not_written_to(sqlite_database: Database, tmp_path: Path) -> None:
    store = SlotStore(sqlite_database, "pds")
    store.change(count, distrust=distrusted)
    assert sqlite_database.folder is not None
    (sqlite_database.folder / "registry.db").rename(tmp_path / "moved.db")
    with pytest.raises(StorageUnavailable):
        store.change(count, distrust=distrusted)
    with pytest.raises(StorageUnavailable):
        store.look()
    (tmp_path / "moved.db").rename(sqlite_database.folder / "registry.db")
    assert store.change(count, distrust=distrusted)[0] == 2
    assert times_distrusted(store) == 2
    store.close()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with Database.open("postgresql://nobody@/none?host=/nowhere") as nowhere:
        store = SlotStore(nowhere, "pds")
        with pytest.raises(StorageUnavailable):
            store.change(count, distrust=distrusted)
        with pytest.raises(StorageUnavailable):
            store.look()


def write_state(database: Database, state: bytes | None) -> None:
    with database.session(Store.REGISTRY) as session:
        if state is None:
            session.run("DELETE FROM spine_slots")
        else:
            session.run("UPDATE spine_slots SET version = version + 1, state = ?", (state,))


GARBAGE = [
    None,
    b"",
    b"\xc1",
    encode(Book())[:-1],
    b"\x95\x00\x00\x81\xa1a\x01\x80\x80",
    b"\x95\x00\x00\x80\x80\x81\xa2\xff\xff\x92\x00\x90",
    b"\x91" * 100_000,
]


@pytest.mark.parametrize("state", GARBAGE, ids=lambda state: "none" if state is None else state[:8].hex() or "empty")
def test_a_book_that_is_gone_or_cannot_be_read_counts_as_emptied(
    database: Database, store: SlotStore, state: bytes | None
) -> None:
    store.change(count, distrust=distrusted)
    write_state(database, state)
    assert store.look()[0] == Book()
    changed, reading = store.change(count, distrust=distrusted)
    assert changed == 1
    book, _ = store.look()
    assert book.emptied_at == reading.now
    assert book.lost_at == (0 if state is None else reading.now)
    assert times_distrusted(store) == 1


def test_a_row_that_was_made_anew_is_not_taken_for_the_one_before(database: Database, store: SlotStore) -> None:
    """Whoever read the row that is gone does not replace the one that is there now."""
    other = SlotStore(database, "pds")
    store.change(count, distrust=distrusted)

    def ten(book: Book, _now: int) -> None:
        book.clients["counted"] = Bucket(until=10)

    def lose() -> None:
        write_state(database, None)
        other.change(ten, distrust=distrusted)

    assert store.change(Changes(lose), distrust=distrusted)[0] == 11
    other.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda tail: b"\x95\x00\x00" + tail)))
def test_no_state_whatever_makes_it_raise(sqlite_database: Database, state: bytes) -> None:
    """Any bytes in the row are a book or count as none."""
    store = SlotStore(sqlite_database, "pds")
    store.change(count, distrust=distrusted)
    write_state(sqlite_database, state)
    store.look()
    store.change(lambda book, _: book.clients.clear(), distrust=distrusted)
    store.close()


def test_a_reading_of_the_clock_lies_between_its_bounds(store: SlotStore) -> None:
    readings = [store.change(count, distrust=distrusted)[1] for _ in range(20)] + [store.look()[1]]
    for reading in readings:
        assert reading.before_s < reading.after_s < reading.before_s + 5
    for reading, later in pairwise(readings):
        assert reading.now <= later.now
        # What passed on one clock passed on the other, within what the readings leave open.
        passed_s = (later.now - reading.now) / SECOND
        assert later.before_s - reading.after_s - 0.001 <= passed_s <= later.after_s - reading.before_s + 0.001


def test_the_clock_of_sqlite_is_this_machines_monotonic_one(sqlite_database: Database) -> None:
    ticks = iter([7.25, 7.5, *[8.0] * 10])
    store = SlotStore(sqlite_database, "pds", monotonic=lambda: next(ticks))
    assert store.look()[1] == Reading(now=7_500_000, before_s=7.5, after_s=7.500001)
    store.close()


def test_readings_of_one_change_are_of_the_try_that_counted(store: SlotStore, other: SlotStore) -> None:
    store.change(count, distrust=distrusted)
    seen = []
    between = Changes(lambda: other.change(count, distrust=distrusted))

    def change(book: Book, now: int) -> None:
        seen.append(now)
        between(book, now)

    _, reading = store.change(change, distrust=distrusted)
    assert len(seen) == 2
    assert reading.now == seen[-1] > seen[0]


def synchronous(database: Database, store: Store) -> list[object]:
    """How durable commits are on connections from the pool, more than it keeps."""
    ask = "PRAGMA synchronous" if database.kind == "sqlite" else "SHOW synchronous_commit"
    sessions = [database.session(store) for _ in range(6)]
    found = [session.rows(ask)[0][0] for session in sessions]
    for session in sessions:
        session.close()
    return found


def test_commits_of_everybody_else_stay_as_durable_as_they_were(database: Database, store: SlotStore) -> None:
    durable = 2 if database.kind == "sqlite" else "on"
    store.change(count, distrust=distrusted)
    store.close()  # while the pool would still have room for its connection
    for each in Store:
        assert synchronous(database, each) == [durable] * 6
    for _ in range(2):
        store.change(count, distrust=distrusted)
        assert store._session is not None
        ask = "PRAGMA synchronous" if database.kind == "sqlite" else "SHOW synchronous_commit"
        assert store._session.rows(ask) == [(1 if database.kind == "sqlite" else "off",)]
        for each in Store:
            assert synchronous(database, each) == [durable] * 6
        store.close()
        for each in Store:
            assert synchronous(database, each) == [durable] * 6


def flush_every(database: Database, delay: str, shown: str) -> None:
    """Have the server flush by itself so often, and wait until it tells new connections."""
    with database.session(Store.REGISTRY) as session:
        session.run(f"ALTER SYSTEM SET wal_writer_delay = {delay}")
        session.run("SELECT pg_reload_conf()")
    for _ in range(10_000):
        database.close()
        with database.session(Store.REGISTRY) as session:
            if session.rows("SHOW wal_writer_delay") == [(shown,)]:
                return
    raise AssertionError("the server does not take the setting")


def test_a_server_that_flushes_too_late_is_waited_for(postgresql_url: str) -> None:
    with Database.open(postgresql_url) as database:
        flush_every(database, "400", "400ms")
        try:
            store = SlotStore(database, "pds")
            store.change(count, distrust=distrusted)
            assert store._session is not None
            assert store._session.rows("SHOW synchronous_commit") == [("on",)]
            store.close()
        finally:
            flush_every(database, "DEFAULT", "200ms")


def test_on_sqlite_what_is_written_is_flushed_every_half_second(sqlite_database: Database) -> None:
    clock = [100.0]
    store = SlotStore(sqlite_database, "pds", monotonic=lambda: clock[0])
    flushed = []
    for at in [100.0, 100.1, 100.4, 100.5, 100.6, 101.1, 200.0]:
        clock[0] = at
        store.look()
        assert store._session is not None
        said: list[str] = []
        store._session._driver.set_trace_callback(said.append)
        store.change(count, distrust=distrusted)
        store._session._driver.set_trace_callback(None)
        if any("FULL" in statement for statement in said):
            assert said.index("PRAGMA synchronous = FULL") < said.index("PRAGMA synchronous = NORMAL")
            flushed.append(at)
    assert flushed == [100.0, 100.5, 101.1, 200.0]
    store.close()
