"""The road to Spine lets everything through, or nothing, and gives nothing up later that it swallowed."""

import socket
import threading
from collections.abc import Iterator

import pytest
from benchmarks.relay import Relay


class Echo:
    """A server that gives back what it read, and remembers it."""

    def __init__(self) -> None:
        self.read = b""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        with line:
            try:
                while content := line.recv(1000):
                    self.read += content
                    line.sendall(content)
            except ConnectionError:
                return

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def relay(echo: Echo) -> Iterator[Relay]:
    with Relay(echo.port) as road:
        yield road


def line(relay: Relay, patience_s: float = 10) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), patience_s)


def gone(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def test_bytes_go_through_both_ways(relay: Relay) -> None:
    with line(relay) as sock:
        sock.sendall(b"x" * 100_000)
        got = b""
        while len(got) < 100_000:
            got += sock.recv(65536)
        assert got == b"x" * 100_000


def test_refused_is_reset_and_refused_until_it_is_open_again(relay: Relay) -> None:
    with line(relay) as sock:
        relay.turn("refuse")
        assert gone(sock)
    with pytest.raises(ConnectionRefusedError):
        line(relay)
    relay.turn("open")
    with line(relay) as sock:
        sock.sendall(b"again")
        assert sock.recv(5) == b"again"


def test_what_is_swallowed_never_arrives(relay: Relay, echo: Echo) -> None:
    with line(relay) as before:
        before.sendall(b"1")
        assert before.recv(1) == b"1"
        relay.turn("swallow")
        with line(relay) as during:
            for sock in (before, during):
                sock.sendall(b"2")
                sock.settimeout(0.1)
                with pytest.raises(TimeoutError):
                    sock.recv(1)
            relay.turn("open")
            for sock in (before, during):
                sock.settimeout(10)
                assert gone(sock)
    with line(relay) as after:
        after.sendall(b"3")
        assert after.recv(1) == b"3"
    assert echo.read == b"13"
