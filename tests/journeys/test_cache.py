"""Answers that are kept, as client systems, Spine and the trail see them."""

import json
from pathlib import Path
from typing import Any

import pytest

from minispine.storage import Database, Store
from tests.journeys.conftest import HouseMaker
from tests.journeys.house import House, Spine, until
from tests.journeys.messages import BY_NUMBER, BY_SEARCH, FIND, ROBOT, VERIFY, Answer, Message

SOURCE = "journey"
NOT_KEPT = {name: {"kept": False, "source": SOURCE} for name in ("cpis", "scr", "fgm")}
RULE = {"name": "ward", "service": "pds", "clients": ["ward"], "ttl_s": 600, "outage_s": 3600, "reason": "journey"}


def keep(house: House, *rules: dict[str, Any], pds: bool = True) -> None:
    """Put rules in force."""
    table = house.folder / "cache.json"
    services = {"pds": {"kept": pds, "source": SOURCE}, **NOT_KEPT}
    table.write_text(json.dumps({"version": "1", "services": services, "rule": list(rules)}))
    house.must_run("table", "load", "cache", str(table), "--reason", "journey")


@pytest.fixture
def kept_house(make_house: HouseMaker) -> House:
    house = make_house()
    house.load_organisations()
    house.register()
    house.register("clinic")
    return house


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
    keep(kept_house, RULE | {"operations": ["verifyNHSNumber", "getPatientDetailsByNHSNumber"]})
    kept_house.start()
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
    # Another client has no rule, and another operation of the same client has none either.
    for message, certificate, calls in ((of(person), "clinic", 3), (searching(person), "ward", 4)):
        assert kept_house.ask(message, certificate).code == "SMSP-0000"
        assert len(spine.calls()) == calls
    # The check that is kept answers another operation with a rule.
    assert kept_house.ask(of(person)).code == "SMSP-0000"
    assert len(spine.calls()) == 4


@pytest.mark.requirement("SMSP-CACHE-001", "a", "b")
def test_without_a_rule_every_question_is_asked_and_nothing_is_kept(kept_house: House, spine: Spine) -> None:
    kept_house.start()
    [person] = spine.people("plain", 1)
    for rules in ((), (RULE,), ()):
        keep(kept_house, *rules, pds=bool(rules))
        until(lambda: kept_house.metric("minispine_registry_version") > 0)
    spine.forget_calls()

    def asks() -> int:
        before = len(spine.calls())
        assert kept_house.ask(of(person)).code == "SMSP-0000"
        return len(spine.calls()) - before

    until(lambda: asks() == 1)
    assert asks() == 1
    assert rows(kept_house) == 0


def rows(house: House) -> int:
    with Database.open(house.settings["storage"]["url"]) as database, database.session(Store.REGISTRY) as session:
        found: int = session.rows("SELECT count(*) FROM cache_entry WHERE client <> ''")[0][0]
        return found


@pytest.mark.requirement("SMSP-ERR-006", "a", "g")
@pytest.mark.requirement("SMSP-PERF-006", "a", "b", "c", "d")
@pytest.mark.requirement("SMSP-AUDIT-006", "a")
def test_an_outage_of_spine(make_house: HouseMaker, own_spine: Spine, keys: Path) -> None:
    house = make_house(own_spine.url)
    house.load_organisations()
    house.register()
    keep(house, RULE | {"ttl_s": 0})
    house.configure("spine.pds", breaker_failures=3, breaker_open_s=0.5)
    house.start()
    known, unknown, searched = own_spine.people("plain", 3)
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
    invalid = house.ask(Message(VERIFY, nhs_number="123", birth_date=known["birth_date"]))
    assert invalid.code == "SMSP-0001"
    returned = Spine(house.folder / "spine-again", keys, size=60, port=port)
    try:
        until(lambda: house.ask(of(unknown)).code == "SMSP-0000", what="it answers again without a restart")
    finally:
        returned.stop()


@pytest.mark.requirement("SMSP-PERF-001", "d")
def test_a_burst_of_one_question_is_held_back_by_what_is_kept(kept_house: House, spine: Spine) -> None:
    keep(kept_house, RULE)
    kept_house.start()
    [person] = spine.people("plain", 1)
    assert kept_house.ask(of(person)).code == "SMSP-0000"
    spine.forget_calls()
    with kept_house.line() as line:
        answers = [line.ask(of(person)) for _ in range(100)]
    assert {answer.code for answer in answers} == {"SMSP-0000"}
    assert spine.calls() == []


def test_what_a_purge_leaves(kept_house: House, spine: Spine) -> None:
    keep(kept_house, RULE)
    kept_house.start()
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
    assert [event["data"]["count"] for event in kept_house.trail() if event["type"] == "cache.purged"] == [1, 1]


def test_a_record_that_becomes_sensitive_is_given_to_nobody_from_what_is_kept(kept_house: House, spine: Spine) -> None:
    keep(kept_house, RULE | {"clients": ["*"], "operations": ["verifyNHSNumber"]})
    kept_house.start()
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
    keep(kept_house, RULE)
    kept_house.start()
    [person] = spine.people("plain", 1)
    assert kept_house.ask(of(person)).code == "SMSP-0000"
    spine.forget_calls()
    assert kept_house.ask(of(person, identity=ROBOT)).code == "SMSP-0000"
    assert spine.calls() == []
