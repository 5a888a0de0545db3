"""The HTTP client against real TLS servers on loopback: whom it trusts, what it reads, and what its errors say."""

import asyncio
import ssl
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from minispine.keys.files import write_secret
from minispine.spine.http import (
    Endpoint,
    EndpointInvalid,
    HttpAnswer,
    HttpClient,
    Interrupted,
    TimedOut,
    TooLarge,
    TransportFailure,
    Unreachable,
)
from minispine.spine.http.connection import Connection
from tests.spine.servers import (
    DAY,
    NOW,
    SECRET,
    Authority,
    Handler,
    Pair,
    Served,
    answering,
    closed,
    closes_at_once,
    hangs,
    hangs_in_the_answer,
    http,
    listening,
    read_request,
    resets,
    serving,
)

BODY = b"<question>marker-in-the-body</question>"


async def post(client: HttpClient, timeout_s: float = 5.0) -> HttpAnswer:
    while await client.prepare(1):
        if (connection := client.take()) is not None:
            return await client.exchange(connection, BODY, headers={"SOAPAction": "a"}, timeout_s=timeout_s)
    raise AssertionError("no connection came free")


@asynccontextmanager
async def calling(endpoint: Endpoint, served: Served, **changes: Any) -> AsyncIterator[HttpClient]:
    client = HttpClient(msgspec.structs.replace(endpoint, **{"url": served.url, **changes}))
    try:
        yield client
    finally:
        await client.close()


async def once(endpoint: Endpoint, served: Served, *, timeout_s: float = 5.0, **changes: Any) -> HttpAnswer:
    async with calling(endpoint, served, **changes) as client:
        return await post(client, timeout_s)


def outcome_of(
    endpoint: Endpoint, authority: Authority, handler: Handler, pair: Pair, *, timeout_s: float = 5.0, **changes: Any
) -> HttpAnswer:
    async def run() -> HttpAnswer:
        async with serving(handler, pair, authority) as served:
            return await once(endpoint, served, timeout_s=timeout_s, **changes)

    return asyncio.run(run())


def test_an_answer_comes_back_whole(endpoint: Endpoint, authority: Authority, server_pair: Pair) -> None:
    async def run() -> None:
        served = Served()
        answer = http(b"<answer/>", status="500 Error", headers="Content-Encoding: gzip\r\nSet-Cookie: a=b\r\n")
        handler = answering(answer, served=served)
        async with serving(handler, server_pair, authority, served), calling(endpoint, served) as client:
            assert await post(client) == HttpAnswer(500, b"<answer/>")
            assert await post(client) == HttpAnswer(500, b"<answer/>")
        assert served.connections == 1
        assert served.peers == ["provider"]
        for request in served.requests:
            head, _, body = request.partition(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            assert lines[0] == f"POST /{SECRET} HTTP/1.1".encode()
            assert sorted(line.partition(b":")[0].lower() for line in lines[1:]) == [
                b"content-length",
                b"host",
                b"soapaction",
            ]
            assert body == BODY

    asyncio.run(run())


def test_redirects_are_answers(endpoint: Endpoint, authority: Authority, server_pair: Pair) -> None:
    moved = http(b"", status="302 Found", headers="Location: https://localhost:1/elsewhere\r\n")
    assert outcome_of(endpoint, authority, answering(moved), server_pair) == HttpAnswer(302, b"")


# Trust

OK = http(b"<answer/>")
UNTRUSTED = "the certificate of the other side was not accepted"


def test_only_the_configured_authority_is_trusted(folder: Path, endpoint: Endpoint, authority: Authority) -> None:
    other = Authority(folder, "Other")
    with pytest.raises(Unreachable, match=UNTRUSTED):
        outcome_of(endpoint, authority, answering(OK), other.issue("localhost"))


def test_the_machines_own_authorities_are_not_trusted(
    folder: Path, endpoint: Endpoint, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Authority(folder, "Machine")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.file))
    with pytest.raises(Unreachable, match=UNTRUSTED):
        outcome_of(endpoint, authority, answering(OK), other.issue("localhost"))


def test_an_expired_certificate_is_refused(endpoint: Endpoint, authority: Authority) -> None:
    with pytest.raises(Unreachable, match=UNTRUSTED):
        outcome_of(endpoint, authority, answering(OK), authority.issue("localhost", not_after=NOW - DAY))


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_revoked_certificate_is_refused(
    endpoint: Endpoint, authority: Authority, server_pair: Pair, encoding: Encoding
) -> None:
    others = (authority.revocations(encoding=encoding),)
    assert outcome_of(endpoint, authority, answering(OK), server_pair, crl=others).status == 200
    listed = (authority.revocations(server_pair[2], encoding=encoding),)
    with pytest.raises(Unreachable, match=UNTRUSTED):
        outcome_of(endpoint, authority, answering(OK), server_pair, crl=listed)


def test_a_certificate_for_another_host_is_refused(endpoint: Endpoint, authority: Authority) -> None:
    pair = authority.issue("elsewhere.example", hosts=False)
    with pytest.raises(Unreachable, match=UNTRUSTED):
        outcome_of(endpoint, authority, answering(OK), pair, common_name_hosts=("localhost",))


def test_a_common_name_alone_is_enough_only_for_a_listed_host(endpoint: Endpoint, authority: Authority) -> None:
    pair = authority.issue("localhost", hosts=False)
    with pytest.raises(Unreachable, match=UNTRUSTED):
        outcome_of(endpoint, authority, answering(OK), pair)
    with pytest.raises(Unreachable, match=UNTRUSTED):
        outcome_of(endpoint, authority, answering(OK), pair, common_name_hosts=("spine.example",))
    assert outcome_of(endpoint, authority, answering(OK), pair, common_name_hosts=("localhost",)).status == 200


def test_a_server_that_does_not_trust_us_is_unreachable(folder: Path, endpoint: Endpoint, server_pair: Pair) -> None:
    with pytest.raises(Unreachable):
        outcome_of(endpoint, Authority(folder, "Strangers"), answering(OK), server_pair)


def test_an_encrypted_key_opens_with_its_password(
    folder: Path, endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    certificate, key, _ = authority.issue("provider", password=b"correct horse")
    right, wrong = folder / "right", folder / "wrong"
    write_secret(right, b"correct horse\n")
    write_secret(wrong, b"battery staple\n")
    mine = {"certificate": certificate, "key": key}
    assert outcome_of(endpoint, authority, answering(OK), server_pair, **mine, key_password_file=right).status == 200
    for password_file in (wrong, None):
        with pytest.raises(EndpointInvalid, match="does not open") as refused:
            HttpClient(msgspec.structs.replace(endpoint, **mine, key_password_file=password_file))
        assert refused.value.item == str(key)


def test_files_that_cannot_be_used_are_named(folder: Path, endpoint: Endpoint, client_pair: Pair) -> None:
    none, rubbish = folder / "none", folder / "rubbish"
    write_secret(rubbish, b"rubbish")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"url": "http://localhost/"}, "url"),
        ({"url": "https:///"}, "url"),
        ({"url": "https://localhost:99999/"}, "url"),
        ({"url": "https://localhost/a b"}, "url"),
        ({"proxy": "socks5://localhost"}, "proxy"),
        ({"ca": none}, str(none)),
        ({"ca": rubbish}, str(rubbish)),
        ({"crl": (none,)}, str(none)),
        ({"crl": (rubbish,)}, str(rubbish)),
        ({"crl": (client_pair[0],)}, str(client_pair[0])),
        ({"certificate": none}, str(none)),
        ({"key": none}, str(none)),
        ({"key": rubbish}, str(rubbish)),
        ({"key_password_file": none}, str(none)),
    ]
    for changes, item in cases:
        with pytest.raises(EndpointInvalid) as refused:
            HttpClient(msgspec.structs.replace(endpoint, **changes))
        assert refused.value.item == item


def test_a_key_or_password_that_others_can_read_is_not_used(
    folder: Path, endpoint: Endpoint, authority: Authority
) -> None:
    certificate, key, _ = authority.issue("provider", password=b"correct horse")
    password = folder / "password"
    write_secret(password, b"correct horse\n")
    mine = msgspec.structs.replace(endpoint, certificate=certificate, key=key, key_password_file=password)
    HttpClient(mine)
    for secret in (key, password):
        secret.chmod(0o640)
        with pytest.raises(EndpointInvalid, match="open to others") as refused:
            HttpClient(mine)
        assert refused.value.item == str(secret)
        secret.chmod(0o600)


def test_a_reload_takes_the_files_that_it_is_given(endpoint: Endpoint, authority: Authority, server_pair: Pair) -> None:
    first, second = authority.issue("provider-2024"), authority.issue("provider-2025")

    async def run() -> list[str]:
        async with serving(answering(OK), server_pair, authority) as served:
            async with calling(endpoint, served, certificate=first[0], key=first[1]) as client:
                await post(client)
                renewed = msgspec.structs.replace(endpoint, certificate=second[0], key=second[1])
                client.reload(renewed)
                await post(client)
                client.reload()
                await post(client)
            return served.peers

    assert asyncio.run(run()) == ["provider-2024", "provider-2025", "provider-2025"]


def test_a_renewed_certificate_is_used_without_a_restart(
    folder: Path, endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    current = {"certificate": folder / "current.crt", "key": folder / "current.key"}

    def put(name: str) -> None:
        certificate, key, _ = authority.issue(name)
        current["certificate"].write_bytes(certificate.read_bytes())
        write_secret(current["key"], key.read_bytes())

    async def run() -> list[str]:
        async with serving(answering(OK), server_pair, authority) as served:
            put("provider-2024")
            async with calling(endpoint, served, **current) as client:
                await post(client)
                put("provider-2025")
                await post(client)
                client.reload()
                await post(client)
                current["key"].write_text("rubbish")
                with pytest.raises(EndpointInvalid):
                    client.reload()
                await post(client)
            return served.peers

    assert asyncio.run(run()) == ["provider-2024", "provider-2025"]


def test_a_new_authority_is_trusted_after_a_reload(folder: Path, endpoint: Endpoint, authority: Authority) -> None:
    new = Authority(folder, "New")
    trusted = folder / "trusted.pem"
    trusted.write_bytes(authority.file.read_bytes())

    async def run() -> None:
        pair = new.issue("localhost")
        async with serving(answering(OK), pair, authority) as served, calling(endpoint, served, ca=trusted) as client:
            with pytest.raises(Unreachable):
                await post(client)
            trusted.write_bytes(authority.file.read_bytes() + new.file.read_bytes())
            client.reload()
            assert (await post(client)).status == 200

    asyncio.run(run())


# Failures


@pytest.mark.parametrize(
    ("handler", "failure", "timeout_s"),
    [
        (closes_at_once, Unreachable, 5.0),
        (resets, Unreachable, 5.0),
        (hangs, TimedOut, 0.1),
        (hangs_in_the_answer, TimedOut, 0.1),
        (answering(http(b"<ans", length=100), keep=False), Interrupted, 5.0),
        (answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<answ", keep=False), Interrupted, 5.0),
        (answering(b"SSH-2.0-OpenSSH_9\r\n\r\n", keep=False), Interrupted, 5.0),
        (answering(http(b"x" * 5000)), TooLarge, 5.0),
        (
            answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n" + b"x" * 5000 + b"\r\n"),
            TooLarge,
            5.0,
        ),
    ],
)
def test_a_call_that_fails_says_how_and_nothing_else(
    endpoint: Endpoint,
    authority: Authority,
    server_pair: Pair,
    handler: Handler,
    failure: type[TransportFailure],
    timeout_s: float,
) -> None:
    with pytest.raises(TransportFailure) as failed:
        outcome_of(endpoint, authority, handler, server_pair, timeout_s=timeout_s, max_answer_bytes=4096)
    assert type(failed.value) is failure
    assert_tells_nothing(failed.value)


def assert_tells_nothing(failure: BaseException) -> None:
    """No address, body or library exception in what an exception shows or leads to."""
    assert (failure.__cause__, failure.__context__) == (None, None)
    shown = "".join(traceback.format_exception_only(failure))
    assert not any(marker in shown for marker in (SECRET, "localhost", "127.0.0.1", "marker", "https"))


def test_nobody_listening_is_unreachable(endpoint: Endpoint) -> None:
    async def run() -> None:
        client = HttpClient(endpoint)
        try:
            await post(client)
        finally:
            await client.close()

    with pytest.raises(Unreachable, match="no connection") as failed:
        asyncio.run(run())
    assert_tells_nothing(failed.value)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def without_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    ("handler", "connect_timeout_s", "text"),
    [(silent, 0.1, "in the time allowed for connecting"), (without_tls, 5.0, "no agreement on a TLS connection")],
)
def test_without_a_handshake_it_is_unreachable(
    endpoint: Endpoint, handler: Handler, connect_timeout_s: float, text: str
) -> None:
    async def run() -> None:
        served = Served()
        async with listening(handler) as served.port:
            await once(endpoint, served, connect_timeout_s=connect_timeout_s)

    with pytest.raises(Unreachable, match=text) as failed:
        asyncio.run(run())
    assert_tells_nothing(failed.value)


def test_a_kept_connection_that_was_closed_does_no_harm(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    async def run() -> None:
        handler = answering(OK, keep=False)
        async with serving(handler, server_pair, authority) as served, calling(endpoint, served) as client:
            assert (await post(client)).status == 200
            try:
                assert (await post(client)).status == 200
            except Unreachable:
                assert (await post(client)).status == 200

    asyncio.run(run())


async def until(served: Served, connections: int) -> None:
    """Wait until the server knows of so many connections, which it hears of a little later than we do."""
    async with asyncio.timeout(5):
        while served.connections < connections:
            await asyncio.sleep(0.001)


def test_connections_are_open_before_anything_is_asked_on_them(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    async def run() -> None:
        served = Served()
        handler = answering(OK, served=served)
        async with serving(handler, server_pair, authority, served), calling(endpoint, served) as client:
            assert client.take() is None
            assert await client.prepare(3) == 3
            await until(served, 3)
            assert served.requests == []
            assert await client.prepare(2) == 3
            assert all(client.take() for _ in range(3))
            assert client.take() is None
            assert served.connections == 3

    asyncio.run(run())


def test_calls_that_come_together_each_have_their_connection(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    async def run() -> None:
        async with serving(answering(OK), server_pair, authority) as served, calling(endpoint, served) as client:

            async def one() -> bool:
                await client.prepare(1)
                return client.take() is not None

            assert all(await asyncio.gather(*(one() for _ in range(5))))
            await until(served, 5)

    asyncio.run(run())


def test_there_are_never_more_connections_than_allowed(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    async def run() -> None:
        served = Served()
        handler = answering(OK, served=served)
        async with (
            serving(handler, server_pair, authority, served),
            calling(endpoint, served, max_connections=2) as client,
        ):
            assert await asyncio.gather(*(client.prepare(calls) for calls in (2, 7, 3))) == [2, 2, 2]
            answers = await asyncio.gather(*(post(client) for _ in range(7)))
            assert [answer.status for answer in answers] == [200] * 7
            assert (served.connections, len(served.requests)) == (2, 7)

    asyncio.run(run())


def test_where_all_connections_are_in_use_one_that_comes_free_is_waited_for(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    async def run() -> None:
        async with (
            serving(answering(OK), server_pair, authority) as served,
            calling(endpoint, served, max_connections=1) as client,
        ):
            await client.prepare(1)
            held = client.take()
            assert held is not None
            waiting = asyncio.create_task(client.prepare(1))
            await asyncio.sleep(0)
            assert not waiting.done()
            client.give_back(held)
            assert await waiting == 1
            held = client.take()
            assert held is not None
            held.abort()
            assert await client.prepare(1) == 1

    asyncio.run(run())


def test_where_none_comes_free_there_is_none(endpoint: Endpoint, authority: Authority, server_pair: Pair) -> None:
    async def run() -> None:
        async with (
            serving(answering(OK), server_pair, authority) as served,
            calling(endpoint, served, max_connections=1) as client,
        ):
            await client.prepare(1)
            held = client.take()
            client.reload(msgspec.structs.replace(endpoint, max_connections=1, connect_timeout_s=0.02))
            assert await client.prepare(1) == 0
            assert held is not None

    asyncio.run(run())


def test_the_connection_that_was_used_last_is_handed_out_first(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    async def run() -> None:
        async with serving(answering(OK), server_pair, authority) as served, calling(endpoint, served) as client:
            await client.prepare(2)
            first, second = client.take(), client.take()
            assert first is not None
            assert second is not None
            client.give_back(first)
            await client.exchange(second, BODY, headers={}, timeout_s=5.0)
            assert (client.take(), client.take(), client.take()) == (second, first, None)

    asyncio.run(run())


def test_a_connection_that_spine_closed_is_not_handed_out(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    async def run() -> None:
        tired = asyncio.Event()

        async def closes_when_tired(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await tired.wait()

        async with serving(closes_when_tired, server_pair, authority) as served, calling(endpoint, served) as client:
            assert await client.prepare(2) == 2
            kept = client.take()
            assert kept is not None
            client.give_back(kept)
            tired.set()
            async with asyncio.timeout(5):
                await kept.ended
            assert client.take() is None
            tired.clear()
            assert await client.prepare(2) == 2
            await until(served, 4)

    asyncio.run(run())


def test_a_connection_that_ends_between_being_taken_and_the_write_is_unreachable(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    async def run() -> None:
        gone = asyncio.Event()

        async def goes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()
            gone.set()

        async with serving(goes, server_pair, authority) as served, calling(endpoint, served) as client:
            await client.prepare(1)
            connection = client.take()
            assert connection is not None
            await gone.wait()
            with pytest.raises(Unreachable) as failed:
                await client.exchange(connection, BODY, headers={}, timeout_s=5.0)
            assert_tells_nothing(failed.value)

    asyncio.run(run())


def test_all_who_wait_for_a_connection_are_told_that_there_is_none(endpoint: Endpoint) -> None:
    async def run() -> None:
        client = HttpClient(endpoint)
        told = await asyncio.gather(*(client.prepare(calls) for calls in (1, 2, 1)), return_exceptions=True)
        await client.close()
        assert [type(failure) for failure in told] == [Unreachable] * 3
        assert len({id(failure) for failure in told}) == 3
        for failure in told:
            assert isinstance(failure, Unreachable)
            assert_tells_nothing(failure)

    asyncio.run(run())


def test_who_stops_waiting_for_a_connection_stops_nobody_else(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    async def run() -> None:
        async with serving(answering(OK), server_pair, authority) as served, calling(endpoint, served) as client:
            impatient, patient = (asyncio.create_task(client.prepare(1)) for _ in range(2))
            await asyncio.sleep(0)
            impatient.cancel()
            assert await patient == 1
            assert impatient.cancelled()
            assert served.connections <= 1

    asyncio.run(run())


def test_a_client_that_is_closed_ends_what_it_was_opening(endpoint: Endpoint) -> None:
    async def run() -> None:
        async with listening(silent) as port:
            there = msgspec.structs.replace(endpoint, url=f"https://localhost:{port}/", connect_timeout_s=60.0)
            client = HttpClient(there)
            waiting = asyncio.create_task(client.prepare(1))
            await asyncio.sleep(0.01)
            async with asyncio.timeout(5):
                await client.close()
                with pytest.raises(Unreachable):
                    await waiting

    asyncio.run(run())


@pytest.mark.parametrize("handler", [hangs, hangs_in_the_answer])
def test_silence_ends_a_call_long_before_its_time_is_over(
    endpoint: Endpoint, authority: Authority, server_pair: Pair, handler: Handler
) -> None:
    with pytest.raises(TimedOut, match="silence") as failed:
        outcome_of(endpoint, authority, handler, server_pair, timeout_s=60.0, read_timeout_s=0.05)
    assert_tells_nothing(failed.value)


def test_a_connection_made_while_the_files_are_read_again_is_made_once_more(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    async def run() -> list[str]:
        asked, go = asyncio.Event(), asyncio.Event()

        async def slow_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            onward, back = await asyncio.open_connection("127.0.0.1", served.port)
            asked.set()
            await go.wait()
            try:
                await asyncio.gather(pump(reader, back), pump(onward, writer))
            finally:
                await closed(back)

        renewed = authority.issue("provider-renewed")
        async with serving(answering(OK), server_pair, authority) as served, listening(slow_way) as port:
            way = Served()
            way.port = port
            async with calling(endpoint, way) as client:
                opening = asyncio.create_task(client.prepare(1))
                await asked.wait()
                there = msgspec.structs.replace(endpoint, url=way.url, certificate=renewed[0], key=renewed[1])
                client.reload(there)
                go.set()
                assert await opening == 1
                assert (await post(client)).status == 200
            return served.peers

    assert asyncio.run(run()) == ["provider", "provider-renewed"]


def test_a_connection_that_nothing_is_asked_on_is_closed_after_its_time(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    async def run() -> None:
        ended = asyncio.Event()

        async def until_its_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(OK)
            await reader.read()
            ended.set()

        async with (
            serving(until_its_end, server_pair, authority) as served,
            calling(endpoint, served, idle_s=0.05) as client,
        ):
            await post(client)
            await asyncio.wait_for(ended.wait(), 5)

    asyncio.run(run())


def test_a_connection_under_way_at_a_reload_serves_no_further_call(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    async def run() -> None:
        asked, answered = asyncio.Event(), asyncio.Event()

        async def when_told(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            asked.set()
            await answered.wait()
            writer.write(OK)
            await reader.read()

        async with serving(when_told, server_pair, authority) as served, calling(endpoint, served) as client:
            call = asyncio.create_task(post(client))
            await asked.wait()
            client.reload()
            answered.set()
            assert (await call).status == 200
            assert (await post(client)).status == 200
            assert served.connections == 2

    asyncio.run(run())


def test_a_header_cannot_smuggle_another(endpoint: Endpoint) -> None:
    async def run() -> None:
        client = HttpClient(endpoint)
        connection = Connection(asyncio.get_running_loop(), ssl.create_default_context(), max_answer_bytes=1)
        with pytest.raises(ValueError, match="end of a line"):
            await client.exchange(connection, BODY, headers={"SOAPAction": "a\r\nX: b"}, timeout_s=1.0)

    asyncio.run(run())


def test_being_cancelled_is_not_a_failure_of_the_other_side(
    endpoint: Endpoint, authority: Authority, server_pair: Pair
) -> None:
    async def run() -> None:
        async with serving(hangs, server_pair, authority) as served, calling(endpoint, served) as client:
            call = asyncio.create_task(post(client))
            while not served.connections:
                await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(run())


# Proxies


def test_proxies_of_the_environment_are_ignored(
    endpoint: Endpoint, authority: Authority, server_pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert outcome_of(endpoint, authority, answering(OK), server_pair).status == 200


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while received := await reader.read(65536):
        writer.write(received)
        await writer.drain()
    await closed(writer)


@pytest.mark.parametrize("proxy_tls", [False, True])
@pytest.mark.parametrize("refusal", [None, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", b"", b"x" * 20000])
def test_the_configured_proxy_is_used(
    endpoint: Endpoint, authority: Authority, server_pair: Pair, refusal: bytes | None, proxy_tls: bool
) -> None:
    asked: list[bytes] = []

    async def run() -> HttpAnswer:
        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            if refusal is not None:
                writer.write(refusal)
                return
            onward, back = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(b"HTTP/1.1 200 OK\r\nVia: a proxy\r\n\r\n")
            try:
                await asyncio.gather(pump(reader, back), pump(onward, writer))
            finally:
                await closed(back)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server_pair[0], server_pair[1])
        async with (
            serving(answering(OK), server_pair, authority) as served,
            listening(proxy, context if proxy_tls else None) as port,
        ):
            scheme = "https" if proxy_tls else "http"
            return await once(endpoint, served, proxy=f"{scheme}://us:s%40cret@localhost:{port}")

    if refusal is not None:
        with pytest.raises(Unreachable) as failed:
            asyncio.run(run())
        assert_tells_nothing(failed.value)
    else:
        assert asyncio.run(run()).status == 200
    assert asked[0].startswith(b"CONNECT localhost:")
    assert b"\r\nProxy-Authorization: Basic dXM6c0BjcmV0\r\n" in asked[0]
