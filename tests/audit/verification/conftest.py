"""Copies of a log, for tests that spoil it: it is written once on each kind of database."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from minispine.storage import Database
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
    """The name of the log's database on PostgreSQL, to be copied."""
    postgres.admin("CREATE DATABASE long_log")
    with Database.open(postgres.url("long_log")) as database:
        database.migrate()
        write(database)
    return "long_log"


@pytest.fixture(params=["sqlite", "postgresql"])
def long_log_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a copy of the log, on each kind of database in turn."""
    if request.param == "sqlite":
        shutil.copytree(request.getfixturevalue("long_sqlite"), tmp_path / "long-log")
        yield f"sqlite:{tmp_path / 'long-log'}"
        return
    template = request.getfixturevalue("long_postgresql")
    postgres: Postgres = request.getfixturevalue("postgres")
    postgres.admin(f"CREATE DATABASE copy TEMPLATE {template}")
    yield postgres.url("copy")
    postgres.admin("DROP DATABASE copy WITH (FORCE)")


@pytest.fixture
def long_log(long_log_url: str) -> Iterator[Database]:
    """A copy of the log, to be spoilt: its triggers are gone."""
    with Database.open(long_log_url) as database:
        disarm(database)
        yield database
