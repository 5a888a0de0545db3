"""One connection of a client system: uvicorn's protocol, with the caller's certificate, time limits and a size limit.

uvicorn itself waits for ever for the end of a head or a body, takes a head of any size, and does not tell the
application whose certificate came. That is all that is added here.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from minispine.keys.certificates import CertificateFacts, describe

CONNECTION: Final = "minispine.connection"
"""The key of the ASGI extension under which the application finds the `Connection`."""

MAX_HEAD_BYTES: Final = 32 * 1024


class Connection:
    """What the application needs to know of the connection that a request came on."""

    __slots__ = ("_transport", "certificate")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        tls = transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        self.certificate: CertificateFacts | None = describe(der) if der else None

    def gone(self) -> bool:
        """Whether the caller has closed the connection."""
        return self._transport.is_closing()


class HeadTooLarge(Exception):
    """The head of a request is larger than allowed; the parser turns this into a refusal of the connection."""


class MachineProtocol(HttpToolsProtocol):
    """A connection of a client system.

    From its first byte a request has `whole_by_s` seconds to have arrived, head and body, also one that was answered
    before its end (the rest is read and thrown away, so that the caller gets to see the answer). A caller that does not
    take its answers has as long before the connection is cut off.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        whole_by_s: float = 10.0,
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._whole_by_s = whole_by_s
        self._draining = draining
        self._connection: Connection | None = None
        self._arriving: asyncio.TimerHandle | None = None
        self._not_taken: asyncio.TimerHandle | None = None
        self._begun = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the caller's certificate; an idle connection is closed like one between requests.

        One whose handshake was still going on when we began to stop was not told then, so it is told now.
        """
        super().connection_made(transport)
        if self._draining():
            self.shutdown()
            return
        self._connection = Connection(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._stop_clock()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start a clock when more has been written than the caller takes."""
        super().pause_writing()
        if self._not_taken is None:
            self._not_taken = self.loop.call_later(self._whole_by_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop that clock when the caller has taken it."""
        super().resume_writing()
        if self._not_taken is not None:
            self._not_taken.cancel()
            self._not_taken = None

    def data_received(self, data: bytes) -> None:
        """Start the clock at the first byte of a request, also of one that came behind another in the same bytes."""
        if self._arriving is None:
            self._start_clock()
        super().data_received(data)
        if self._arriving is None and self._begun and not self.transport.is_closing():
            self._start_clock()

    def on_message_begin(self) -> None:
        """Hand the connection to the application as an ASGI extension."""
        super().on_message_begin()
        self._begun = True
        self._head_bytes = 0
        cast("dict[str, Any]", self.scope)["extensions"] = {CONNECTION: self._connection}

    def on_url(self, url: bytes) -> None:
        """Count the head's size."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count the head's size."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_message_complete(self) -> None:
        """Stop the clock: the request is here."""
        self._begun = False
        self._stop_clock()
        super().on_message_complete()

    def _count(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > MAX_HEAD_BYTES:
            raise HeadTooLarge

    def _start_clock(self) -> None:
        self._arriving = self.loop.call_later(self._whole_by_s, self._too_slow)

    def _stop_clock(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def _too_slow(self) -> None:
        """Let the application refuse a slow body in words; a slow head, or the rest of an answered one, is cut off.

        While reading is paused, because an earlier request is being served, the lateness is ours.
        """
        self._arriving = None
        if self.flow.read_paused:
            self._start_clock()
            return
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering and self.cycle.more_body:
            self._arriving = self.loop.call_later(self._whole_by_s, self.transport.abort)
        else:
            self.transport.abort()
