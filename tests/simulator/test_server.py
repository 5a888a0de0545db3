"""Real sockets and mutual TLS."""

import asyncio
import datetime
import socket
import ssl
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from minispine.keys import pki
from minispine.keys.pki import Kind
from minispine.simulator.server import Running, SimulatorOptions, SimulatorUnusable, build, serving

from .messages import retrieval, understood


class Files(NamedTuple):
    options: SimulatorOptions
    client: ssl.SSLContext
    stranger: ssl.SSLContext


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("pki") / "pki"
    now = datetime.datetime.now(datetime.UTC)
    pki.create(folder, now=now)
    server = pki.issue(folder, "spine", Kind.SPINE_SERVER, now=now)
    contexts = []
    for kind in (Kind.SPINE_CLIENT, Kind.CLIENT):  # the second is of an authority that Spine does not know
        client = pki.issue(folder, kind.value, kind, now=now)
        context = ssl.create_default_context(cafile=server.ca)
        context.load_cert_chain(client.certificate, client.key)
        contexts.append(context)
    options = SimulatorOptions(
        certificate=server.certificate, key=server.key, client_ca=server.ca, port=0, control_port=0, size=60
    )
    return Files(options, *contexts)


class Connection(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def post(self, body: bytes, path: str = "/sync-service") -> Reply:
        head = f"POST {path} HTTP/1.1\r\nhost: spine\r\ncontent-type: text/xml\r\ncontent-length: {len(body)}\r\n\r\n"
        return await self.send(head.encode() + body)

    async def send(self, request: bytes) -> Reply:
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode().strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Reply(int(status.split()[1]), headers, body)


@asynccontextmanager
async def connected(running: Running, context: ssl.SSLContext) -> AsyncIterator[Connection]:
    at = urlsplit(running.spine_url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port, ssl=context)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 20))


async def control(running: Running, path: str, body: object = None) -> Any:
    content = None if body is None else msgspec.json.encode(body)

    def ask() -> bytes:
        with urllib.request.urlopen(running.control_url + path, content, timeout=5) as reply:
            return reply.read()  # type: ignore[no-any-return]

    return msgspec.json.decode(await asyncio.to_thread(ask))


def test_queries_over_mutual_tls_are_answered_and_logged(files: Files) -> None:
    async def scenario() -> None:
        async with serving(files.options) as running, connected(running, files.client) as connection:
            (someone,) = await control(running, "/control/patients?kind=plain&limit=1")
            for path in ("/sync-service", "/any/sync-service", "/syncservice-pds/pds"):
                reply = await connection.post(retrieval(someone["nhs_number"]), path)
                assert (reply.status, reply.headers["content-type"]) == (200, "text/xml; charset=utf-8")
                assert understood(reply.body).number == someone["nhs_number"]
            assert (await connection.post(b"not xml")).status == 500
            calls = await control(running, "/control/calls")
            assert [call["refused"] for call in calls] == [None, None, None, "MESSAGE_NOT_WELL_FORMED"]

    run(scenario)


def test_other_paths_and_methods_are_no_queries(files: Files) -> None:
    async def scenario() -> None:
        async with serving(files.options) as running, connected(running, files.client) as connection:
            assert (await connection.post(b"", "/")).status == 404
            assert (await connection.send(b"GET /sync-service HTTP/1.1\r\nhost: spine\r\n\r\n")).status == 405
            assert await control(running, "/control/calls") == []

    run(scenario)


def test_a_client_without_a_certificate_of_the_right_authority_gets_nothing(files: Files) -> None:
    async def scenario() -> None:
        nobody = ssl.create_default_context(cafile=files.options.client_ca)
        async with serving(files.options) as running:
            for context in (nobody, files.stranger):
                with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
                    async with connected(running, context) as connection:
                        await connection.post(retrieval("9990000018"))
            assert await control(running, "/control/calls") == []

    run(scenario)


def test_what_a_fault_does_to_a_connection(files: Files) -> None:
    async def scenario() -> None:
        async with serving(files.options) as running:

            async def asked(rule: dict[str, object]) -> Reply:
                await control(running, "/control/faults", [rule])
                async with connected(running, files.client) as connection:
                    return await connection.post(retrieval("9990000018"))

            with pytest.raises(ConnectionResetError):
                await asked({"action": "reset"})
            with pytest.raises(asyncio.IncompleteReadError) as cut:
                await asked({"action": "truncate"})
            assert 0 < len(cut.value.partial) < (cut.value.expected or 0)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await asked({"action": "silence", "seconds": 0.05})
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asked({"action": "silence"}), 0.2)
            assert (await asked({"action": "http-status", "status": 502})).status == 502
            assert (await asked({"action": "delay", "seconds": 0.01})).status == 200
            faults = [call["fault"] for call in await control(running, "/control/calls")]
            assert faults == ["reset", "truncate", "silence", "silence", "http-status", "delay"]

    run(scenario)


def test_it_stops_though_a_client_is_being_met_with_silence(files: Files) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serving(files.options) as running:
            await control(running, "/control/faults", [{"action": "silence"}])
            at = urlsplit(running.spine_url)
            reader, writer = await asyncio.open_connection(at.hostname, at.port, ssl=files.client)
            body = retrieval("9990000018")
            writer.write(b"POST /sync-service HTTP/1.1\r\nhost: s\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            while not await control(running, "/control/calls"):
                pass
            told_to_stop_s = loop.time()
        assert loop.time() - told_to_stop_s < 5
        with suppress(ConnectionResetError):
            assert b"200" not in await asyncio.wait_for(reader.read(), 5)  # the connection is over
        writer.close()

    run(scenario)


def test_any_bytes_posted_get_an_http_answer(files: Files) -> None:
    async def scenario() -> None:
        async with serving(files.options) as running, connected(running, files.client) as connection:
            at = urlsplit(running.spine_url)
            loop = asyncio.get_running_loop()

            @settings(max_examples=60, deadline=None)
            @given(body=st.one_of(st.binary(max_size=400), st.text(max_size=100).map(str.encode)))
            def posted(body: bytes) -> None:
                """Whatever bytes are posted, there is an HTTP answer, on a connection that goes on."""
                reply = asyncio.run_coroutine_threadsafe(connection.post(body), loop).result(5)
                assert reply.status == 500

            @settings(max_examples=20, deadline=None)
            @given(request=st.binary(min_size=1, max_size=100))
            def sent(request: bytes) -> None:
                """Whatever bytes are sent in place of HTTP, the next client is served."""
                with socket.create_connection((at.hostname, at.port), 5) as raw:
                    raw.sendall(request)

            await asyncio.to_thread(posted)
            await asyncio.to_thread(sent)
            assert (await connection.post(retrieval("9990000018"))).status == 200

    run(scenario)


def test_a_body_beyond_what_spine_takes_is_refused(files: Files) -> None:
    async def scenario() -> None:
        async with serving(files.options) as running, connected(running, files.client) as connection:
            assert (await connection.post(b" " * 4_999_601)).status == 413

    run(scenario)


def test_files_are_loaded_before_the_population_and_keep_their_numbers(files: Files, tmp_path: Path) -> None:
    spine, _ = build(files.options)
    taken = next(iter(spine.register.people())).nhs_number
    (tmp_path / "people.csv").write_text(
        f"NHS_NUMBER,DATE_OF_BIRTH,FAMILY_NAME,GENDER\n{taken},19800229,SMITH,Female\n1,19800229,SMITH,Female\n"
    )
    options = msgspec.structs.replace(
        files.options, patients=(tmp_path / "people.csv",), practices_out=tmp_path / "practices.csv"
    )
    spine, refused = build(options)
    held = {person.nhs_number: person for person in spine.register.people()}
    assert (len(held), held[taken].kind) == (61, "opentest")
    assert refused == ((str(tmp_path / "people.csv"), 3, "its NHS number is not ten digits"),)
    assert (tmp_path / "practices.csv").read_text().startswith("ods_code,")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"asid": "12"}, "asid"),
        ({"size": -1}, "size"),
        ({"patients": (Path("absent.csv"),)}, "absent.csv"),
        ({"practices_out": Path("/absent/practices.csv")}, "/absent/practices.csv"),
        ({"certificate": Path("absent.pem")}, "absent.pem"),
        ({"port": 70000}, "127.0.0.1:70000"),
    ],
)
def test_what_it_cannot_start_with_is_named(files: Files, change: dict[str, Any], named: str) -> None:
    async def scenario() -> None:
        with pytest.raises(SimulatorUnusable, match=named):
            async with serving(msgspec.structs.replace(files.options, **change)):
                pass

    run(scenario)


def test_files_that_are_not_what_they_should_be_are_named(files: Files) -> None:
    async def scenario() -> None:
        ca = files.options.client_ca
        for change in ({"key": ca}, {"certificate": ca}):
            with pytest.raises(SimulatorUnusable, match="not a certificate and its key"):
                async with serving(msgspec.structs.replace(files.options, **change)):
                    pass
        with pytest.raises(SimulatorUnusable, match="authority"):
            async with serving(msgspec.structs.replace(files.options, client_ca=files.options.key)):
                pass

    run(scenario)
