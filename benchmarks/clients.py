"""Client systems that ask in different ways, all in one thread, and what each of their requests came to.

`Crowd` is the thread; a `Client` is one registered system with its connections; the functions are ways to ask: at
random moments, row by row, or always waiting. What the answers mean is the benchmarks' business.
"""

import asyncio
import random
import re
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Final, Self, TypeVar

import msgspec
import uvloop
from tests.journeys.house import House

from benchmarks.load import renewed, template
from minispine.domain.operations import Operation

T = TypeVar("T")

TIMEOUT_S: Final = 25.0
"""How long each client waits, as its registration says."""
PATIENCE_S: Final = TIMEOUT_S + 15.0
"""When a request is given up: later than the client's time-out, so that a late answer can be told from none."""
UNAVAILABLE: Final = "SMSP-0004"
"""The response code that says that Spine was not to be had."""
_IDLE_S: Final = 60.0
"""A connection that was not used for so long is not used again: the provider is about to close it."""
_AGAIN_S: Final = 0.02
_CODE: Final = re.compile(rb'<(?:\w+:)?value [^>]*?code="([^"]+)"')


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A request that can be sent again and again; `person` is the place of whom it is about in a list."""

    operation: Operation
    person: int
    head: bytes
    body: bytes


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What one request came to; times are seconds since 1970.

    `status` is None where no complete answer was read. `code` is the response code of a payload; `retry_after_s` and
    `age_s` are the headers of these names.
    """

    client: str
    operation: Operation
    person: int
    began_s: float
    ended_s: float
    status: int | None = None
    code: str | None = None
    retry_after_s: int | None = None
    age_s: int | None = None

    @property
    def seconds(self) -> float:
        """From the first byte of the request, or the wish to send it, to the last of its answer."""
        return self.ended_s - self.began_s

    @property
    def busy(self) -> bool:
        """Whether it was the busy tone."""
        return self.status == 503

    @property
    def well(self) -> bool:
        """Whether it was answered with what Spine holds."""
        return self.code == "SMSP-0000"


def questions(people: Sequence[dict[str, Any]], operations: Sequence[Operation] = tuple(Operation)) -> list[Question]:
    """Make a request about each of the people, the operations in turn."""
    made = []
    for place, person in enumerate(people):
        operation = operations[place % len(operations)]
        head, body = template(operation, person, "localhost")
        made.append(Question(operation=operation, person=place, head=head, body=body))
    return made


class Client:
    """One client system. Its connections are kept open, and opened to the nodes in turn."""

    def __init__(self, name: str, nodes: Sequence[House], note: Callable[[Answered], None]) -> None:
        self.name = name
        self._nodes = nodes
        self._tls = nodes[0].tls(name)
        self._note = note
        self._idle: deque[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self._turn = 0

    async def ask(self, question: Question) -> Answered:
        """Ask, and note what it came to."""
        _, body = renewed(question.body)
        began_s = time.time()
        read: dict[str, Any] = {}
        try:
            async with asyncio.timeout(PATIENCE_S):
                read = await self._exchange(question.head + body)
        except (OSError, EOFError):  # TimeoutError is an OSError
            pass
        answered = Answered(
            client=self.name,
            operation=question.operation,
            person=question.person,
            began_s=began_s,
            ended_s=time.time(),
            **read,
        )
        self._note(answered)
        return answered

    def close(self) -> None:
        """Close what is open."""
        while self._idle:
            self._idle.pop()[2].transport.abort()

    async def _exchange(self, request: bytes) -> dict[str, Any]:
        reader, writer = await self._connection()
        kept = False
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            body = await reader.readexactly(int(_header(head, b"content-length") or 0))
            kept = _header(head, b"connection") != b"close"
        finally:
            if kept:
                self._idle.append((time.monotonic(), reader, writer))
            else:
                writer.transport.abort()
        code = _CODE.search(body)
        return {
            "status": int(head.split(b" ", 2)[1]),
            "code": code[1].decode() if code else None,
            "retry_after_s": _whole(_header(head, b"retry-after")),
            "age_s": _whole(_header(head, b"age")),
        }

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            used_s, reader, writer = self._idle.pop()
            if time.monotonic() - used_s < _IDLE_S and not reader.at_eof() and not writer.transport.is_closing():
                return reader, writer
            writer.transport.abort()
        while True:
            self._turn += 1
            node = self._nodes[self._turn % len(self._nodes)]
            try:
                return await asyncio.open_connection(
                    "127.0.0.1", node.port, ssl=self._tls, server_hostname="localhost", limit=1 << 20
                )
            except (ConnectionError, ssl.SSLError):
                await asyncio.sleep(_AGAIN_S)


def _header(head: bytes, name: bytes) -> bytes | None:
    _, found, rest = head.partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip() if found else None


def _whole(text: bytes | None) -> int | None:
    return int(text) if text and text.isdigit() else None


class Crowd:
    """The thread in which clients ask, and all that they noted, in the order in which it ended."""

    def __init__(self, nodes: Sequence[House]) -> None:
        self.noted: list[Answered] = []
        self._nodes = nodes
        self._clients: dict[str, Client] = {}
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="clients")

    def client(self, name: str) -> Client:
        """Give the client of this name, which comes by the certificate of this name."""
        if name not in self._clients:
            self._clients[name] = Client(name, self._nodes, self.noted.append)
        return self._clients[name]

    def begin(self, asking: Coroutine[Any, Any, T]) -> "Future[T]":
        """Have somebody ask while the caller goes on."""
        return asyncio.run_coroutine_threadsafe(asking, self._loop)

    def wait(self, asking: Coroutine[Any, Any, T]) -> T:
        """Have somebody ask, and wait for the end of it."""
        return self.begin(asking).result()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.wait(self._leave())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _leave(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in self._clients.values():
            client.close()


# ── ways to ask ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def at_moments(client: Client, asked: Iterable[Question], moments_s: Iterable[float]) -> None:
    """Ask at these moments, whatever has become of what was asked before; wait for the last answers."""
    async with asyncio.TaskGroup() as group:
        for moment_s, question in zip(moments_s, asked, strict=False):
            await asyncio.sleep(max(0.0, moment_s - time.time()))
            group.create_task(client.ask(question))


def random_moments(chance: random.Random, per_second: float, since_s: float, until_s: float) -> Iterator[float]:
    """Draw moments that know nothing of each other (Poisson), so many a second."""
    moment_s = since_s + chance.expovariate(per_second)
    while moment_s < until_s:
        yield moment_s
        moment_s += chance.expovariate(per_second)


async def row_by_row(client: Client, rows: Iterator[Question], *, at_once: int, until_s: float) -> int:
    """Work through rows, so many at once; one that hears the busy tone or a fault is asked again when it was told.

    So is one for which Spine was not to be had. Gives how many rows were answered.
    """
    done = 0

    async def work() -> None:
        nonlocal done
        for row in rows:
            while time.time() < until_s:
                answered = await client.ask(row)
                if answered.code not in (None, UNAVAILABLE):
                    done += 1
                    break
                await asyncio.sleep(min(answered.retry_after_s or 1, max(0.0, until_s - time.time())))
            if time.time() >= until_s:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
    return done


async def trying_again(
    client: Client, asked: Iterator[Question], *, at_once: int, pause_s: tuple[float, float], chance: random.Random
) -> None:
    """Ask again and again, so many at once, each after a short pause whatever it was told; until it is cancelled."""

    async def ask() -> None:
        while True:
            await asyncio.sleep(chance.uniform(*pause_s))
            await client.ask(next(asked))

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(ask())


async def in_turn(client: Client, asked: Iterable[Question]) -> list[Answered]:
    """Ask one question after another."""
    return [await client.ask(question) for question in asked]
