"""Clients that keep asking and note what they were told: the outside view that a drill holds the trail against.

They run in a thread of their own, so that whoever kills is not held up by them. A connection that breaks is opened
again, as a client would. What the provider recorded is no business of this module.
"""

import asyncio
import re
import threading
from typing import Any, Self

import msgspec
import uvloop
from tests.journeys.house import House

from benchmarks.load import renewed, templates

_PATIENCE_S = 30.0
_REFUSED_WAIT_S = 0.01
_REPLY_ID = re.compile(rb"MessageID[^>]*>\s*([^<\s]+)")
_RELATES_TO = re.compile(rb"RelatesTo[^>]*>\s*([^<\s]+)")
_CODE = re.compile(rb'<(?:\w+:)?value [^>]*?code="([^"]+)"')
_FAULT = re.compile(rb"ErrorCode[^>]*>\s*([^<\s]+)")
_LOG_AWAY = b"the audit log cannot be written"


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a client read in answer to its message `asked`: the whole reply, or the first part of one.

    `reply` is the reply's own id, `code` its response code or `fault` that of a technical error; of a part none is
    known. `relates_to` is the message it says it answers. `log_away` is the reply that is given where no record can be
    made of one.
    """

    asked: str
    reply: str | None = None
    relates_to: str | None = None
    code: str | None = None
    fault: str | None = None
    whole: bool = False
    log_away: bool = False


class Clients:
    """So many connections to one provider, each with one question after another, until the end of the `with` block.

    `people` are those of the simulated Spine. At the end each waits for the answer to its last question.
    """

    def __init__(self, house: House, people: list[dict[str, Any]], connections: int) -> None:
        self.told: list[Told] = []
        self.cut_off = 0
        """How many connections broke."""
        self.answers = 0
        """How many answers with a response code came."""
        self._house = house
        self._work = templates(people, "localhost")
        self._connections = connections
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clients")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._ask())

    async def _ask(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._connections):
                group.create_task(self._lane(number))

    async def _lane(self, turn: int) -> None:
        tls = self._house.tls()
        while not self._stopping.is_set():
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self._house.port, ssl=tls, server_hostname="localhost"
                )
            except OSError:
                await asyncio.sleep(_REFUSED_WAIT_S)
                continue
            try:
                while not self._stopping.is_set():
                    turn += self._connections
                    await self._exchange(reader, writer, *self._work[turn % len(self._work)])
            except (OSError, EOFError):
                self.cut_off += 1
            finally:
                writer.transport.abort()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, body: bytes
    ) -> None:
        message_id, body = renewed(body)
        got = b""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                writer.write(head + body)
                got = await reader.readuntil(b"\r\n\r\n")
                length = int(got.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                reply = await reader.readexactly(length)
        except asyncio.IncompleteReadError as cut:
            if got or cut.partial:
                self.told.append(Told(asked=message_id))
            raise
        except OSError:
            if got:
                self.told.append(Told(asked=message_id))
            raise
        self.told.append(told := read_reply(message_id, reply))
        self.answers += told.code is not None


def read_reply(asked: str, reply: bytes) -> Told:
    """Take from a reply what the trail has to know of it."""

    def found(pattern: re.Pattern[bytes]) -> str | None:
        match = pattern.search(reply)
        return match[1].decode() if match else None

    fault = found(_FAULT)
    return Told(
        asked=asked,
        reply=found(_REPLY_ID),
        relates_to=found(_RELATES_TO),
        code=None if fault else found(_CODE),
        fault=fault,
        whole=True,
        log_away=_LOG_AWAY in reply,
    )
