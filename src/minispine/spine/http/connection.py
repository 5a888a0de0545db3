"""HTTP/1.1 on one connection: one request at a time, and its whole answer.

Who makes connections, how long a call may take, and which connection is used again is for `client`.
"""

import asyncio
import ssl
from typing import Final, cast

import httptools

from minispine.spine.http.failures import HttpAnswer, Interrupted, TimedOut, TooLarge, TransportFailure, Unreachable

ENDED_BEFORE: Final = "the connection ended before an answer began"
ENDED_WITHIN: Final = "the connection ended in the middle of the answer"
NOT_HTTP: Final = "the answer is not HTTP"
TOO_LARGE: Final = "the answer is larger than allowed"
TOO_LONG: Final = "no whole answer in the time allowed"
SILENT: Final = "nothing more of an answer came in the time allowed for silence"

MAX_HEAD_BYTES: Final = 64 * 1024

_LENGTHS: Final = frozenset({b"content-length", b"transfer-encoding"})
"""The headers that say where a body ends; without one it ends with the connection."""


class Connection(asyncio.Protocol):
    """One connection, made under the context `tls`. Belongs to one event loop.

    `usable` tells whether a further request may be put on it; `ended` is done when it is closed for good;
    `idle_since_s` is for whoever keeps it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext, *, max_answer_bytes: int) -> None:
        self.tls: Final = tls
        self.usable = False
        self.idle_since_s = 0.0
        self.ended: Final[asyncio.Future[None]] = loop.create_future()
        self._loop = loop
        self._max_answer_bytes = max_answer_bytes
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[HttpAnswer] | None = None
        self._answer = _Arriving()
        self._timer: asyncio.TimerHandle | None = None
        self._until_s = 0.0
        self._silence_s = 0.0
        self._heard_s = 0.0

    async def ask(self, request: bytes, *, timeout_s: float, silence_s: float) -> HttpAnswer:
        """Send a request, head and body, and wait for the whole answer. Whoever gives up waiting has to `abort`.

        The request is written before anything is awaited. The answer has `timeout_s` seconds in all, and no pause
        before or within it may be longer than `silence_s`.

        Raises:
            TransportFailure: of any kind; the connection is then of no more use.
        """
        if self._transport is None or not self.usable:
            raise Unreachable(ENDED_BEFORE)
        self._answer = _Arriving()
        self._waiter = self._loop.create_future()
        self._transport.write(request)
        self._heard_s = self._loop.time()
        self._until_s = self._heard_s + timeout_s
        self._silence_s = silence_s
        self._timer = self._loop.call_at(min(self._until_s, self._heard_s + silence_s), self._look)
        try:
            return await self._waiter
        finally:
            self._timer.cancel()

    def _look(self) -> None:
        """End a wait whose time is over. Bytes do not move the timer: it finds out here that some came, and goes on."""
        now_s = self._loop.time()
        if now_s >= self._until_s:
            self._fail(TimedOut(TOO_LONG))
        elif now_s >= self._heard_s + self._silence_s:
            self._fail(TimedOut(SILENT))
        else:
            self._timer = self._loop.call_at(min(self._until_s, self._heard_s + self._silence_s), self._look)

    def close(self) -> None:
        """End the connection in good order; `ended` tells when that is done."""
        self.usable = False
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    # ── what the transport says ─────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        """Read on. Nothing may come while nothing is asked."""
        if self._waiter is None:
            self.abort()
            return
        self._heard_s = self._loop.time()
        answer = self._answer
        answer.head_bytes += 0 if answer.head_read else len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(Interrupted(NOT_HTTP))
        if answer.head_bytes > MAX_HEAD_BYTES and not answer.head_read:
            self._fail(TooLarge(TOO_LARGE))

    def eof_received(self) -> None:
        """Take no further request: the other side is closing."""
        self.usable = False

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is being waited for: with its answer, where only the end of the connection ends that."""
        self.usable = False
        self._transport = None
        if self._answer.head_read and not self._answer.sized and exc is None:
            self._succeed()
        elif self._answer.head_bytes:
            self._fail(Interrupted(ENDED_WITHIN))
        else:
            self._fail(Unreachable(ENDED_BEFORE))
        if not self.ended.done():
            self.ended.set_result(None)

    # ── what the parser says ────────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """Refuse a second answer to one question: what comes after it belongs to nothing."""
        if self._waiter is None:
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take note whether the end of the body can be told."""
        if name.lower() in _LENGTHS:
            self._answer.sized = True

    def on_headers_complete(self) -> None:
        """Take note that only the body is missing."""
        self._answer.head_read = True

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._answer.parts.append(body)
        self._answer.size += len(body)
        if self._answer.size > self._max_answer_bytes:
            self._fail(TooLarge(TOO_LARGE))

    def on_message_complete(self) -> None:
        """Take the answer, unless it is one of those that only announce it."""
        if 100 <= self._parser.get_status_code() <= 199:
            self._answer = _Arriving()
            return
        if not self._parser.should_keep_alive():
            self.close()
        self._succeed()

    # ── the end of an answer ────────────────────────────────────────────────────────────────────────────────────────

    def _succeed(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(HttpAnswer(self._parser.get_status_code(), b"".join(self._answer.parts)))

    def _fail(self, failure: TransportFailure) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(failure)
        self.abort()


class _Arriving:
    """What has come of an answer: `sized` tells whether its head says where its body ends."""

    __slots__ = ("head_bytes", "head_read", "parts", "size", "sized")

    def __init__(self) -> None:
        self.head_bytes = 0
        self.head_read = False
        self.sized = False
        self.parts: list[bytes] = []
        self.size = 0
