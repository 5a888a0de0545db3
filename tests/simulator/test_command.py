"""`minispine simulate` as a process."""

import datetime
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from minispine.keys import pki
from minispine.keys.pki import Kind

START = "import sys; from minispine.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pki") / "pki"
    now = datetime.datetime.now(datetime.UTC)
    pki.create(folder, now=now)
    server = pki.issue(folder, "spine", Kind.SPINE_SERVER, now=now)
    return [
        sys.executable, "-c", START, "simulate", "--certificate", str(server.certificate), "--key", str(server.key),
        "--client-ca", str(server.ca), "--port", "0", "--control-port", "0", "--size", "30",
    ]  # fmt: skip


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_says_when_it_is_ready_and_stops_when_told(
    arguments: list[str], tmp_path: Path, stop: signal.Signals
) -> None:
    people = tmp_path / "people.csv"
    people.write_text("NHS_NUMBER,DATE_OF_BIRTH,FAMILY_NAME,GENDER\nx,19800229,SMITH,Female\n")
    with subprocess.Popen(
        [*arguments, "--patients", str(people)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        ready = json.loads(process.stdout.readline())
        assert (ready["event"], ready["records"]) == ("simulator.ready", 30)
        assert ready["spine_url"].startswith("https://127.0.0.1:")
        with urllib.request.urlopen(ready["control_url"] + "/control/calls", timeout=5) as reply:
            assert json.loads(reply.read()) == []
        process.send_signal(stop)
        assert process.wait(10) == 0
        assert process.stdout.read() == ""
        refused = json.loads(process.stderr.read())
        assert (refused["event"], refused["line"]) == ("simulator.row_refused", 2)


def test_a_mistake_is_one_line_on_standard_error(arguments: list[str]) -> None:
    ended = subprocess.run([*arguments, "--asid", "1"], capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "minispine: asid: not twelve digits\n"


def having(arguments: list[str], option: str, value: str) -> list[str]:
    """The arguments with another value for an option."""
    at = arguments.index(option) + 1
    return [*arguments[:at], value, *arguments[at + 1 :]]


def test_a_population_of_nobody_is_a_mistake(arguments: list[str]) -> None:
    command = having(arguments, "--size", "0")
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", "minispine: size: must be 1 or more\n")


@pytest.mark.parametrize("option", ["--port", "--control-port"])
def test_an_address_that_is_taken_is_said_once(arguments: list[str], option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = having(arguments, option, str(port))
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == f"minispine: cannot listen on 127.0.0.1:{port}: address already in use\n"
