"""Copies of a log, for tests that spoil it: it is written once on each kind of database."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from minispine.storage import Database, Store
from minispine.storage.tables import AUDIT
from tests.audit.long_log import disarm, write
from tests.databases import Postgres


@pytest.fixture(scope="session")
def long_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the log on SQLite, to be copied."""
    folder = tmp_path_factory.mktemp("long-log") / "database"
    with Database.open(f"sqlite:{folder}") as database:
        database.migrate()
        write(database)
    return folder


@pytest.fixture(scope="session")
def long_postgresql(postgres: Postgres) -> str:
    """The address of the log's database on PostgreSQL, which has a copy of each table of the audit store."""
    postgres.admin("CREATE DATABASE long_log")
    url = postgres.url("long_log")
    with Database.open(url) as database:
        database.migrate()
        write(database)
        disarm(database)
        with database.session(Store.AUDIT) as session:
            for table in AUDIT.tables:
                session.run(f"CREATE TABLE kept_{table} AS TABLE {table}")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def long_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """The log as it was written, on each kind of database in turn, to be spoilt: its triggers are gone."""
    if request.param == "sqlite":
        shutil.copytree(request.getfixturevalue("long_sqlite"), tmp_path / "long-log")
        with Database.open(f"sqlite:{tmp_path / 'long-log'}") as database:
            disarm(database)
            yield database
        return
    with Database.open(request.getfixturevalue("long_postgresql")) as database:
        yield database
        with database.session(Store.AUDIT) as session:
            session.begin()
            session.run(f"TRUNCATE {', '.join(AUDIT.tables)}")
            for table in AUDIT.tables:
                session.run(f"INSERT INTO {table} SELECT * FROM kept_{table}")
            session.commit()
