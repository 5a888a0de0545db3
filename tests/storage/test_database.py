"""Opening, migrating and claiming a database, and what its errors say."""

import os
import sqlite3
import stat
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import inspect

from minispine.storage import (
    AlreadyServed,
    ConnectionLost,
    Database,
    SchemaOutdated,
    StorageMisconfigured,
    StorageUnavailable,
    Store,
    StoreLost,
)
from minispine.storage.tables import AUDIT, REGISTRY
from tests.databases import Postgres

METADATA = {Store.AUDIT: AUDIT, Store.REGISTRY: REGISTRY}


@pytest.mark.parametrize("url", ["", "sqlite:", "mysql://x", "postgresql://u:secret@h/d", "postgresql://h:port/d"])
def test_an_address_that_cannot_be_right_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(StorageMisconfigured) as refused:
        Database.open(url)
    assert "secret" not in str(refused.value)


def test_migrating_makes_the_tables_of_this_release_and_can_be_repeated(database: Database) -> None:
    database.migrate()
    database.check_schema()
    for store, metadata in METADATA.items():
        with database.engine_connection(store) as connection:
            for table in metadata.tables.values():
                made = {column["name"]: column["nullable"] for column in inspect(connection).get_columns(table.name)}
                assert made == {column.name: column.nullable for column in table.columns}
                indexes = {index["name"] for index in inspect(connection).get_indexes(table.name)}
                assert indexes == {index.name for index in table.indexes}


@pytest.mark.parametrize("store", list(Store))
def test_migrating_again_leaves_our_connections_their_locks(sqlite_database: Database, store: Store) -> None:
    """Else the next process to leave the database would remove the -wal in which our commits are."""
    assert sqlite_database.folder is not None
    sqlite_database.check_schema()  # its connections stay open
    sqlite_database.migrate()
    file = sqlite_database.folder / f"{store}.db"
    wal = file.with_name(f"{file.name}-wal").stat().st_ino
    other = f"import sqlite3; c = sqlite3.connect({str(file)!r}); c.execute('SELECT * FROM {store}_schema'); c.close()"
    subprocess.run([sys.executable, "-c", other], check=True)
    assert file.with_name(f"{file.name}-wal").stat().st_ino == wal


def test_a_database_without_tables_is_not_of_this_release(tmp_path: Path, own_folder: Path) -> None:
    with Database.open(f"sqlite:{own_folder}") as database, pytest.raises(SchemaOutdated):
        database.check_schema()


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """A folder with two databases that have no tables."""
    for store in Store:
        sqlite3.connect(tmp_path / f"{store}.db").close()
    return tmp_path


def test_tables_of_a_later_release_are_left_alone(database: Database) -> None:
    with database.session(Store.AUDIT) as session:
        session.run("UPDATE audit_schema SET version_num = 'audit_9999'")
    with pytest.raises(SchemaOutdated):
        database.check_schema()
    with pytest.raises(SchemaOutdated):
        database.migrate()


def drop(database: Database, store: Store) -> None:
    """Lose a store, as an operator who removes a file or a careless script does."""
    if database.folder is not None:
        for file in database.folder.glob(f"{store}.db*"):
            file.unlink()
        return
    with database.engine_connection(store) as connection:
        for table in (*METADATA[store].tables, f"{store}_schema"):
            connection.exec_driver_sql(f"DROP TABLE {table}")


def test_a_log_that_was_lost_does_not_begin_again(database: Database) -> None:
    database.close()
    drop(database, Store.AUDIT)
    with pytest.raises(StoreLost, match="the audit log is gone") as refused:
        database.migrate()
    if database.folder is not None:
        assert str(refused.value).startswith(f"{database.folder}/audit.db: ")
        assert not (database.folder / "audit.db").exists()
        (database.folder / "audit.db").touch()
        with pytest.raises(StoreLost):
            database.migrate()
    with pytest.raises((SchemaOutdated, StorageUnavailable)):
        database.check_schema()


def test_a_registry_that_was_lost_does_not_begin_again_once_it_was_changed(database: Database) -> None:
    database.close()
    drop(database, Store.REGISTRY)
    database.migrate()  # the crash of a first start between the two: nobody has lost anything
    database.check_schema()
    with database.session(Store.AUDIT) as session:
        session.run("INSERT INTO audit_change (kind, key, version, sequence) VALUES ('client', 'ward', 1, 1)")
    database.close()
    drop(database, Store.REGISTRY)
    with pytest.raises(StoreLost, match="the registry is gone"):
        database.migrate()


def test_opening_makes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "nothing"
    with Database.open(f"sqlite:{folder}") as database, pytest.raises(StorageUnavailable):
        database.session(Store.AUDIT)
    assert not folder.exists()


def test_sqlite_files_are_for_their_owner_only(sqlite_database: Database) -> None:
    assert sqlite_database.folder is not None
    with sqlite_database.session(Store.AUDIT) as session:
        session.begin()
        session.run("UPDATE audit_head SET sealed_at = 0")
        session.commit()
        assert stat.S_IMODE(sqlite_database.folder.stat().st_mode) == 0o700
        files = [file for file in sqlite_database.folder.iterdir() if ".db" in file.name]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert "audit.db-wal" in {file.name for file in files}


def test_a_commit_is_flushed_before_it_returns(database: Database) -> None:
    with database.session(Store.AUDIT) as session:
        if database.kind == "sqlite":
            assert session.rows("PRAGMA journal_mode") == [("wal",)]
            assert session.rows("PRAGMA synchronous") == [(2,)]
        else:
            assert session.rows("SHOW synchronous_commit") == [("on",)]


CHANGES = {
    "sqlite": (
        "UPDATE {} SET sequence = 7",
        "DELETE FROM {}",
        "REPLACE INTO {} (sequence, *) VALUES (1, NULL, '', '')",
    ),
    "postgresql": ("UPDATE {} SET sequence = 7", "DELETE FROM {}", "TRUNCATE {}"),
}


@pytest.mark.parametrize("table", ["audit_record", "audit_payload"])
def test_written_rows_cannot_be_changed(database: Database, table: str) -> None:
    columns = "exchange, hash, leaf" if table == "audit_record" else "private, bodies, salt"
    with database.session(Store.AUDIT) as session:
        session.run(f"INSERT INTO {table} (sequence, {columns}) VALUES (1, NULL, ?, ?)", (b"x", b"y"))
        before = session.rows(f"SELECT * FROM {table}")
        for change in CHANGES[database.kind]:
            with pytest.raises(StorageUnavailable):
                session.run(change.format(table).replace("*", columns))
        assert session.rows(f"SELECT * FROM {table}") == before


def test_no_error_quotes_a_value(database: Database) -> None:
    with database.session(Store.AUDIT) as session:
        session.run("INSERT INTO audit_open (exchange, instance, sequence) VALUES (?, ?, ?)", ("9434765919", "i", 1))
        with pytest.raises(StorageUnavailable) as refused:
            session.run(
                "INSERT INTO audit_open (exchange, instance, sequence) VALUES (?, ?, ?)", ("9434765919", "i", 1)
            )
        assert "9434765919" not in repr(refused.value)
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__


LOCK = "UPDATE audit_head SET sealed_at = 1"


def test_a_lock_is_not_waited_for_longer_than_allowed_on_sqlite(sqlite_database: Database) -> None:
    with sqlite_database.session(Store.AUDIT) as holder, sqlite_database.session(Store.AUDIT) as waiter:
        holder.begin()
        with pytest.raises(StorageUnavailable, match="SQLITE_BUSY"):
            waiter.begin()
        holder.rollback()


def test_a_lock_is_not_waited_for_longer_than_allowed_on_postgresql(postgresql_url: str) -> None:
    with (
        psycopg.connect(postgresql_url) as holder,
        Database.open(postgresql_url, lock_timeout_s=0.2) as database,
        database.session(Store.AUDIT) as waiter,
    ):
        holder.execute(LOCK)
        waiter.begin()
        with pytest.raises(StorageUnavailable, match="55P03"):
            waiter.run(LOCK)
        waiter.rollback()
        holder.rollback()


def test_a_process_that_stands_still_in_its_transaction_loses_the_lock_on_postgresql(postgresql_url: str) -> None:
    with Database.open(postgresql_url, lock_timeout_s=0.4) as database:
        holder = database.session(Store.AUDIT)
        holder.begin()
        holder.run(LOCK)
        with database.session(Store.AUDIT) as waiter:
            waiter.begin()
            waiter.run(LOCK)
            waiter.commit()
        with pytest.raises(ConnectionLost):
            holder.commit()
        holder.discard()


def test_a_file_moved_away_is_not_written_to(sqlite_database: Database) -> None:
    assert sqlite_database.folder is not None
    here, away = sqlite_database.folder / "audit.db", sqlite_database.folder / "away.db"
    with sqlite_database.session(Store.AUDIT) as session:
        here.rename(away)
        with pytest.raises(StorageUnavailable):
            session.begin()
        away.rename(here)
        session.begin()
        session.rollback()


def test_a_file_exchanged_for_another_is_opened_anew(sqlite_database: Database) -> None:
    assert sqlite_database.folder is not None
    here = sqlite_database.folder / "registry.db"
    sqlite_database.session(Store.REGISTRY).close()
    sqlite3.connect(here).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    content = here.read_bytes()
    here.unlink()
    here.write_bytes(content)
    with sqlite_database.session(Store.REGISTRY) as session:
        session.begin()
        session.rollback()


def test_a_stopped_server_is_a_lost_connection(own_postgres: Postgres) -> None:
    with Database.open(own_postgres.url("postgres")) as database:
        session = database.session(Store.AUDIT)
        own_postgres.stop()
        with pytest.raises(ConnectionLost):
            session.run("SELECT 1")
        session.discard()
        with pytest.raises(StorageUnavailable):
            database.session(Store.AUDIT)
        own_postgres.start()
        with database.session(Store.AUDIT) as session:
            assert session.rows("SELECT 1") == [(1,)]


def test_a_server_that_cannot_be_reached_or_turns_us_away_is_named(postgres: Postgres) -> None:
    with (
        Database.open("postgresql://me@127.0.0.1:1/minispine") as database,
        pytest.raises(ConnectionLost) as away,
    ):
        database.session(Store.AUDIT)
    assert str(away.value) == "cannot reach 127.0.0.1:1"
    with (
        Database.open(postgres.url("nowhere")) as database,
        pytest.raises(ConnectionLost, match="refuses the connection") as refused,
    ):
        database.session(Store.AUDIT)
    assert "nowhere" not in str(refused.value)


def test_one_process_serves_from_an_sqlite_folder(sqlite_database: Database) -> None:
    claim = sqlite_database.claim_for_serving("one")
    with pytest.raises(AlreadyServed):
        sqlite_database.claim_for_serving("two")
    assert claim.living({"one", "two"}) == {"one"}
    claim.release()
    sqlite_database.claim_for_serving("two").release()


def test_many_processes_serve_from_postgresql_and_know_of_each_other(postgresql_url: str) -> None:
    with Database.open(postgresql_url) as database, Database.open(postgresql_url) as another:
        one, two = database.claim_for_serving("one"), another.claim_for_serving("two")
        assert one.living({"one", "two", "three"}) == {"one", "two"}
        with pytest.raises(AlreadyServed):
            another.claim_for_serving("one")
        two.release()
        assert one.living({"one", "two"}) == {"one"}
        one.release()


def test_a_claim_is_renewed_after_the_server_was_away(own_postgres: Postgres) -> None:
    with Database.open(own_postgres.url("postgres")) as database:
        claim = database.claim_for_serving("one")
        own_postgres.stop()
        with pytest.raises(StorageUnavailable):
            claim.renew()
        own_postgres.start()
        assert claim.living({"one"}) == set()
        claim.renew()
        assert claim.living({"one"}) == {"one"}
        claim.release()


def _serve_and_die(url: str) -> None:
    Database.open(url).claim_for_serving("child")
    os._exit(9)


def test_a_claim_ends_with_its_process(database_url: str) -> None:
    child = get_context("spawn").Process(target=_serve_and_die, args=(database_url,))
    child.start()
    child.join()
    with Database.open(database_url) as database:
        claim = database.claim_for_serving("child")
        assert claim.living({"child"}) == {"child"}
        claim.release()


def test_sqlite_overwrites_what_is_deleted_whatever_its_build_does_by_itself(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def careless(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.execute("PRAGMA secure_delete = OFF")
        return connection

    monkeypatch.setattr(sqlite3, "connect", careless)
    with Database.open(sqlite_url) as database:
        database.migrate()
        for store in Store:
            with database.session(store) as session:
                assert session.rows("PRAGMA secure_delete") == [(1,)]


def test_a_migration_may_take_its_time_between_two_statements_on_postgresql(postgres: Postgres) -> None:
    """The server ends a transaction of a serving process that stands idle; one that makes tables it does not."""
    postgres.admin("DROP SCHEMA public CASCADE")
    postgres.admin("CREATE SCHEMA public")
    with Database.open(postgres.url("postgres"), lock_timeout_s=0.002) as database:
        database.migrate()
    with Database.open(postgres.url("postgres")) as database:
        database.check_schema()
