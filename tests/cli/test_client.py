from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minispine.keys.certificates import read_facts
from tests.cli.conftest import Command, Ended

pytestmark = pytest.mark.usefixtures("begun")
Trail = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def add(minispine: Command, config: Path, keys: Path) -> Command:
    def run(name: str = "ward", *more: object, certificate: str = "ward") -> Ended:
        basis = ("--certificate", keys / "issued" / f"{certificate}.pem", "--organisation", "RXX", "--method", "2")
        return minispine("client", "add", name, "--config", config, *basis, *more)

    return run


@pytest.fixture
def clients(minispine: Command, config: Path) -> Callable[[], Any]:
    return lambda: {c["name"]: c for c in minispine("client", "list", "--json", "--config", config).json()}


def test_an_added_client_has_what_was_said_and_safe_defaults(
    add: Command, clients: Callable[[], Any], keys: Path
) -> None:
    ended = add("ward", "--method", "1", "--user-codes", "asserted", "--network", "10.0.0.0/8", "--lane", "batch")
    assert (ended.code, ended.out) == (0, "ward: added, version 1\n")
    facts = read_facts(keys / "issued" / "ward.pem")[0]
    assert clients()["ward"] == {
        "name": "ward",
        "certificates": [
            {
                "subject": facts.subject,
                "issuer": facts.issuer,
                "fingerprint": None,
                "not_before": None,
                "not_after": None,
            }
        ],
        "organisations": ["RXX"],
        "services": [
            "verifyNHSNumber",
            "getNHSNumber",
            "getPatientDetailsByNHSNumber",
            "getPatientDetailsBySearch",
            "getPatientDetails",
        ],
        "methods": {"pds": [1, 2]},
        "networks": ["10.0.0.0/8"],
        "lane": "batch",
        "timeout_s": 25.0,
        "user_codes": "asserted",
        "user_code_list": [],
        "compatibility": {},
        "enabled": True,
        "note": "",
        "version": 1,
    }


def test_an_organisation_without_an_asid_is_pointed_out(add: Command, minispine: Command, config: Path) -> None:
    assert "RXX has no ASID yet" in add().err


def test_every_change_is_on_the_record_with_before_and_after_who_and_why(
    add: Command, minispine: Command, config: Path, trail: Trail
) -> None:
    add("ward", "--reason", "new contract")
    minispine("client", "edit", "ward", "--organisation", "RYY", "--reason", "merger", "--config", config)
    minispine("client", "disable", "ward", "--reason", "incident", "--config", config)
    minispine("client", "enable", "ward", "--reason", "resolved", "--config", config)
    changes = [event for event in trail() if event["type"].startswith("client.")]
    assert [(c["type"], c["private"]["reason"], c["data"]["version"]) for c in changes] == [
        ("client.added", "new contract", 1),
        ("client.edited", "merger", 2),
        ("client.disabled", "incident", 3),
        ("client.enabled", "resolved", 4),
    ]
    assert all(c["data"]["actor"]["uid"] is not None for c in changes)
    assert changes[0]["data"]["before"] is None
    assert changes[1]["data"]["before"]["organisations"] == ["RXX"]
    assert changes[1]["data"]["after"]["organisations"] == ["RXX", "RYY"]
    assert [c["data"]["after"]["enabled"] for c in changes] == [True, True, False, True]


def test_editing_adds_removes_and_replaces(
    add: Command, minispine: Command, config: Path, keys: Path, clients: Callable[[], Any]
) -> None:
    add("ward", "--user-code", "RXX:jsmith", "--compat", "lenient_ids")
    subject = read_facts(keys / "issued" / "ward.pem")[0].subject
    ended = minispine(
        *("client", "edit", "ward", "--config", config, "--reason", "all at once"),
        *("--organisation", "RYY", "--method", "1", "--remove-method", "pds:2"),
        *("--remove-service", "getPatientDetails", "--network", "192.0.2.1", "--user-code", "RYY:bjones"),
        *("--remove-user-code", "RXX:jsmith", "--compat", "lenient_ids=false", "--compat", "superseded_bare"),
        *("--certificate", keys / "issued" / "lab.pem", "--pin", "--until", "2030-01-01"),
        *("--remove-certificate", subject, "--timeout", "10", "--note", "moved"),
    )
    assert (ended.code, ended.out) == (0, "ward: changed, version 2\n"), ended.err
    ward = clients()["ward"]
    lab = read_facts(keys / "issued" / "lab.pem")[0]
    assert [(c["subject"], c["fingerprint"], c["not_after"]) for c in ward["certificates"]] == [
        (lab.subject, lab.fingerprint, "2030-01-01T00:00:00Z")
    ]
    assert (ward["organisations"], ward["methods"], len(ward["services"])) == (["RXX", "RYY"], {"pds": [1]}, 4)
    assert (ward["networks"], ward["user_code_list"]) == (["192.0.2.1/32"], ["RYY:bjones"])
    assert (ward["compatibility"], ward["timeout_s"], ward["note"]) == ({"superseded_bare": True}, 10.0, "moved")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--organisation", "R!"], "ODS code"),
        (["--method", "5"], "access method"),
        (["--method", "3"], "not available in this version"),
        (["--method", "pds:4"], "not available in this version"),
        (["--method", "pdz:1"], "did you mean pds?"),
        (["--network", "10.1.2.3/8"], "the network is 10.0.0.0/8"),
        (["--network", "x"], "10.1.2.0/24"),
        (["--service", "verify"], "verifyNHSNumber"),
        (["--timeout", "0"], "--timeout"),
        (["--timeout", "nan"], "--timeout"),
        (["--user-code", "RYY:x"], "--user-code"),
        (["--user-code", "RXX:"], "--user-code"),
        (["--compat", "lenient_id"], "did you mean lenient_ids?"),
        (["--compat", "lenient_ids=perhaps"], "true or false"),
        (["--from", "tomorrow"], "2026-04-01"),
        (["--reason", ""], "--reason is empty"),
        (["--certificate", "absent.pem"], "absent.pem: cannot be used"),
        (["--lane", "fast"], "attended"),
    ],
)
def test_a_wrong_value_is_one_line_and_nothing_is_registered(
    add: Command, clients: Callable[[], Any], more: list[str], said: str
) -> None:
    ended = add("ward", *more)
    lines = [line for line in ended.err.splitlines() if "note:" not in line]
    assert (ended.code, len(lines)) == (2, 1)
    assert said in lines[0]
    assert clients() == {}


@pytest.mark.parametrize("name", ["", "two words", "../x", "x" * 65])
def test_a_name_that_could_confuse_is_refused(add: Command, name: str) -> None:
    assert add(name).code == 2


def test_a_name_and_a_certificate_belong_to_one_client(
    add: Command, minispine: Command, config: Path, clients: Callable[[], Any]
) -> None:
    add("ward")
    assert "minispine client edit ward" in add("ward").err
    refused = add("other")
    assert refused.code == 2
    assert "belongs to one client" in refused.err
    minispine("client", "disable", "ward", "--reason", "replaced", "--config", config)
    assert add("other").code == 0
    back = minispine("client", "enable", "ward", "--reason", "again", "--config", config)
    assert "that of client other" in back.err
    assert clients()["ward"]["enabled"] is False


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["disable", "wrad", "--reason", "x"], 2, "did you mean ward?"),
        (["enable", "ward", "--reason", "x"], 1, "is enabled already"),
        (["edit", "ward", "--reason", "x"], 1, "changes nothing"),
        (["edit", "ward", "--reason", "x", "--remove-organisation", "RYY"], 2, "no value 'RYY' to remove"),
        (["edit", "ward", "--reason", "x", "--remove-method", "1"], 2, "does not have access method pds:1"),
        (["edit", "ward", "--reason", "x", "--remove-organisation", "RXX"], 2, "at least one organisation"),
        (["edit", "ward", "--organisation", "RYY"], 2, "--reason"),
        (["edit", "ward", "--organisation", "RYY", "--reason", ""], 2, "--reason is empty"),
        (["disable", "ward", "--reason", " "], 2, "--reason is empty"),
    ],
)
def test_what_cannot_be_changed_is_said_and_left(
    add: Command,
    minispine: Command,
    config: Path,
    clients: Callable[[], Any],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    add("ward")
    ended = minispine("client", *arguments, "--config", config)
    assert (ended.code, ended.err.count("\n")) == (code, 1)
    assert said in ended.err
    assert clients()["ward"]["version"] == 1


def test_the_list_for_people_has_a_line_for_each(add: Command, minispine: Command, config: Path) -> None:
    add("ward")
    add("lab", certificate="lab")
    heading, *lines = minispine("client", "list", "--config", config).out.splitlines()
    assert heading.split()[0] == "client"
    assert [line.split()[:4] for line in lines] == [
        ["lab", "enabled", "RXX", "pds:2"],
        ["ward", "enabled", "RXX", "pds:2"],
    ]
