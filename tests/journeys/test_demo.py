"""An integration engineer runs the demonstration on the first day: it shows itself, stays up, and leaves nothing."""

import json
import os
import signal
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.conftest import OPENTEST
from tests.journeys.house import MINISPINE, Process, alive, fetch, until

OPERATIONS = (
    "verifyNHSNumber",
    "getNHSNumber",
    "getPatientDetailsByNHSNumber",
    "getPatientDetailsBySearch",
    "getPatientDetails",
)


class Demonstration:
    """A demonstration that stays up in its folder."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        log = folder.parent / f"{folder.name}.log"
        log.unlink(missing_ok=True)
        self.process = Process(["demo", "--data", str(folder), "--size", "100", *arguments], log)
        until(lambda: "It stays up" in self.process.output or self.process.ended, 60)
        assert not self.process.ended, self.process.output
        self.facts: dict[str, Any] = json.loads((folder / "demo.json").read_text())

    def events(self) -> list[dict[str, Any]]:
        done = subprocess.run(
            self.facts["audit"], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=True
        )
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demonstration]:
    patients = ("--patients", str(OPENTEST)) if OPENTEST.is_file() else ()
    running = Demonstration(tmp_path_factory.mktemp("demo") / "data", *patients)
    yield running
    running.process.stop()


def test_everything_another_program_needs_is_in_demo_json(demonstration: Demonstration) -> None:
    facts = demonstration.facts
    assert {
        "itk_url",
        "client_cert",
        "client_key",
        "ca",
        "simulator_control_url",
        "management_url",
        "audit",
        "pids",
    } <= set(facts)
    assert all(Path(facts[name]).is_file() for name in ("client_cert", "client_key", "ca"))
    assert {"simulator", "provider"} <= set(facts["pids"])
    assert all(alive(pid) for pid in facts["pids"].values())
    assert json.loads(fetch(facts["management_url"] + "/ready")[1])["ready"] is True
    calls = json.loads(fetch(facts["simulator_control_url"] + "/control/calls")[1])
    assert all({"time", "interaction", "asid", "author", "message_id"} <= set(call) for call in calls)
    context = ssl.create_default_context(cafile=facts["ca"])
    context.load_cert_chain(facts["client_cert"], facts["client_key"])
    with urllib.request.urlopen(facts["itk_url"] + "?wsdl", context=context, timeout=20) as described:
        assert described.status == 200


def test_the_audit_command_prints_json_lines_that_agree_with_what_spine_saw(demonstration: Demonstration) -> None:
    events = demonstration.events()
    calls = json.loads(fetch(demonstration.facts["simulator_control_url"] + "/control/calls")[1])
    answered = [e["data"]["message_id"] for e in events if e["type"] == "exchange.spine-answered"]
    assert answered == [call["message_id"] for call in calls]
    sequences = sorted({e["sequence"] for e in events})
    assert sequences == list(range(1, len(sequences) + 1))
    assert demonstration.events()[-1]["type"] == "audit.read"


def test_the_lines_it_prints_can_be_copied(demonstration: Demonstration) -> None:
    text = demonstration.process.output.replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.startswith("  ") and "?wsdl" not in line]
    commands = [line for line in lines if "minispine call" in line or " audit " in line]
    assert len(commands) >= 2
    for command in commands:
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


def test_killed_or_told_to_stop_it_leaves_no_process_behind_and_starts_again_in_its_folder(tmp_path: Path) -> None:
    running = Demonstration(tmp_path / "data")
    pids = running.facts["pids"].values()
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait()
    until(lambda: not any(alive(pid) for pid in pids))
    again = Demonstration(tmp_path / "data")
    again.process.signal(signal.SIGTERM)
    assert again.process.wait() == 0
    until(lambda: not any(alive(pid) for pid in again.facts["pids"].values()))


def test_check_tries_all_five_and_ends(tmp_path: Path) -> None:
    done = subprocess.run(
        [*MINISPINE, "demo", "--check", "--size", "50"],
        capture_output=True,
        text=True,
        timeout=90,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(operation in done.stdout for operation in OPERATIONS)
    assert not list(tmp_path.iterdir())


def test_check_says_when_it_cannot(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("nonsense\n")
    done = subprocess.run(
        [*MINISPINE, "demo", "--check", "--size", "50", "--data", str(tmp_path / "d"), "--patients", str(file)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode not in (0,)
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "d/demo.json").exists()
