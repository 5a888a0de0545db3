"""What `minispine demo` prepares, and how it ends; `tests/journeys/test_demo.py` lets it stay up."""

import datetime
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from minispine.cli import demo
from minispine.client import ConnectionFailed
from minispine.keys import pki
from minispine.keys.certificates import RevocationLists
from tests.cli.conftest import Command
from tests.journeys.house import alive

PEOPLE = """\
NHS_NUMBER,DATE_OF_BIRTH,FAMILY_NAME,GIVEN_NAME,TITLE,GENDER,ADDRESS_LINE_2,ADDRESS_LINE_4,POST_CODE
9990000018,19800229,SMITH,ANNE,MRS,Female,1 HIGH ST,LEEDS,LS6 4AB
9990000026,19610704,O'NEILL,TOM,MR,Male,2 HIGH ST,LEEDS,LS6 4AB
"""


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the demonstration find nobody who answers, without starting anything."""

    def nothing(*_: Any) -> None:
        return

    async def nobody(_: object) -> bool:
        raise ConnectionFailed("nothing answers there")

    for step in ("prepare", "start_simulator", "start_provider", "register"):
        monkeypatch.setattr(demo._Stage, step, nothing)
    monkeypatch.setattr(demo._Stage, "try_all", nobody)
    monkeypatch.setattr(signal, "signal", nothing)  # those of the tests stay as they are


@pytest.mark.parametrize(("options", "code"), [(("--check",), 1), ((), 3)])
@pytest.mark.usefixtures("broken")
def test_a_provider_that_does_not_answer_is_a_failed_check_in_one_line(
    minispine: Command, options: tuple[str, ...], code: int
) -> None:
    ended = minispine("demo", *options)
    assert (ended.code, ended.err.count("\n")) == (code, 1)
    assert "nothing answers there" in ended.err


def test_a_folder_older_than_its_revocation_lists_gets_new_ones_and_keeps_its_certificates(tmp_path: Path) -> None:
    stage = demo._Stage(tmp_path, kept=True)
    stage.prepare()
    place = tmp_path / "pki"
    now = datetime.datetime.now(datetime.UTC)
    pki.renew_lists(place, now=now - datetime.timedelta(days=400), crl_days=30)
    certificate = (place / "issued" / f"{demo.CLIENT}.pem").read_bytes()
    lists, ca = [place / "clients" / "crl.pem"], place / "clients" / "ca.pem"
    assert RevocationLists.load(lists, ca).problems(now)
    stage.prepare()
    assert RevocationLists.load(lists, ca).problems(datetime.datetime.now(datetime.UTC)) == []
    assert (place / "issued" / f"{demo.CLIENT}.pem").read_bytes() == certificate


def test_a_check_with_people_of_ones_own_leaves_its_folder_and_no_process(tmp_path: Path) -> None:
    people, folder = tmp_path / "people.csv", tmp_path / "demo"
    people.write_text(PEOPLE)
    command = [sys.executable, "-m", "minispine", "demo", "--check", "--data", str(folder), "--patients", str(people)]
    done = subprocess.run([*command, "--size", "60"], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads((folder / "demo.json").read_text())
    assert not any(map(alive, facts["pids"].values()))
    ready = json.loads((folder / "simulator.log").read_text().splitlines()[-1])
    assert ready["records"] == 62
    trail = subprocess.run(facts["audit"], capture_output=True, text=True, timeout=60, check=True).stdout
    events = [json.loads(line) for line in trail.splitlines()]
    assert [e["type"] for e in events].count("exchange.replied") == 5
    assert all(Path(facts[name]).is_file() for name in ("client_cert", "client_key", "ca"))


def test_a_budget_is_set_where_one_is_asked_for_and_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = demo._Stage(tmp_path, kept=True)
    ran: list[tuple[str, ...]] = []
    in_force = {"per_second": 5.0}

    def run(_: object, *arguments: str) -> str:
        ran.append(arguments[:4])
        return json.dumps({"pds": {"default": in_force}}) if arguments[:2] == ("budget", "show") else demo.CLIENT

    monkeypatch.setattr(demo._Stage, "_run", run)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    stage.register(None)
    assert not [arguments for arguments in ran if arguments[0] == "budget"]
    stage.register(50.0)
    assert ran[-1] == ("budget", "set", "--per-second", "50.0")
    in_force["per_second"] = 50.0
    stage.register(50.0)
    assert ran[-1][:2] == ("budget", "show")
