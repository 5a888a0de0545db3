"""One worker process: everything a request meets, put together, and its life from start to drain.

Run by the supervisor, which binds the sockets and hands them down. A worker ends when it is told to (SIGTERM), or when
its supervisor is gone; it takes new certificates and changeable settings on SIGHUP and when their files change.
"""

import argparse
import asyncio
import contextlib
import datetime
import functools
import os
import signal
import socket
import ssl
import sys
import time
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from minispine import config
from minispine.audit.changes import settle
from minispine.audit.events import AuditUnavailable, Entry, Event, EventType
from minispine.audit.log import AuditLog
from minispine.audit.peers import PeerRefusals
from minispine.config.settings import Machines, Settings
from minispine.keys.certificates import RevocationLists, read_facts
from minispine.keys.files import KeyFileRefused, read_password
from minispine.observe import metrics
from minispine.observe.log import LogEvent, configure, log, where
from minispine.provider import in_force
from minispine.provider.admission import Admission
from minispine.provider.exchange import Exchanges
from minispine.provider.http import tls
from minispine.provider.http.app import MachinesApp
from minispine.provider.http.gate import Gate
from minispine.provider.http.management import ManagementApp
from minispine.provider.http.protocol import MachineProtocol
from minispine.provider.http.server import Server
from minispine.provider.registry_view import RegistryView
from minispine.spine.http import EndpointInvalid, HttpClient
from minispine.spine.ods import OrganisationsInvalid, PracticeFile
from minispine.spine.tms import TmsPds, endpoint
from minispine.storage import AlreadyServed, Database, Registry, StorageError

EXIT_CONFIGURATION: Final = 78
"""A worker that cannot start whatever is tried again; the supervisor does not replace it."""
EXIT_TAKEN: Final = 69
"""A worker whose database is served by somebody else; the supervisor does not replace it either."""

FILES_POLL_S: Final = 5.0
RESTART_WATCH_S: Final = 0.5

CHANGEABLE: Final = frozenset({"exchange", "log_level", "drain_s"})
"""The settings that are taken without a restart, beside the content of certificate and revocation files."""


def now_us() -> int:
    """UTC microseconds since 1970."""
    return time.time_ns() // 1000


def new_id() -> str:
    """A fresh upper-case UUID."""
    return str(uuid.uuid4()).upper()


def open_database(settings: Settings) -> Database:
    """Open the database of the settings with the password of its file."""
    password_file = settings.storage.password_file
    return Database.open(settings.storage.url, read_password(password_file) if password_file else None)


Watch = Callable[[], Coroutine[None, None, None]]


class Worker:
    """Everything that one worker process serves with."""

    def __init__(self, config_file: Path, settings: Settings, number: int, sockets: dict[str, socket.socket]) -> None:
        self._config_file = config_file
        self._settings = settings
        self._number = number
        self._sockets = sockets
        self._instance = new_id()
        self._database = open_database(settings)
        self._claim = self._database.claim_for_serving(self._instance)
        self._audit = AuditLog(self._database, system_id=settings.system_id, instance=self._instance, now=now_us)
        self._peers = PeerRefusals(self._audit, now=now_us)
        self._view = RegistryView(Registry(self._database))
        self._tls = tls.reloadable(tls.server_context(settings.machines))
        self._gate = Gate(
            trusted_proxies=settings.machines.trusted_proxies,
            proxy_header=settings.machines.proxy_header,
            revoked=RevocationLists.load(settings.machines.crl, settings.machines.client_ca),
        )
        self._organisations = PracticeFile(settings.organisations.file, monotonic=time.monotonic)
        self._http = HttpClient(endpoint(settings.spine.pds))
        self._spine = TmsPds(
            settings.spine.pds,
            self._http,
            lambda: self._view.current.spine_codes,
            now=lambda: datetime.datetime.now(datetime.UTC),
            monotonic=time.monotonic,
        )
        self._file_times = self._modified()
        self._draining = asyncio.Event()
        self._look_again = asyncio.Event()
        self._was_healthy = True

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Serve until told to stop."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_library_problem)
        await asyncio.to_thread(settle, self._database, self._audit)
        closed = await asyncio.to_thread(self._audit.close_orphans, self._claim.living)
        if closed:
            log(LogEvent.ORPHANS_CLOSED, count=closed)
        await self._audit.append(_lifecycle(EventType.WORKER_STARTED, worker=self._number, pid=os.getpid()))
        exchanges = Exchanges(
            limits=lambda: self._settings.exchange,
            system_id=settings.system_id,
            in_force=lambda: self._view.current,
            refresh=self._view.refresh,
            log=self._audit,
            spine=self._spine,
            organisations=self._organisations,
            admission=Admission(
                max_in_flight=settings.exchange.max_in_flight, max_waiting=settings.exchange.max_waiting
            ),
            now=now_us,
            new_id=new_id,
        )
        machines = MachinesApp(
            machines=settings.machines,
            gate=self._gate,
            exchanges=exchanges,
            peers=self._peers,
            in_force=lambda: self._view.current,
            now=now_us,
        )
        management = ManagementApp(
            [
                self._audit_reasons,
                self._view.reasons,
                self._certificate_reasons,
                self._drain_reasons,
            ],
            [self._organisation_warnings, self._spine_warnings],
        )
        servers = [
            Server(
                machines,
                self._sockets["machines"],
                self._tls,
                protocol=functools.partial(
                    MachineProtocol,
                    whole_by_s=settings.machines.body_timeout_s,
                    draining=self._draining.is_set,
                ),
                timeout_keep_alive=round(settings.machines.idle_timeout_s),
                timeout_graceful_shutdown=round(settings.drain_s),
                backlog=settings.machines.backlog,
            ),
            Server(
                management, self._sockets["management"], None, protocol=HttpToolsProtocol, timeout_graceful_shutdown=1
            ),
        ]
        await self._serve(loop, servers)

    async def _serve(self, loop: asyncio.AbstractEventLoop, servers: list[Server]) -> None:
        loop.add_signal_handler(signal.SIGTERM, self._draining.set)
        loop.add_signal_handler(signal.SIGINT, self._draining.set)
        loop.add_signal_handler(signal.SIGHUP, self._look_again.set)
        watchers = [asyncio.create_task(_for_ever(watch)) for watch in self._watchers()]
        for server in servers:
            server.begin()
        self._measure_certificates()
        log(LogEvent.WORKER_READY, worker=self._number, pid=os.getpid())
        await self._draining.wait()
        log(LogEvent.PROVIDER_STOPPING, drain_s=self._settings.drain_s)
        await servers[0].drain()
        unfinished = len(servers[0].server_state.tasks)
        for watcher in watchers:
            watcher.cancel()
        await servers[1].drain()
        with contextlib.suppress(AuditUnavailable):
            await self._peers.flush()
            await self._audit.append(
                _lifecycle(EventType.WORKER_STOPPED, worker=self._number, pid=os.getpid(), unfinished=unfinished)
            )
        await self._http.close()
        await self._audit.close()
        self._claim.release()
        self._database.close()
        log(LogEvent.PROVIDER_STOPPED, unfinished=unfinished)

    def drain(self) -> None:
        """Begin to stop."""
        self._draining.set()

    def _watchers(self) -> list[Watch]:
        """What goes on beside serving, for as long as the worker serves."""
        return [self._view.watch, self._watch_files, self._watch_state, self._peers.watch]

    # ── taking what changed ─────────────────────────────────────────────────────────────────────────────────────────

    async def _watch_state(self) -> None:
        """Keep the claim to serve, and say when the audit log or the breaker changes its state."""
        breaker = "closed"
        while True:
            await asyncio.sleep(1.0)
            self._audit_reasons()
            with contextlib.suppress(StorageError):
                await asyncio.to_thread(self._claim.renew)
            if (state := str(self._spine.breaker.state)) != breaker:
                breaker = state
                metrics.BREAKER_OPEN.labels("pds").set(state != "closed")
                log(LogEvent.SPINE_BREAKER, service="pds", state=state)

    async def _watch_files(self) -> None:
        while True:
            told = False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look_again.wait(), FILES_POLL_S)
                self._look_again.clear()
                told = True
            self._measure_certificates()
            times = self._modified()
            if told or times != self._file_times:
                await self._reload()
                self._file_times = times

    def _modified(self) -> list[int]:
        files = (*tls.watched_files(self._settings.machines), *_spine_files(self._settings))
        return [file.stat().st_mtime_ns if file.exists() else 0 for file in files]

    async def _reload(self) -> None:
        """Take certificates, authorities, revocation lists and changeable settings as their files are now.

        Nothing is half taken: what cannot be used leaves the old in force, and says so.
        """
        try:
            fresh = await asyncio.to_thread(config.load, self._config_file)
            machines = _with_files_of(self._settings.machines, fresh.machines)
            context = tls.server_context(machines)
            revoked = RevocationLists.load(machines.crl, machines.client_ca)
            self._http.reload()
        except (config.ConfigurationInvalid, KeyFileRefused, EndpointInvalid, OSError, ssl.SSLError) as problem:
            log(LogEvent.RELOAD_REFUSED, reason=str(problem))
            return
        self._tls.in_force = context
        self._gate.revoked = revoked
        configure(fresh.log_level)
        before = self._settings
        taken = {name: getattr(fresh, name) for name in CHANGEABLE} | {"machines": machines}
        self._settings = msgspec.structs.replace(before, **taken)
        self._measure_certificates()
        log(LogEvent.RELOADED, worker=self._number)
        with contextlib.suppress(AuditUnavailable):
            await self._audit.append(
                _lifecycle(
                    EventType.CERTIFICATES_READ,
                    worker=self._number,
                    taken=_differing(before, self._settings),
                    need_a_restart=_differing(self._settings, fresh),
                )
            )

    # ── readiness ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _audit_reasons(self) -> list[str]:
        healthy = self._audit.healthy
        metrics.AUDIT_AVAILABLE.set(healthy)
        if healthy != self._was_healthy:
            log(LogEvent.AUDIT_RESUMED if healthy else LogEvent.AUDIT_UNAVAILABLE)
            self._was_healthy = healthy
        return [] if healthy else ["the audit log cannot be written"]

    def _certificate_reasons(self) -> list[str]:
        now = datetime.datetime.now(datetime.UTC)
        reasons = list(self._gate.revoked.problems(now))
        for use, file in _certificates(self._settings).items():
            try:
                if read_facts(file)[0].not_after <= now:
                    reasons.append(f"the certificate of {use} has expired: {file}")
            except KeyFileRefused as problem:
                reasons.append(str(problem))
        return reasons

    def _spine_warnings(self) -> list[str]:
        state = self._spine.breaker.state
        return [] if state == "closed" else [f"Spine does not answer: its breaker is {state}"]

    def _organisation_warnings(self) -> list[str]:
        problem = self._organisations.problem
        return [f"the changed file of practices cannot be used: {problem}"] if problem else []

    def _drain_reasons(self) -> list[str]:
        return ["stopping"] if self._draining.is_set() else []

    def _measure_certificates(self) -> None:
        now = datetime.datetime.now(datetime.UTC)
        for use, file in _certificates(self._settings).items():
            with contextlib.suppress(KeyFileRefused):
                metrics.CERTIFICATE_DAYS.labels(use).set(min(f.days_left(now) for f in read_facts(file)))
        self._audit_reasons()


async def _for_ever(watch: Watch) -> None:
    """Begin a watch again whenever a defect has ended it: a worker must not go on with, say, an old registry."""
    while True:
        try:
            await watch()
        except Exception as defect:
            log(LogEvent.DEFECT, reference=new_id(), exception=type(defect).__name__, where=where(defect))
        await asyncio.sleep(RESTART_WATCH_S)


def _certificates(settings: Settings) -> dict[str, Path]:
    return {
        "server": settings.machines.certificate,
        "client-authorities": settings.machines.client_ca,
        "spine-client": settings.spine.pds.certificate,
        "spine-authorities": settings.spine.pds.ca,
    }


def _with_files_of(machines: Machines, fresh: Machines) -> Machines:
    """The listener as it is, with the files that a re-read configuration names."""
    files = ("certificate", "key", "key_password_file", "client_ca", "crl")
    return msgspec.structs.replace(machines, **{name: getattr(fresh, name) for name in files})


def _differing(one: Settings, other: Settings) -> list[str]:
    """Name the sections and settings in which two configurations differ."""
    return [name for name in one.__struct_fields__ if getattr(one, name) != getattr(other, name)]


def _spine_files(settings: Settings) -> tuple[Path, ...]:
    pds = settings.spine.pds
    return (pds.certificate, pds.key, pds.ca, *pds.crl)


def _lifecycle(event: EventType, **said: Any) -> Entry:
    return Entry(events=(Event(type=event, at=now_us(), data=said),))


def _library_problem(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What the event loop reports of connections (failed handshakes above all), without its words."""
    exception = context.get("exception")
    if isinstance(exception, (ssl.SSLError, ConnectionError, TimeoutError)):
        metrics.PEERS_REFUSED.labels("handshake").inc()
        return
    log(LogEvent.LIBRARY, logger="asyncio", severity="error", exception=type(exception).__name__)


def main() -> None:
    """Run one worker; the supervisor gives the arguments."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--config", type=Path, required=True)
    arguments.add_argument("--number", type=int, required=True)
    arguments.add_argument("--machines-fd", type=int, required=True)
    arguments.add_argument("--management-fd", type=int, required=True)
    arguments.add_argument("--lifeline-fd", type=int, required=True)
    given = arguments.parse_args()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        settings = config.load(given.config)
        configure(settings.log_level)
        sockets = {
            "machines": socket.socket(fileno=given.machines_fd),
            "management": socket.socket(fileno=given.management_fd),
        }
        _run(lambda: Worker(given.config, settings, given.number, sockets), given.lifeline_fd)
    except (config.ConfigurationInvalid, KeyFileRefused, OrganisationsInvalid, in_force.Unusable) as problem:
        print(f"minispine: {problem}", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_CONFIGURATION)
    except AlreadyServed as taken:
        print(f"minispine: {taken}", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_TAKEN)
    except Exception as defect:
        log(LogEvent.DEFECT, reference=new_id(), exception=type(defect).__name__, where=where(defect))
        sys.exit(1)


def _run(make: Callable[[], Worker], lifeline: int) -> None:
    async def live() -> None:
        worker = make()
        # The supervisor holds the other end and never writes: an end of file means that it is gone.
        asyncio.get_running_loop().add_reader(lifeline, worker.drain)
        await worker.run()

    uvloop.run(live())


if __name__ == "__main__":
    main()
