"""One worker process: everything a request meets, put together, and its life from start to drain.

Run by the supervisor, which binds the sockets, checks the settings and hands both down. A worker ends when it is told
to (SIGTERM), or when its supervisor is gone. It takes the settings that the supervisor tells it later, and reads
certificate files again when they change, at SIGHUP too.
"""

import argparse
import asyncio
import contextlib
import datetime
import functools
import gc
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from minispine.audit import keyfiles
from minispine.audit.changes import settle
from minispine.audit.events import AuditUnavailable, Entry, Event, EventType
from minispine.audit.issuing import Issuer
from minispine.audit.opening import open_database, open_log
from minispine.audit.peers import PeerRefusals
from minispine.config import Settings, differing
from minispine.domain.operations import NationalService
from minispine.keys.certificates import RevocationLists, read_facts
from minispine.keys.files import KeyFileRefused
from minispine.observe import metrics
from minispine.observe.log import LogEvent, configure, log, where
from minispine.provider import in_force
from minispine.provider.admission import Admission
from minispine.provider.admission.store import SlotStore
from minispine.provider.cache import Cache, CacheKeys
from minispine.provider.checkpoint_watch import CheckpointWatch
from minispine.provider.clock_watch import ClockWatch
from minispine.provider.configuration_trail import changes, digests
from minispine.provider.exchange import SIDE, Exchanges
from minispine.provider.flights import Flights
from minispine.provider.http import handover, tls
from minispine.provider.http.app import MachinesApp
from minispine.provider.http.gate import Gate
from minispine.provider.http.handover import Handover
from minispine.provider.http.management import ManagementApp
from minispine.provider.http.protocol import MachineProtocol
from minispine.provider.http.server import Server
from minispine.provider.index_watch import Ending, IndexWatch
from minispine.provider.registry_view import RegistryView
from minispine.provider.room import Room
from minispine.provider.throughput import Throughput
from minispine.spine.clock import clock_sources
from minispine.spine.http import EndpointInvalid, HttpClient
from minispine.spine.ods import OrganisationsInvalid, PracticeFile
from minispine.spine.tms import TmsPds, endpoint
from minispine.storage import AlreadyServed, Registry, StorageError, StorageUnavailable

EXIT_CONFIGURATION: Final = 78
"""A worker that cannot start whatever is tried again; the supervisor does not replace it."""
EXIT_TAKEN: Final = 69
"""A worker whose database is served by somebody else; the supervisor does not replace it either."""
EXIT_STORE_AWAY: Final = 75
"""A worker that cannot start while the database is away; the supervisor starts it again until it can."""

_ENDS: Final[dict[type[Exception], int]] = {
    KeyFileRefused: EXIT_CONFIGURATION,
    EndpointInvalid: EXIT_CONFIGURATION,
    OrganisationsInvalid: EXIT_CONFIGURATION,
    in_force.Unusable: EXIT_CONFIGURATION,
    AlreadyServed: EXIT_TAKEN,
    StorageUnavailable: EXIT_STORE_AWAY,
    AuditUnavailable: EXIT_STORE_AWAY,
    StorageError: EXIT_CONFIGURATION,
}
"""What may keep a worker from starting, and the exit code that says so: the first kind that fits. Anything else is a
defect of our own."""

FILES_POLL_S: Final = 5.0
SETTLE_S: Final = 5.0
LOOK_AGAIN_S: Final = 3.0
"""How long after the start those found dead are looked for again: the living claim anew within a second or so."""
RESTART_WATCH_S: Final = 0.5
COLLECTOR_THRESHOLDS: Final = (5000, 20, 20)

_UUID_RANDOM: Final = 0xFFFFFFFF_FFFF_0FFF_3FFF_FFFFFFFFFFFF
_UUID_FIXED: Final = 0x00000000_0000_4000_8000_000000000000
"""RFC 9562: four bits say the version, two the variant, the others are random."""


def now_us() -> int:
    """UTC microseconds since 1970."""
    return time.time_ns() // 1000


def new_id() -> str:
    """A fresh upper-case UUID, random (version 4): `uuid4` would take twice as long, and an exchange needs up to 15."""
    digits = f"{int.from_bytes(os.urandom(16)) & _UUID_RANDOM | _UUID_FIXED:032X}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


Watch = Callable[[], Coroutine[None, None, None]]


class Worker:
    """Everything that one worker process serves with."""

    def __init__(self, told: Handover, number: int, sockets: dict[str, socket.socket], control: "Control") -> None:
        self._told = self._taken = told
        self._settings = settings = told.settings
        self._control = control
        self._number = number
        self._sockets = sockets
        self._instance = new_id()
        self._keys = keyfiles.load(settings.audit.keys)
        self._database = open_database(settings.storage)
        self._database.check_durable()  # the server may have been started anew since the supervisor asked
        self._claim = self._database.claim_for_serving(self._instance)
        self._audit = open_log(self._database, self._keys, settings=settings, instance=self._instance, now=now_us)
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
        self._admission = Admission(
            SlotStore(self._database, NationalService.PDS),
            service=NationalService.PDS,
            instance=self._instance,
            budget=lambda: self._view.current.budgets.of(NationalService.PDS),
            prepare=self._spine.prepare,
            shut=self._spine.shut,
            max_in_flight=settings.exchange.max_in_flight,
            max_waiting=settings.exchange.max_waiting,
        )
        self._cache = Cache(
            self._database, CacheKeys.of(self._keys), lambda: self._view.current.cache_rules, now=now_us
        )
        self._throughput = Throughput(self._database, now=now_us)
        self._clock = ClockWatch(
            settings.clock,
            clock_sources(settings.clock, now=now_us, monotonic=time.monotonic),
            record=self._record,
            now=now_us,
            monotonic=time.monotonic,
        )
        self._issuer = Issuer(
            self._database, self._keys.log_key, settings.audit, now=now_us, between=self._go_on_unless_ending
        )
        self._checkpoints = CheckpointWatch(self._issuer, settings.audit, settings.profile, now=now_us)
        self._index = IndexWatch(self._database, between=self._go_on_unless_ending)
        self._room = Room(settings.storage, self._database.folder)
        self._ending = threading.Event()
        self._file_times = _times(settings)
        self._digests = digests(settings)
        self._practices = self._organisations.in_force
        self._owed: list[Entry] = []
        """Records of what was taken, until the log has them."""
        self._found_dead: set[str] = set()
        self._was_healthy = True

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Serve until told to stop."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_library_problem)
        await asyncio.to_thread(settle, self._database, self._audit)
        # A look beside others closes nothing yet, as they may have to claim anew; where one process serves it is sure.
        await self._close_orphans(self._not_known_dead if self._database.one_transaction else self._claim.living)
        await self._audit.append(_lifecycle(EventType.WORKER_STARTED, worker=self._number, pid=os.getpid()))
        await asyncio.to_thread(self._room.measure)
        exchanges = Exchanges(
            limits=lambda: self._settings.exchange,
            system_id=settings.system_id,
            in_force=lambda: self._view.current,
            refresh=self._view.refresh,
            log=self._audit,
            spine=self._spine,
            organisations=self._organisations,
            admission=self._admission,
            cache=self._cache,
            flights=Flights(SIDE),
            throughput=self._throughput,
            has_room=self._room.has_some,
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
                self._clock.reasons,
                self._checkpoints.reasons,
                self._room.reasons,
                self._drain_reasons,
            ],
            [
                self._organisation_warnings,
                self._spine_warnings,
                self._clock.warnings,
                self._checkpoints.warnings,
                self._index.warnings,
                self._room.warnings,
                self._admission.warnings,
                self._cache.warnings,
                self._throughput.warnings,
            ],
        )
        servers = [
            Server(
                machines,
                self._sockets["machines"],
                self._tls,
                protocol=functools.partial(
                    MachineProtocol,
                    whole_by_s=settings.machines.body_timeout_s,
                    draining=self._control.draining.is_set,
                ),
                timeout_keep_alive=round(settings.machines.idle_timeout_s),
                backlog=settings.machines.backlog,
            ),
            Server(management, self._sockets["management"], None, protocol=HttpToolsProtocol),
        ]
        await self._serve(servers)

    async def _serve(self, servers: list[Server]) -> None:
        self._room.measure()  # not even the first request is let through to a full disk
        watchers = [asyncio.create_task(_for_ever(watch)) for watch in self._watchers()]
        for server in servers:
            server.begin()
        self._measure_certificates()
        # What is there now stays while the worker serves, and an exchange leaves next to nothing that only the cyclic
        # collector can free: let it come seldom, and not look at all this again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECTOR_THRESHOLDS)
        log(LogEvent.WORKER_READY, worker=self._number, pid=os.getpid())
        await self._control.draining.wait()
        log(LogEvent.PROVIDER_STOPPING, drain_s=self._settings.drain_s)
        await servers[0].drain(self._settings.drain_s)
        unfinished = len(servers[0].server_state.tasks)
        self._ending.set()
        self._issuer.close()
        for watcher in watchers:
            watcher.cancel()
        await servers[1].drain(1.0)
        await self._throughput.flush()
        with contextlib.suppress(AuditUnavailable):
            await self._peers.flush()
            await self._audit.append(
                _lifecycle(EventType.WORKER_STOPPED, worker=self._number, pid=os.getpid(), unfinished=unfinished)
            )
        self._admission.close()
        await self._cache.close()
        await self._http.close()
        await self._audit.close()
        self._claim.release()
        self._database.close()
        log(LogEvent.PROVIDER_STOPPED, unfinished=unfinished)

    def take(self, told: Handover) -> None:
        """Have new settings taken, soon."""
        self._told = told
        self._control.look_again.set()

    def _watchers(self) -> list[Watch]:
        """What goes on beside serving, for as long as the worker serves."""
        return [
            self._view.watch,
            self._watch_files,
            self._watch_state,
            self._watch_debts,
            self._peers.watch,
            self._clock.watch,
            self._room.watch,
            self._checkpoints.watch,
            self._index.watch,
            self._admission.watch,
            self._cache.watch,
            self._throughput.watch,
        ]

    # ── taking what changed ─────────────────────────────────────────────────────────────────────────────────────────

    async def _watch_state(self) -> None:
        """Keep the claim to serve, and say when the audit log or the breaker changes its state."""
        breaker = "closed"
        while True:
            await asyncio.sleep(1.0)
            self._audit_reasons()
            self._note_practices()
            with contextlib.suppress(StorageError):
                await asyncio.to_thread(self._claim.renew)
            if (state := str(self._spine.breaker.state)) != breaker:
                breaker = state
                metrics.BREAKER_OPEN.labels("pds").set(state != "closed")
                log(LogEvent.SPINE_BREAKER, service="pds", state=state)

    async def _watch_debts(self) -> None:
        """Write what the log is owed: of this worker, and of commands whose change of the registry it missed."""
        pause_s = LOOK_AGAIN_S
        while True:
            await asyncio.sleep(pause_s)
            pause_s = SETTLE_S
            with contextlib.suppress(AuditUnavailable):
                await asyncio.to_thread(settle, self._database, self._audit)
                await self._write_owed()
                # Again, because a database server may notice the death of a worker later than its successor starts.
                await self._close_orphans(self._not_known_dead)

    def _go_on_unless_ending(self) -> None:
        """End long work in another thread when the worker is about to end: its end would wait for it."""
        if self._ending.is_set():
            raise Ending

    async def _close_orphans(self, living: Callable[[set[str]], set[str]]) -> None:
        """Close what dead processes left open. Raises `AuditUnavailable`."""
        closed = await asyncio.to_thread(self._audit.close_orphans, living)
        if closed:
            log(LogEvent.ORPHANS_CLOSED, count=closed)

    def _not_known_dead(self, instances: set[str]) -> set[str]:
        """The instances but for those found dead twice running: after a server's restart the living claim anew."""
        dead = instances - self._claim.living(instances)
        confirmed = dead & self._found_dead
        self._found_dead = dead
        return instances - confirmed

    async def _watch_files(self) -> None:
        while True:
            asked = False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._control.look_again.wait(), FILES_POLL_S)
                self._control.look_again.clear()
                asked = True
            self._measure_certificates()
            told = self._told
            times = _times(told.settings)
            changed = [key for key in times if times[key] != self._file_times.get(key)]
            if asked or changed:
                self._file_times = times
                await self._take(told, changed)

    async def _take(self, told: Handover, changed: list[str]) -> None:
        """Take the settings that the supervisor told, and the files they name as they are now.

        Nothing is half taken: where a file cannot be used all the old stays in force, until that file changes.
        """
        settings = told.settings
        try:
            context = tls.server_context(settings.machines)
            revoked = RevocationLists.load(settings.machines.crl, settings.machines.client_ca)
            self._http.reload(endpoint(settings.spine.pds))
        except (KeyFileRefused, EndpointInvalid) as problem:
            log(LogEvent.RELOAD_REFUSED, reason=str(problem))
            return
        before, self._settings = self._settings, settings
        self._tls.in_force = context
        self._gate.revoked = revoked
        configure(settings.log_level)
        self._measure_certificates()
        log(LogEvent.RELOADED, worker=self._number)
        if told is not self._taken:
            self._taken = told
            self._owe(
                EventType.CONFIGURATION_READ,
                file=str(told.file),
                sha256=told.sha256,
                taken=list(differing(before, settings)),
                need_a_restart=list(told.need_a_restart),
            )
        digests_before, self._digests = self._digests, digests(settings)
        differ = changes(digests_before, self._digests)
        self._owe(EventType.CERTIFICATES_READ, changed=changed, **({"changes": differ} if differ else {}))
        with contextlib.suppress(AuditUnavailable):
            await self._write_owed()

    def _note_practices(self) -> None:
        """Record that a changed file of practices is in force, if one is (SMSP-AUDIT-008 c, IG-3.9.11 b)."""
        before, after = self._practices, self._organisations.in_force
        if before == after:
            return
        self._practices = after
        differ = [
            {"key": f"organisations.file ({what})", "before": was, "after": now}
            for what, was, now in zip(("SHA-256", "practices"), before, after, strict=True)
            if was != now
        ]
        self._owe(
            EventType.CONFIGURATION_CHANGED, file=str(self._taken.file), sha256=self._taken.sha256, changes=differ
        )

    def _owe(self, event: EventType, **said: Any) -> None:
        self._owed.append(_lifecycle(event, worker=self._number, **said))

    async def _record(self, entry: Entry) -> None:
        """Have an entry written: now, or once the log is back."""
        self._owed.append(entry)
        with contextlib.suppress(AuditUnavailable):
            await self._write_owed()

    async def _write_owed(self) -> None:
        while self._owed:
            entry = self._owed.pop(0)
            try:
                await self._audit.append(entry)
            except AuditUnavailable:
                self._owed.insert(0, entry)
                raise

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
        return ["stopping"] if self._control.draining.is_set() else []

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


def _watched(settings: Settings) -> dict[str, tuple[Path | None, ...]]:
    """Give the files whose content is taken while running, by the keys that name them."""
    machines, pds = settings.machines, settings.spine.pds
    return {
        "machines.certificate": (machines.certificate,),
        "machines.key": (machines.key,),
        "machines.key_password_file": (machines.key_password_file,),
        "machines.client_ca": (machines.client_ca,),
        "machines.crl": machines.crl,
        "spine.pds.certificate": (pds.certificate,),
        "spine.pds.key": (pds.key,),
        "spine.pds.key_password_file": (pds.key_password_file,),
        "spine.pds.ca": (pds.ca,),
        "spine.pds.crl": pds.crl,
    }


def _times(settings: Settings) -> dict[str, list[object]]:
    """Give something of every watched file that is another when the file is."""
    return {key: [_state(file) for file in files if file] for key, files in _watched(settings).items()}


def _state(file: Path) -> object:
    try:
        found = file.stat()
    except OSError:
        return None
    # The mode and owner count too: a key that others could read may be fit for use now.
    return found.st_mtime_ns, found.st_ino, found.st_mode, found.st_uid


def _lifecycle(event: EventType, **said: Any) -> Entry:
    return Entry(events=(Event(type=event, at=now_us(), data=said),))


def _library_problem(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What the event loop reports of connections (failed handshakes above all), without its words."""
    exception = context.get("exception")
    if isinstance(exception, (ssl.SSLError, ConnectionError, TimeoutError)):
        metrics.PEERS_REFUSED.labels("handshake").inc()
        return
    log(LogEvent.LIBRARY, logger="asyncio", severity="error", exception=type(exception).__name__)


class Control:
    """What the outside asks of a worker: signals, and what its supervisor says.

    Made before the worker is, so that a signal to a worker that is still starting waits instead of killing it.
    """

    def __init__(self, line: socket.socket) -> None:
        self.draining = asyncio.Event()
        self.look_again = asyncio.Event()
        self._line = line
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.draining.set)
        loop.add_signal_handler(signal.SIGINT, self.draining.set)
        loop.add_signal_handler(signal.SIGHUP, self.look_again.set)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the supervisor had them blocked until here

    def listen(self, take: Callable[[Handover], None]) -> None:
        """Pass on what the supervisor says from now on; its end is the signal to drain."""
        loop = asyncio.get_running_loop()

        def hear() -> None:
            told = handover.told(self._line)
            if told is None:
                loop.remove_reader(self._line)
                self.draining.set()
            else:
                take(told)

        loop.add_reader(self._line, hear)


def main() -> None:
    """Run one worker; the supervisor gives the arguments."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--number", type=int, required=True)
    arguments.add_argument("--machines-fd", type=int, required=True)
    arguments.add_argument("--management-fd", type=int, required=True)
    arguments.add_argument("--supervisor-fd", type=int, required=True)
    given = arguments.parse_args()
    line = socket.socket(fileno=given.supervisor_fd)
    told = handover.told(line)
    if told is None:
        return
    configure(told.settings.log_level)
    sockets = {
        "machines": socket.socket(fileno=given.machines_fd),
        "management": socket.socket(fileno=given.management_fd),
    }
    try:
        uvloop.run(_live(told, given.number, sockets, line))
    except Exception as problem:
        sys.exit(_end(problem))


async def _live(told: Handover, number: int, sockets: dict[str, socket.socket], line: socket.socket) -> None:
    control = Control(line)
    worker = Worker(told, number, sockets, control)
    control.listen(worker.take)
    await worker.run()


def _end(problem: Exception) -> int:
    """Say in one line what ended a worker, and give its exit code; of a database that is away the supervisor tells."""
    for kind, code in _ENDS.items():
        if isinstance(problem, kind):
            if code != EXIT_STORE_AWAY:
                print(f"minispine: {problem}", file=sys.stderr)  # noqa: T201
            return code
    log(LogEvent.DEFECT, reference=new_id(), exception=type(problem).__name__, where=where(problem))
    return 1


if __name__ == "__main__":
    main()
