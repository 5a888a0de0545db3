import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web

from minispine.client import Connection, ItkClient, Sender
from minispine.domain.operations import Operation
from minispine.domain.request import Reply
from minispine.keys import pki
from minispine.keys.pki import Kind
from minispine.vocabulary.codes import shipped_vocabulary
from minispine.wire import itk, pds

T = TypeVar("T")
Handler = Callable[["Double", web.Request, bytes], Awaitable[web.StreamResponse]]

AT = datetime.datetime.now(datetime.UTC)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client") / "pki"
    pki.create(folder, now=AT)
    pki.issue(folder, "smsp", Kind.SERVER, now=AT)
    pki.issue(folder, "ward", Kind.CLIENT, now=AT)
    return folder


@pytest.fixture
def connection(keys: Path) -> Connection:
    issued = keys / "issued"
    return Connection(certificate=issued / "ward.pem", key=issued / "ward.key", ca=keys / "provider" / "ca.pem")


class Double:
    """A provider's double: keeps what it was sent and answers as a test tells it."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.url = ""
        self.requests: list[tuple[web.Request, bytes]] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append((request, body))
        return await self.handler(self, request, body)

    def read(self, body: bytes) -> itk.ItkRequest:
        policy = itk.EnvelopePolicy(clock_skew_s=300, require_security=True, lenient_ids=False)
        return itk.read_request(body, soap_action=None, now=datetime.datetime.now(datetime.UTC), policy=policy)

    def soap(self, body: bytes, reply: Reply, *, relates_to: str | None = None) -> bytes:
        asked = self.read(body)
        payload = pds.write_response(
            asked.operation, reply, id="A000000F-AAAA-4BBB-8CCC-00000000000F", vocabulary=shipped_vocabulary("pds")
        )
        return itk.write_response(
            payload,
            operation=asked.operation,
            message_id="A0000001-AAAA-4BBB-8CCC-000000000001",
            tracking_id="A0000002-AAAA-4BBB-8CCC-000000000002",
            relates_to=asked.message_id if relates_to is None else relates_to,
            security=None,
            audit_identity=None,
        )


def answering(reply: Reply, **options: Any) -> Handler:
    """Make a handler that answers every request with `reply`."""

    async def handle(double: Double, _: web.Request, body: bytes) -> web.Response:
        return web.Response(body=double.soap(body, reply, **options), content_type="text/xml")

    return handle


def sending(content: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Handler:
    """Make a handler that answers every request with these bytes."""

    async def handle(_: Double, __: web.Request, ___: bytes) -> web.Response:
        return web.Response(body=content, status=status, headers=headers, content_type="text/xml")

    return handle


@asynccontextmanager
async def provider(keys: Path, handler: Handler, *, trusts: str = "clients") -> AsyncIterator[Double]:
    double = Double(handler)
    app = web.Application(client_max_size=10**7)
    app.router.add_route("*", "/{path:.*}", double.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "issued" / "smsp.pem", keys / "issued" / "smsp.key")
    context.load_verify_locations(keys / trusts / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    double.url = f"https://localhost:{port}/smsp/pds"
    try:
        yield double
    finally:
        await runner.cleanup()


@asynccontextmanager
async def calling(
    keys: Path, connection: Connection, handler: Handler, **options: Any
) -> AsyncIterator[tuple[Double, ItkClient]]:
    async with (
        provider(keys, handler) as double,
        ItkClient(double.url, connection=connection, sender=Sender(username="Example MSCA"), **options) as client,
    ):
        yield double, client


EVERY_CALL: dict[Operation, tuple[str, dict[str, str]]] = {
    Operation.VERIFY_NHS_NUMBER: ("verify_nhs_number", {"nhs_number": "9449310467", "birth_date": "20090310"}),
    Operation.GET_NHS_NUMBER: ("get_nhs_number", {"family": "Langan", "gender": "1", "birth_date": "2009"}),
    Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER: (
        "get_patient_details_by_nhs_number",
        {"nhs_number": "9449310467", "birth_date": "20090310"},
    ),
    Operation.GET_PATIENT_DETAILS_BY_SEARCH: (
        "get_patient_details_by_search",
        {"family": "Langan", "gender": "1", "birth_date": "20090310"},
    ),
    Operation.GET_PATIENT_DETAILS: ("get_patient_details", {"nhs_number": "9449310467", "birth_date": "20090310"}),
}
