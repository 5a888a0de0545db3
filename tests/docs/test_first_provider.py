"""docs/first-provider.md does what it says: its commands are run as they stand, with ports that are free."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "first-provider.md").read_text()
PORTS = ("8443", "8444", "8445", "9443")
SERVERS = ("minispine simulate", "minispine serve")
PATIENCE_S = 30.0


def blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", PAGE)


def commands() -> Iterator[tuple[str, int, list[str]]]:
    """Every command, the exit code that the page gives it, and the lines that the page shows of its output."""
    for block in blocks("console"):
        for text in re.split(r"(?m)^\$ ", block)[1:]:
            command, *shown = text.replace("\\\n", " ").splitlines()
            ends = re.search(r"# ends with (\d+)$", command)
            yield command, int(ends[1]) if ends else 0, shown


class Walk:
    """A folder in which the page's commands are run one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with ExitStack() as held:
            taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
            self._ports = {port: str(sock.getsockname()[1]) for port, sock in zip(PORTS, taken, strict=True)}
        self._servers: list[subprocess.Popen[bytes]] = []
        self._environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def free(self, text: str) -> str:
        """The text with our ports in the place of the page's."""
        return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda port: self._ports[port[0]], text)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", self.free(command)],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

    def start(self, command: str) -> None:
        """Start a command that runs until it is stopped, and wait until it serves."""
        log = self.folder / f"server-{len(self._servers)}.log"
        with log.open("wb") as output:
            shell = ["bash", "-c", f"exec {self.free(command)}"]
            started = subprocess.Popen(
                shell, cwd=self.folder, env=self._environment, stdout=output, stderr=subprocess.STDOUT
            )
        self._servers.append(started)
        page = "8445/control/calls" if "simulate" in command else "9443/ready"
        give_up_at = time.monotonic() + PATIENCE_S
        while not self._serves(self.free(f"http://127.0.0.1:{page}")):
            assert started.poll() is None, log.read_text()
            assert time.monotonic() < give_up_at, log.read_text()
            time.sleep(0.05)

    @staticmethod
    def _serves(url: str) -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        for server in reversed(self._servers):
            server.send_signal(signal.SIGTERM)
        for server in self._servers:
            server.wait(PATIENCE_S)


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    walking = Walk(tmp_path)
    (settings,) = blocks("toml")
    (tmp_path / "minispine.toml").write_text(walking.free(settings))
    yield walking
    walking.stop()


def test_a_reader_who_types_what_the_page_says_gets_what_it_shows(walk: Walk) -> None:
    for command, code, shown in commands():
        if command.startswith(SERVERS):
            walk.start(command)
            continue
        done = walk.run(command)
        if code == 0 and done.returncode == 3:
            done = walk.run(command)  # a change of the registry takes effect within a second
        said = " ".join(done.stdout.split())
        assert done.returncode == code, (command, done.stderr)
        for line in shown:
            assert " ".join(line.split()) in said, command


def test_the_page_has_every_step() -> None:
    typed = " ".join(command for command, _, _ in commands())
    for step in (
        *("pki init", "pki issue", "simulate", "config check", "serve", "table load", "client add", "call"),
        *("audit init", "audit events", "audit verify", "client disable"),
    ):
        assert f"minispine {step} " in typed
