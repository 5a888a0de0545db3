"""A time server to ask over a real socket: its stratum, its leap indicator and its clock are as the test says."""

import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Self

PACKET = struct.Struct("!BBbbIIIQQQQ")
SECONDS_1900_TO_1970 = 2_208_988_800


def timestamp(seconds_1970: float) -> int:
    """An NTP timestamp of UTC seconds since 1970, in the era that they are of."""
    return int((seconds_1970 + SECONDS_1900_TO_1970) * 2**32) % 2**64


def packet(
    originate: int,
    at_s: float,
    *,
    leap: int = 0,
    version: int = 4,
    mode: int = 4,
    stratum: int = 2,
    root_delay_s: float = 0.01,
    root_dispersion_s: float = 0.01,
    reference_id: bytes = b"\x0a\0\0\1",
    reference_s: float | None = None,
    held_s: float = 0.0,
) -> bytes:
    """A server's answer: received at `at_s` of its clock (UTC since 1970), sent `held_s` later."""
    return PACKET.pack(
        leap << 6 | version << 3 | mode,
        stratum,
        6,
        -24,
        int(root_delay_s * 2**16),
        int(root_dispersion_s * 2**16),
        int.from_bytes(reference_id),
        timestamp(at_s - 20 if reference_s is None else reference_s),
        originate,
        timestamp(at_s),
        timestamp(at_s + held_s),
    )


class TimeServerDouble:
    """Answers each request with `packet(..., **says)`, its clock `ahead_s` of this machine's.

    `silent` requests in a row are not answered. `before` are packets that it sends ahead of each answer, made from the
    request's number.
    """

    def __init__(self, *, ahead_s: float = 0.0, silent: int = 0, **says: object) -> None:
        self.ahead_s = ahead_s
        self.silent = silent
        self.says = says
        self.before: list[Callable[[int], bytes]] = []
        self.requests: list[bytes] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        host, port = self._socket.getsockname()
        self.address: tuple[str, int] = (host, port)
        self.name = f"{host}:{port}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._closing = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self.address)
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            request, sender = self._socket.recvfrom(1024)
            if self._closing:
                return
            self.requests.append(request)
            if self.silent:
                self.silent -= 1
                continue
            nonce = PACKET.unpack(request)[-1]
            for make in self.before:
                self._socket.sendto(make(nonce), sender)
            self._socket.sendto(packet(nonce, time.time() + self.ahead_s, **self.says), sender)  # type: ignore[arg-type]
