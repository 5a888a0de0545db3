import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command, Ended

pytestmark = pytest.mark.usefixtures("begun")
ASIDS = {"RXX": "200000000999"}


@pytest.fixture
def load(minispine: Command, config: Path, tmp_path: Path) -> Command:
    def run(name: str, document: object, *, suffix: str = ".json") -> Ended:
        file = tmp_path / f"table{suffix}"
        file.write_text(document if isinstance(document, str) else json.dumps(document))
        return minispine("table", "load", name, file, "--reason", "a test", "--config", config)

    return run


@pytest.fixture
def shown(minispine: Command, config: Path) -> Callable[[str], Any]:
    return lambda name: minispine("table", "show", name, "--config", config).json()


def test_a_loaded_table_is_in_force_and_on_the_record(
    load: Command, shown: Callable[[str], Any], trail: Callable[[], list[dict[str, Any]]]
) -> None:
    assert shown("organisations") == {}
    assert load("organisations", ASIDS).out == "organisations: in force, version 1\n"
    assert load("organisations", 'RYY = "200000000888"', suffix=".toml").code == 0
    assert shown("organisations") == {"RYY": "200000000888"}
    changes = [(event["data"], event["private"]) for event in trail() if event["type"] == "table.changed"]
    assert [(c["before"], c["after"], private["reason"]) for c, private in changes] == [
        ({}, ASIDS, "a test"),
        (ASIDS, {"RYY": "200000000888"}, "a test"),
    ]


def test_what_is_shown_can_be_changed_and_loaded(load: Command, shown: Callable[[str], Any]) -> None:
    vocabulary, mapping = shown("vocabulary-pds"), shown("spine-codes")
    vocabulary["codes"]["DEMOG-0001"] = "Nobody like that"
    vocabulary["codes"]["DEMOG-0099"] = "A code of our own"
    for row in mapping["event"]:
        if row.get("system") == "pds" and row.get("code") == "1":
            row["response"] = "DEMOG-0099"
    assert load("spine-codes", mapping).code == 2, "the code is not in the vocabulary yet"
    assert load("vocabulary-pds", vocabulary).code == 0
    assert load("spine-codes", mapping).code == 0
    assert shown("vocabulary-pds") == vocabulary
    assert shown("spine-codes") == mapping


def test_a_table_cannot_be_taken_from_under_another(load: Command, shown: Callable[[str], Any]) -> None:
    vocabulary, mapping = shown("vocabulary-pds"), shown("spine-codes")
    load("spine-codes", mapping)
    del vocabulary["codes"]["DEMOG-0001"]
    ended = load("vocabulary-pds", vocabulary)
    assert ended.code == 2
    assert "table spine-codes does not go with it" in ended.err
    assert "DEMOG-0001" in shown("vocabulary-pds")["codes"]


@pytest.mark.parametrize(
    ("name", "document", "said"),
    [
        ("organisations", {"RXX": "1"}, "RXX: must have an ASID of 12 digits"),
        ("organisations", '{"RXX": "200000000999", "RXX": "200000000888"}', "RXX: stands there twice"),
        ("organisations", "[]", "keys and values"),
        ("organisations", "{", "is not JSON"),
        ("vocabulary-pds", {"version": "2"}, "service"),
        ("spine-codes", {"version": "2", "event": []}, "table"),
        ("organisation", ASIDS, "did you mean organisations?"),
        ("budgets", {"version": "2", "pds": {"per_second": 0}}, "pds.per_second: expected `float` >= 0.001"),
        ("budgets", 'version = "2"\npds.per_secnd = 5', "is not JSON"),
        ("cache", {"version": "2"}, "services"),
    ],
)
def test_a_table_that_does_not_hold_together_is_refused_whole(
    load: Command, minispine: Command, config: Path, name: str, document: object, said: str
) -> None:
    ended = load(name, document)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert said in ended.err
    lines = minispine("table", "list", "--config", config).out.splitlines()[1:]
    assert all("as shipped" in line for line in lines)


def test_a_table_is_not_changed_without_a_reason(load: Command, minispine: Command, config: Path) -> None:
    assert load("organisations", ASIDS).code == 0
    ended = minispine("table", "reset", "organisations", "--reason", "", "--config", config)
    assert (ended.code, ended.err) == (2, "minispine: --reason is empty: say why, for the audit trail\n")


def test_a_table_comes_from_standard_input_too(
    minispine: Command, config: Path, shown: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(ASIDS)))
    assert minispine("table", "load", "organisations", "-", "--reason", "x", "--config", config).code == 0
    assert shown("organisations") == ASIDS


def test_the_list_says_what_is_in_force_since_when_and_why(load: Command, minispine: Command, config: Path) -> None:
    load("organisations", ASIDS)
    rows = {line.split()[0]: line for line in minispine("table", "list", "--config", config).out.splitlines()[1:]}
    assert "a test" in rows["organisations"]
    assert "as shipped" in rows["spine-codes"]


def test_loading_the_same_again_and_resetting_what_is_shipped_change_nothing(
    load: Command, minispine: Command, config: Path, shown: Callable[[str], Any]
) -> None:
    reset = ("table", "reset", "organisations", "--reason", "x", "--config", config)
    assert minispine(*reset).code == 1
    load("organisations", ASIDS)
    assert load("organisations", ASIDS).code == 1
    assert minispine(*reset).out == "organisations: as shipped again, version 2\n"
    assert shown("organisations") == {}


@pytest.mark.parametrize(
    ("name", "changes", "event"),
    [
        ("budgets", {"pds": {"per_second": 10, "shares": {"batch": 0.05}}}, "budget.changed"),
        (
            "cache",
            {"rule": [{"name": "wards", "service": "pds", "ttl_s": 60, "reason": "the same patient again"}]},
            "cache.changed",
        ),
    ],
)
def test_budgets_and_cache_rules_have_events_of_their_own_with_before_and_after(
    load: Command,
    minispine: Command,
    config: Path,
    shown: Callable[[str], Any],
    trail: Callable[[], list[dict[str, Any]]],
    name: str,
    changes: dict[str, Any],
    event: str,
) -> None:
    shipped = shown(name)
    document = shipped | changes
    ended = load(name, document)
    assert (ended.code, ended.err) == (0, "")
    assert shown(name) == document
    assert minispine("table", "reset", name, "--reason", "b test", "--config", config).code == 0
    first, second = [each for each in trail() if each["type"] == event]
    assert (first["private"]["reason"], second["private"]["reason"]) == ("a test", "b test")
    assert first["data"]["before"] == second["data"]["after"]
    assert first["data"]["after"] == second["data"]["before"]
    assert first["data"]["after"] != first["data"]["before"]


def test_a_limit_or_rule_for_somebody_unknown_is_in_force_and_said_to_have_no_effect_yet(
    load: Command, shown: Callable[[str], Any]
) -> None:
    document = shown("budgets")
    document["pds"] |= {
        "clients": {"night-run": {"per_second": 1}},
        "asids": {"200000000999": {"per_second": 9}, "200000000888": {"per_second": 9}},
    }
    load("organisations", ASIDS)
    ended = load("budgets", document)
    assert ended.code == 0
    assert ended.err.splitlines() == [
        "minispine: budgets: no organisation has the ASID 200000000888; what is said of it has no effect yet",
        "minispine: budgets: no client is called 'night-run'; what is said of it has no effect yet",
    ]
    rule = {"name": "wards", "service": "pds", "clients": ["wrad"], "ttl_s": 60, "reason": "x"}
    ended = load("cache", shown("cache") | {"rule": [rule]})
    assert ended.err.splitlines() == [
        "minispine: cache: no client is called 'wrad'; what is said of it has no effect yet"
    ]
