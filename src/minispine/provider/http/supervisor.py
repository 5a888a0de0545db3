"""The parent of the workers: binds the sockets, starts workers, replaces one that dies, passes signals on.

It serves nothing itself and never imports what serves. SIGTERM and SIGINT drain, SIGHUP has the workers read their
files again. Whatever becomes of a worker is in the audit log.
"""

import contextlib
import hashlib
import os
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

from minispine import __version__
from minispine.audit.events import AuditUnavailable, Entry, Event, EventType
from minispine.audit.log import AuditLog
from minispine.config.settings import Settings
from minispine.keys.files import read_password
from minispine.observe.log import LogEvent, configure, log
from minispine.observe.metrics import MULTIPROCESS_DIRECTORY
from minispine.storage import Database

_SIGNALS: Final = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
_HOPELESS: Final = {78: 2, 69: 3}
"""Exit codes by which a worker says that another would fare no better (its configuration, a database that somebody
else serves), and the exit code that ours then is."""
_QUICK_S: Final = 5.0
"""A worker that dies sooner than this after its start has died at its start."""
_MOST_QUICK_DEATHS: Final = 5


class CannotServe(Exception):
    """The provider cannot be started, and why."""


class _Running:
    """One worker process."""

    def __init__(self, number: int, process: "subprocess.Popen[bytes]", started_s: float) -> None:
        self.number = number
        self.process = process
        self.started_s = started_s


class Supervisor:
    """Keeps the workers of one provider running."""

    def __init__(self, config_file: Path, settings: Settings) -> None:
        self._config_file = config_file
        self._settings = settings
        self._workers: dict[int, _Running] = {}
        self._quick_deaths = 0
        self._unrecorded: list[Entry] = []
        self._stopping = False
        self._metrics = Path(tempfile.mkdtemp(prefix="minispine-metrics-"))
        self._lifeline = os.pipe()
        password_file = settings.storage.password_file
        password = read_password(password_file) if password_file else None
        self._database = Database.open(settings.storage.url, password)
        self._database.migrate()
        self._audit = AuditLog(
            self._database, system_id=settings.system_id, instance=str(uuid.uuid4()).upper(), now=_now_us
        )
        self._sockets = {
            "machines": _bind(settings.machines.host, settings.machines.port, settings.machines.backlog, "machines"),
            "management": _bind(settings.management.host, settings.management.port, 64, "management"),
        }

    def run(self) -> int:
        """Serve until told to stop; gives the exit code."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        log(
            LogEvent.PROVIDER_STARTING,
            version=__version__,
            workers=self._settings.workers,
            config=str(self._config_file),
        )
        for name, sock in self._sockets.items():
            host, port = sock.getsockname()[:2]
            log(LogEvent.PROVIDER_LISTENING, listener=name, host=host, port=port)
        digest = hashlib.sha256(self._config_file.read_bytes()).hexdigest()
        self._record(EventType.PROVIDER_STARTED, version=__version__, workers=self._settings.workers, pid=os.getpid())
        self._record(EventType.CONFIGURATION_READ, file=str(self._config_file), sha256=digest)
        try:
            for number in range(1, self._settings.workers + 1):
                self._start(number)
            return self._attend()
        finally:
            self._record(EventType.PROVIDER_STOPPED, pid=os.getpid())
            shutil.rmtree(self._metrics, ignore_errors=True)
            self._database.close()

    def _attend(self) -> int:
        deadline_s: float | None = None
        code = 0
        while self._workers:
            received = signal.sigtimedwait(_SIGNALS, 0.5)
            if received is not None and received.si_signo in (signal.SIGTERM, signal.SIGINT):
                if not self._stopping:
                    deadline_s = time.monotonic() + self._settings.drain_s + 5.0
                self._stopping = True
                self._sockets["machines"].close()  # else the kernel would go on accepting what nobody serves
                self._signal(signal.SIGTERM)
            elif received is not None and received.si_signo == signal.SIGHUP:
                self._signal(signal.SIGHUP)
            code = max(code, self._reap())
            self._write_unrecorded()
            if deadline_s is not None and time.monotonic() > deadline_s:
                self._signal(signal.SIGKILL)
        return code

    def _reap(self) -> int:
        """Take note of every worker that has ended; replace it unless we are stopping."""
        for pid, running in list(self._workers.items()):
            status = running.process.poll()
            if status is None:
                continue
            del self._workers[pid]
            self._forget_metrics(pid)
            if self._stopping and status == 0:
                continue
            log(LogEvent.WORKER_DIED, worker=running.number, pid=pid, status=status)
            self._record(EventType.WORKER_DIED, worker=running.number, pid=pid, status=status)
            if self._stopping:
                continue
            quick = time.monotonic() - running.started_s < _QUICK_S
            self._quick_deaths = self._quick_deaths + 1 if quick else 0
            if status in _HOPELESS or self._quick_deaths >= _MOST_QUICK_DEATHS:
                log(LogEvent.WORKER_GIVEN_UP, worker=running.number, status=status)
                self._stopping = True
                self._signal(signal.SIGTERM)
                return _HOPELESS.get(status, 3)
            if quick:
                time.sleep(min(2.0, 0.2 * self._quick_deaths))
            self._start(running.number)
        return 0

    def _start(self, number: int) -> None:
        machines, management = (self._sockets[name].fileno() for name in ("machines", "management"))
        command = [sys.executable, "-m", "minispine.provider.http.worker", "--config", str(self._config_file)]
        command += ["--number", str(number), "--machines-fd", str(machines)]
        command += ["--management-fd", str(management), "--lifeline-fd", str(self._lifeline[0])]
        process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            command,
            pass_fds=(machines, management, self._lifeline[0]),
            env=os.environ | {MULTIPROCESS_DIRECTORY: str(self._metrics)},
        )
        self._workers[process.pid] = _Running(number, process, time.monotonic())
        log(LogEvent.WORKER_STARTED, worker=number, pid=process.pid)

    def _signal(self, number: signal.Signals) -> None:
        for running in self._workers.values():
            with contextlib.suppress(ProcessLookupError):
                running.process.send_signal(number)

    def _forget_metrics(self, pid: int) -> None:
        for file in self._metrics.glob(f"gauge_live*_{pid}.db"):
            file.unlink(missing_ok=True)

    def _record(self, event: EventType, **said: Any) -> None:
        """Write an event to the audit log; while that is away it is kept and written when the log is back."""
        self._unrecorded.append(Entry(events=(Event(type=event, at=_now_us(), data=said),)))
        self._write_unrecorded()

    def _write_unrecorded(self) -> None:
        with contextlib.suppress(AuditUnavailable):
            while self._unrecorded:
                self._audit.append_now(self._unrecorded[0])
                del self._unrecorded[0]


def serve(config_file: Path, settings: Settings) -> int:
    """Serve with settings that were checked, until told to stop; gives the exit code.

    Raises:
        CannotServe: an address is taken.
        StorageError: the database cannot be opened or made ready.
        KeyFileRefused: the file of the database's password cannot be used.
    """
    configure(settings.log_level)
    return Supervisor(config_file, settings).run()


def _bind(host: str, port: int, backlog: int, listener: str) -> socket.socket:
    try:
        sock = socket.create_server((host, port), family=_family(host), backlog=backlog, reuse_port=False)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CannotServe(f"[{listener}] cannot listen on {host}:{port}: {reason}") from None
    sock.setblocking(False)
    sock.set_inheritable(True)
    return sock


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _now_us() -> int:
    return time.time_ns() // 1000
