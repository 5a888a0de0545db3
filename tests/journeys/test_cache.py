"""Answers that are kept, as client systems, Spine and the trail see them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minispine.storage import Database, Store
from tests.journeys.conftest import HouseMaker
from tests.journeys.house import House, Spine, until
from tests.journeys.messages import BY_NUMBER, BY_SEARCH, EITHER, FIND, ROBOT, VERIFY, Answer, Message
from tests.journeys.test_protecting_spine import at_once
from tests.journeys.test_questions import ask_all, five

SOURCE = "journey"
NOT_KEPT = {name: {"kept": False, "source": SOURCE} for name in ("cpis", "scr", "fgm")}
RULE = {"name": "ward", "service": "pds", "clients": ["ward"], "ttl_s": 600, "outage_s": 3600, "reason": "journey"}


def document(*rules: dict[str, Any], pds: bool) -> str:
    services = {"pds": {"kept": pds, "source": SOURCE}, **NOT_KEPT}
    return json.dumps({"version": "1", "services": services, "rule": list(rules)})


def keep(house: House, *rules: dict[str, Any], pds: bool = True) -> None:
    """Put rules in force."""
    table = house.folder / "cache.json"
    table.write_text(document(*rules, pds=pds))
    house.must_run("table", "load", "cache", str(table), "--reason", "journey")


def take(house: House, *rules: dict[str, Any], pds: bool = True) -> None:
    """Put rules in force unless they are already, and wait until the worker goes by them."""
    if (house.folder / "cache.json").exists() and (house.folder / "cache.json").read_text() == document(
        *rules, pds=pds
    ):
        return
    version = house.metric("minispine_registry_version")
    keep(house, *rules, pds=pds)
    until(lambda: house.metric("minispine_registry_version") > version, what="the worker has the rules")


@pytest.fixture(scope="module")
def registered(keys: Path, spine: Spine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a house with two clients."""
    house = House(tmp_path_factory.mktemp("registered"), keys, spine.url)
    house.load_organisations()
    house.register()
    house.register("clinic")
    return house.folder


@pytest.fixture(scope="module")
def shared(keys: Path, spine: Spine, registered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house with two clients, in which a rule has been in force for long enough that answers are kept."""
    with House(tmp_path_factory.mktemp("kept"), keys, spine.url, spine.practices) as house:
        house.move_in(registered)
        house.write()
        keep(house, RULE)
        house.start()
        [person] = spine.people("plain", 1)
        until(lambda: "age" in house.ask(of(person)).headers, what="answers are kept")
        yield house


@pytest.fixture
def kept_house(shared: House) -> House:
    """The shared house, with nothing that is kept; each test puts its rules in force."""
    with Database.open(shared.settings["storage"]["url"]) as database, database.session(Store.REGISTRY) as session:
        session.rows("DELETE FROM cache_entry RETURNING client")
    return shared


def of(person: dict[str, Any], operation: Any = VERIFY, **more: Any) -> Message:
    return Message(operation, nhs_number=person["nhs_number"], birth_date=person["birth_date"], **more)


def searching(person: dict[str, Any], operation: Any = FIND) -> Message:
    return Message(
        operation,
        family=person["family"],
        given=person["given"][0],
        gender=person["gender"],
        birth_date=person["birth_date"],
        postcode=person["postcode"],
    )


def replied(house: House, message: Message) -> dict[str, Any]:
    [event] = [event for event in house.exchange(message.message_id) if event["type"] == "exchange.replied"]
    said: dict[str, Any] = event["data"]
    return said


def same(one: Answer, other: Answer) -> bool:
    """Whether two answers give the same demographics."""
    parts = "//v3:patient//text() | //v3:patient//@extension | //v3:patient//@value | //v3:patient//@code"
    return one.texts(parts) == other.texts(parts)


@pytest.mark.requirement("SMSP-CACHE-001", "a")
@pytest.mark.requirement("SMSP-CACHE-002", "c")
@pytest.mark.requirement("SMSP-AUDIT-006", "a")
def test_a_repeated_question_is_answered_from_what_is_kept_where_a_rule_says_so(
    kept_house: House, spine: Spine
) -> None:
    take(kept_house, RULE | {"operations": ["verifyNHSNumber", "getPatientDetailsByNHSNumber"]})
    [person] = spine.people("plain", 1)
    spine.forget_calls()
    first, again = of(person, BY_NUMBER), of(person, BY_NUMBER)
    asked, given = kept_house.ask(first), kept_house.ask(again)
    assert len(spine.calls()) == 2  # a cross check and a retrieval, once
    assert (asked.code, given.code) == ("SMSP-0000", "SMSP-0000")
    assert same(asked, given)
    assert "age" not in asked.headers
    assert int(given.headers["age"]) >= 0
    assert (replied(kept_house, first)["source"], replied(kept_house, again)["source"]) == ("spine", "cache")
    # The check that is kept answers another operation with a rule.
    assert kept_house.ask(of(person)).code == "SMSP-0000"
    assert len(spine.calls()) == 2
    # Another client has no rule, and another operation of the same client has none either: each question is a call.
    for message, certificate in ((of, "clinic"), (searching, "ward")):
        spine.forget_calls()
        for calls in (1, 2):
            assert kept_house.ask(message(person), certificate).code == "SMSP-0000"
            assert len(spine.calls()) == calls


@pytest.mark.requirement("SMSP-CACHE-001", "a")
def test_all_five_operations_are_answered_alike_with_and_without_what_is_kept(kept_house: House, spine: Spine) -> None:
    take(kept_house, RULE)
    [person] = spine.people("plain", 1)

    def answers(calls: range) -> list[Answer]:
        spine.forget_calls()
        found = ask_all(kept_house, five(person))
        assert len(spine.calls()) in calls
        assert [answer.code for answer in found] == ["SMSP-0000"] * 5
        assert {answer.number for answer in found} == {person["nhs_number"]}
        assert found[0].verified is True
        return found

    asked, given = answers(range(1, 9)), answers(range(1))  # searches, too, while they are fresh
    assert ["age" in answer.headers for answer in given] == [True] * 5
    take(kept_house, RULE | {"clients": ["clinic"]})  # and for the ward there is no cache
    for _ in range(2):
        without = answers(range(8, 9))  # two calls for each that fetches a record
        assert all(same(*each) for each in zip(asked, without, strict=True))
        assert not any("age" in answer.headers for answer in without)
    assert all(same(*each) for each in zip(asked, given, strict=True))


@pytest.mark.requirement("SMSP-CACHE-001", "a", "b")
def test_without_a_rule_every_question_is_asked_and_nothing_is_kept(
    make_house: HouseMaker, registered: Path, spine: Spine
) -> None:
    house = make_house()
    house.move_in(registered)
    house.start()
    [person] = spine.people("plain", 1)
    spine.forget_calls()

    def asks() -> int:
        before = len(spine.calls())
        assert house.ask(of(person)).code == "SMSP-0000"
        return len(spine.calls()) - before

    assert [asks(), asks(), rows(house)] == [1, 1, 0]  # as it ships
    take(house, RULE)
    until(lambda: asks() == 0, what="it is kept")
    assert rows(house) == 1
    take(house, pds=False)  # what comes from PDS may not be kept at all
    assert [asks(), asks()] == [1, 1]
    until(lambda: rows(house) == 0, what="nothing is left")


def rows(house: House) -> int:
    with Database.open(house.settings["storage"]["url"]) as database, database.session(Store.REGISTRY) as session:
        found: int = session.rows("SELECT count(*) FROM cache_entry WHERE client <> ''")[0][0]
        return found


@pytest.mark.requirement("SMSP-ERR-006", "a", "g")
@pytest.mark.requirement("SMSP-PERF-006", "a", "b", "c", "d")
@pytest.mark.requirement("SMSP-AUDIT-006", "a")
def test_an_outage_of_spine(make_house: HouseMaker, registered: Path, own_spine: Spine, keys: Path) -> None:
    house = make_house(own_spine.url)
    house.move_in(registered)
    house.write()
    late = {"operations": ["verifyNHSNumber", "getPatientDetailsByNHSNumber", "getNHSNumber"], "ttl_s": 0}
    keep(house, RULE | late, RULE | {"name": "fresh", "operations": ["getPatientDetails"]})
    house.configure("spine.pds", breaker_failures=3, breaker_open_s=0.5)
    house.start()
    known, unknown, searched, fresh = own_spine.people("plain", 4)
    at_first = house.ask(of(fresh, EITHER))
    assert at_first.code == "SMSP-0000"
    assert at_first.texts("//v3:patient/v3:addr//text()")
    until(lambda: "age" in house.ask(of(fresh, EITHER)).headers, what="answers are kept")
    before = house.ask(of(known, BY_NUMBER))
    assert before.code == "SMSP-0000"
    assert house.ask(searching(searched)).code == "SMSP-0000"
    port = int(own_spine.url.rsplit(":", 1)[1].partition("/")[0])
    own_spine.stop()
    for _ in range(3):
        message = of(known, BY_NUMBER)
        during = house.ask(message)
        assert (during.status, during.code) == (200, "SMSP-0003")
        assert int(during.headers["age"]) >= 0
        # Beyond its time to live, which is nought here, nothing is given by which somebody could be found.
        assert during.texts("//v3:patient/v3:addr/@use") == during.texts("//v3:patient/v3:telecom/@use") == []
        assert during.number == before.number
        assert replied(house, message)["source"] == "cache"
        # What is not kept, and a search, which is never answered in an outage.
        for other in (of(unknown), searching(searched), searching(known, BY_SEARCH)):
            answer = house.ask(other)
            assert (answer.status, answer.code, answer.number) == (200, "SMSP-0004", None)
            assert "age" not in answer.headers

    def marked() -> bool:
        """Within its time to live it is the same data: as ever until Spine is known to be gone, then marked."""
        house.ask(of(unknown))  # fails, or finds the breaker open
        within = house.ask(of(fresh, EITHER))
        assert same(at_first, within)
        assert int(within.headers["age"]) >= 0
        assert within.code in ("SMSP-0000", "SMSP-0003")
        return within.code == "SMSP-0003"

    until(marked, what="data within their time to live are marked")
    invalid = house.ask(Message(VERIFY, nhs_number="123", birth_date=known["birth_date"]))
    assert invalid.code == "SMSP-0001"
    returned = Spine(house.folder / "spine-again", keys, size=60, port=port)
    try:
        until(lambda: house.ask(of(unknown)).code == "SMSP-0000", what="it answers again without a restart")
    finally:
        returned.stop()


@pytest.mark.requirement("SMSP-PERF-001", "d")
def test_a_burst_of_one_question_is_held_back_by_what_is_kept(kept_house: House, spine: Spine) -> None:
    take(kept_house, RULE)
    [person] = spine.people("plain", 1)
    assert kept_house.ask(of(person)).code == "SMSP-0000"
    spine.forget_calls()
    answers = at_once(kept_house, [of(person) for _ in range(100)])
    assert [answer.code for answer in answers] == ["SMSP-0000"] * 100
    assert all("age" in answer.headers for answer in answers)
    assert spine.calls() == []


def test_what_a_purge_leaves(kept_house: House, spine: Spine) -> None:
    take(kept_house, RULE)
    before = kept_house.last()
    one, other = spine.people("plain", 2)
    for person in (one, other):
        assert kept_house.ask(of(person)).code == "SMSP-0000"
    number = kept_house.folder / "number.txt"
    number.write_text(one["nhs_number"] + "\n")
    kept_house.must_run("cache", "purge", "--nhs-number-file", str(number), "--reason", "journey")
    spine.forget_calls()
    for person in (one, other):
        assert kept_house.ask(of(person)).code == "SMSP-0000"
    assert len(spine.calls()) == 1
    kept_house.must_run("cache", "purge", "--all", "--reason", "journey")
    assert rows(kept_house) == 0
    # The one whose answers were thrown away is not kept again at once: an answer may have been on its way meanwhile.
    assert [event["data"]["count"] for event in kept_house.trail(before + 1) if event["type"] == "cache.purged"] == [
        1,
        1,
    ]


def test_a_record_that_becomes_sensitive_is_given_to_nobody_from_what_is_kept(kept_house: House, spine: Spine) -> None:
    take(kept_house, RULE | {"clients": ["*"], "operations": ["verifyNHSNumber"]})
    [person] = spine.people("plain", 1)
    assert kept_house.ask(of(person)).code == "SMSP-0000"
    assert rows(kept_house) == 1
    # An operation without a rule, of another client: what Spine says to it is learnt from all the same.
    spine.faults({"action": "answer", "set": {"confidentiality": "S"}})
    assert kept_house.ask(of(person, BY_NUMBER), "clinic").code == "SMSP-0000"
    assert rows(kept_house) == 0
    spine.forget_calls()
    assert kept_house.ask(of(person)).code == "SMSP-0000"
    assert len(spine.calls()) == 1


def test_an_unattended_function_is_answered_from_what_is_kept_too(kept_house: House, spine: Spine) -> None:
    take(kept_house, RULE)
    [person] = spine.people("plain", 1)
    assert kept_house.ask(of(person)).code == "SMSP-0000"
    spine.forget_calls()
    assert kept_house.ask(of(person, identity=ROBOT)).code == "SMSP-0000"
    assert spine.calls() == []
