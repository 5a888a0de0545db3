"""Two workers on a real PostgreSQL: one log without a gap, one set of metrics, one registry; any of them may die."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.databases import Postgres, PostgresUnavailable
from tests.journeys.house import House, Line, Spine, until
from tests.journeys.messages import BY_NUMBER, Answer, Message
from tests.journeys.messages import about_nobody as question


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A PostgreSQL that may be stopped."""
    try:
        own = Postgres()
    except PostgresUnavailable as reason:
        pytest.skip(str(reason))
    yield own
    own.remove()


@pytest.fixture(scope="module")
def workers(keys: Path, spine: Spine, server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A provider of two workers."""
    with House(tmp_path_factory.mktemp("workers"), keys, spine.url, spine.practices) as house:
        house.configure("", workers=2).configure("storage", url=server.url("postgres").replace("@/", "@localhost/"))
        house.start()
        house.load_organisations()
        house.register()
        house.register("clinic")
        until(lambda: house.ask(question()).code == "DEMOG-0001")
        yield house


class Load:
    """Clients that keep asking; a broken connection is opened again, as a client would."""

    def __init__(self, house: House, clients: int = 8, certificate: str = "ward") -> None:
        self._house, self._certificate = house, certificate
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.answers: list[str] = []
        self.broken: list[Message] = []
        self.asked: list[str] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        line: Line | None = None
        while not self._stop.is_set():
            message = question()
            try:
                line = line or self._house.line(self._certificate)
                answer = line.ask(message)
            except OSError:
                if line is not None:
                    line.socket.close()
                line = None
                with self._lock:
                    self.broken.append(message)
                continue
            with self._lock:
                self.asked.append(message.message_id)
                self.answers.append(answer.code or f"fault {answer.fault}")
        if line is not None:
            line.socket.close()

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        until(lambda: len(self.answers) > 20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def must_have_no_gap(house: House) -> None:
    last = house.last()
    sequences = [e["sequence"] for e in house.trail(last=last) if e["index"] == 0]
    assert sequences == list(range(1, last + 1))
    verified = house.run("audit", "verify")
    assert "records are consistent" in verified.stdout, verified.stdout + verified.stderr


@pytest.mark.requirement("SMSP-AUDIT-009", "g")
def test_under_load_the_log_has_no_gap_and_the_metrics_are_of_all_workers(workers: House, spine: Spine) -> None:
    before = workers.metric("minispine_exchanges_total", operation="verifyNHSNumber")
    calls = len(spine.calls())
    with Load(workers, 16) as load:
        until(lambda: len(load.answers) > 1000)
    assert set(load.answers) == {"DEMOG-0001"}
    assert not load.broken
    answered = len(load.answers)
    for _ in range(4):  # whichever worker is asked
        assert workers.metric("minispine_exchanges_total", operation="verifyNHSNumber") - before == answered
    assert len(spine.calls()) - calls == answered
    must_have_no_gap(workers)
    instances = {e["instance"] for e in workers.trail() if e["type"] == "exchange.received"}
    assert len(instances) == 2
    by_message = {e["client_message_id"] for e in workers.trail() if e["type"] == "exchange.replied"}
    assert set(load.asked) <= by_message


def test_a_change_of_the_registry_is_taken_by_every_worker_within_a_second(workers: House) -> None:
    lines = [workers.line("clinic") for _ in range(12)]  # on both workers
    try:
        assert {line.ask(question()).code for line in lines} == {"DEMOG-0001"}
        with Load(workers, 4, "clinic") as load:
            workers.must_run("client", "disable", "clinic", "--reason", "journey")
            until(lambda: {line.ask(question()).fault for line in lines} == {"3000"}, 1.5)
            workers.must_run("client", "enable", "clinic", "--reason", "journey")
            until(lambda: {line.ask(question()).code for line in lines} == {"DEMOG-0001"}, 1.5)
        assert set(load.answers) == {"DEMOG-0001", "fault 3000"}
    finally:
        for line in lines:
            line.socket.close()
    trail = workers.trail()
    disabled, enabled = (
        max(e["sequence"] for e in trail if e["type"] == kind) for kind in ("client.disabled", "client.enabled")
    )
    between = {e["type"] for e in trail if disabled < e["sequence"] < enabled and e["client"] == "clinic"}
    assert "exchange.refused" in between
    assert "exchange.asked" not in between


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_worker_killed_under_load_costs_only_what_it_was_doing(workers: House) -> None:
    first, _ = before = workers.workers()
    with Load(workers) as load:
        subprocess.run(["kill", "-9", str(first)], check=True)
        until(lambda: len(workers.workers()) == 2 and first not in workers.workers())
        answered = len(load.answers)
        until(lambda: len(load.answers) > answered + 200)
    assert set(load.answers) == {"DEMOG-0001"}
    assert len(load.broken) <= 8
    assert set(workers.workers()) != set(before)
    until(lambda: [e for e in workers.trail() if e["type"] == "worker.died"])
    opened = {e["exchange"] for e in workers.trail() if e["type"] == "exchange.asked"}
    ends = ("exchange.replied", "exchange.outcome-unknown", "exchange.abandoned")
    until(lambda: opened <= {e["exchange"] for e in workers.trail() if e["type"] in ends})
    must_have_no_gap(workers)


def test_the_database_goes_and_comes_back(workers: House, server: Postgres, spine: Spine) -> None:
    person = spine.people("plain", 1)[0]
    message = Message(BY_NUMBER, nhs_number=person["nhs_number"], birth_date=person["birth_date"])
    pids = workers.workers()
    with Load(workers, 4) as load:
        server.stop()
        try:
            until(lambda: "fault 2100" in load.answers)
            answer = until(lambda: _faulty(workers, message))
            assert answer is not None
            assert (answer.status, answer.payload) == (500, None)
            before = len(spine.calls())
            assert workers.ask(message).fault == "2100"
            assert len(spine.calls()) == before
            until(lambda: workers.ready()[0] == 503)
            assert "the audit log cannot be written" in workers.ready()[1]["reasons"]
        finally:
            server.start()
        until(lambda: workers.ready()[0] == 200)
        answered = len(load.answers)
        until(lambda: "DEMOG-0001" in load.answers[answered:])
    assert set(load.answers) == {"DEMOG-0001", "fault 2100"}
    assert workers.workers() == pids
    must_have_no_gap(workers)


def test_what_a_living_worker_has_in_hand_is_left_to_it_though_its_claim_went_with_the_server(
    workers: House, server: Postgres, spine: Spine
) -> None:
    assert workers.process is not None
    spine.faults({"action": "delay", "seconds": 1.0})
    message = question()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(workers.ask, message)
        asked = until(lambda: _events_of(workers, message))[0]
        started = [e for e in workers.trail() if e["type"] == "worker.started" and e["instance"] == asked["instance"]]
        holder = started[0]["data"]["pid"]
        (other,) = set(workers.workers()) - {holder}
        os.kill(holder, signal.SIGSTOP)  # so that it cannot claim anew before its fellow's successor looks
        try:
            server.stop()
            server.start()
            os.kill(other, signal.SIGKILL)
            (successor,) = until(lambda: set(workers.workers()) - {holder, other})
            workers.process.says(event="worker ready", pid=successor)
        finally:
            os.kill(holder, signal.SIGCONT)
        assert answer.result().code == "DEMOG-0001"
    types = [e["type"] for e in _events_of(workers, message)]
    assert types[-1] == "exchange.replied"
    assert "exchange.outcome-unknown" not in types


def _events_of(house: House, message: Message) -> list[dict[str, Any]]:
    return [e for e in house.trail() if e["client_message_id"] == message.message_id]


def _faulty(house: House, message: Message) -> Answer | None:
    answer = house.ask(message)
    return answer if answer.fault == "2100" else None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # ssl loses a socket reset at its making
def test_told_to_stop_under_load_it_ends_at_once_and_nothing_recorded_goes_unanswered(workers: House) -> None:
    assert workers.process is not None
    with Load(workers) as load:
        began = time.monotonic()
        workers.process.signal(signal.SIGTERM)
        assert workers.process.wait() == 0
        assert time.monotonic() - began < 10
    trail = workers.trail()
    stopped = [e["data"]["unfinished"] for e in trail if e["type"] == "worker.stopped"]
    assert stopped == [0, 0]
    assert trail[-1]["type"] == "provider.stopped"
    assert set(load.answers) == {"DEMOG-0001"}
    received = {e["client_message_id"] for e in trail if e["type"] == "exchange.received"}
    assert not {message.message_id for message in load.broken} & received
