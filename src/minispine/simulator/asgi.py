"""The little of HTTP that both addresses of this Spine need, on bare ASGI."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Disconnected(Exception):
    """The peer closed the connection before its request was complete."""


async def read_body(receive: Receive, limit: int) -> bytes | None:
    """Read a request's body; None when it is longer than `limit` bytes.

    Raises:
        Disconnected: the connection closed before the end of the body.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    body: bytes = message["body"]
    while message.get("more_body"):
        if len(body) > limit:
            return None
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        body += message["body"]
    return body if len(body) <= limit else None


async def respond(send: Send, status: int, content_type: bytes, body: bytes) -> None:
    """Send a whole answer."""
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def respond_in_pieces(send: Send, status: int, content_type: bytes, pieces: Iterator[bytes]) -> None:
    """Send an answer as it is made, giving way to other work between the pieces."""
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", content_type)]})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b""})
