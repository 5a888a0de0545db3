"""Keeping connections to one endpoint, and putting each call on one of them."""

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from typing import Final

from minispine.spine.http.connection import Connection
from minispine.spine.http.endpoint import Endpoint, proxy_address, service_address, tls_context
from minispine.spine.http.failures import HttpAnswer, TimedOut, TransportFailure, Unreachable
from minispine.spine.http.tunnel import open_tunnel

_GOODBYE_S: Final = 1.0


class HttpClient:
    """Calls one endpoint over connections that it keeps open. Belongs to one event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Read the endpoint's files.

        Raises:
            EndpointInvalid: a file is missing, not what it should be, or does not fit another; an address is not
                https.
        """
        self._endpoint = endpoint
        self._service = service_address(endpoint)
        self._proxy = proxy_address(endpoint)
        self._tls = tls_context(endpoint)
        self._slots = asyncio.Semaphore(endpoint.max_connections)
        self._connections: set[Connection] = set()
        self._idle: deque[Connection] = deque()  # the one used last is the last; all of them under the TLS in force
        self._sweeping: asyncio.TimerHandle | None = None

    def reload(self, endpoint: Endpoint | None = None) -> None:
        """Read certificate, key, authorities and revocation lists again, from the files that `endpoint` names if given.

        They hold for connections made from now on, and a connection made under the old ones serves no new call.

        Raises:
            EndpointInvalid: as at the start; then the old ones stay in force.
        """
        self._tls = tls_context(endpoint or self._endpoint)
        self._endpoint = endpoint or self._endpoint
        while self._idle:
            self._idle.pop().close()

    async def post(self, body: bytes, *, headers: Mapping[str, str], timeout_s: float) -> HttpAnswer:
        """Send `body` and wait for the whole answer, at most `timeout_s` seconds.

        Raises:
            TransportFailure: one of its kinds.
        """
        try:
            async with asyncio.timeout(timeout_s), self._slots:
                return await self._exchange(self._head(headers, len(body)) + body)
        except TransportFailure as failure:
            failed = failure
        except TimeoutError:
            failed = TimedOut("no whole answer in the time allowed")
        # Raised here, outside the handlers, so that no other exception, which may hold the address, is behind it.
        raise failed

    async def close(self) -> None:
        """Close every connection."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        self._idle.clear()
        left = tuple(self._connections)
        for connection in left:
            connection.close()
        if left:
            _, open_still = await asyncio.wait([one.ended for one in left], timeout=_GOODBYE_S)
            for connection in left:
                if connection.ended in open_still:
                    connection.abort()

    # ── one call ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _exchange(self, request: bytes) -> HttpAnswer:
        connection = self._kept() or await self._connect()
        try:
            answer = await connection.ask(request)
        except BaseException:
            connection.abort()
            raise
        if connection.usable and connection.tls is self._tls:
            self._keep(connection)
        else:
            connection.close()
        return answer

    def _head(self, headers: Mapping[str, str], length: int) -> bytes:
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        if any(line.count("\r") + line.count("\n") > 2 for line in lines):
            raise ValueError("a header holds the end of a line")
        first = f"POST {self._service.target} HTTP/1.1\r\nHost: {self._service.named}\r\n"
        return f"{first}{''.join(lines)}Content-Length: {length}\r\n\r\n".encode("latin-1")

    # ── connections ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _kept(self) -> Connection | None:
        """Take the connection that was used last, so that those not needed grow old and go."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    def _keep(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        connection.idle_since_s = loop.time()
        self._idle.append(connection)
        if self._sweeping is None:
            self._sweeping = loop.call_later(self._endpoint.idle_s, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long, and come again when the next one may be."""
        loop = asyncio.get_running_loop()
        before_s = loop.time() - self._endpoint.idle_s
        while self._idle and self._idle[0].idle_since_s <= before_s:
            self._idle.popleft().close()
        self._sweeping = None
        if self._idle:
            self._sweeping = loop.call_at(self._idle[0].idle_since_s + self._endpoint.idle_s, self._sweep)

    async def _connect(self) -> Connection:
        """Make a connection within the time allowed for connecting and the handshake."""
        connection = Connection(asyncio.get_running_loop(), self._tls, max_answer_bytes=self._endpoint.max_answer_bytes)
        try:
            async with asyncio.timeout(self._endpoint.connect_timeout_s):
                await self._reach(connection)
        except TransportFailure as failure:
            failed = failure
        except TimeoutError:
            failed = Unreachable("no connection in the time allowed for connecting")
        except ssl.SSLCertVerificationError:
            failed = Unreachable("the certificate of the other side was not accepted")
        except ssl.SSLError:
            failed = Unreachable("no agreement on a TLS connection")
        except OSError:
            failed = Unreachable("no connection")
        else:
            self._connections.add(connection)
            connection.ended.add_done_callback(lambda _: self._connections.discard(connection))
            return connection
        raise failed

    async def _reach(self, connection: Connection) -> None:
        service = self._service
        if self._proxy is not None:
            connection.connection_made(await open_tunnel(connection, self._proxy, service, connection.tls))
        else:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: connection, service.host, service.port, ssl=connection.tls)
