import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from minispine.cli import app
from minispine.keys import pki
from minispine.keys.pki import Kind

TODAY = datetime.datetime.now(datetime.UTC)


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ended]


@pytest.fixture
def minispine(capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command line in this process; whatever goes wrong must have come out as one line without a traceback."""

    def run(*arguments: object) -> Ended:
        code = app.run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return Ended(code, out, err)

    return run


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "pki"
    pki.create(folder, now=TODAY)
    pki.issue(folder, "smsp", Kind.SERVER, now=TODAY)
    pki.issue(folder, "spine-client", Kind.SPINE_CLIENT, now=TODAY)
    for name in ("ward", "lab"):
        pki.issue(folder, name, Kind.CLIENT, now=TODAY, organisation="Example Trust")
    return folder


@pytest.fixture
def config(keys: Path, tmp_path: Path) -> Path:
    """A configuration that the provider would start with, its store in the test's own folder."""
    file = tmp_path / "minispine.toml"
    file.write_text(f"""
system_id = "TEST-1"
[machines]
certificate = "{keys}/issued/smsp.pem"
key = "{keys}/issued/smsp.key"
client_ca = "{keys}/clients/ca.pem"
crl = ["{keys}/clients/crl.pem"]
[clock]
servers = ["localhost:1", "localhost:2"]
[[audit.witnesses]]
kind = "syslog"
name = "syslog"
host = "localhost"
port = 1
ca = "{keys}/provider/ca.pem"
[spine.pds]
url = "https://localhost:1/sync-service"
to_asid = "928942012545"
certificate = "{keys}/issued/spine-client.pem"
key = "{keys}/issued/spine-client.key"
ca = "{keys}/spine/ca.pem"
""")
    return file


@pytest.fixture
def begun(minispine: Command, config: Path) -> None:
    """The audit log of `config` has begun, without which nothing can be changed."""
    ended = minispine("audit", "init", "--config", config, "--without-redaction")
    assert ended.code == 0, ended.err


@pytest.fixture
def trail(minispine: Command, config: Path) -> Callable[[], list[dict[str, Any]]]:
    """Read the audit trail of `config`, oldest event first, with what is kept private."""

    def read() -> list[dict[str, Any]]:
        ended = minispine("audit", "events", "--private", "--config", config)
        assert ended.code == 0, ended.err
        return [json.loads(line) for line in ended.out.splitlines()]

    return read
