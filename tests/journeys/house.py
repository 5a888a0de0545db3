"""A whole house: a simulated Spine and a provider, each a process as a user starts it, and the commands beside them."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from minispine.audit import declaration, keyfiles, reading, search
from minispine.audit.actor import Actor
from minispine.audit.changes import change_document
from minispine.audit.events import EventType
from minispine.audit.note import Signer
from minispine.audit.opening import open_database, open_log, origin_of
from minispine.audit.vault import Vault
from minispine.config import load
from minispine.provider.in_force import TABLE
from minispine.storage import Database
from minispine.vocabulary import budgets
from tests.journeys.messages import Answer, Message

T = TypeVar("T")

PATIENCE_S = 20.0
"""How long a condition that must come true is waited for; long, because test machines are slow."""

ASIDS = {"RXX": "200000000999", "RYY": "200000000888"}
SPINE_ASID = "928942012545"
AMPLE_PER_S = 10_000.0
"""A budget of calls to Spine that no journey uses up, so that none waits for it but those that are about waiting."""
MINISPINE = [sys.executable, "-m", "minispine"]


def until(condition: Callable[[], T], within_s: float = PATIENCE_S, what: str = "") -> T:
    """Wait until a condition gives something true, and give that."""
    give_up_at = time.monotonic() + within_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not within {within_s} s: {what or condition}")
        time.sleep(0.01)


def fetch(url: str, body: Any = None, method: str | None = None) -> tuple[int, bytes]:
    """Ask a plain HTTP address; any status is an answer."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()


class Process:
    """A process of ours, whose output goes to a file."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen([*MINISPINE, *arguments], stdout=output, stderr=subprocess.STDOUT)
        self.pid = self._process.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def lines(self) -> Iterator[dict[str, Any]]:
        for text in self.output.splitlines():
            with contextlib.suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict):
                    yield line

    def says(self, **values: Any) -> dict[str, Any]:
        """Wait for a line of its log."""

        def found() -> dict[str, Any] | None:
            if self.ended:
                raise AssertionError(f"it has ended: {self.output[-500:]}")
            return next((x for x in self.lines() if all(x.get(k) == v for k, v in values.items())), None)

        line = until(found, what=f"a line with {values}")
        assert line is not None
        return line

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, within_s: float = 40) -> int:
        """Wait for its end; gives the exit code."""
        return self._process.wait(within_s)

    def stop(self) -> int:
        """Ask it to end and wait until it has."""
        if not self.ended:
            self._process.terminate()
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise


class Spine:
    """A simulated Spine."""

    def __init__(
        self, folder: Path, keys: Path, *, size: int = 400, patients: Path | None = None, port: int = 0
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.practices = folder / "practices.csv"
        issued = keys / "issued"
        arguments = ["simulate", "--port", str(port), "--control-port", "0", "--asid", SPINE_ASID, "--size", str(size)]
        arguments += ["--certificate", str(issued / "spine.pem"), "--key", str(issued / "spine.key")]
        arguments += ["--client-ca", str(keys / "spine/ca.pem"), "--practices-out", str(self.practices)]
        if patients is not None:
            arguments += ["--patients", str(patients)]
        self.process = Process(arguments, folder / "simulator.log")
        ready = self.process.says(event="simulator.ready")
        self.url: str = ready["spine_url"]
        self.control: str = ready["control_url"]

    def calls(self) -> list[dict[str, Any]]:
        """Every call that Spine saw."""
        found: list[dict[str, Any]] = json.loads(fetch(f"{self.control}/control/calls")[1])
        return found

    def forget_calls(self) -> None:
        """Begin the list of calls anew."""
        fetch(f"{self.control}/control/calls", method="DELETE")

    def people(self, kind: str, limit: int = 50) -> list[dict[str, Any]]:
        """People of one kind."""
        query = urllib.parse.urlencode({"kind": kind, "limit": limit})
        found: list[dict[str, Any]] = json.loads(fetch(f"{self.control}/control/patients?{query}")[1])
        return found

    def faults(self, *rules: dict[str, Any]) -> None:
        """Put these faults in the place of those in force; none at all restores good health."""
        status, said = fetch(f"{self.control}/control/faults", list(rules))
        assert status == 200, said

    def stop(self) -> None:
        self.process.stop()


class House:
    """A provider with its own folder. Start it, register clients, open lines to it, read its trail."""

    def __init__(self, folder: Path, keys: Path, spine_url: str, practices: Path | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.keys = folder / "pki"
        shutil.copytree(keys, self.keys)
        self.config = folder / "minispine.toml"
        self.audit_keys = folder / "audit-keys"
        pki = self.keys
        self.settings: dict[str, dict[str, Any]] = {
            "": {"system_id": "journey", "profile": "demonstration", "workers": 1},
            "machines": {
                "port": 0,
                "certificate": f"{pki}/issued/provider.pem",
                "key": f"{pki}/issued/provider.key",
                "client_ca": f"{pki}/clients/ca.pem",
                "crl": [f"{pki}/clients/crl.pem"],
            },
            "management": {"port": 0},
            "storage": {"url": f"sqlite:{folder}/data"},
            "clock": {"policy": "observe"},
            "spine.pds": {
                "url": spine_url,
                "to_asid": SPINE_ASID,
                "certificate": f"{pki}/issued/spine-client.pem",
                "key": f"{pki}/issued/spine-client.key",
                "ca": f"{pki}/spine/ca.pem",
            },
        }
        if practices is not None:
            self.settings["organisations"] = {"file": str(practices)}
        self.process: Process | None = None
        self.port = self.management_port = 0

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def configure(self, section: str, **values: Any) -> Self:
        """Change settings; None takes one away."""
        known = self.settings.setdefault(section, {})
        known.update(values)
        for name in [name for name, value in known.items() if value is None]:
            del known[name]
        return self

    def write(self) -> None:
        """Write minispine.toml from the settings."""
        parts = []
        for section, values in self.settings.items():
            lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
            parts.append("\n".join(([f"[{section}]"] if section else []) + lines))
        self.config.write_text("\n\n".join(parts) + "\n")

    def start(self) -> Self:
        """Start the provider and wait until it is ready."""
        self.launch()
        until(lambda: self.ready()[0] == 200, what="ready")
        return self

    def begin(self, *, per_second: float | None = AMPLE_PER_S) -> None:
        """Make the audit log, as `minispine audit init` does, unless it is there, and give everybody a budget of calls.

        With None the budget is the one that ships.
        """
        self.write()
        if self.audit_keys.exists():
            return
        settings = load(self.config)
        keys, _ = keyfiles.make(self.audit_keys)
        with open_database(settings.storage) as database:
            database.migrate()
            log = open_log(database, keys, settings=settings, instance="journey", now=lambda: time.time_ns() // 1000)
            origin = origin_of(settings)
            actor = Actor(user_id="journey").as_data()
            declaration.begin(log, origin=origin, signer=Signer(origin, keys.log_key), authorities=(), actor=actor)
            if per_second is not None:
                shipped = budgets.shipped_document()
                change_document(
                    database,
                    log,
                    kind=TABLE,
                    key="budgets",
                    body=shipped | {"pds": shipped["pds"] | {"per_second": per_second}},
                    event=EventType.BUDGET_CHANGED,
                    actor=actor,
                    reason="journey",
                    expected_version=0,
                    shipped=shipped,
                )
            log.close_now()

    def move_in(self, built: Path) -> None:
        """Take over the database and the audit log's keys of a house in this folder."""
        for part in ("data", self.audit_keys.name):
            shutil.copytree(built / part, self.folder / part)

    def launch(self) -> Process:
        """Start the provider and wait until it listens."""
        self.begin()
        log = self.folder / "provider.log"
        log.unlink(missing_ok=True)
        self.process = Process(["serve", "--config", str(self.config)], log)
        self.port = self.process.says(event="listening", listener="machines")["port"]
        self.management_port = self.process.says(event="listening", listener="management")["port"]
        return self.process

    def stop(self) -> int:
        """Stop it; gives the exit code."""
        return 0 if self.process is None else self.process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        assert self.process is not None
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    # ── an operator's commands ──────────────────────────────────────────────────────────────────────────────────────

    def run(self, *arguments: str, config: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of ours."""
        given = [*MINISPINE, *arguments, *(["--config", str(self.config)] if config else [])]
        return subprocess.run(given, capture_output=True, text=True, check=False, timeout=60)

    def must_run(self, *arguments: str, config: bool = True) -> str:
        done = self.run(*arguments, config=config)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def register(self, name: str = "ward", *options: str, certificate: str | None = None) -> None:
        """Register a client that may act for RXX by methods 1 and 2 and vouches for its users."""
        self.begin()
        file = str(self.keys / "issued" / f"{certificate or name}.pem")
        basics = ["--certificate", file, "--organisation", "RXX", "--method", "1", "--method", "2"]
        self.must_run("client", "add", name, *basics, "--user-codes", "asserted", *options)

    def load_organisations(self, asids: dict[str, str] | None = None) -> None:
        """Give organisations their ASIDs."""
        self.begin()
        table = self.folder / "organisations.json"
        table.write_text(json.dumps(asids or ASIDS))
        self.must_run("table", "load", "organisations", str(table), "--reason", "journey")

    # ── what it says of itself ──────────────────────────────────────────────────────────────────────────────────────

    @property
    def management(self) -> str:
        return f"http://127.0.0.1:{self.management_port}"

    def ready(self) -> tuple[int, dict[str, Any]]:
        """The status of /ready and what it says; nothing while no worker is there to say it."""
        try:
            status, body = fetch(f"{self.management}/ready")
        except OSError:
            return 0, {}
        return status, json.loads(body)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over everything that has these labels."""
        total = 0.0
        for line in fetch(f"{self.management}/metrics")[1].decode().splitlines():
            head, _, value = line.rpartition(" ")
            if head.partition("{")[0] == name and all(f'{k}="{v}"' in head for k, v in labels.items()):
                total += float(value)
        return total

    @property
    def vault(self) -> Vault:
        """What opens the private parts and the messages of its audit log."""
        return keyfiles.load(self.audit_keys).vault()

    def trail(self, first: int = 1, *, last: int | None = None, identifier: str | None = None) -> list[dict[str, Any]]:
        """The events of the audit log, or of the exchanges in which an id occurs, private parts included."""
        with Database.open(self.settings["storage"]["url"]) as database:
            if identifier is None:
                return list(reading.events(database, first=first, last=last, vault=self.vault))
            query = search.Query(identifier=identifier, first=first, last=last)
            found = search.exchanges(database, self.vault, query, private=True)
            return [event for each in found for record in each.records for event in reading.told(record)]

    def last(self) -> int:
        """The number of the log's last record."""
        with Database.open(self.settings["storage"]["url"]) as database:
            return reading.last_sequence(database)

    def exchange(self, message_id: str) -> list[dict[str, Any]]:
        """The events of the exchanges in which a client's message id occurs."""
        return self.trail(identifier=message_id)

    # ── lines to it ─────────────────────────────────────────────────────────────────────────────────────────────────

    def tls(self, certificate: str | None = "ward") -> ssl.SSLContext:
        """What a client system brings along: our authorities and, if it has one, its certificate."""
        context = ssl.create_default_context(cafile=str(self.keys / "provider/ca.pem"))
        if certificate is not None:
            issued = self.keys / "issued"
            context.load_cert_chain(issued / f"{certificate}.pem", issued / f"{certificate}.key")
        return context

    def line(
        self, certificate: str | None = "ward", context: ssl.SSLContext | None = None, source: str = "127.0.0.1"
    ) -> "Line":
        """Open a connection as a client system, from any address of the loopback network."""
        raw = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S, source_address=(source, 0))
        with contextlib.ExitStack() as undo:
            undo.callback(raw.close)
            tls = (context or self.tls(certificate)).wrap_socket(
                raw, server_hostname="localhost", do_handshake_on_connect=False
            )
            undo.callback(tls.close)
            tls.do_handshake()
            undo.pop_all()
        return Line(tls)

    def ask(self, message: Message, certificate: str | None = "ward", **options: Any) -> Answer:
        """Send one request on a connection of its own."""
        with self.line(certificate) as line:
            return line.ask(message, **options)


class Line:
    """One TLS connection of a client system, down to its bytes."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.socket = sock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, content: bytes) -> None:
        """Send bytes; a peer that has closed already is for `read` to notice."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self.socket.sendall(content)

    def read(self, method: str = "POST") -> Answer:
        """Read one HTTP response. Raises ConnectionError where the connection ends before it."""
        response = http.client.HTTPResponse(self.socket, method=method)
        try:
            response.begin()
            body = response.read()
        except (http.client.HTTPException, ssl.SSLError) as cut:
            raise ConnectionError(type(cut).__name__) from None
        finally:
            response.close()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, body)

    def ask(
        self, message: Message | bytes, path: str = "/smsp/pds", method: str = "POST", **headers: str | None
    ) -> Answer:
        """Send a request and read its answer. A header that is None is left out, underscores stand for hyphens."""
        body = message if isinstance(message, bytes) else message.body
        said: dict[str, str | None] = {"host": "localhost", "content-type": "text/xml; charset=utf-8"}
        if isinstance(message, Message):
            said["soapaction"] = f'"{message.service}"'
        said["content-length"] = str(len(body))
        said |= {name.replace("_", "-").lower(): value for name, value in headers.items()}
        self.send(head(path, method, said) + body)
        return self.read(method)

    @property
    def server_certificate(self) -> bytes:
        """The certificate that the provider showed, DER."""
        shown = self.socket.getpeercert(binary_form=True)
        assert shown is not None
        return shown

    def closed(self, within_s: float = PATIENCE_S) -> bool:
        """Wait until the other side closes; False where it does not, or says something instead."""
        self.socket.settimeout(within_s)
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True


def head(path: str, method: str, headers: Mapping[str, str | None], version: str = "1.1") -> bytes:
    """The head of an HTTP request."""
    lines = [f"{method} {path} HTTP/{version}", *(f"{k}: {v}" for k, v in headers.items() if v is not None)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def alive(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be collected."""
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (OSError, ProcessLookupError):
        return False
