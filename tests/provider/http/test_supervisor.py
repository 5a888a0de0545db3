"""What becomes of workers that end, without starting any; real ones are in the journeys."""

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from minispine.audit import declaration, keyfiles
from minispine.audit.actor import Actor
from minispine.audit.note import Signer
from minispine.audit.opening import LogNotReady, open_database, open_log, origin_of
from minispine.config import Settings, example, load
from minispine.keys.files import KeyFileRefused
from minispine.provider.http import supervisor as module
from minispine.provider.http.supervisor import Supervisor
from tests.audit.conftest import START
from tests.audit.samples import ACTOR

DEFECT, CONFIGURATION, TAKEN, STORE_AWAY = 1, 78, 69, 75


class Ended:
    """A process that has ended."""

    def __init__(self, status: int) -> None:
        self.status = status

    @property
    def returncode(self) -> int:
        return self.poll()

    def poll(self) -> int:
        return self.status


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The settings of the example, with any free ports."""
    (tmp_path / "minispine.toml").write_text(example())
    settings = load(tmp_path / "minispine.toml")
    return msgspec.structs.replace(
        settings,
        machines=msgspec.structs.replace(settings.machines, port=0),
        management=msgspec.structs.replace(settings.management, port=0),
    )


def begin_log(settings: Settings) -> None:
    """Make the audit log of these settings and its keys."""
    keys, _ = keyfiles.make(settings.audit.keys)
    with open_database(settings.storage) as database:
        database.migrate()
        log = open_log(database, keys, settings=settings, instance="init", now=lambda: START)
        origin = origin_of(settings)
        actor = ACTOR.as_data()
        declaration.begin(log, origin=origin, signer=Signer(origin, keys.log_key), authorities=(), actor=actor)
        log.close_now()


@pytest.fixture
def supervisor(tmp_path: Path, settings: Settings) -> Iterator[Supervisor]:
    begin_log(settings)
    made = Supervisor(tmp_path / "minispine.toml", settings, "00", started_by=Actor(user_id="jo"))
    yield made
    for sock in made._sockets.values():
        sock.close()
    made._audit.close_now()
    made._database.close()


def end(supervisor: Supervisor, number: int, status: int, after_s: float = 0.0) -> int:
    """Let a worker end with a status, so long after its start; gives the provider's exit code so far."""
    ours, theirs = socket.socketpair()
    theirs.close()
    process: Any = Ended(status)
    supervisor._to_start.pop(number, None)
    supervisor._workers[number] = module._Running(number, process, ours, time.monotonic() - after_s)
    return supervisor._reap()


def test_failed_starts_are_counted_for_each_worker_by_itself(supervisor: Supervisor) -> None:
    for _ in range(4):
        for number in (1, 2, 3):
            assert end(supervisor, number, DEFECT) == 0
    assert set(supervisor._to_start) == {1, 2, 3}
    assert end(supervisor, 2, DEFECT) == 3
    assert supervisor._to_start == {}


def test_a_worker_that_lived_is_started_again_at_once_and_its_count_begins_anew(supervisor: Supervisor) -> None:
    for _ in range(3):
        for after_s in (0, 0, 0, 0, 60):
            assert end(supervisor, 1, DEFECT, after_s) == 0
        assert supervisor._to_start[1] <= time.monotonic()


def test_the_database_is_waited_for_without_end_but_never_for_long(supervisor: Supervisor) -> None:
    waits = []
    for _ in range(2000):
        assert end(supervisor, 1, STORE_AWAY) == 0
        waits.append(supervisor._to_start[1] - time.monotonic())
    assert waits[0] < 0.5
    assert 4 < max(waits) <= 5
    assert not supervisor._unrecorded
    assert end(supervisor, 1, DEFECT) == 0


@pytest.mark.parametrize(("status", "code"), [(CONFIGURATION, 2), (TAKEN, 3)])
def test_a_worker_that_says_that_it_is_hopeless_ends_the_provider(
    supervisor: Supervisor, status: int, code: int
) -> None:
    assert end(supervisor, 1, status, 60) == code
    assert supervisor._to_start == {}


@pytest.mark.parametrize("status", [-signal.SIGKILL, -signal.SIGTERM])
def test_workers_that_somebody_kills_are_started_again_at_once_however_often(
    supervisor: Supervisor, status: int
) -> None:
    for _ in range(50):
        assert end(supervisor, 1, status) == 0
        assert supervisor._to_start[1] <= time.monotonic()


def test_a_worker_that_crashes_is_started_again_though_ever_more_slowly(supervisor: Supervisor) -> None:
    for _ in range(50):
        assert end(supervisor, 1, -signal.SIGSEGV) == 0
    assert 4 < supervisor._to_start[1] - time.monotonic() <= 5


def test_nothing_is_served_without_the_audit_log_and_its_own_keys(tmp_path: Path, settings: Settings) -> None:
    file, by = tmp_path / "minispine.toml", Actor(user_id="jo")
    with pytest.raises(KeyFileRefused, match="minispine audit init"):
        Supervisor(file, settings, "00", started_by=by)
    keyfiles.make(settings.audit.keys)
    with pytest.raises(LogNotReady, match="minispine audit init"):
        Supervisor(file, settings, "00", started_by=by)
    begin_log(settings)
    (settings.audit.keys / keyfiles.LOG_KEY).unlink()
    keyfiles.make(settings.audit.keys)
    with pytest.raises(LogNotReady, match="put the right audit key folder in its place"):
        Supervisor(file, settings, "00", started_by=by)
