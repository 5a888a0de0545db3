"""The road to Spine, which can be cut: bytes go through as they are, until it is told otherwise.

A simulator that is stopped loses its count of calls, and one that stands still counts what came meanwhile when it goes
on. So an outage is made on the way to it, and it counts everything that reaches it, when it does. A process of its own,
so that it is late no more often than anything else: ``python -m benchmarks.relay PORT``. It says its own port, then
takes one word a line: ``open``, ``refuse`` (no connection, and those there are reset) or ``swallow`` (connections are
taken, and what is sent on them goes nowhere). What was swallowed stays lost, with its connections.
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, Self, cast

import uvloop

Way = Literal["open", "refuse", "swallow"]


class Relay:
    """Such a process, told by method calls."""

    def __init__(self, target_port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.relay", str(target_port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
            text=True,
        )
        self.pid = self._process.pid
        self.port: int = self._answer()

    def turn(self, way: Way) -> None:
        """Have it so from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{way}\n")
        self._process.stdin.flush()
        self._answer()

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate()  # closes the pipes, too

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


class _Road:
    """All connections, and what becomes of them."""

    def __init__(self, target_port: int) -> None:
        self.way: Way = "open"
        self.sides: set[_Side] = set()
        self.target_port = target_port
        self.port = 0
        self._server: asyncio.Server | None = None

    async def turn(self, way: Way) -> None:
        if self.way != "open" or way == "refuse":
            for side in list(self.sides):
                side.cut()
        self.way = way
        if way == "refuse":
            self._close()
        elif self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: _Side(self), "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None


class _Side(asyncio.Protocol):
    """One end of a connection through the relay; `other` is the other end."""

    def __init__(self, road: _Road, other: "_Side | None" = None) -> None:
        self._road = road
        self._other = other
        self._came = other is None
        self._early: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._road.sides.add(self)
        if self._came:
            self._going_on = asyncio.ensure_future(self._go_on())
        elif self._other is None:  # it was cut while it connected
            self._transport.abort()

    async def _go_on(self) -> None:
        """Connect to the target, unless connections are only to be swallowed."""
        if self._road.way != "open":
            return
        loop = asyncio.get_running_loop()
        try:
            _, other = await loop.create_connection(
                lambda: _Side(self._road, self), "127.0.0.1", self._road.target_port
            )
        except OSError:
            self.cut()
            return
        if self._transport is None:
            other.cut()
            return
        self._other = other
        for content in self._early:
            other.send(content)
        self._early.clear()

    def data_received(self, content: bytes) -> None:
        if self._road.way != "open":
            return
        if self._other is None:
            self._early.append(content)
        else:
            self._other.send(content)

    def send(self, content: bytes) -> None:
        if self._transport is not None:
            self._transport.write(content)

    def connection_lost(self, error: Exception | None) -> None:
        self._road.sides.discard(self)
        self._transport = None
        other, self._other = self._other, None
        if other is not None and self._road.way == "open":
            other.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def cut(self) -> None:
        self._other = None
        if self._transport is not None:
            self._transport.abort()


async def _serve(target_port: int) -> None:
    road = _Road(target_port)
    await road.turn("open")
    print(json.dumps(road.port), flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while word := (await reader.readline()).decode().strip():
        await road.turn(word)  # type: ignore[arg-type]
        print(json.dumps(road.way), flush=True)


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
