"""This Spine on the network: queries over mutual TLS on one address, control over plain HTTP on a loopback one.

What a fault does to a connection is here too, because it takes the connection itself: half an answer, a reset, silence.
"""

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import ssl
import struct
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from minispine.simulator import opentest
from minispine.simulator.asgi import Disconnected, Receive, Scope, Send, read_body, respond
from minispine.simulator.calls import CallLog
from minispine.simulator.control import Control
from minispine.simulator.exchange import Outgoing, Spine
from minispine.simulator.faults import FaultBook
from minispine.simulator.matching import Register
from minispine.simulator.opentest import OpenTestUnreadable
from minispine.simulator.population import populate
from minispine.simulator.practices import write_practices_csv
from minispine.simulator.record import Person
from minispine.simulator.requests import MAX_BYTES

PATHS: Final = ("/sync-service", "/syncservice-pds/pds")
"""How the path of a query ends."""

LOOPBACK: Final = "127.0.0.1"
_TRANSPORT: Final = "minispine.transport"
_TEXT: Final = b"text/plain; charset=utf-8"
_XML: Final = b"text/xml; charset=UTF-8"
_KEEP_ALIVE_S: Final = 75
_DRAIN_S: Final = 1


class SimulatorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulator is started with. Port 0 is any free one; `senders` None lets any ASID of twelve digits ask."""

    certificate: Path
    key: Path
    client_ca: Path
    host: str = LOOPBACK
    port: int = 8444
    control_port: int = 8445
    asid: str = "928942012545"
    senders: frozenset[str] | None = None
    size: int = 2000
    seed: int = 1
    patients: tuple[Path, ...] = ()
    practices_out: Path | None = None


class SimulatorUnusable(Exception):
    """The simulator cannot start; the text names the file, option or address at fault and the reason."""


class AddressTaken(SimulatorUnusable):
    """The machine does not let it listen at an address."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A simulator at work: where it listens, and what could not be loaded."""

    spine_url: str
    control_url: str
    records: int
    refused: tuple[tuple[str, int, str], ...]
    """File, line and reason of each row that was not loaded."""


class _SpineProtocol(HttpToolsProtocol):
    """HTTP that lets the application at its transport."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_TRANSPORT: {"transport": self.transport}}


class _Server(uvicorn.Server):
    """A server that leaves signals to its caller, because two of them share a process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Queries:
    """The ASGI application of the address for queries."""

    def __init__(self, spine: Spine) -> None:
        self._spine = spine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        arrived = time.time_ns() // 1000
        if not scope["path"].endswith(PATHS):
            await respond(send, 404, _TEXT, b"queries are sent to /sync-service\n")
            return
        if scope["method"] != "POST":
            await respond(send, 405, _TEXT, b"queries are posted\n")
            return
        try:
            body = await read_body(receive, MAX_BYTES)
        except Disconnected:
            return
        if body is None:
            await respond(send, 413, _TEXT, b"the request is larger than Spine takes\n")
            return
        await _perform(self._spine.answer(body, arrived), scope, receive, send)


async def _perform(outgoing: Outgoing, scope: Scope, receive: Receive, send: Send) -> None:
    transport = scope.get("extensions", {}).get(_TRANSPORT, {}).get("transport")
    if outgoing.ending == "silence":
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_gone(receive), outgoing.seconds or None)
        transport.abort()
        return
    if outgoing.seconds:
        await asyncio.sleep(outgoing.seconds)
    if outgoing.ending == "reset":
        _reset(transport)
    elif outgoing.ending == "truncate":
        length = str(len(outgoing.body)).encode()
        headers = [(b"content-type", _XML), (b"content-length", length)]
        await send({"type": "http.response.start", "status": outgoing.status, "headers": headers})
        half = outgoing.body[: len(outgoing.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        transport.close()
    else:
        await respond(send, outgoing.status, _XML, outgoing.body)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _reset(transport: asyncio.Transport) -> None:
    """Close the connection so that the peer sees it reset and not ended."""
    with socket.socket(fileno=transport.get_extra_info("socket").dup().detach()) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _people(options: SimulatorOptions) -> tuple[list[Person], tuple[tuple[str, int, str], ...]]:
    """Load the files in order, then make a population whose numbers are none of theirs."""
    loaded: list[Person] = []
    refused: list[tuple[str, int, str]] = []
    for path in options.patients:
        taken = {person.nhs_number for person in loaded}
        file = opentest.load(path, taken=taken)
        loaded += file.people
        refused += [(str(path), row.line, row.reason) for row in file.refused]
    taken = {person.nhs_number for person in loaded}
    return populate(size=options.size, seed=options.seed, taken=taken) + loaded, tuple(refused)


def build(options: SimulatorOptions) -> tuple[Spine, tuple[tuple[str, int, str], ...]]:
    """Make the Spine that the options describe, and report the rows it could not load.

    Raises:
        SimulatorUnusable: a file or an option that cannot be used.
    """
    if not (len(options.asid) == 12 and options.asid.isascii() and options.asid.isdigit()):
        raise SimulatorUnusable("asid: not twelve digits")
    if options.size < 1:
        raise SimulatorUnusable("size: must be 1 or more")
    try:
        people, refused = _people(options)
        if options.practices_out is not None:
            write_practices_csv(options.practices_out)
    except OpenTestUnreadable as problem:
        raise SimulatorUnusable(str(problem)) from None
    except ValueError as problem:
        raise SimulatorUnusable(f"size: {problem}") from None
    except OSError as problem:
        raise SimulatorUnusable(f"{options.practices_out}: {problem.strerror}") from None
    spine = Spine(
        Register(people),
        asid=options.asid,
        senders=options.senders,
        new_id=lambda: str(uuid.uuid4()).upper(),
        faults=FaultBook(options.seed),
        calls=CallLog(),
    )
    return spine, refused


def _tls(options: SimulatorOptions) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    for path in (options.certificate, options.key, options.client_ca):
        if not path.is_file():
            raise SimulatorUnusable(f"{path}: no such file")
    try:
        context.load_cert_chain(options.certificate, options.key)
    except (ssl.SSLError, OSError):
        raise SimulatorUnusable(f"{options.certificate}, {options.key}: not a certificate and its key") from None
    try:
        context.load_verify_locations(options.client_ca)
    except (ssl.SSLError, OSError):
        raise SimulatorUnusable(f"{options.client_ca}: not a certificate of an authority") from None
    return context


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if not 0 <= port <= 65535:
        raise SimulatorUnusable(f"{host}:{port}: a port is 0 to 65535")
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as problem:
        # Python has the address in the error's text once more.
        reason = os.strerror(problem.errno).lower() if problem.errno else "there is no such address"
        raise AddressTaken(f"cannot listen on {host}:{port}: {reason}") from None


def _server(app: Any, context: ssl.SSLContext | None = None) -> _Server:
    config = uvicorn.Config(
        app,
        http=_SpineProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_DRAIN_S,
        ssl_context_factory=(lambda _config, _default: context) if context else None,
    )
    return _Server(config)


@contextlib.asynccontextmanager
async def serving(options: SimulatorOptions) -> AsyncIterator[Running]:
    """Run a simulator in this process until the block is left; both addresses accept when the block is entered.

    Raises:
        SimulatorUnusable: it cannot start.
    """
    context = _tls(options)
    spine, refused = build(options)
    with contextlib.ExitStack() as sockets:
        listening = sockets.enter_context(_listen(options.host, options.port))
        controlling = sockets.enter_context(_listen(LOOPBACK, options.control_port))
        running = Running(
            spine_url=f"https://{_address(options.host, listening)}{PATHS[0]}",
            control_url=f"http://{_address(LOOPBACK, controlling)}",
            records=len(spine.register),
            refused=refused,
        )
        servers = ((_server(Queries(spine), context), listening), (_server(Control(spine)), controlling))
        tasks = [asyncio.create_task(server.serve(sockets=[sock])) for server, sock in servers]
        try:
            for server, _ in servers:
                await server.listening.wait()
            yield running
        finally:
            for server, _ in servers:
                server.should_exit = True
            await asyncio.gather(*tasks)


def _address(host: str, sock: socket.socket) -> str:
    port: int = sock.getsockname()[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _run(options: SimulatorOptions) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with serving(options) as running:
        for file, line, reason in running.refused:
            _write(sys.stderr, {"event": "simulator.row_refused", "file": file, "line": line, "reason": reason})
        gc.collect()
        gc.freeze()  # what is held stays held; collections need not look at it again
        ready = {"spine_url": running.spine_url, "control_url": running.control_url, "records": running.records}
        _write(sys.stdout, {"event": "simulator.ready", **ready})
        await stopped.wait()


def _write(stream: Any, line: dict[str, Any]) -> None:
    stream.write(json.dumps(line) + "\n")
    stream.flush()


def run(options: SimulatorOptions) -> None:
    """Run a simulator until SIGTERM or SIGINT; one JSON line on standard output says that it is ready, and where.

    Raises:
        SimulatorUnusable: it cannot start.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(options))
