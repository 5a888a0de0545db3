"""Asking PDS over real connections with TLS while Spine is slow, silent, broken or gone, and when it is back."""

import asyncio
import datetime
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from minispine.config.settings import SpinePds
from minispine.domain.outcome import NoMatch, Unavailable
from minispine.domain.question import Retrieval
from minispine.spine.http import Endpoint, HttpClient
from minispine.spine.ports import Asked, MessageIds, Sender
from minispine.spine.retries import RESERVE
from minispine.spine.tms import TmsPds
from minispine.spine.tms import endpoint as endpoint_of
from minispine.vocabulary.spine_codes import shipped_spine_codes
from tests.spine.servers import (
    Authority,
    Handler,
    Pair,
    answering,
    closes_at_once,
    hangs,
    hangs_in_the_answer,
    http,
    listening,
    read_request,
    resets,
    serving,
)
from tests.spine.turns import FreeTurns

QUESTION = Retrieval(nhs_number="9449310467")
IDS = tuple(
    MessageIds(message_id=f"5B0C1A2E-000{n}-4C5D-8E9F-000000000001", hl7_id=f"5B0C1A2E-000{n}-4C5D-8E9F-000000000002")
    for n in range(2)
)
DEADLINE_S = 0.3
SLACK_S = 2.0
"""How much later than its deadline a call may be seen to end on a busy machine."""


def no_match(request: bytes) -> bytes:
    """Spine's answer to a message, whichever of the ids it has."""
    ids = next(ids for ids in IDS if ids.hl7_id.encode() in request)
    return (
        '<QUQI_IN010000UK14 xmlns="urn:hl7-org:v3"><acknowledgement typeCode="AE"><messageRef>'
        f'<id root="{ids.hl7_id}"/></messageRef></acknowledgement><ControlActEvent><reason>'
        '<justifyingDetectedIssueEvent><code code="1" codeSystem="2.16.840.1.113883.2.1.3.2.4.17.42"/>'
        '</justifyingDetectedIssueEvent></reason><queryAck><queryResponseCode code="ID"/></queryAck>'
        "</ControlActEvent></QUQI_IN010000UK14>"
    ).encode()


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(http(no_match(await read_request(reader))))
        await writer.drain()


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never silent for long, and never done."""
    await read_request(reader)
    writer.write(http(b"", length=100_000))
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


class Spine:
    """A Spine that behaves as `handler` does, which may change from one connection to the next."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.handler(reader, writer)


@asynccontextmanager
async def asking(endpoint: Endpoint, url: str, **settings: Any) -> AsyncIterator[TmsPds]:
    """The adapter on a client of its own."""
    pds = SpinePds(
        url=url,
        to_asid="928942012545",
        certificate=endpoint.certificate,
        key=endpoint.key,
        ca=endpoint.ca,
        breaker_failures=100,
    )
    pds = msgspec.structs.replace(pds, **settings)
    client = HttpClient(endpoint_of(pds))
    try:
        yield TmsPds(
            pds,
            client,
            shipped_spine_codes,
            now=lambda: datetime.datetime.now(datetime.UTC),
            monotonic=time.monotonic,
        )
    finally:
        await client.close()


async def ask(pds: TmsPds, timeout_s: float = 5.0) -> Asked:
    turns = FreeTurns(pds)
    asked = await pds.ask(QUESTION, sender=Sender(asid="200000000999"), ids=IDS, timeout_s=timeout_s, turns=turns)
    assert sum(slot.used for slot in turns.slots) == len(turns.results)
    return asked


def events(asked: Asked) -> list[str]:
    return [attempt.outcome.event for attempt in asked.attempts]


@pytest.mark.requirement("SMSP-PERF-006", "a")
@pytest.mark.parametrize(
    ("handler", "came"),
    [
        (hangs, ["transport.timeout"]),
        (hangs_in_the_answer, ["transport.timeout"]),
        (drips, ["transport.timeout"]),
        (closes_at_once, ["transport.unreachable"] * 2),
        (resets, ["transport.unreachable"] * 2),
        (answering(http(b"<ans", length=100), keep=False), ["transport.interrupted"]),
        (answering(http(b"Service Unavailable", status="503 Away"), keep=False), ["transport.http-status"]),
    ],
)
def test_a_question_ends_within_its_time_and_the_next_is_answered_when_spine_is_back(
    endpoint: Endpoint, authority: Authority, server_pair: Pair, handler: Handler, came: list[str]
) -> None:
    async def run() -> None:
        spine = Spine(handler)
        async with (
            serving(spine.handle, server_pair, authority) as served,
            asking(endpoint, served.url) as pds,
        ):
            await pds.prepare(1)
            began_s = time.monotonic()
            asked = await ask(pds, timeout_s=DEADLINE_S)
            assert time.monotonic() - began_s < DEADLINE_S + SLACK_S
            assert events(asked) == came
            assert isinstance(asked.outcome, Unavailable)
            assert shipped_spine_codes().response_code(asked.outcome.event) == "SMSP-0004"
            spine.handler = answers
            assert (await ask(pds)).outcome == NoMatch(event="pds.1")

    asyncio.run(run())


@pytest.mark.requirement("SMSP-PERF-006", "a")
def test_a_spine_that_refuses_connections_is_asked_again_when_it_does_not(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        async with asking(endpoint, f"https://localhost:{port}/") as pds:
            asked = await ask(pds, timeout_s=DEADLINE_S)
            assert events(asked) == ["transport.unreachable"] * 2
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(server_pair[0], server_pair[1])
            async with listening(answers, context, port=port):
                assert (await ask(pds)).outcome == NoMatch(event="pds.1")

    asyncio.run(run())


def test_a_silent_spine_is_given_up_before_the_whole_time_is_over(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    async def run() -> None:
        async with (
            serving(hangs, server_pair, authority) as served,
            asking(endpoint, served.url, read_timeout_s=0.05, breaker_failures=1) as pds,
        ):
            asked = await ask(pds, timeout_s=60.0)
            assert events(asked) == ["transport.timeout"]
            assert pds.shut()

    asyncio.run(run())


def test_a_spine_that_closes_idle_connections_is_asked_on_others(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    """Whether we hear of the end before the write or after it, the question is answered."""

    async def run() -> None:
        async def answers_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(http(no_match(await read_request(reader))))
            await writer.drain()

        async with (
            serving(answers_once, server_pair, authority) as served,
            asking(endpoint, served.url) as pds,
        ):
            for _ in range(RESERVE):
                asked = await ask(pds)
                assert asked.outcome == NoMatch(event="pds.1")
                assert events(asked)[:-1] in ([], ["transport.unreachable"])

    asyncio.run(run())


def test_a_spine_that_ends_every_connection_is_found_to_be_away(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    """One that does not take our certificate says so only after the handshake: each connection is open for a moment."""

    async def run() -> None:
        async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        async with (
            serving(ends, server_pair, authority) as served,
            asking(endpoint, served.url, breaker_failures=2) as pds,
        ):
            asked = await ask(pds)
            assert set(events(asked)) == {"transport.unreachable"}
            assert pds.shut()

    asyncio.run(run())


def test_a_call_that_is_cancelled_leaves_the_connection_to_nobody(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    async def run() -> None:
        asked = asyncio.Event()
        spine = Spine(hangs)

        async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            asked.set()
            await asyncio.Event().wait()

        spine.handler = noted
        async with serving(spine.handle, server_pair, authority) as served, asking(endpoint, served.url) as pds:
            call = asyncio.create_task(ask(pds))
            await asked.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            spine.handler = answers
            assert (await ask(pds)).outcome == NoMatch(event="pds.1")
            assert served.connections == 2

    asyncio.run(run())
