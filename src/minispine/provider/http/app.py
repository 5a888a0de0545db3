"""The machine endpoints as a bare ASGI application: paths, the gate, reading a body within limits, writing an answer.

What a request means is `provider/exchange.py`'s work; here is only HTTP.
"""

import asyncio
import datetime
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

from minispine.audit.events import AuditUnavailable
from minispine.config.settings import Machines
from minispine.observe import metrics
from minispine.provider.clients import in_networks
from minispine.provider.exchange import Answer, Call, Exchanges
from minispine.provider.http.gate import Gate, Stranger
from minispine.provider.http.protocol import CONNECTION, Connection
from minispine.provider.in_force import InForce
from minispine.wire import soap, wsdl

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

ONE_FOR_ALL: Final = "/smsp/pds"
"""The path that serves all five operations."""

PATHS: Final = frozenset({ONE_FOR_ALL, *wsdl.PATHS.values()})
"""That one, and the path of each operation in the interface specification's WSDL."""

_HOST: Final = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}")

_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
_XML: Final = (b"content-type", b"text/xml; charset=utf-8")

_NOT_A_CLIENT: Final = soap.Fault(
    kind="client", code="3000", diagnostic="no registered client was recognised by its certificate"
)


class Peers(Protocol):
    """Where callers that are no registered clients leave their trace."""

    async def refused(self, peer: str, reason: str) -> None:
        """Record one refusal; returns when it may be answered."""


class BodyRefused(Exception):
    """A body that was not read to its end, with the diagnostic the caller gets and whether the connection is of use."""

    def __init__(self, reason: str, diagnostic: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.diagnostic = diagnostic


class MachinesApp:
    """ASGI for client systems. `now` is UTC microseconds."""

    def __init__(
        self,
        *,
        machines: Machines,
        gate: Gate,
        exchanges: Exchanges,
        peers: Peers,
        in_force: Callable[[], InForce],
        now: Callable[[], int],
    ) -> None:
        self._machines = machines
        self._gate = gate
        self._exchanges = exchanges
        self._peers = peers
        self._in_force = in_force
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        path: str = scope["path"]
        method: str = scope["method"]
        if path not in PATHS:
            await _write(
                send, 404, [_TEXT], b"Nothing is served here. The mini services are at " + ONE_FOR_ALL.encode()
            )
        elif method == "GET" and scope["query_string"].lower() == b"wsdl":
            await _write(send, 200, [_XML], wsdl.wsdl(self._address(scope)))
        elif method != "POST":
            say = b"Send a SOAP 1.1 request by POST, or GET this address with ?wsdl.\n"
            await _write(send, 405, [_TEXT, (b"allow", b"POST, GET")], say)
        else:
            await self._post(scope, receive, send)

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived_at = self._now()
        connection: Connection = scope["extensions"][CONNECTION]
        in_force = self._in_force()
        moment = datetime.datetime.fromtimestamp(arrived_at / 1_000_000, datetime.UTC)
        caller = self._gate.who(connection, scope["headers"], _peer(scope), in_force, moment)
        if isinstance(caller, Stranger):
            metrics.PEERS_REFUSED.labels(caller.reason).inc()
            try:
                await self._peers.refused(caller.address, caller.reason)
            except AuditUnavailable:
                await _answer(send, self._exchanges.store_down())
            else:
                await _answer(send, self._exchanges.fault(_NOT_A_CLIENT))
            return
        headers = dict(scope["headers"])

        def call(body: bytes) -> Call:
            return Call(
                client=caller.client,
                certificate=caller.certificate,
                peer=caller.address,
                path=scope["path"],
                soap_action=_header(headers, b"soapaction"),
                body=body,
                arrived_at=arrived_at,
                gone=connection.gone,
            )

        registration = caller.client.registration
        if not registration.enabled:
            await _answer(send, await self._exchanges.deny(call(b""), "disabled"))
        elif not in_networks(registration, caller.address):
            await _answer(send, await self._exchanges.deny(call(b""), "network"))
        else:
            try:
                body = await self._read(headers, receive)
            except BodyRefused as refused:
                fault = soap.Fault(kind="client", code="1000", diagnostic=refused.diagnostic)
                await _answer(send, await self._exchanges.refuse(call(b""), refused.reason, fault))
            else:
                await _answer(send, await self._exchanges.serve(call(body)))

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """Read the body within the limits of size and time."""
        most = self._machines.max_body_bytes
        if headers.get(b"content-encoding", b"identity").strip().lower() not in (b"identity", b""):
            raise BodyRefused("encoded", "the message must not be compressed")
        declared = headers.get(b"content-length", b"0")
        if len(declared) > 18 or int(declared) > most:
            raise BodyRefused("too-large", f"the message is larger than {most} bytes")
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._machines.body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise BodyRefused("cut-short", "the message ended before its end")
                    parts.append(message["body"])
                    size += len(message["body"])
                    if size > most:
                        raise BodyRefused("too-large", f"the message is larger than {most} bytes")
                    if not message["more_body"]:
                        return b"".join(parts)
        except TimeoutError:
            raise BodyRefused("too-slow", "the message did not arrive whole in time") from None

    def _address(self, scope: Scope) -> str:
        if self._machines.public_url:
            return self._machines.public_url.rstrip("/")
        host = _header(dict(scope["headers"]), b"host")
        if host is None or not _HOST.fullmatch(host):
            host = f"{self._machines.host}:{self._machines.port}"
        return f"https://{host}"


def _peer(scope: Scope) -> str:
    client = scope["client"]
    return client[0] if client else "unknown"


def _header(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


async def _answer(send: Send, answer: Answer) -> None:
    headers = [_XML]
    if answer.retry_after_s is not None:
        headers.append((b"retry-after", str(answer.retry_after_s).encode()))
    if answer.age_s is not None:
        headers.append((b"age", str(answer.age_s).encode()))
    await _write(send, answer.status, headers, answer.body)


async def _write(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
