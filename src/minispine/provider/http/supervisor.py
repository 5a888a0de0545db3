"""The parent of the workers: binds the sockets, starts workers, replaces one that dies, and tells them their settings.

It serves nothing itself and never imports what serves. SIGTERM and SIGINT drain. At SIGHUP it reads the configuration
again, checks it, and hands what may change to the workers; nobody else ever reads it. Whatever becomes of a worker that
could serve is in the audit log.
"""

import contextlib
import datetime
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, Final

import msgspec

from minispine import __version__
from minispine.audit import keyfiles
from minispine.audit.actor import Actor
from minispine.audit.checkpointing import LogRewritten, WrongLogKey
from minispine.audit.declaration import DeclarationInvalid
from minispine.audit.events import AuditUnavailable, Entry, Event, EventType
from minispine.audit.issuing import Issuer
from minispine.audit.opening import open_database, open_log, signer_for
from minispine.audit.vault import PayloadUnreadable
from minispine.config import ConfigurationInvalid, Settings, differing, load_with_digest, taking
from minispine.observe.log import LogEvent, configure, log
from minispine.observe.metrics import MULTIPROCESS_DIRECTORY, forget_process
from minispine.provider.checking import problems
from minispine.provider.configuration_trail import Told, changes, last_told, told
from minispine.provider.http import handover
from minispine.provider.http.handover import Handover
from minispine.storage import StorageError

_SIGNALS: Final = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
_HOPELESS: Final = {78: 2, 69: 3}
"""Exit codes by which a worker says that another would fare no better (its configuration, a database that somebody
else serves), and the exit code that ours then is."""
_STORE_AWAY: Final = 75
"""The exit code by which a worker says that the database is away; another is started until it is back."""
_QUICK_S: Final = 5.0
"""A worker that ends sooner than this after its start has failed at its start."""
_MOST_QUICK_DEATHS: Final = 5
_LONGEST_WAIT_S: Final = 5.0
_LOOK_S: Final = 0.5
_WRITE_AGAIN_S: Final = 10.0
_LAST_CHECKPOINT_S: Final = 5.0
"""How long the last checkpoint may take to reach the witnesses: one that is away keeps nothing from ending."""
_WORKER_ENVIRONMENT: Final = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=1000"}
"""What a worker gets unless our own environment says otherwise. A message is hundreds of small pieces of memory, made
and freed together; glibc by itself keeps seven of each size at hand, which makes reading and writing XML a tenth
slower. Other C libraries know nothing of this variable."""


_KILLED: Final = frozenset({-signal.SIGKILL, -signal.SIGTERM})
"""How a worker ends that somebody ended: that says nothing of its start."""


class CannotServe(Exception):
    """The provider cannot be started, and why."""


class _Running:
    """One worker process, and our end of the socket to it."""

    def __init__(self, number: int, process: "subprocess.Popen[bytes]", line: socket.socket, started_s: float) -> None:
        self.number = number
        self.process = process
        self.line = line
        self.started_s = started_s


class Supervisor:
    """Keeps the workers of one provider running, all with the settings that were checked."""

    def __init__(self, config_file: Path, settings: Settings, sha256: str, *, started_by: Actor) -> None:
        self._started_by = started_by.as_data()
        self._in_force = Handover(settings=settings, file=config_file, sha256=sha256)
        self._workers: dict[int, _Running] = {}
        self._to_start: dict[int, float] = {}
        """Workers that are not running and when to start them, by number, on the monotonic clock."""
        self._failures: dict[int, int] = {}
        """How often one after another each worker failed at its start."""
        self._waits: dict[int, int] = {}
        """How often one after another each worker found the database away."""
        self._unrecorded: list[Entry] = []
        self._write_again_s = 0.0
        self._told: Told = {}
        self._stopping = False
        keys = keyfiles.load(settings.audit.keys)
        self._log_key = keys.log_key
        self._database = open_database(settings.storage)
        with contextlib.ExitStack() as undo:
            undo.callback(self._database.close)
            self._database.check_durable()
            self._database.migrate()
            signer_for(self._database, keys)
            undo.pop_all()
        self._audit = open_log(self._database, keys, settings=settings, instance=str(uuid.uuid4()).upper(), now=_now_us)
        self._sockets = {
            "machines": _bind(settings.machines.host, settings.machines.port, settings.machines.backlog, "machines"),
            "management": _bind(settings.management.host, settings.management.port, 64, "management"),
        }
        self._metrics = Path(tempfile.mkdtemp(prefix="minispine-metrics-"))  # last: `run` removes it

    def run(self) -> int:
        """Serve until told to stop; gives the exit code."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        log(
            LogEvent.PROVIDER_STARTING,
            version=__version__,
            workers=self._in_force.settings.workers,
            config=str(self._in_force.file),
        )
        for name, sock in self._sockets.items():
            host, port = sock.getsockname()[:2]
            log(LogEvent.PROVIDER_LISTENING, listener=name, host=host, port=port)
        workers = self._in_force.settings.workers
        self._record(
            EventType.PROVIDER_STARTED, actor=self._started_by, version=__version__, workers=workers, pid=os.getpid()
        )
        self._record_configuration(self._told_before(), self._started_by)
        try:
            self._to_start = dict.fromkeys(range(1, workers + 1), time.monotonic())
            return self._attend()
        finally:
            self._write_again_s = 0.0
            self._record(EventType.PROVIDER_STOPPED, pid=os.getpid())
            self._issue_last_checkpoint()
            shutil.rmtree(self._metrics, ignore_errors=True)
            self._database.close()

    def _issue_last_checkpoint(self) -> None:
        """Have the record of the end witnessed too. What keeps that from being done, the next start will say."""
        audit = self._in_force.settings.audit
        with contextlib.suppress(StorageError, LogRewritten, WrongLogKey, DeclarationInvalid):
            Issuer(self._database, self._log_key, audit, now=_now_us).issue(wait_s=_LAST_CHECKPOINT_S)

    def _attend(self) -> int:
        deadline_s: float | None = None
        code = 0
        self._start_due()
        while self._workers or self._to_start:
            received = signal.sigtimedwait(_SIGNALS, self._patience_s())
            if received is not None and received.si_signo in (signal.SIGTERM, signal.SIGINT):
                self._stop()
            elif received is not None and received.si_signo == signal.SIGHUP:
                self._reload(received.si_uid)
            code = max(code, self._reap())
            self._write_unrecorded()
            self._start_due()
            if self._stopping and deadline_s is None:
                deadline_s = time.monotonic() + self._in_force.settings.drain_s + 5.0
            if deadline_s is not None and time.monotonic() > deadline_s:
                self._signal(signal.SIGKILL)
        return code

    def _patience_s(self) -> float:
        """How long to wait for a signal: until there is something to do."""
        now_s = time.monotonic()
        return max(0.0, min([_LOOK_S, *(due_s - now_s for due_s in self._to_start.values())]))

    def _stop(self) -> None:
        """Have every worker drain, and start none any more."""
        self._stopping = True
        self._to_start.clear()
        self._sockets["machines"].close()  # else the kernel would go on accepting what nobody serves
        self._signal(signal.SIGTERM)

    def _reload(self, uid: int) -> None:
        """Read the configuration again and tell the workers what may change; one error in it, and nothing is taken.

        `uid` is the account that asked for it.
        """
        before = self._in_force
        try:
            fresh, sha256 = load_with_digest(before.file)
        except ConfigurationInvalid as invalid:
            log(LogEvent.RELOAD_REFUSED, reason=str(invalid))
            return
        errors = [p for p in problems(fresh, now=datetime.datetime.now(datetime.UTC)) if p.severity == "error"]
        if errors:
            log(LogEvent.RELOAD_REFUSED, reason=f"{before.file}: {errors[0].key}: {errors[0].reason}")
            return
        settings = taking(before.settings, fresh)
        self._in_force = msgspec.structs.replace(
            before, settings=settings, sha256=sha256, need_a_restart=differing(settings, fresh)
        )
        configure(settings.log_level)
        log(
            LogEvent.CONFIGURATION_READ,
            taken=" ".join(differing(before.settings, settings)),
            need_a_restart=" ".join(self._in_force.need_a_restart),
        )
        for running in self._workers.values():
            self._tell(running)
        self._record_configuration(self._told, _by(uid))

    def _tell(self, running: _Running) -> None:
        try:
            handover.tell(running.line, self._in_force)
        except BlockingIOError:
            log(LogEvent.RELOAD_REFUSED, reason=f"worker {running.number} does not listen")
        except ConnectionError:
            return  # it has ended, and its successor begins with these

    def _reap(self) -> int:
        """Take note of every worker that has ended; have it replaced unless we are stopping."""
        for pid, running in list(self._workers.items()):
            status = running.process.poll()
            if status is None:
                continue
            del self._workers[pid]
            running.line.close()
            forget_process(pid, self._metrics)
            if self._stopping and status in (0, _STORE_AWAY):
                continue
            if status == _STORE_AWAY:
                self._wait_for_store(running.number)
                continue
            self._waits.pop(running.number, None)
            log(LogEvent.WORKER_DIED, worker=running.number, pid=pid, status=status)
            self._record(EventType.WORKER_DIED, worker=running.number, pid=pid, status=status)
            if self._stopping:
                continue
            failures = self._failed(running)
            # A crash (a negative status) may be a message's doing: the others are still to be served.
            if status in _HOPELESS or (failures >= _MOST_QUICK_DEATHS and status > 0):
                log(LogEvent.WORKER_GIVEN_UP, worker=running.number, status=status)
                self._stop()
                return _HOPELESS.get(status, 3)
            self._to_start[running.number] = time.monotonic() + _wait_s(failures)
        return 0

    def _wait_for_store(self, number: int) -> None:
        """Start a worker again later that could not begin without the database: however long that takes."""
        waits = self._waits[number] = self._waits.get(number, 0) + 1
        again_s = _wait_s(waits)
        self._to_start[number] = time.monotonic() + again_s
        log(LogEvent.WORKER_WITHOUT_STORE, worker=number, again_s=again_s)

    def _failed(self, running: _Running) -> int:
        """Count how often this worker has failed at its start, one after another."""
        quick = time.monotonic() - running.started_s < _QUICK_S
        killed = running.process.returncode in _KILLED
        self._failures[running.number] = self._failures.get(running.number, 0) + 1 if quick and not killed else 0
        return self._failures[running.number]

    def _start_due(self) -> None:
        for number in [number for number, due_s in self._to_start.items() if due_s <= time.monotonic()]:
            del self._to_start[number]
            self._start(number)

    def _start(self, number: int) -> None:
        machines, management = (self._sockets[name].fileno() for name in ("machines", "management"))
        ours, theirs = handover.line()
        with theirs:
            command = [sys.executable, "-m", "minispine.provider.http.worker", "--number", str(number)]
            command += ["--machines-fd", str(machines), "--management-fd", str(management)]
            command += ["--supervisor-fd", str(theirs.fileno())]
            # Our signals stay blocked in the new process until it can handle them.
            process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                command,
                pass_fds=(machines, management, theirs.fileno()),
                env=_WORKER_ENVIRONMENT | os.environ | {MULTIPROCESS_DIRECTORY: str(self._metrics)},
            )
        running = self._workers[process.pid] = _Running(number, process, ours, time.monotonic())
        self._tell(running)
        log(LogEvent.WORKER_STARTED, worker=number, pid=process.pid)

    def _signal(self, number: signal.Signals) -> None:
        for running in self._workers.values():
            with contextlib.suppress(ProcessLookupError):
                running.process.send_signal(number)

    def _record(self, event: EventType, **said: Any) -> None:
        """Write an event to the audit log; while that is away it is kept and written when the log is back."""
        self._keep(Entry(events=(Event(type=event, at=_now_us(), data=said),)))

    def _record_configuration(self, before: Told | None, actor: dict[str, Any]) -> None:
        """Write that the configuration was read, all of it, and what differs from the one before."""
        self._told = told(self._in_force.settings)
        file = {"file": str(self._in_force.file), "sha256": self._in_force.sha256}
        read = Event(type=EventType.CONFIGURATION_READ, at=_now_us(), data=file, private={"settings": self._told})
        changed = changes(before, self._told) if before is not None else []
        told_apart = {"actor": actor, **file, "changes": changed}
        events = (Event(type=EventType.CONFIGURATION_CHANGED, at=_now_us(), data=told_apart),) if changed else ()
        self._keep(Entry(events=(read, *events)))

    def _told_before(self) -> Told | None:
        """What the trail last recorded of the configuration; None where that cannot be read any more."""
        try:
            return last_told(self._database, self._audit.vault)
        except (StorageError, PayloadUnreadable):
            return None

    def _keep(self, entry: Entry) -> None:
        self._unrecorded.append(entry)
        self._write_unrecorded()

    def _write_unrecorded(self) -> None:
        """Write what is kept, but try only now and then while the log is away: each attempt holds everything up."""
        if time.monotonic() < self._write_again_s:
            return
        try:
            while self._unrecorded:
                self._audit.append_now(self._unrecorded[0])
                del self._unrecorded[0]
        except AuditUnavailable:
            self._write_again_s = time.monotonic() + _WRITE_AGAIN_S


def serve(config_file: Path, settings: Settings, sha256: str, *, started_by: Actor) -> int:
    """Serve with settings that were checked, until told to stop; gives the exit code.

    `sha256` is the digest of the file as it was when the settings were read from it, and `started_by` whoever has it
    served, for the audit trail.

    Raises:
        CannotServe: an address is taken.
        StorageError: the database cannot be opened or made ready.
        KeyFileRefused: the file of the database's password cannot be used.
    """
    configure(settings.log_level)
    return Supervisor(config_file, settings, sha256, started_by=started_by).run()


def _by(uid: int) -> dict[str, Any]:
    """Who sent a signal, as far as the system tells."""
    try:
        account = pwd.getpwuid(uid).pw_name
    except KeyError:
        account = None
    return Actor(user_id=account or str(uid), account=account, uid=uid).as_data()


def _bind(host: str, port: int, backlog: int, listener: str) -> socket.socket:
    try:
        sock = socket.create_server((host, port), family=_family(host), backlog=backlog, reuse_port=False)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise CannotServe(f"[{listener}] cannot listen on {host}:{port}: {reason}") from None
    sock.setblocking(False)
    sock.set_inheritable(True)
    return sock


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _wait_s(failures: int) -> float:
    """How long to wait before a worker is started again that has failed so often; at once after a long life."""
    return min(_LONGEST_WAIT_S, 0.1 * 2.0 ** min(failures, 10)) if failures else 0.0


def _now_us() -> int:
    return time.time_ns() // 1000
