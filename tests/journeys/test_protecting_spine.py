"""A budget of calls, lanes, and one question asked once, as client systems and Spine see them."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.conftest import HouseMaker
from tests.journeys.house import House, Line, Spine, until
from tests.journeys.messages import ROBOT, VERIFY, Answer, Message

SLACK_S = 0.25
"""How much later than it left the simulator may note a call: it stands still now and then where four tests share two
processors. The exact windows are the benchmark's, and the property tests'."""


def arrivals(calls: Iterable[dict[str, Any]]) -> list[float]:
    """When Spine got its calls, in seconds."""
    return sorted(datetime.fromisoformat(call["time"]).timestamp() for call in calls)


def most_over(times: list[float], per_second: float, burst: int) -> float:
    """By how many calls the worst window of all goes beyond its limit."""
    worst, lowest = -float(burst), float("inf")
    for number, at in enumerate(times):
        lowest = min(lowest, number - per_second * at)
        worst = max(worst, number + 1 - per_second * (at + SLACK_S) - lowest - burst)
    return worst


def limit(house: House, per_second: float, burst: int = 1, **more: Any) -> None:
    """Give everybody a budget."""
    table = house.folder / "budgets.json"
    document = {"version": "1", "pds": {"per_second": per_second, "burst": burst} | more}
    table.write_text(json.dumps(document))
    house.must_run("table", "load", "budgets", str(table), "--reason", "journey")


def built(house: House) -> House:
    house.load_organisations()
    house.register()
    house.register("clinic")
    return house


@pytest.fixture(scope="module")
def registered(keys: Path, spine: Spine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a house with two clients."""
    return built(House(tmp_path_factory.mktemp("registered"), keys, spine.url)).folder


@pytest.fixture
def home(make_house: HouseMaker, registered: Path) -> House:
    """A house of a test's own, with those clients, that is not started yet."""
    house = make_house()
    house.move_in(registered)
    house.write()
    return house


def verify(person: dict[str, Any], **options: Any) -> Message:
    return Message(VERIFY, nhs_number=person["nhs_number"], birth_date=person["birth_date"], **options)


@contextlib.contextmanager
def lines(house: House, count: int, certificate: str = "ward") -> Iterator[list[Line]]:
    """Open as many lines."""
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(house.line(certificate)) for _ in range(count)]


def ends(opened: list[Line], messages: list[Message]) -> list[Answer | None]:
    """Send requests at the same time, each on a line of its own; None where the line was cut instead of an answer."""
    ready = threading.Barrier(len(messages))

    def ask(line: Line, message: Message) -> Answer | None:
        ready.wait()
        with contextlib.suppress(ConnectionError):
            return line.ask(message)
        return None

    with ThreadPoolExecutor(len(messages)) as pool:
        return list(pool.map(ask, opened, messages))


def at_once(house: House, messages: list[Message], certificate: str = "ward") -> list[Answer]:
    """Send requests at the same time; all of them are answered."""
    with lines(house, len(messages), certificate) as opened:
        answers = [answer for answer in ends(opened, messages) if answer is not None]
    assert len(answers) == len(messages), "a line was cut"
    return answers


TIMEOUT_S = 3
"""How long the ward waits in the test of a burst."""
ANSWERING = 0.25
"""The part of its time that is kept for the answer at most: who cannot leave before that is refused."""


@pytest.mark.requirement("SMSP-PERF-001", "a", "b", "c")
def test_spine_sees_no_more_than_its_limit_of_a_burst_and_twice_as_much_of_it_once_the_limit_is_doubled(
    home: House, spine: Spine
) -> None:
    home.must_run("client", "edit", "ward", "--timeout", str(TIMEOUT_S), "--reason", "journey")
    limit(home, 5, burst=2)
    home.start()
    people = spine.people("plain", 201)
    # A worker that begins counts the limit as used up; after this call and the opening of a hundred lines it is not.
    assert home.ask(verify(people[200])).code == "SMSP-0000"
    before = burst_of(home, spine, people[:100], 5)
    version = home.metric("minispine_registry_version")
    home.must_run("budget", "set", "--per-second", "10", "--reason", "journey")
    until(lambda: home.metric("minispine_registry_version") > version, what="the worker has the new limit")
    after = burst_of(home, spine, people[100:200], 10)
    assert after / before == pytest.approx(2, rel=0.3)
    assert home.ask(verify(people[0])).code == "SMSP-0000"  # and it goes on


def burst_of(house: House, spine: Spine, people: list[dict[str, Any]], per_second: int) -> float:
    """Ask about so many at once, and give how many calls a second there were slots for, of a burst of two."""
    lost_before = house.metric("minispine_slots_total", result="lost")
    spine.forget_calls()
    messages = [verify(person) for person in people]
    with lines(house, len(messages)) as opened:
        began = time.monotonic()
        answers = [answer for answer in ends(opened, messages) if answer is not None]
        took_s = time.monotonic() - began
    assert len(answers) == len(messages)
    lost = house.metric("minispine_slots_total", result="lost") - lost_before
    times = arrivals(spine.calls())
    assert most_over(times, per_second, 2) <= 0
    served = [answer for answer in answers if answer.status == 200]
    busy = [answer for answer in answers if answer.status == 503]
    assert len(served) + len(busy) == len(answers)
    assert len(served) == len(times)
    assert {answer.code for answer in served} == {"SMSP-0000"}
    # A request leaves while there is time for its answer: as much of its time is kept for that as answers have taken,
    # which on a busy machine is all of `ANSWERING`. A slot is lost, by rule, where such a machine sleeps through its
    # instant; it is counted, but for what is due while nothing runs at all, for which half a second is left.
    assert len(served) + lost >= per_second * (TIMEOUT_S * (1 - ANSWERING) - 0.5)
    assert len(served) <= per_second * TIMEOUT_S + 2
    assert {answer.fault for answer in busy} == {"2100"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in busy)
    assert took_s < TIMEOUT_S + 2  # a hundred answers are written when it is over
    return (len(times) - 2 + lost) / (times[-1] - times[0])


@pytest.mark.requirement("SMSP-PERF-001", "a")
def test_a_limit_is_kept_over_workers_and_their_deaths(
    make_house: HouseMaker, spine: Spine, postgresql_url: str
) -> None:
    house = make_house().configure("", workers=2).configure("storage", url=postgresql_url.replace("@/", "@localhost/"))
    built(house)
    limit(house, 20)
    house.start()
    people = spine.people("plain", 60)
    spine.forget_calls()
    with lines(house, 30) as opened, ThreadPoolExecutor(1) as beside:
        asking = beside.submit(ends, opened, [verify(person) for person in people[:30]])
        until(lambda: len(spine.calls()) > 10, what="some have left")
        victim = house.workers()[0]
        os.kill(victim, signal.SIGKILL)
        answers = asking.result()
    # Nobody knows which worker held which line: each request was answered, or its line was cut.
    assert {answer.code for answer in answers if answer is not None} <= {"SMSP-0000"}
    assert len(spine.calls()) >= sum(answer is not None for answer in answers)
    until(lambda: len(house.workers()) == 2 and victim not in house.workers() and house.ready()[0] == 200)
    assert {answer.code for answer in at_once(house, [verify(person) for person in people[30:]])} == {"SMSP-0000"}
    assert most_over(arrivals(spine.calls()), 20, 1) <= 0


@pytest.mark.requirement("SMSP-PERF-007", "a", "b")
def test_a_person_does_not_wait_behind_a_batch(home: House, spine: Spine) -> None:
    house = home
    house.must_run("client", "edit", "clinic", "--lane", "batch", "--reason", "journey")
    limit(house, 10, shares={"batch": 0.1})
    house.start()
    people = spine.people("plain", 80)
    spine.forget_calls()
    with ThreadPoolExecutor(1) as beside:
        batch = beside.submit(at_once, house, [verify(person, identity=ROBOT) for person in people[:60]], "clinic")
        until(lambda: house.metric("minispine_waiting", lane="batch") > 40, what="the batch waits")
        message = verify(people[70])
        assert house.ask(message).code == "SMSP-0000"
        assert house.metric("minispine_waiting", lane="batch") > 0
        assert {each.code for each in batch.result()} == {"SMSP-0000"}
    told = {event["type"]: event for event in house.exchange(message.message_id)}
    came = datetime.fromisoformat(told["exchange.asked"]["at"]).timestamp() * 1_000_000
    left = told["exchange.spine-answered"]["data"]["sent_at"]
    everything = [event["data"]["sent_at"] for event in house.trail() if event["type"] == "exchange.spine-answered"]
    # Two slots at the most, and what left while its record was being written: one that waits its turn sees forty.
    assert len([sent_at for sent_at in everything if came < sent_at < left]) <= 5
    assert most_over(arrivals(spine.calls()), 10, 1) <= 0


def test_equal_clients_are_served_alike(home: House, spine: Spine) -> None:
    house = home
    limit(house, 20)
    house.start()
    people = spine.people("plain", 60)
    spine.forget_calls()
    order: list[str] = []

    def ask(name: str, those: list[dict[str, Any]]) -> None:
        for answer in at_once(house, [verify(person) for person in those], name):
            assert answer.code == "SMSP-0000"

    with ThreadPoolExecutor(2) as pool:
        many = pool.submit(ask, "ward", people[:40])
        until(lambda: house.metric("minispine_waiting", lane="attended") > 20, what="the ward waits")
        few = pool.submit(ask, "clinic", people[40:50])
        few.result()
        order += [event["client"] for event in house.trail() if event["type"] == "exchange.spine-answered"]
        many.result()
    from_the_clinic = [number for number, name in enumerate(order) if name == "clinic"]
    assert len(from_the_clinic) == 10
    # While both wait, one of each in turn: the few do not wait for the many.
    assert all(later - earlier <= 4 for earlier, later in pairwise(from_the_clinic))


def test_the_same_question_of_several_clients_is_asked_once(home: House, spine: Spine) -> None:
    house = home.start()
    [person] = spine.people("plain", 1)
    spine.faults({"action": "delay", "seconds": 1.0})
    spine.forget_calls()
    with ThreadPoolExecutor(1) as beside:
        first = beside.submit(house.ask, verify(person))
        until(lambda: spine.calls(), what="the question has left")
        answers = at_once(house, [verify(person) for _ in range(5)], "clinic")
        assert {answer.code for answer in [first.result(), *answers]} == {"SMSP-0000"}
    assert len(spine.calls()) == 1
    shared = [event for event in house.trail() if event["type"] == "exchange.shared"]
    [asked] = [event for event in house.trail() if event["type"] == "exchange.asked"]
    assert len(shared) == 5
    assert {event["data"]["leader"] for event in shared} == {asked["exchange"]}
    assert {event["data"]["message_id"] for event in shared} == {asked["data"]["message_id"]}


@pytest.mark.requirement("SMSP-PERF-002", "a", "b")
def test_throughput_is_shown_now_and_kept_for_later(home: House, spine: Spine) -> None:
    people = spine.people("plain", 12)
    hour = this_hour()
    home.start()
    for person in people:
        assert home.ask(verify(person)).code == "SMSP-0000"
    until(lambda: home.metric("minispine_exchanges_last_minute") == 12)
    home.stop()
    assert reported(home) == (12, 12) or this_hour() != hour
    home.start()
    assert home.ask(verify(people[0])).code == "SMSP-0000"
    home.stop()
    total, peak = reported(home)
    assert total == 13
    assert peak == 13 or this_hour() != hour
    everything = home.must_run("report", "throughput", "--format", "csv")
    assert people[0]["nhs_number"] not in everything


def this_hour() -> int:
    return int(time.time() // 3600)


def reported(house: House) -> tuple[int, int]:
    """The requests of all days, and those of the fullest hour, as the report tells them."""
    days = json.loads(house.must_run("report", "throughput", "--format", "json"))["days"]
    return sum(day["total"] for day in days), max(day["peak_hour_count"] for day in days)
