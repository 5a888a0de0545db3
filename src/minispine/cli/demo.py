"""`minispine demo`: the whole thing on one machine, with nothing to prepare.

A development PKI, a simulated Spine, a provider and a registered client, as their own processes over mutual TLS; then
one request of each mini service, shown with its answer. Everything it makes is in one folder.
"""

import asyncio
import contextlib
import ctypes
import datetime
import fcntl
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console

from minispine.cli.call import show
from minispine.cli.errors import EnvironmentFailed, Failed, Mistaken
from minispine.client import ClientError, Connection, ItkClient, Sender, parse_identity
from minispine.domain.operations import Operation
from minispine.domain.request import PdsRequest
from minispine.keys import pki
from minispine.keys.files import write_secret
from minispine.wire import itk, pds, soap

ORGANISATION: Final = "RXX"
ASID: Final = "200000000999"
SPINE_ASID: Final = "928942012545"
IDENTITY: Final = f"urn:nhs-uk:identity:ods:{ORGANISATION}:jsmith"
CLIENT: Final = "demo-client"
AUTHORITIES: Final = ("caldicott-guardian", "chief-executive")

LEAST_PEOPLE: Final = 50

_PATIENCE_S: Final = 60.0

_CONFIGURATION: Final = """\
# Written by `minispine demo`. `minispine config example` prints every setting with its meaning.
system_id = "minispine-demo"
profile = "demonstration"

[machines]
port = 0
certificate = "pki/issued/provider.pem"
key = "pki/issued/provider.key"
client_ca = "pki/clients/ca.pem"
crl = ["pki/clients/crl.pem"]

[management]
port = 0

[storage]
url = "sqlite:data"

[audit]
directory = "published"

[[audit.witnesses]]
kind = "directory"
name = "other-folder"
directory = "witness"

[organisations]
file = "practices.csv"

[clock]
policy = "observe"

[spine.pds]
url = {spine_url}
to_asid = "{asid}"
certificate = "pki/issued/spine-client.pem"
key = "pki/issued/spine-client.key"
ca = "pki/spine/ca.pem"
"""


def demo(
    *,
    check: bool = False,
    data: Path | None = None,
    patients: tuple[Path, ...] = (),
    size: int = 2000,
    per_second: float | None = None,
) -> int:
    """Run a provider and a simulated Spine on this machine, and try all five mini services.

    Makes certificates for development, starts both as processes of their own with mutual TLS, registers a client that
    may act for the organisation RXX, sends one request of each kind and prints the questions and answers. Then it stays
    up until it is told to stop, and says how to call it.

    Parameters
    ----------
    check
        Stop after the five requests; the exit code is 0 when all were answered as they should be, else 1.
    data
        Keep everything in this folder, which is made if it is not there, and write demo.json in it once all is ready.
        Without it a temporary folder is used and removed at the end.
    patients
        A CSV file with the columns of the OpenTest patients, whose people join the simulated population. May be given
        several times.
    size
        How many synthetic people the simulated Spine knows; 50 or more.
    per_second
        How many calls a second the simulated Spine may be sent, for tests under load. When left out it is the national
        default of 5, so that requests wait when there are more.
    """
    if size < LEAST_PEOPLE:
        raise Mistaken(f"--size must be {LEAST_PEOPLE} or more, so that somebody of each kind is there")
    try:
        with contextlib.suppress(_ToldToStop), _folder(data) as folder, _Stage(folder, kept=data is not None) as stage:
            _perform(stage, patients, size, per_second, check=check)
    except (EnvironmentFailed, ClientError) as trouble:
        if check:
            raise Failed(f"the demonstration failed: {trouble}") from None
        raise
    return 0


def _perform(stage: "_Stage", patients: tuple[Path, ...], size: int, per_second: float | None, *, check: bool) -> None:
    stage.prepare()
    stage.start_simulator(patients, size)
    stage.start_provider()
    stage.register(per_second)
    good = asyncio.run(stage.try_all())
    if stage.kept:
        stage.describe()
    if not check:
        stage.say_how_to_call()
        stage.stay()
    elif good:
        stage.console.print("[green]All five mini services answered as they should.[/]")
    else:
        raise Failed("the demonstration was not answered as it should be: see above")


class _ToldToStop(Exception):
    """Somebody wants the demonstration to end: SIGTERM, SIGHUP or Ctrl-C."""


@contextlib.contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is not None:
        data.mkdir(parents=True, exist_ok=True)
        with _alone(data.resolve()):
            yield data.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="minispine-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second demonstration out of a folder while one runs there."""
    with (folder / "demo.lock").open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            said = f"{folder} is in use by a running demonstration (process {lock.read().strip() or 'unknown'})"
            raise EnvironmentFailed(f"{said}; stop it, or choose another folder") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


class _Stage:
    """The processes of one demonstration, and what is known of them."""

    def __init__(self, folder: Path, *, kept: bool) -> None:
        self.folder = folder
        self.kept = kept
        self.console = Console(soft_wrap=True)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._addresses: dict[str, str] = {}

    def __enter__(self) -> "_Stage":
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, _stop)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the provider before the Spine it asks."""
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # we are stopping already
        for process in reversed(self._processes.values()):
            if process.poll() is None:
                process.terminate()
        for process in reversed(self._processes.values()):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    # ── setting up ──────────────────────────────────────────────────────────────────────────────────────────────────

    def prepare(self) -> None:
        """Make the PKI, or renew the lists of one from before; forget where an earlier demonstration was."""
        (self.folder / "demo.json").unlink(missing_ok=True)
        now = datetime.datetime.now(datetime.UTC)
        place = self.folder / "pki"
        if (place / "issued" / f"{CLIENT}.pem").exists():
            pki.renew_lists(place, now=now)
            return
        with self.console.status("Making certificates"):
            pki.create(place, now=now)
            pki.issue(place, "provider", pki.Kind.SERVER, now=now)
            pki.issue(place, CLIENT, pki.Kind.CLIENT, now=now, organisation="Demonstration Trust")
            pki.issue(place, "spine", pki.Kind.SPINE_SERVER, now=now)
            pki.issue(place, "spine-client", pki.Kind.SPINE_CLIENT, now=now)
        self.console.print(f"Certificates for development: {place}")

    def start_simulator(self, patients: tuple[Path, ...], size: int) -> None:
        """Start the simulated Spine and wait until it says where it listens."""
        issued = self.folder / "pki" / "issued"
        command = ["simulate", "--port", "0", "--control-port", "0", "--asid", SPINE_ASID, "--size", str(size)]
        command += ["--certificate", str(issued / "spine.pem"), "--key", str(issued / "spine.key")]
        command += ["--client-ca", str(self.folder / "pki" / "spine" / "ca.pem")]
        command += ["--practices-out", str(self.folder / "practices.csv")]
        for file in patients:
            command += ["--patients", str(file.resolve())]
        with self.console.status("Starting the simulated Spine"):
            self._start("simulator", command)
            ready = self._line("simulator", "simulator.ready")
        self._addresses |= {"spine": ready["spine_url"], "control": ready["control_url"]}
        self.console.print(f"Simulated Spine:  {ready['spine_url']}  (control: {ready['control_url']})")

    def start_provider(self) -> None:
        """Write a configuration, start the provider, and wait until it is ready."""
        text = _CONFIGURATION.format(spine_url=json.dumps(self._addresses["spine"]), asid=SPINE_ASID)
        self.configuration.write_text(text, encoding="utf-8")
        (self.folder / "witness").mkdir(exist_ok=True)
        self._begin_trail()
        with self.console.status("Starting the provider"):
            self._start("provider", ["serve", "--config", str(self.configuration)])
            for listener in ("machines", "management"):
                line = self._line("provider", "listening", listener=listener)
                scheme = "https" if listener == "machines" else "http"
                self._addresses[listener] = f"{scheme}://{line['host']}:{line['port']}"
            self._wait_until_ready()
        self.console.print(
            f"Provider:         {self._addresses['machines']}  (management: {self._addresses['management']})"
        )

    def _begin_trail(self) -> None:
        """Begin the audit trail, with two authorities whose keys lie about as no real one's would."""
        folder = self.folder / "authorities"
        passphrase = folder / "passphrase"
        with self.console.status("Beginning the audit trail"):
            if not passphrase.exists():
                folder.mkdir(exist_ok=True)
                write_secret(passphrase, f"{secrets.token_hex(16)}\n".encode())
            named: list[str] = []
            for name in AUTHORITIES:
                key = folder / f"{name}.key"
                if not key.exists():
                    self._run("audit", "authority", name, "--key", str(key), "--passphrase-file", str(passphrase))
                named += ["--authority", f"{key}.pub"]
            self._run("audit", "init", *named, "--config", str(self.configuration))
        self.console.print(f"Audit trail:      {self.folder / 'data'}  (keys: {self.folder / 'audit-keys'})")

    def register(self, per_second: float | None) -> None:
        """Register the client and the organisation's ASID, with the same commands that an operator uses.

        Spine may be sent so many calls a second; None leaves that as it is.
        """
        certificate = str(self.folder / "pki" / "issued" / f"{CLIENT}.pem")
        config = ["--config", str(self.configuration)]
        listed = self._run("client", "list", "--json", *config)
        if CLIENT not in listed:
            table = self.folder / "organisations.json"
            table.write_text(json.dumps({ORGANISATION: ASID}), encoding="utf-8")
            self._run("table", "load", "organisations", str(table), "--reason", "demonstration", *config)
            self._run(
                *("client", "add", CLIENT, "--certificate", certificate, "--organisation", ORGANISATION),
                *("--method", "1", "--method", "2", "--user-codes", "asserted", *config),
            )
        shown = json.loads(self._run("budget", "show", "--json", *config)) if per_second is not None else {}
        if shown and shown["pds"]["default"]["per_second"] != per_second:
            self._run("budget", "set", "--per-second", str(per_second), "--reason", "demonstration", *config)
        self.console.print(f"Client:           {CLIENT}, may act for {ORGANISATION}, methods 1 and 2")
        time.sleep(1.0)  # Law 11: every worker has taken the registry's new version after a second

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(  # noqa: S603  # our own command
            [*_minispine(), *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise EnvironmentFailed(done.stderr.strip().removeprefix("minispine: ") or f"{arguments[0]} failed")
        return done.stdout

    @property
    def configuration(self) -> Path:
        """The provider's configuration file."""
        return self.folder / "minispine.toml"

    # ── trying it ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def try_all(self) -> bool:
        """Send one request of each mini service for a person of the population; say whether all were answered well."""
        person = self._somebody()
        number = {"nhs_number": person["nhs_number"], "birth_date": person["birth_date"]}
        search = {key: person[key] for key in ("family", "given", "gender", "birth_date", "postcode")}
        asked: list[tuple[str, dict[str, str]]] = [
            ("verifyNHSNumber", number | {"family": person["family"]}),
            ("getNHSNumber", search),
            ("getPatientDetailsByNHSNumber", number),
            ("getPatientDetailsBySearch", search),
            ("getPatientDetails", number),
        ]
        good = True
        pki_folder = self.folder / "pki"
        connection = Connection(
            certificate=pki_folder / "issued" / f"{CLIENT}.pem",
            key=pki_folder / "issued" / f"{CLIENT}.key",
            ca=pki_folder / "provider" / "ca.pem",
        )
        sender = Sender(username="minispine demo")
        identity = parse_identity(IDENTITY)
        async with ItkClient(self.itk_url, connection=connection, sender=sender, identity=identity) as client:
            for operation, parameters in asked:
                request = msgspec.convert({"operation": operation, **parameters}, PdsRequest)
                answer = await client.ask(request)
                good = good and answer.code == "SMSP-0000"
                self.console.rule(style="dim")
                show(request, answer)
        return good

    def _somebody(self) -> dict[str, str]:
        listed = _fetch(f"{self._addresses['control']}/control/patients?kind=plain&limit=1")
        person = json.loads(listed)[0]
        return {
            "nhs_number": person["nhs_number"],
            "family": person["family"],
            "given": person["given"][0],
            "birth_date": person["birth_date"],
            "gender": person["gender"],
            "postcode": person["postcode"],
        }

    # ── staying up ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def itk_url(self) -> str:
        """Where the mini services are."""
        return f"{self._addresses['machines']}/smsp/pds"

    def describe(self) -> None:
        """Write demo.json: how another program finds everything."""
        issued = self.folder / "pki" / "issued"
        pids = {name: process.pid for name, process in self._processes.items()}
        for number, pid in enumerate(_children(pids["provider"]), start=1):
            pids[f"provider-worker-{number}"] = pid
        facts = {
            "itk_url": self.itk_url,
            "client_cert": str(issued / f"{CLIENT}.pem"),
            "client_key": str(issued / f"{CLIENT}.key"),
            "ca": str(self.folder / "pki" / "provider" / "ca.pem"),
            "simulator_control_url": self._addresses["control"],
            "management_url": self._addresses["management"],
            "audit": [*_minispine(), "audit", "events", "--private", "--config", str(self.configuration)],
            "pids": pids,
            "identity": IDENTITY,
        }
        fresh = self.folder / "demo.json.new"
        fresh.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        fresh.replace(self.folder / "demo.json")

    def say_how_to_call(self) -> None:
        """Print lines to copy."""
        self.describe()
        person = self._somebody()
        gone = "" if self.kept else " (removed at the end; --data DIR keeps it)"
        sample = self._write_sample(person)
        issued = self.folder / "pki" / "issued"
        minispine = shlex.join(_minispine())
        folder, address = shlex.quote(str(self.folder)), shlex.quote(self.itk_url)
        mutual = shlex.join(
            [
                *("--cacert", f"{self.folder}/pki/provider/ca.pem"),
                *("--cert", f"{issued}/{CLIENT}.pem", "--key", f"{issued}/{CLIENT}.key"),
            ]
        )
        self.console.rule(style="dim")
        self.console.print(
            f"It stays up until you press Ctrl-C. Everything is in {self.folder}{gone}\n\n"
            "Call it:\n"
            f"  {minispine} call verifyNHSNumber --demo {folder} \\\n"
            f"    --nhs-number {person['nhs_number']} --birth-date {person['birth_date']}\n"
            f"  curl {mutual} \\\n"
            f"    -H 'Content-Type: text/xml' --data-binary {shlex.quote(f'@{sample}')} {address}\n"
            "Read its WSDL: the same curl with ?wsdl behind the address instead of the data.\n"
            "People to try it with:\n"
            f"  curl '{self._addresses['control']}/control/patients?limit=20'\n"
            "What was recorded:\n"
            f"  {minispine} audit events --config {shlex.quote(str(self.configuration))}",
            highlight=False,
        )

    def _write_sample(self, person: dict[str, str]) -> Path:
        """Write a request that can be sent as it stands for a day; each sending is an exchange of its own."""
        request = PdsRequest(
            operation=Operation.VERIFY_NHS_NUMBER, nhs_number=person["nhs_number"], birth_date=person["birth_date"]
        )
        message_id, tracking_id, payload_id, id_ = (str(uuid.uuid4()).upper() for _ in range(4))
        now = datetime.datetime.now(datetime.UTC)
        sample = self.folder / "verifyNHSNumber.xml"
        sample.write_bytes(
            itk.write_request(
                pds.write_request(request, id=id_),
                operation=request.operation,
                message_id=message_id,
                tracking_id=tracking_id,
                payload_id=payload_id,
                to=self.itk_url,
                timestamp=soap.Timestamp(created=now, expires=now + datetime.timedelta(days=1)),
                username="minispine demo",
                audit_identity=parse_identity(IDENTITY).audit_ids(),
            )
        )
        return sample

    def stay(self) -> None:
        """Wait until one of the processes ends, which it should not."""
        while True:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise EnvironmentFailed(f"the {name} has ended: see {self._log(name)}")
            time.sleep(0.2)

    # ── processes ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self, name: str, arguments: list[str]) -> None:
        log = self._log(name)
        with log.open("wb") as output:
            self._processes[name] = subprocess.Popen(  # noqa: S603  # our own command
                [*_minispine(), *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,
            )

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _line(self, name: str, event: str, **values: str) -> dict[str, Any]:
        """Wait for a JSON line in a process's output."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline_s:
            for text in self._log(name).read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    line = json.loads(text)
                    if line.get("event") == event and all(line.get(k) == v for k, v in values.items()):
                        return dict(line)
            self._must_run(name)
            time.sleep(0.05)
        raise EnvironmentFailed(f"the {name} was not ready after {_PATIENCE_S:.0f} s: see {self._log(name)}")

    def _wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline_s:
            with contextlib.suppress(OSError):
                _fetch(f"{self._addresses['management']}/ready")
                return
            self._must_run("provider")
            time.sleep(0.05)
        raise EnvironmentFailed(f"the provider was not ready after {_PATIENCE_S:.0f} s: see {self._log('provider')}")

    def _must_run(self, name: str) -> None:
        if self._processes[name].poll() is not None:
            lines = self._log(name).read_text(errors="replace").strip().splitlines()
            plain = [line.removeprefix("minispine: ") for line in lines if not line.startswith("{")]
            raise EnvironmentFailed(f"the {name} did not start: {plain[-1] if plain else f'see {self._log(name)}'}")


def _stop(*_: object) -> None:
    raise _ToldToStop


def _minispine() -> list[str]:
    """The command as it is installed beside this interpreter, or the module where it is not."""
    installed = Path(sys.executable).with_name("minispine")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "minispine"]


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # our own loopback address
        content: bytes = answer.read()
    return content


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [int(child) for child in listed]


def _die_with_parent() -> None:
    """Have the kernel end this process when the demonstration is gone, however it went."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
