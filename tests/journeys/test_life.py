"""A provider's life: told to stop, killed, started twice, cut off from its database, from Spine, from its clients."""

import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from minispine.audit import reading
from minispine.storage import Database
from tests.journeys.conftest import HouseMaker
from tests.journeys.house import MINISPINE, House, Spine, alive, head, until
from tests.journeys.messages import BY_NUMBER, Answer, Message
from tests.journeys.messages import about_nobody as question
from tests.journeys.test_questions import five

SLOW = {"action": "delay", "seconds": 1.0}


@pytest.fixture(scope="module")
def registered(keys: Path, spine: Spine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a house whose client is registered."""
    house = House(tmp_path_factory.mktemp("registered"), keys, spine.url)
    house.write()
    house.load_organisations()
    house.register()
    return house.folder


@pytest.fixture
def home(make_house: HouseMaker, registered: Path) -> House:
    """A house that may be damaged."""
    house = make_house()
    house.move_in(registered)
    return house


@pytest.fixture(scope="module")
def shared(keys: Path, spine: Spine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house with room for one question at a time, one waiting, and little patience with Spine."""
    with House(tmp_path_factory.mktemp("life"), keys, spine.url, spine.practices) as house:
        house.configure("exchange", max_in_flight=1, max_waiting=1)
        house.configure("spine.pds", breaker_failures=1000).write()
        house.load_organisations()
        house.register("ward", "--timeout", "3")
        yield house.start()


class Asking:
    """A question that is on its way to Spine."""

    def __init__(self, house: House, spine: Spine, message: Message | None = None) -> None:
        self.message = message or question()
        self._pool = ThreadPoolExecutor(1)
        before = len(spine.calls())
        self._future: Future[Answer] = self._pool.submit(house.ask, self.message)
        until(lambda: len(spine.calls()) > before, what="Spine is asked")

    @property
    def done(self) -> bool:
        return self._future.done()

    def answer(self) -> Answer:
        try:
            return self._future.result(30)
        finally:
            self._pool.shutdown()


def refuses_connections(house: House) -> bool:
    try:
        socket.create_connection(("127.0.0.1", house.port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


# ── stopping ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_being_told_to_stop_it_answers_what_it_was_asked(home: House, spine: Spine) -> None:
    home.start()
    assert home.process is not None
    with home.line() as idle:
        assert idle.ask(question()).code == "DEMOG-0001"
        spine.faults(SLOW)
        asking = Asking(home, spine)
        home.process.signal(signal.SIGTERM)
        assert idle.closed()
    until(lambda: refuses_connections(home))
    assert not asking.done
    assert asking.answer().code == "DEMOG-0001"
    assert home.process.wait() == 0
    trail = home.trail()
    types = [e["type"] for e in trail]
    assert types[-2:] == ["worker.stopped", "provider.stopped"]
    assert trail[-2]["data"]["unfinished"] == 0
    assert "exchange.outcome-unknown" not in types


def test_what_outlasts_the_time_to_stop_is_told_so_on_the_record(home: House, spine: Spine) -> None:
    home.configure("", drain_s=1.0).start()
    assert home.process is not None
    spine.faults({"action": "delay", "seconds": 8.0})
    asking = Asking(home, spine)
    began = time.monotonic()
    home.process.signal(signal.SIGTERM)
    assert home.process.wait() == 0
    assert time.monotonic() - began < 6
    answer = asking.answer()
    assert (answer.status, answer.fault) == (500, "2100")
    replied = home.exchange(asking.message.message_id)[-1]
    assert (replied["type"], replied["data"]["fault"]) == ("exchange.replied", "2100")


def test_a_worker_that_is_killed_is_replaced_and_what_it_was_doing_is_closed_as_unknown(
    home: House, spine: Spine
) -> None:
    home.start()
    (worker,) = home.workers()
    spine.faults({"action": "delay", "seconds": 3.0})
    asking = Asking(home, spine)
    subprocess.run(["kill", "-9", str(worker)], check=True)
    with pytest.raises(OSError):
        asking.answer()
    spine.faults()
    until(lambda: home.workers() not in ([], [worker]), what="another worker")
    assert home.ask(question()).code == "DEMOG-0001"
    trail = home.trail()
    died = next(e for e in trail if e["type"] == "worker.died")
    assert (died["data"]["pid"], died["data"]["status"]) == (worker, -9)
    closed = [e for e in trail if e["client_message_id"] == asking.message.message_id]
    assert closed[-1]["type"] == "exchange.outcome-unknown"
    assert home.metric("minispine_exchanges_total") >= 1


def test_a_supervisor_that_is_killed_leaves_nobody_behind(home: House) -> None:
    home.start()
    assert home.process is not None
    workers = home.workers()
    home.process.signal(signal.SIGKILL)
    home.process.wait()
    until(lambda: not any(alive(worker) for worker in workers), what="the workers are gone")
    home.start()
    assert home.ask(question()).code == "DEMOG-0001"


# ── starting ────────────────────────────────────────────────────────────────────────────────────────────────────────


def serve(house: House) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MINISPINE, "serve", "--config", str(house.config)], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_second_provider_on_the_same_sqlite_is_refused_in_one_line(home: House) -> None:
    home.start()
    refused = serve(home)
    assert refused.returncode == 3
    assert "Traceback" not in refused.stderr + refused.stdout
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    assert "another process" in refused.stderr
    assert home.ask(question()).code == "DEMOG-0001"


def test_a_taken_port_is_told_in_one_line(home: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        home.configure("machines", port=taken.getsockname()[1]).write()
        refused = serve(home)
    assert refused.returncode == 3
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "[machines]" in refused.stderr


@pytest.mark.parametrize(
    ("section", "name", "value", "said"),
    [
        ("machines", "certificate", "/nowhere.pem", "/nowhere.pem"),
        ("machines", "colour", "blue", "colour"),
        ("spine.pds", "ca", "/nowhere.pem", "/nowhere.pem"),
        ("storage", "url", "mysql://x", "storage"),
        ("", "workers", 2, "workers"),
    ],
)
def test_a_configuration_that_cannot_be_served_with_is_told_in_one_line(
    make_house: HouseMaker, section: str, name: str, value: Any, said: str
) -> None:
    house = make_house().configure(section, **{name: value})
    house.write()
    refused = serve(house)
    assert refused.returncode in (2, 3)
    assert "Traceback" not in refused.stderr + refused.stdout
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    assert said in refused.stderr


# ── without the log ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SMSP-AUDIT-001", "c")
def test_without_its_log_it_asks_nothing_and_answers_nobody_until_the_log_is_back(home: House, spine: Spine) -> None:
    home.start()
    before = len(spine.calls())
    with sqlite3.connect(home.folder / "data/audit.db", isolation_level=None) as lock:
        lock.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(2) as pool:
            known, unknown = pool.submit(home.ask, question()), pool.submit(home.ask, question(), None)
            for answer in (known.result(), unknown.result()):
                assert (answer.status, answer.fault, answer.payload) == (500, "2100", None)
        status, said = home.ready()
        assert (status, said["reasons"]) == (503, ["the audit log cannot be written"])
        assert len(spine.calls()) == before
        lock.execute("ROLLBACK")
    lock.close()
    until(lambda: home.ask(question()).code == "DEMOG-0001")
    until(lambda: home.ready()[0] == 200)


# ── Spine ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_spine_is_gone_and_comes_back(
    make_house: HouseMaker, registered: Path, keys: Path, tmp_path: Path, free_port: int
) -> None:
    first = Spine(tmp_path / "first", keys, size=30, port=free_port)
    house = make_house(first.url)
    house.move_in(registered)
    house.configure("spine.pds", breaker_failures=4, breaker_open_s=0.5).start()
    try:
        with house.line() as line:
            assert line.ask(question()).code == "DEMOG-0001"
            first.stop()
            for _ in range(6):
                message = question()
                began = time.monotonic()
                answer = line.ask(message)
                assert (answer.status, answer.code, answer.fault) == (200, "SMSP-0004", None)
                assert time.monotonic() - began < 1.0
            silent = [e["type"] for e in house.exchange(message.message_id)]
            assert silent[-1] == "exchange.replied"
            status, said = house.ready()
            assert (status, said["ready"]) == (200, True)
            assert [warning for warning in said["warnings"] if "breaker" in warning]
            assert until(lambda: house.metric("minispine_breaker_open", service="pds")) == 1
            again = Spine(tmp_path / "again", keys, size=30, port=free_port)
            try:
                until(lambda: line.ask(question()).code == "DEMOG-0001")
                until(lambda: not [warning for warning in house.ready()[1]["warnings"] if "breaker" in warning])
            finally:
                again.stop()
    finally:
        first.stop()


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "reset": ({"action": "reset"}, "SMSP-0004"),
    "silence": ({"action": "silence"}, "SMSP-0004"),
    "late": ({"action": "delay", "seconds": 5}, "SMSP-0004"),
    "500": ({"action": "http-status", "status": 500}, "SMSP-0004"),
    "503": ({"action": "http-status", "status": 503}, "SMSP-0004"),
    "408": ({"action": "http-status", "status": 408}, "SMSP-0004"),
    "401": ({"action": "http-status", "status": 401}, "SMSP-0005"),
    "403": ({"action": "http-status", "status": 403}, "SMSP-0005"),
    "truncated": ({"action": "truncate"}, "SMSP-0004"),
    "malformed": ({"action": "malformed"}, "SMSP-0002"),
    "wrong ids": ({"action": "wrong-ids"}, "SMSP-0002"),
}


@pytest.mark.requirement("SMSP-AUDIT-008", "a")
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_happens_on_the_way_to_spine_has_a_code_and_a_record(shared: House, spine: Spine, fault: str) -> None:
    rule, code = FAULTS[fault]
    spine.faults(rule)
    before = len(spine.calls())
    message = question()
    answer = shared.ask(message)
    answer.must_be_valid(None)
    assert (answer.status, answer.code, answer.texts("//v3:patient")) == (200, code, [])
    events = shared.exchange(message.message_id)
    sent = [e["data"]["message_id"] for e in events if e["type"].startswith("exchange.spine-")]
    assert sent == [call["message_id"] for call in spine.calls()[before:]]
    assert len(set(sent)) == len(sent)
    assert events[-1]["data"]["code"] == code


UNANSWERED = ("reset", "silence", "late", "truncated")
"""The faults by which no whole answer leaves Spine."""


@pytest.mark.requirement("IG-3.9.2", "e")
def test_a_mixed_run_leaves_as_many_messages_in_the_trail_as_spine_was_sent_and_sent(
    shared: House, spine: Spine
) -> None:
    first, before = shared.last() + 1, len(spine.calls())
    person = spine.people("plain", 1)[0]
    assert [shared.ask(message).code for message in five(person)] == ["SMSP-0000"] * 5
    for rule, _ in FAULTS.values():
        spine.faults(rule)
        shared.ask(question())
    spine.faults()
    calls = spine.calls()[before:]
    sent, received = _messages(shared, first)
    rows = [e for e in shared.trail(first) if e["type"] in ("exchange.spine-answered", "exchange.spine-silent")]
    assert [row["data"]["message_id"] for row in rows] == [call["message_id"] for call in calls]
    assert sent == len(calls) > 5 + len(FAULTS)
    names = {rule["action"] for rule, _ in (FAULTS[name] for name in UNANSWERED)}
    assert received == sum(call["fault"] not in names for call in calls)


def _messages(house: House, first: int) -> tuple[int, int]:
    """How many messages to Spine, and from it, are kept with the records from `first` on."""
    with Database.open(house.settings["storage"]["url"]) as database:
        names = [
            body.name
            for sequence in range(first, reading.last_sequence(database) + 1)
            for body in reading.bodies(database, sequence, house.vault)
        ]
    return sum(n.startswith("spine-request-") for n in names), sum(n.startswith("spine-answer-") for n in names)


@pytest.mark.parametrize("action", ["soap-fault", "reject"])
def test_a_fault_of_spine_s_is_never_an_answer(shared: House, spine: Spine, action: str) -> None:
    for code in ("200", "300", "101", "GE002", "XX999"):
        spine.faults({"action": action, "code": code})
        answer = shared.ask(question())
        answer.must_be_valid(None)
        assert answer.code in ("SMSP-0004", "SMSP-0005", "SMSP-9999", "DEMOG-9999", "SMSP-0001", "SMSP-0002")


def test_one_reset_is_made_good_by_asking_again_with_new_ids(shared: House, spine: Spine) -> None:
    spine.faults({"action": "reset", "times": 1})
    before = len(spine.calls())
    message = question()
    assert shared.ask(message).code == "DEMOG-0001"
    calls = spine.calls()[before:]
    assert len({call["message_id"] for call in calls}) == 2
    types = [e["type"] for e in shared.exchange(message.message_id)]
    assert types[3:] == ["exchange.spine-silent", "exchange.spine-answered", "exchange.replied"]


def test_the_second_question_fails_alone(shared: House, spine: Spine) -> None:
    person = spine.people("plain", 1)[0]
    spine.faults({"action": "http-status", "status": 500, "interaction": "QUPA_IN000008UK02"})
    answer = shared.ask(Message(BY_NUMBER, nhs_number=person["nhs_number"], birth_date=person["birth_date"]))
    assert (answer.code, answer.texts("//v3:patient")) == ("SMSP-0004", [])


def test_no_answer_comes_later_than_the_client_waits_or_its_message_holds(shared: House, spine: Spine) -> None:
    spine.faults({"action": "silence"})
    began = time.monotonic()
    assert shared.ask(question()).code == "SMSP-0004"
    assert 1.8 < time.monotonic() - began < 3.5


# ── clients ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_repeated_message_id_is_a_new_exchange_that_names_the_earlier_one(shared: House) -> None:
    message = question()
    assert [shared.ask(message).code for _ in range(2)] == ["DEMOG-0001"] * 2
    events = shared.exchange(message.message_id)
    first, second = dict.fromkeys(e["exchange"] for e in events)
    assert {e["repeats"] for e in events if e["exchange"] == first} == {None}
    assert first in {e["repeats"] for e in events if e["exchange"] == second}


def _post(house: House, message: Message) -> Any:
    line = house.line()
    line.send(head("/smsp/pds", "POST", {"host": "x", "content-length": str(len(message.body))}) + message.body)
    return line


def test_a_client_that_goes_before_its_turn_is_recorded_and_not_asked_for(shared: House, spine: Spine) -> None:
    spine.faults(SLOW)
    asking = Asking(shared, spine)
    before = len(spine.calls())
    message = question()
    waiting = _post(shared, message)
    until(lambda: shared.metric("minispine_waiting") == 1, what="it waits")
    waiting.socket.close()
    assert asking.answer().code == "DEMOG-0001"
    until(lambda: [e["type"] for e in shared.exchange(message.message_id)][-1:] == ["exchange.abandoned"])
    assert len(spine.calls()) == before


def test_the_answer_for_a_client_that_has_gone_is_awaited_and_recorded(shared: House, spine: Spine) -> None:
    spine.faults(SLOW)
    before = len(spine.calls())
    message = question()
    line = _post(shared, message)
    until(lambda: len(spine.calls()) > before)
    line.socket.close()

    def types() -> list[str]:
        return [e["type"] for e in shared.exchange(message.message_id)]

    until(lambda: "exchange.replied" in types())
    assert types()[3:] == ["exchange.spine-answered", "exchange.replied", "exchange.undelivered"]


def test_one_too_many_gets_the_busy_tone(shared: House, spine: Spine) -> None:
    spine.faults(SLOW)
    asking = Asking(shared, spine)
    waiting = _post(shared, question())
    until(lambda: shared.metric("minispine_waiting") == 1)
    before = len(spine.calls())
    message = question()
    answer = shared.ask(message)
    assert (answer.status, answer.fault) == (503, "2100")
    assert int(answer.headers["retry-after"]) >= 1
    assert len(spine.calls()) == before
    assert [e["data"].get("reason") for e in shared.exchange(message.message_id)][1] == "busy"
    assert asking.answer().code == "DEMOG-0001"
    assert waiting.read().code == "DEMOG-0001"
    waiting.socket.close()


def test_many_at_once_are_all_answered_and_recorded(house: House) -> None:
    messages = [[question() for _ in range(5)] for _ in range(32)]
    answers: list[str | None] = []

    def ask(some: list[Message]) -> None:
        with house.line() as line:
            answers.extend(line.ask(each).code for each in some)

    threads = [threading.Thread(target=ask, args=(some,)) for some in messages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["DEMOG-0001"] * 160
    last = house.last()
    assert sorted({e["sequence"] for e in house.trail(last=last)}) == list(range(1, last + 1))
