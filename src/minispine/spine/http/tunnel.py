"""The way to a national service through a proxy: CONNECT, and then TLS to the service inside."""

import asyncio
import re
import ssl
from typing import Final

from minispine.spine.http.endpoint import Address
from minispine.spine.http.failures import Unreachable

_MAX_HEAD_BYTES: Final = 16 * 1024
_OPENED: Final = re.compile(rb"HTTP/1\.[01] 2[0-9]{2}[ \r]")
_REFUSED: Final = "the proxy opens no connection"


class _Answer(asyncio.Protocol):
    """Waits for the head of a proxy's answer to CONNECT, after which the connection is the service's."""

    def __init__(self, head: "asyncio.Future[bytes]") -> None:
        self._head = head
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._head.done() and (b"\r\n\r\n" in self._received or len(self._received) > _MAX_HEAD_BYTES):
            self._head.set_result(self._received)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._head.done():
            self._head.set_result(self._received)


async def open_tunnel(
    protocol: asyncio.Protocol, proxy: Address, service: Address, context: ssl.SSLContext
) -> asyncio.Transport:
    """Connect to a service through a proxy; the protocol is told that it is connected by the caller.

    Raises:
        Unreachable: the proxy does not open the connection.
        OSError, ssl.SSLError: no connection to the proxy, or no TLS with it or with the service.
    """
    loop = asyncio.get_running_loop()
    head: asyncio.Future[bytes] = loop.create_future()
    transport: asyncio.Transport | None
    transport, _ = await loop.create_connection(
        lambda: _Answer(head), proxy.host, proxy.port, ssl=context if proxy.tls else None
    )
    try:
        transport.write(_connect(proxy, service))
        if not _OPENED.match(await head):
            raise Unreachable(_REFUSED)
        transport = await loop.start_tls(transport, protocol, context, server_hostname=service.host)
        if transport is None:
            raise Unreachable(_REFUSED)
    except BaseException:
        if transport is not None:
            transport.abort()
        raise
    return transport


def _connect(proxy: Address, service: Address) -> bytes:
    host = f"[{service.host}]" if ":" in service.host else service.host
    where = f"{host}:{service.port}"
    head = f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n"
    if proxy.authorization is not None:
        head += f"Proxy-Authorization: {proxy.authorization}\r\n"
    return f"{head}\r\n".encode("ascii")
