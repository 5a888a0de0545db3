"""Keeping connections to one endpoint open, and putting each call on one of them.

A call may have to leave at a certain moment. So connecting is apart from calling: `prepare` sees that connections are
open, `take` hands one out or says at once that there is none, and `exchange` writes before it awaits anything.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from minispine.spine.http.connection import Connection
from minispine.spine.http.endpoint import Endpoint, proxy_address, service_address, tls_context
from minispine.spine.http.failures import HttpAnswer, TransportFailure, Unreachable
from minispine.spine.http.tunnel import open_tunnel

_GOODBYE_S: Final = 1.0
_CLOSED: Final = "the client was closed"


class HttpClient:
    """Calls one endpoint over connections that it keeps open. Belongs to one event loop.

    Invariant: no more than `max_connections` of the endpoint are open or being opened at once.
    """

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
        self._connections: set[Connection] = set()
        self._idle: deque[Connection] = deque()  # the one used last is the last; all of them under the TLS in force
        self._opening: set[asyncio.Task[TransportFailure | None]] = set()
        self._change: asyncio.Future[None] | None = None
        """Done when a connection becomes idle or ends; there is one while somebody waits for that."""
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

    async def close(self) -> None:
        """Close every connection."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        if self._opening:
            for opening in self._opening:
                opening.cancel()
            await asyncio.wait(self._opening)
        self._idle.clear()
        left = tuple(self._connections)
        for connection in left:
            connection.close()
        if left:
            _, open_still = await asyncio.wait([one.ended for one in left], timeout=_GOODBYE_S)
            for connection in left:
                if connection.ended in open_still:
                    connection.abort()

    # ── a call ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def prepare(self, calls: int) -> int:
        """Open connections until so many are idle and usable, or as many as there may be. Gives how many are.

        What is given is there until something is awaited: with `take` right after it, one call of many at once has its
        connection. Takes about `connect_timeout_s` of the endpoint at most. Where all that there may be are in use, it
        waits for one as long, and gives 0 if none came free. Who stops waiting stops no connection from being made.

        Raises:
            TransportFailure: there is none, and none could be made.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._endpoint.connect_timeout_s
        failed: TransportFailure | None = None
        while (usable := self._usable()) < calls:
            left_s = until_s - loop.time()
            if failed is None and left_s > 0:
                self._open_more(calls - usable)
            opening = self._under_way()
            if not opening and (usable or failed or left_s <= 0):
                break
            if self._change is None:
                self._change = loop.create_future()
            awaited: set[asyncio.Future[Any]] = {*opening, self._change}
            timeout_s = None if opening else left_s
            done, _ = await asyncio.wait(awaited, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                failed = (Unreachable(_CLOSED) if ended.cancelled() else ended.result()) or failed
        if not usable and failed is not None:
            raise type(failed)(*failed.args)  # a new one: others who wait may be told of the same
        return usable

    def take(self) -> Connection | None:
        """Hand out the connection that was used last, so that those not needed grow old and go; None without any.

        Whoever takes it puts a call on it by `exchange`, or gives it back.
        """
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection that is of use for another call, and close any other."""
        if not connection.usable or connection.tls is not self._tls:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since_s = loop.time()
        self._idle.append(connection)
        if self._sweeping is None:
            self._sweeping = loop.call_later(self._endpoint.idle_s, self._sweep)
        self._changed()

    async def exchange(
        self, connection: Connection, body: bytes, *, headers: Mapping[str, str], timeout_s: float
    ) -> HttpAnswer:
        """Send `body`, before anything is awaited, and wait for the whole answer, at most `timeout_s` seconds.

        The connection goes back to where it was taken from, in any case.

        Raises:
            TransportFailure: one of its kinds.
        """
        try:
            answer = await connection.ask(
                self._head(headers, len(body)) + body,
                timeout_s=timeout_s,
                silence_s=self._endpoint.read_timeout_s,
            )
        except BaseException:
            connection.abort()
            raise
        self.give_back(connection)
        return answer

    def _head(self, headers: Mapping[str, str], length: int) -> bytes:
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        if any(line.count("\r") + line.count("\n") > 2 for line in lines):
            raise ValueError("a header holds the end of a line")
        first = f"POST {self._service.target} HTTP/1.1\r\nHost: {self._service.named}\r\n"
        return f"{first}{''.join(lines)}Content-Length: {length}\r\n\r\n".encode("latin-1")

    # ── connections ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _usable(self) -> int:
        """Count the idle connections that are of use, and forget the others."""
        if not all(connection.usable for connection in self._idle):
            self._idle = deque(connection for connection in self._idle if connection.usable)
        return len(self._idle)

    def _open_more(self, missing: int) -> None:
        """Begin to open so many connections, less those under way, within what is allowed."""
        room = self._endpoint.max_connections - len(self._connections)
        for _ in range(min(missing, room) - len(self._under_way())):
            task = asyncio.get_running_loop().create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _under_way(self) -> set[asyncio.Task[TransportFailure | None]]:
        return {task for task in self._opening if not task.done()}

    def _changed(self) -> None:
        if self._change is not None:
            self._change.set_result(None)
            self._change = None

    def _sweep(self) -> None:
        """Close what has been idle for too long, and come again when the next one may be."""
        loop = asyncio.get_running_loop()
        before_s = loop.time() - self._endpoint.idle_s
        while self._idle and self._idle[0].idle_since_s <= before_s:
            self._idle.popleft().close()
        self._sweeping = None
        if self._idle:
            self._sweeping = loop.call_at(self._idle[0].idle_since_s + self._endpoint.idle_s, self._sweep)

    async def _open(self) -> TransportFailure | None:
        """Make one more idle connection, unless the files are read again meanwhile; gives why there is none."""
        try:
            self.give_back(await self._connect())
        except TransportFailure as failure:
            return failure
        return None

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
            connection.ended.add_done_callback(lambda _: self._ended(connection))
            return connection
        # Raised here, outside the handlers, so that no other exception, which may hold the address, is behind it.
        raise failed

    def _ended(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._changed()

    async def _reach(self, connection: Connection) -> None:
        service = self._service
        if self._proxy is not None:
            connection.connection_made(await open_tunnel(connection, self._proxy, service, connection.tls))
        else:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: connection, service.host, service.port, ssl=connection.tls)
