"""An operator changes settings and files under a provider that runs, and workers that die take nothing else over."""

import datetime
import hashlib
import os
import pwd
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minispine.audit.encoding import encode_json
from minispine.audit.events import Event, EventType
from minispine.keys import pki
from tests.audit.samples import ACTOR
from tests.journeys.house import House, until


@pytest.fixture
def home(keys: Path, tmp_path: Path) -> Iterator[House]:
    """A provider whose Spine is nobody: nothing here asks one."""
    with House(tmp_path / "home", keys, "https://127.0.0.1:1/") as house:
        yield house


def lines(house: House, reference: str) -> list[dict[str, Any]]:
    assert house.process is not None
    return [line for line in house.process.lines() if line.get("ref") == reference]


def hang_up(house: House) -> None:
    assert house.process is not None
    house.process.signal(signal.SIGHUP)


def readings(house: House) -> list[dict[str, Any]]:
    """What the workers took, as the audit trail has it."""
    return [e["data"] for e in house.trail() if e["type"] == "configuration.read" and "worker" in e["data"]]


def replace_worker(house: House) -> None:
    (before,) = house.workers()
    os.kill(before, signal.SIGKILL)
    until(lambda: [pid for pid in house.workers() if pid != before] and house.ready()[0] == 200, what="replaced")


def test_what_is_taken_at_a_hangup_is_in_force_and_on_record_and_so_is_what_needs_a_restart(home: House) -> None:
    home.start()
    home.configure("", log_level="warning", drain_s=1.5, workers=1).configure("exchange", clock_skew_s=7, max_waiting=1)
    home.configure("machines", max_body_bytes=77)
    home.write()
    hang_up(home)
    (taken,) = until(lambda: readings(home))
    assert taken == {
        "worker": 1,
        "file": str(home.config),
        "sha256": hashlib.sha256(home.config.read_bytes()).hexdigest(),
        "taken": ["exchange.clock_skew_s", "drain_s", "log_level"],
        "need_a_restart": ["machines.max_body_bytes", "exchange.max_waiting"],
    }
    assert not lines(home, "MS0020")  # information, and the level is warning now


def changed(house: House) -> list[dict[str, Any]]:
    """What the trail says of changed settings."""
    return [e["data"] for e in house.trail() if e["type"] == "configuration.changed"]


@pytest.mark.requirement("IG-3.9.11", "a")
@pytest.mark.requirement("SMSP-AUDIT-008", "c")
def test_a_setting_that_was_changed_is_on_record_with_both_values_and_who_also_when_nothing_ran(home: House) -> None:
    account = pwd.getpwuid(os.getuid()).pw_name
    home.start()
    assert changed(home) == [], "nothing was there before that could have changed"
    home.configure("exchange", clock_skew_s=7, max_in_flight=99).write()
    hang_up(home)
    (read_again,) = until(lambda: changed(home))
    assert read_again["changes"] == [{"key": "exchange.clock_skew_s", "before": "300.0", "after": "7.0"}]
    assert (read_again["actor"]["account"], read_again["actor"]["uid"]) == (account, os.getuid())
    home.stop()

    home.configure("spine.pds", url="https://127.0.0.1:2/").configure("exchange", clock_skew_s=None).write()
    sha256 = hashlib.sha256(home.config.read_bytes()).hexdigest()
    home.start()
    started = changed(home)[1]
    assert {each["key"]: (each["before"], each["after"]) for each in started["changes"]} == {
        "exchange.clock_skew_s": ("7.0", "300.0"),
        "exchange.max_in_flight": (256, 99),
        "spine.pds.url": ("https://127.0.0.1:1/", "https://127.0.0.1:2/"),
    }
    assert (started["file"], started["sha256"]) == (str(home.config), sha256)
    (begun,) = [e for e in home.trail() if e["type"] == "provider.started"][1:]
    assert started["actor"] == begun["data"]["actor"]
    assert started["actor"]["account"] == account
    home.stop()
    home.start()
    assert len(changed(home)) == 2, "nothing was changed since"


@pytest.mark.requirement("IG-3.9.11", "a")
def test_a_file_that_the_settings_name_and_that_was_changed_while_nothing_ran_is_on_record(home: House) -> None:
    crl = home.keys / "clients" / "crl.pem"
    home.start()
    home.stop()
    before = crl.read_bytes()
    pki.renew_lists(home.keys, now=datetime.datetime.now(datetime.UTC))
    home.start()
    (started,) = changed(home)
    digests = [hashlib.sha256(content).hexdigest() for content in (before, crl.read_bytes())]
    (told,) = [each for each in started["changes"] if each["key"].startswith("machines.crl")]
    assert [told["before"], told["after"]] == digests


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        ("exchange", {"clock_skew_s": -300}, "exchange.clock_skew_s: must be 0 to a day"),
        ("exchange", {"clock_skew_s": 1e300}, "exchange.clock_skew_s: must be 0 to a day"),
        ("", {"workers": 3}, "workers: must be 1 with an sqlite store"),
        ("", {"wrong": 1}, "wrong: is not a known key"),
    ],
)
def test_nothing_is_taken_of_a_configuration_that_could_not_be_started_with(
    home: House, section: str, values: dict[str, Any], said: str
) -> None:
    home.start()
    home.configure("", log_level="error").configure(section, **values).write()
    hang_up(home)
    (refused,) = until(lambda: lines(home, "MS0021"))
    assert refused["reason"].startswith(f"{home.config}: {said}")
    assert readings(home) == []
    replace_worker(home)
    assert lines(home, "MS0013"), "the level is still that of before"


def test_a_worker_that_is_replaced_takes_nothing_from_an_edited_file(home: House) -> None:
    home.start()
    home.configure("", system_id="another").configure("storage", url=f"sqlite:{home.folder}/elsewhere").write()
    replace_worker(home)
    assert not (home.folder / "elsewhere").exists()
    home.config.write_text("this is not TOML")
    replace_worker(home)
    home.configure("storage", url=f"sqlite:{home.folder}/data")
    assert {e["system"] for e in home.trail()} == {"journey"}
    assert [e["data"]["status"] for e in home.trail() if e["type"] == "worker.died"] == [-9, -9]


def test_a_worker_that_is_replaced_has_the_settings_taken_before(home: House) -> None:
    home.start()
    home.configure("", log_level="warning").write()
    hang_up(home)
    until(lambda: readings(home))
    replace_worker(home)
    assert len(lines(home, "MS0013")) == 1, "a worker that is ready says so at level info"


def test_a_key_that_others_can_read_is_taken_by_nobody(home: House) -> None:
    home.start()
    (worker,) = home.workers()
    key = home.keys / "issued" / "provider.key"
    key.chmod(0o644)
    hang_up(home)
    until(lambda: any("open to others" in line["reason"] for line in lines(home, "MS0021")))
    os.kill(worker, signal.SIGHUP)
    until(lambda: len(lines(home, "MS0021")) > 1)
    assert home.ready()[0] == 200
    os.kill(worker, signal.SIGKILL)
    assert home.process is not None
    assert home.process.wait() == 2
    assert f"minispine: {key}: is open to others (mode 0644)" in home.process.output


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_to_a_worker_that_is_starting_does_not_kill_it(home: House, number: signal.Signals) -> None:
    home.launch()
    (worker,) = until(home.workers)
    for _ in range(3):
        os.kill(worker, number)
        time.sleep(0.02)  # while the interpreter starts
    assert home.process is not None
    home.process.says(event="worker ready")
    if number == signal.SIGTERM:
        died = until(lambda: [e["data"]["status"] for e in home.trail() if e["type"] == "worker.died"])
        assert died == [0]
    else:
        assert home.workers() == [worker]


def test_a_database_that_is_away_while_a_worker_starts_is_waited_for(home: House) -> None:
    home.start()
    (worker,) = home.workers()
    with sqlite3.connect(home.folder / "data/audit.db", isolation_level=None) as lock:
        lock.execute("BEGIN IMMEDIATE")
        os.kill(worker, signal.SIGKILL)
        until(lambda: len(lines(home, "MS0015")) >= 2, 40)
        assert not lines(home, "MS0012") + lines(home, "MS0090")
        lock.execute("ROLLBACK")
    lock.close()
    until(lambda: home.ready()[0] == 200)
    with home.line("stranger") as line:
        assert line.ask(b"<x/>").fault == "3000"


def test_the_record_of_a_change_that_a_command_could_not_make_is_made_by_the_provider(home: House) -> None:
    home.start()
    told = {"kind": "table", "key": "organisations", "version": 1, "changed_entries": 1}
    told |= {"before": None, "after": {"RXX": "200000000999"}, "actor": ACTOR.as_data()}
    event = Event(type=EventType.TABLE_CHANGED, at=1, data=told)
    with sqlite3.connect(home.folder / "data/registry.db") as registry:
        owed = ("table", "organisations", 1, encode_json(event).decode())
        registry.execute("INSERT INTO registry_outbox (kind, key, version, event) VALUES (?, ?, ?, ?)", owed)
    registry.close()
    until(lambda: [e["data"] for e in home.trail() if e["type"] == "table.changed"] == [event.data])


def test_a_provider_told_to_stop_while_its_database_is_away_stops(home: House) -> None:
    home.start()
    (worker,) = home.workers()
    with sqlite3.connect(home.folder / "data/audit.db", isolation_level=None) as lock:
        lock.execute("BEGIN IMMEDIATE")
        os.kill(worker, signal.SIGKILL)
        until(lambda: lines(home, "MS0015"), 40)
        assert home.process is not None
        home.process.signal(signal.SIGTERM)
        assert home.process.wait() == 0
        lock.execute("ROLLBACK")
    lock.close()
