import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from minispine.client import Connection, ConnectionFailed, RequestInvalid
from minispine.client import connection as connections
from minispine.client.connection import Channel
from minispine.keys.files import KeyFileRefused
from tests.client.conftest import Double, provider, run, sending


async def post(url: str, connection: Connection) -> bytes:
    async with Channel(url, connection) as channel:
        return (await channel.post(b"<question/>", soap_action="urn:x", timeout_s=5)).body


def test_a_message_goes_out_and_its_answer_comes_back(keys: Path, connection: Connection) -> None:
    async def work() -> bytes:
        async with provider(keys, sending(b"<answer/>")) as double:
            return await post(double.url, connection)

    assert run(work()) == b"<answer/>"


def test_a_provider_of_another_authority_is_not_believed(keys: Path, connection: Connection) -> None:
    async def work() -> None:
        async with provider(keys, sending(b"")) as double:
            await post(double.url, msgspec.structs.replace(connection, ca=keys / "spine" / "ca.pem"))

    with pytest.raises(ConnectionFailed, match="not from an authority trusted here") as failed:
        run(work())
    assert failed.value.__cause__ is None
    assert failed.value.__context__ is None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_provider_that_does_not_know_us_is_said_so(
    keys: Path, connection: Connection, version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limited(_: Connection, make: Callable[[Connection], ssl.SSLContext] = connections._context) -> ssl.SSLContext:
        context = make(connection)
        context.maximum_version = version
        return context

    monkeypatch.setattr(connections, "_context", limited)

    async def work() -> None:
        async with provider(keys, sending(b""), trusts="spine") as double:
            await post(double.url, connection)

    with pytest.raises(ConnectionFailed, match="may not trust our certificate"):
        run(work())


def test_a_host_that_does_not_exist_is_said_so(connection: Connection) -> None:
    with pytest.raises(ConnectionFailed, match="no host of that name"):
        run(post("https://nowhere.invalid/", connection))


def test_the_environments_proxy_is_not_asked(
    keys: Path, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    test_a_message_goes_out_and_its_answer_comes_back(keys, connection)


def test_nobody_there_and_a_broken_connection_are_said(keys: Path, connection: Connection) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(ConnectionFailed, match="nothing answers"):
            run(post(url, connection))

    async def hang_up(_: Double, request: web.Request, __: bytes) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def work() -> None:
        async with provider(keys, hang_up) as double:
            await post(double.url, connection)

    with pytest.raises(ConnectionFailed, match="ended before"):
        run(work())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda keys: {"ca": keys / "none.pem"}, "no such file"),
        (lambda keys: {"ca": keys / "issued" / "ward.key"}, "no certificate in PEM"),
        (lambda keys: {"key": keys / "issued" / "smsp.key"}, "that .* belongs to"),
        (lambda keys: {"certificate": keys / "none.pem"}, "no such file"),
    ],
)
def test_files_that_cannot_be_used_are_named_at_once(
    keys: Path, connection: Connection, change: Callable[[Path], dict[str, Path]], reason: str
) -> None:
    with pytest.raises(KeyFileRefused, match=reason):
        Channel("https://localhost/", msgspec.structs.replace(connection, **change(keys)))


def test_nothing_is_asked_without_tls(connection: Connection) -> None:
    with pytest.raises(RequestInvalid, match="https://"):
        Channel("http://localhost/smsp/pds", connection)


def test_a_key_open_to_others_is_not_used(keys: Path, connection: Connection, tmp_path: Path) -> None:
    key = tmp_path / "open.key"
    key.write_bytes(connection.key.read_bytes())
    key.chmod(0o644)
    with pytest.raises(KeyFileRefused, match="open to others"):
        Channel("https://localhost/", msgspec.structs.replace(connection, key=key))
