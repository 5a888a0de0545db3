"""A uvicorn server on a socket that the supervisor bound, which the worker starts and drains."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Final

import uvicorn

LAST_WORDS_S: Final = 4.0


class Server(uvicorn.Server):
    """A uvicorn server on a socket that was handed down, which leaves signals to the worker.

    `protocol` makes the protocol of each connection; `options` are uvicorn's own.
    """

    def __init__(
        self,
        app: Any,
        sock: socket.socket,
        tls_context: ssl.SSLContext | None,
        *,
        protocol: Callable[..., asyncio.Protocol],
        **options: Any,
    ) -> None:
        settings = uvicorn.Config(
            app,
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # it would believe X-Forwarded-For from loopback; the gate decides about proxies
            ws="none",
            **options,
        )
        super().__init__(settings)
        self._tls = tls_context
        self._sock = sock
        self._protocol = protocol
        self.running: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on our socket, with limits on how long a TLS handshake may take."""
        await self.lifespan.startup()

        def connection() -> asyncio.Protocol:
            return self._protocol(config=self.config, server_state=self.server_state, app_state={})

        server = await asyncio.get_running_loop().create_server(
            connection,
            sock=self._sock,
            ssl=self._tls,
            backlog=self.config.backlog,
            ssl_handshake_timeout=10.0 if self._tls else None,
            ssl_shutdown_timeout=1.0 if self._tls else None,
        )
        self.servers = [server]
        self.started = True

    def begin(self) -> None:
        """Start serving in the background."""
        self.running = asyncio.create_task(self.serve())

    async def drain(self, within_s: float) -> None:
        """Stop accepting, let requests being served finish, within so many seconds."""
        self.config.timeout_graceful_shutdown = round(within_s)
        self.should_exit = True
        if self.running is not None:
            await self.running
        if unfinished := set(self.server_state.tasks):
            # Their time is over and they have been told so; they still answer that, on record.
            await asyncio.wait(unfinished, timeout=LAST_WORDS_S)
