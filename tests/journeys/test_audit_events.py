"""A provider's life in which everything happens that it and its commands write, held to the catalogue row by row.

What front-line staff and administrators will do who log in is not in it yet: see "What nothing writes yet" in
docs/audit-events.md.
"""

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from minispine.audit.actor import ACTOR_FIELDS
from minispine.audit.catalogue import CATALOGUE
from minispine.audit.events import EventType
from minispine.vocabulary.cache_rules import shipped_document
from tests.journeys.house import House, Line, Spine, head, until
from tests.journeys.messages import BY_NUMBER, Message

RETRIEVAL = "QUPA_IN000008UK02"
NOT_HERE = {EventType.AUDIT_KEYS_CHANGED, EventType.AUDIT_ARCHIVED, EventType.KEY_CHANGED}
"""What is written, but not in this life."""
AUTHORITIES = ("caldicott-guardian", "chief-executive")

Trail = list[dict[str, Any]]


def question(person: dict[str, Any], **options: Any) -> Message:
    return Message(BY_NUMBER, nhs_number=person["nhs_number"], birth_date=person["birth_date"], **options)


@pytest.fixture(scope="module")
def trail(keys: Any, spine: Spine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trail]:
    with House(tmp_path_factory.mktemp("events"), keys, spine.url, spine.practices) as house:
        house.configure("exchange", max_in_flight=1, max_waiting=1)
        house.write()
        _begin_with_authorities(house)
        house.load_organisations()
        house.register()
        house.register("clinic")
        house.start()
        try:
            _ask_everything(house, spine)
        finally:
            spine.faults()
        _keep_answers(house, spine)
        _change_everything(house)
        copied = house.last()
        house.must_run("backup", str(house.folder / "backup"))
        _destroy_a_payload(house)
        house.stop()
        lived = house.trail()
        _restore(house)
        yield lived + house.trail(copied + 1)


def _begin_with_authorities(house: House) -> None:
    passphrase = house.folder / "passphrase"
    passphrase.write_text("correct horse battery")
    passphrase.chmod(0o600)
    named = []
    for name in AUTHORITIES:
        key = house.folder / f"{name}.key"
        typed = ("audit", "authority", name, "--key", str(key), "--passphrase-file", str(passphrase))
        house.must_run(*typed, config=False)
        named += ["--authority", f"{key}.pub"]
    house.must_run("audit", "init", *named)


def _destroy_a_payload(house: House) -> None:
    """As a court orders it: refused until both authorities have signed."""
    record = next(e["sequence"] for e in house.trail() if e["type"] == "exchange.received")
    order = house.folder / "order"
    asked = ("audit", "redaction-request", "--reference", "HC-2026-17", "--records", str(record))
    order.write_text(house.must_run(*asked))
    for name in AUTHORITIES:
        assert house.run("audit", "redact", str(order)).returncode == 1
        signing = ("--key", str(house.folder / f"{name}.key"), "--passphrase-file", str(house.folder / "passphrase"))
        house.must_run("audit", "sign", str(order), *signing, config=False)
    house.must_run("audit", "redact", str(order))


def _restore(house: House) -> None:
    """Lose the database, and go on from the backup."""
    shutil.rmtree(house.folder / "data")
    said = ("--approved-by", "the chief executive", "--reason", "the disk is gone", "--no-witness")
    house.must_run("restore", str(house.folder / "backup"), *said)


def _ask_everything(house: House, spine: Spine) -> None:
    person, other = spine.people("every-telecom", 2)
    for certificate in ("ward", "clinic"):
        assert house.ask(question(person), certificate).code == "SMSP-0000"
    assert house.ask(question(person | {"birth_date": "20100931"})).code == "SMSP-0001"
    with contextlib.suppress(OSError):
        house.ask(question(person), "stranger")
    spine.faults({"interaction": RETRIEVAL, "set": {"given": ["A", "B", "C", "D"]}})
    assert house.ask(question(person)).code == "SMSP-0000"
    spine.faults({"interaction": RETRIEVAL, "set": {"birth_time": "20100931"}})
    assert house.ask(question(person)).code == "SMSP-0002"
    spine.faults({"action": "reset", "times": 1})
    assert house.ask(question(person)).code == "SMSP-0000"
    spine.faults({"action": "delay", "seconds": 0.7})
    with _sent(house, spine, question(person)), _posted(house, question(other)):
        until(lambda: house.metric("minispine_waiting") == 1, what="one waits")
    until(lambda: {"exchange.undelivered", "exchange.abandoned"} <= _types(house), what="both clients have gone")
    with _sent(house, spine, question(person)):
        assert house.ask(question(person)).code == "SMSP-0000"  # the same question is on its way
    _die_asking(house, spine, question(person))


@contextlib.contextmanager
def _posted(house: House, message: Message) -> Iterator[Line]:
    """A request on its way, whose client goes away in the end without its answer."""
    with house.line() as line:
        line.send(head("/smsp/pds", "POST", {"host": "x", "content-length": str(len(message.body))}) + message.body)
        yield line


@contextlib.contextmanager
def _sent(house: House, spine: Spine, message: Message) -> Iterator[None]:
    """The same, once it has come as far as Spine."""
    before = len(spine.calls())
    with _posted(house, message):
        until(lambda: len(spine.calls()) > before, what="Spine is asked")
        yield


def _die_asking(house: House, spine: Spine, message: Message) -> None:
    (worker,) = house.workers()
    spine.faults({"action": "delay", "seconds": 2.0})
    with _sent(house, spine, message):
        os.kill(worker, signal.SIGKILL)
        until(lambda: house.workers() not in ([], [worker]) and house.ready()[0] == 200, what="another worker")
    until(lambda: "exchange.outcome-unknown" in _types(house), what="closed as unknown")


def _keep_answers(house: House, spine: Spine) -> None:
    """A question is asked until its answer is one that was kept; then what is kept is thrown away."""
    person = spine.people("every-telecom", 1)[0]
    rule = {"name": "a-life", "service": "pds", "clients": ["ward"], "ttl_s": 600, "reason": "a journey"}
    rules = house.folder / "cache.json"
    rules.write_text(json.dumps(shipped_document() | {"rule": [rule]}))
    house.must_run("table", "load", "cache", str(rules), "--reason", "a life")

    def answered_from_cache() -> bool:
        assert house.ask(question(person)).code == "SMSP-0000"
        return "exchange.answered-from-cache" in _types(house)

    until(answered_from_cache, what="an answer is kept and given again")
    assert "thrown away" in house.must_run("cache", "purge", "--all", "--reason", "a life")
    house.must_run("budget", "set", "--per-second", "9000", "--reason", "a life")


def _change_everything(house: House) -> None:
    for change in (["edit", "ward", "--timeout", "20"], ["disable", "clinic"], ["enable", "clinic"]):
        house.must_run("client", *change, "--reason", "a life")
    house.must_run("audit", "events", "--first", "1", "--last", "1")
    exported = house.folder / "exported.csv"
    house.must_run("audit", "export", "--format", "csv", "--output", str(exported), "--first", "1", "--last", "1")
    house.configure("exchange", clock_skew_s=61).write()
    assert house.process is not None
    house.process.signal(signal.SIGHUP)
    until(lambda: "certificates.read" in _types(house), what="read again")


def _types(house: House) -> set[str]:
    return {event["type"] for event in house.trail()}


@pytest.mark.requirement("SMSP-AUDIT-009", "c")
@pytest.mark.requirement("IG-3.9.4", "d")
def test_whatever_is_done_leaves_a_row_with_its_type_and_the_details_listed_for_it(trail: Trail) -> None:
    written = {type_ for type_, kind in CATALOGUE.items() if not kind.planned}
    assert {EventType(event["type"]) for event in trail} == written - NOT_HERE
    for event in trail:
        kind = CATALOGUE[EventType(event["type"])]
        assert kind.needs.keys() <= event["data"].keys() <= (kind.needs | kind.may).keys(), event["type"]
        if "removed" in event:
            continue  # what was private of it is gone
        told = event["private"].keys() - {"moved"}
        assert kind.private_needs.keys() <= told <= (kind.private_needs | kind.private_may).keys(), event["type"]


@pytest.mark.requirement("SMSP-AUDIT-009", "h")
def test_each_row_names_the_system_it_came_from(trail: Trail) -> None:
    asked = [event for event in trail if event["type"] == "exchange.received"]
    assert {event["client"] for event in asked} == {"ward", "clinic"}
    assert {event["client"] for event in trail if event["exchange"] in {asked[0]["exchange"]}} == {asked[0]["client"]}
    for event in trail:
        assert event["system"] == "journey"
        assert event["instance"]
        if event["type"].startswith(("client.", "table.", "audit.", "provider.", "worker.", "configuration.")):
            assert event["client"] is None


def test_whoever_runs_a_command_or_starts_the_provider_stands_in_its_row_with_the_login_name(trail: Trail) -> None:
    """The administration rows of SMSP-AUDIT-009 a."""
    by_people = [e for e in trail if e["type"].startswith(("client.", "table.", "audit.read", "provider.started"))]
    assert {"client.added", "table.changed", "audit.read", "provider.started"} <= {e["type"] for e in by_people}
    for event in by_people:
        actor = event["data"]["actor"]
        assert set(actor) == set(ACTOR_FIELDS)
        assert actor["user_id"]
        assert actor["uid"] == os.getuid()
        assert actor["device"].startswith(os.uname().nodename)
