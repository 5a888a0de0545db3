"""An operator changes texts, codes and mappings while the provider runs; what makes no sense is refused in one line."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.house import House, Spine, until
from tests.journeys.messages import VERIFY, Message

Table = dict[str, Any]


@pytest.fixture(scope="module")
def operated(keys: Path, spine: Spine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with House(tmp_path_factory.mktemp("tables"), keys, spine.url, spine.practices) as house:
        house.write()
        house.load_organisations()
        house.register()
        yield house.start()


@pytest.fixture(scope="module")
def shown(operated: House) -> dict[str, Table]:
    """The tables as the operator sees them."""
    return {name: table(operated, name) for name in ("spine-codes", "vocabulary-pds", "organisations")}


def question() -> Message:
    return Message(VERIFY, nhs_number="9434765919", birth_date="20090310")


def table(house: House, name: str) -> Table:
    shown: Table = json.loads(house.must_run("table", "show", name))
    return shown


def write(house: House, document: Table) -> str:
    file = house.folder / "table.json"
    file.write_text(json.dumps(document))
    return str(file)


def _event(document: Table, name: str) -> Table:
    found: Table = next(row for row in document["event"] if row["name"] == name)
    return found


def code(house: House) -> str | None:
    answer = house.ask(question())
    answer.must_be_valid(None)
    return answer.code


@pytest.mark.requirement("SMSP-CONF-001", "b")
def test_an_event_is_pointed_at_another_code_while_running(operated: House) -> None:
    assert code(operated) == "DEMOG-0001"
    mapping = table(operated, "spine-codes")
    _event(mapping, "pds.1")["response"] = "DEMOG-9999"
    operated.must_run("table", "load", "spine-codes", write(operated, mapping), "--reason", "a trial")
    until(lambda: code(operated) == "DEMOG-9999", 1.0)
    operated.must_run("table", "reset", "spine-codes", "--reason", "over")
    until(lambda: code(operated) == "DEMOG-0001", 1.0)


@pytest.mark.requirement("SMSP-CONF-001", "a")
def test_a_text_is_changed_and_a_code_added_and_used_while_running(operated: House) -> None:
    vocabulary = table(operated, "vocabulary-pds")
    vocabulary["codes"] |= {"DEMOG-0001": "Nobody like that", "DEMOG-0100": "Ask at the desk"}
    vocabulary["version"] = "1.1 (local)"
    operated.must_run("table", "load", "vocabulary-pds", write(operated, vocabulary), "--reason", "wording")
    mapping = table(operated, "spine-codes")
    _event(mapping, "pds.1")["response"] = "DEMOG-0100"
    operated.must_run("table", "load", "spine-codes", write(operated, mapping), "--reason", "a code of our own")
    until(lambda: code(operated) == "DEMOG-0100", 1.0)
    message = question()
    operated.ask(message)
    assert operated.exchange(message.message_id)[-1]["data"]["vocabulary"] == "1.1 (local)"
    refused = operated.run("table", "reset", "vocabulary-pds", "--reason", "the mapping still uses the code")
    assert refused.returncode == 2
    assert "spine-codes" in refused.stderr
    operated.must_run("table", "reset", "spine-codes", "--reason", "over")
    operated.must_run("table", "reset", "vocabulary-pds", "--reason", "over")
    until(lambda: code(operated) == "DEMOG-0001", 1.0)


@pytest.mark.requirement("SMSP-AUDIT-008", "c")
def test_each_change_is_on_the_record_with_before_and_after(operated: House) -> None:
    first = operated.last() + 1
    before = table(operated, "organisations")
    organisations = {"RXX": "200000000999", "RQQ": "200000000777"}
    operated.must_run("table", "load", "organisations", write(operated, organisations), "--reason", "a new trust")
    (changed,) = (e for e in operated.trail(first) if e["type"] == "table.changed")
    said = changed["data"]
    assert (said["key"], said["before"], said["after"]) == ("organisations", before, organisations)
    assert said["changed_entries"] == len(before.items() ^ organisations.items())
    assert changed["private"] == {"reason": "a new trust"}
    assert said["actor"]["uid"] == os.getuid()
    assert changed["sealed_at"]


@pytest.mark.requirement("IG-3.9.11", "b")
def test_a_new_version_of_a_vocabulary_is_on_the_record_with_how_many_entries_changed(operated: House) -> None:
    first = operated.last() + 1
    shipped = table(operated, "vocabulary-pds")
    newer = shipped | {"version": "2.0", "codes": shipped["codes"] | {"DEMOG-0001": "Nobody", "DEMOG-0200": "Two"}}
    operated.must_run("table", "load", "vocabulary-pds", write(operated, newer), "--reason", "version 2")
    operated.must_run("table", "reset", "vocabulary-pds", "--reason", "back")
    loaded, back = (e["data"] for e in operated.trail(first) if e["type"] == "table.changed")
    assert (loaded["key"], loaded["actor"]["uid"]) == ("vocabulary-pds", os.getuid())
    assert (loaded["before"]["version"], loaded["after"]["version"]) == (shipped["version"], "2.0")
    assert (loaded["before"], loaded["after"]) == (shipped, newer) == (back["after"], back["before"])
    assert (loaded["changed_entries"], back["changed_entries"]) == (3, 3), "its version, one text and a new code"


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("spine-codes", lambda t: _event(t, "pds.1").update(response="DEMOG-7777"), "DEMOG-7777"),
        ("spine-codes", lambda t: _event(t, "pds.1").update(outcome="lost"), "outcome"),
        ("spine-codes", lambda t: t["event"].remove(_event(t, "found")), "found"),
        ("vocabulary-pds", lambda t: t["codes"].pop("DEMOG-0001"), "DEMOG-0001"),
        ("vocabulary-pds", lambda t: t["codes"].update({"bad code": "x"}), "bad code"),
        ("organisations", lambda t: t.update(RXX="12"), "RXX"),
        ("organisations", lambda t: t.update(rxx="200000000999"), "rxx"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused_with_key_and_reason(
    operated: House, shown: dict[str, Table], name: str, spoil: Any, said: str
) -> None:
    document = json.loads(json.dumps(shown[name]))
    spoil(document)
    refused = operated.run("table", "load", name, write(operated, document), "--reason", "a slip")
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    assert said in refused.stderr
    assert code(operated) == "DEMOG-0001"
