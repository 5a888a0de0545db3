"""HTTP/1.1 on one connection, as a transcript: these bytes arrive, this is what comes of the call. No sockets."""

import asyncio
import itertools
import selectors
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.spine.http.connection import MAX_HEAD_BYTES, Connection
from minispine.spine.http.failures import HttpAnswer, Interrupted, TimedOut, TooLarge, TransportFailure, Unreachable

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ASKED = b"POST / HTTP/1.1\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"


class Wire(asyncio.Transport):
    """Keeps what is written, and tells the protocol of its end as a transport does: later."""

    def __init__(self, protocol: Connection) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.ended: str | None = None
        self._protocol = protocol

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.end("closed")

    def abort(self) -> None:
        self.end("aborted")

    def end(self, how: str) -> None:
        if self.ended is None:
            self.ended = how
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)


Talk = Callable[[Connection, Wire], None]


def call(*received: bytes | Talk, max_answer_bytes: int = 1000) -> tuple[HttpAnswer | TransportFailure, Wire, bool]:
    """Ask once, and let these things happen in turn: what comes of it, the wire, and whether it may be used again."""

    async def run() -> tuple[HttpAnswer | TransportFailure, Wire, bool]:
        connection = Connection(asyncio.get_running_loop(), TLS, max_answer_bytes=max_answer_bytes)
        wire = Wire(connection)
        connection.connection_made(wire)
        asking = asyncio.ensure_future(connection.ask(ASKED, timeout_s=30, silence_s=30))
        await asyncio.sleep(0)
        for one in received:
            if callable(one):
                one(connection, wire)
            elif wire.ended is None:
                connection.data_received(one)
        try:
            answer: HttpAnswer | TransportFailure = await asyncio.wait_for(asking, 5)
        except TransportFailure as failure:
            answer = failure
        usable = connection.usable
        connection.abort()
        await connection.ended
        return answer, wire, usable

    return asyncio.run(run())


def lost(connection: Connection, wire: Wire) -> None:
    connection.eof_received()
    wire.end("lost")


def reset(connection: Connection, wire: Wire) -> None:
    wire.ended = "reset"
    connection.connection_lost(ConnectionResetError())


def test_an_answer_with_a_length_leaves_the_connection_usable() -> None:
    answer, wire, usable = call(ANSWER)
    assert answer == HttpAnswer(200, b"abc")
    assert wire.written == [ASKED]
    assert usable


@given(st.lists(st.integers(0, 120), max_size=6), st.sampled_from(["length", "chunks", "end"]))
def test_where_the_bytes_are_cut_changes_nothing(cuts: list[int], ending: str) -> None:
    """However an answer's bytes are cut into pieces, the same answer comes of them."""
    answers = {
        "length": b"HTTP/1.1 500 Oh\r\nContent-Length: 6\r\n\r\nabcdef",
        "chunks": b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n",
        "end": b"HTTP/1.1 500 Oh\r\n\r\nabcdef",
    }
    whole = answers[ending]
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    pieces = [whole[a:b] for a, b in itertools.pairwise(places) if a < b]
    answer, _, _ = call(*pieces, *([lost] if ending == "end" else []))
    assert answer == HttpAnswer(500, b"abcdef")


def test_what_only_announces_an_answer_is_not_it() -> None:
    answer, _, usable = call(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" + ANSWER)
    assert answer == HttpAnswer(200, b"abc")
    assert usable


@pytest.mark.parametrize("first", [b"HTTP/1.0 200 OK", b"HTTP/1.1 200 OK\r\nConnection: close"])
def test_a_connection_that_the_other_side_will_close_is_not_used_again(first: bytes) -> None:
    answer, wire, usable = call(first + b"\r\nContent-Length: 3\r\n\r\nabc")
    assert answer == HttpAnswer(200, b"abc")
    assert (usable, wire.ended) == (False, "closed")


@pytest.mark.parametrize(
    "said",
    [
        (ANSWER + ANSWER,),
        (ANSWER + b"H",),
        (ANSWER, b"H"),
        (ANSWER, lambda connection, _: connection.eof_received()),
    ],
)
def test_a_connection_on_which_more_came_is_not_used_again(said: tuple[bytes | Talk, ...]) -> None:
    answer, _, usable = call(*said)
    assert answer == HttpAnswer(200, b"abc")
    assert not usable


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        ((lost,), Unreachable),
        ((reset,), Unreachable),
        ((b"HTTP/1.1 200", lost), Interrupted),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", lost), Interrupted),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", lost), Interrupted),
        ((b"HTTP/1.1 200 OK\r\n\r\nab", reset), Interrupted),
        ((b"SSH-2.0-OpenSSH_9\r\n",), Interrupted),
        ((b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",), Interrupted),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001,), TooLarge),
        ((b"HTTP/1.1 200 OK\r\nA: " + b"x" * MAX_HEAD_BYTES,), TooLarge),
    ],
)
def test_what_is_no_whole_answer_says_how(said: tuple[bytes | Talk, ...], failure: type[TransportFailure]) -> None:
    answer, wire, usable = call(*said)
    assert type(answer) is failure
    assert not usable
    assert wire.ended is not None


def test_an_answer_of_just_the_size_allowed_is_taken() -> None:
    answer, _, _ = call(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000)
    assert answer == HttpAnswer(200, b"x" * 1000)


def test_nothing_is_asked_on_a_connection_that_has_ended() -> None:
    async def run() -> None:
        connection = Connection(asyncio.get_running_loop(), TLS, max_answer_bytes=10)
        wire = Wire(connection)
        connection.connection_made(wire)
        connection.close()
        await connection.ended
        with pytest.raises(Unreachable):
            await connection.ask(ASKED, timeout_s=30, silence_s=30)
        assert wire.written == []

    asyncio.run(run())


class Hasty(selectors.DefaultSelector):  # type: ignore[valid-type, misc]
    """Waits for nothing: the time for which it is to wait passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.passed_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.passed_s += timeout or 0.0
        return super().select(0)


class HastyLoop(asyncio.SelectorEventLoop):
    """A loop whose clock goes on only when there is nothing to do but wait."""

    def __init__(self) -> None:
        self._hasty = Hasty()
        super().__init__(self._hasty)

    def time(self) -> float:
        return self._hasty.passed_s


def timed(
    *pieces: tuple[float, bytes], timeout_s: float, silence_s: float
) -> tuple[HttpAnswer | str, float, str | None]:
    """Ask, and let pieces of the answer come at these seconds: what comes of it, when, and how the wire ended."""

    async def run() -> tuple[HttpAnswer | str, float, str | None]:
        loop = asyncio.get_running_loop()
        connection = Connection(loop, TLS, max_answer_bytes=1000)
        wire = Wire(connection)
        connection.connection_made(wire)
        began_s = loop.time()
        for at_s, piece in pieces:
            loop.call_at(began_s + at_s, lambda piece=piece: wire.ended or connection.data_received(piece))
        answer: HttpAnswer | str
        try:
            answer = await connection.ask(ASKED, timeout_s=timeout_s, silence_s=silence_s)
        except TimedOut as failure:
            answer = str(failure)
        ended_s = loop.time() - began_s
        ended = wire.ended
        await asyncio.sleep(100)  # no timer of this call is left that could end the connection
        assert wire.ended == ended
        connection.abort()
        return answer, ended_s, ended

    with asyncio.Runner(loop_factory=HastyLoop) as runner:
        return runner.run(run())


def test_an_answer_has_its_time_in_all_however_lively_it_is() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    drops = [(float(second), b"x") for second in range(2, 60)]
    answer, ended_s, ended = timed((1.0, head), *drops, timeout_s=10.0, silence_s=3.0)
    assert (answer, ended) == ("no whole answer in the time allowed", "aborted")
    assert ended_s == pytest.approx(10.0)


@pytest.mark.parametrize(("heard", "ended_at_s"), [((), 3.0), ((2.0,), 5.0), ((2.0, 4.5), 7.5)])
def test_silence_ends_an_answer_at_its_beginning_and_within(heard: tuple[float, ...], ended_at_s: float) -> None:
    pieces = [(at_s, b"HTTP/1.1"[index : index + 1]) for index, at_s in enumerate(heard)]
    answer, ended_s, ended = timed(*pieces, timeout_s=10.0, silence_s=3.0)
    assert (answer, ended) == ("nothing more of an answer came in the time allowed for silence", "aborted")
    assert ended_s == pytest.approx(ended_at_s)


def test_an_answer_with_shorter_pauses_is_taken_and_leaves_no_timer() -> None:
    pieces = [(2.5 * (1 + place), ANSWER[place * 20 : place * 20 + 20]) for place in range(3)]
    answer, ended_s, ended = timed(*pieces, timeout_s=10.0, silence_s=3.0)
    assert (answer, ended) == (HttpAnswer(200, b"abc"), None)
    assert ended_s == pytest.approx(7.5)


def test_a_request_is_written_before_anything_is_awaited() -> None:
    async def run() -> None:
        connection = Connection(asyncio.get_running_loop(), TLS, max_answer_bytes=10)
        wire = Wire(connection)
        connection.connection_made(wire)
        asking = connection.ask(ASKED, timeout_s=30, silence_s=30)
        asking.send(None)
        assert wire.written == [ASKED]
        asking.close()
        connection.abort()

    asyncio.run(run())
