"""Asking a time server over UDP: when, how often, and from whom an answer is taken.

The packets are in ``ntp.py``. A lost packet is sent again, a server that asks to be left alone is.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

from minispine.spine.clock.ntp import NONCE_BYTES, AnswerRefused, KissOfDeath, NotOurAnswer, read_answer, write_request
from minispine.spine.clock.port import Cause, Reason, ServerReading

TRIES: Final = 3
"""Packets to a server in one measurement, each when the one before was not answered in time."""
_HELD: Final = 16
"""Datagrams kept until they are looked at; further ones are a flood, and dropped."""
_LEAST_REST_S: Final = 128.0
_MOST_REST_S: Final = 4096.0


class TimeServer:
    """`ServerPort` over SNTP. `now` gives UTC microseconds, `monotonic` seconds, `random_bytes` so many random bytes.

    `timeout_s` is how long one packet is waited for, so that a reading takes at most `TRIES` times that and as long
    again as `timeout_s` for the name. A server that denies us (DENY, RSTR) is not asked again by this object; one that
    finds us too frequent (RATE) is given a rest, each time twice as long (RFC 5905, 7.4).
    """

    def __init__(
        self,
        name: str,
        address: tuple[str, int],
        *,
        now: Callable[[], int],
        monotonic: Callable[[], float],
        timeout_s: float,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._name = name
        self._address = address
        self._now = now
        self._monotonic = monotonic
        self._timeout_s = timeout_s
        self._random_bytes = random_bytes
        self._denied: KissOfDeath | None = None
        self._rest_s = _LEAST_REST_S
        self._rests_until: float | None = None

    async def read(self) -> ServerReading:
        """Ask it for the time. Never raises for anything that the network or the server does."""
        if self._denied is not None:
            return self._failed("unusable", self._denied.what)
        if self._rests_until is not None and self._monotonic() < self._rests_until:
            return self._failed("unusable", "has asked to be asked less often, and is given a rest")
        try:
            return await self._ask()
        except KissOfDeath as kiss:
            self._respect(kiss)
            return self._failed(kiss.cause, kiss.what)
        except AnswerRefused as refused:
            return self._failed(refused.cause, refused.what)
        except TimeoutError:
            return self._failed("silent", f"does not answer: can UDP port {self._address[1]} of it be reached?")
        except ConnectionRefusedError:
            return self._failed("silent", f"does not answer: nothing listens at its UDP port {self._address[1]}")
        except OSError:
            return self._failed("silent", "cannot be reached: is its name or address right?")

    async def _ask(self) -> ServerReading:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._timeout_s):
            # Connected, so that the kernel passes on nothing that comes from elsewhere.
            transport, arrivals = await loop.create_datagram_endpoint(
                lambda: _Arrivals(self._monotonic), remote_addr=self._address
            )
        try:
            for _ in range(TRIES - 1):
                try:
                    return await self._try(transport, arrivals)
                except TimeoutError:
                    continue
            return await self._try(transport, arrivals)
        finally:
            transport.close()

    async def _try(self, transport: asyncio.DatagramTransport, arrivals: "_Arrivals") -> ServerReading:
        """Send one packet and wait for its answer; what answers an earlier one is too late."""
        nonce = self._random_bytes(NONCE_BYTES)
        sent_at_us, sent_s = self._now(), self._monotonic()
        transport.sendto(write_request(nonce))
        async with asyncio.timeout(self._timeout_s):
            while True:
                packet, arrived_s = await arrivals.next()
                took_us = round((arrived_s - sent_s) * 1_000_000)
                try:
                    answer = read_answer(packet, nonce=nonce, sent_at_us=sent_at_us, took_us=took_us)
                except NotOurAnswer:
                    continue
                self._rest_s, self._rests_until = _LEAST_REST_S, None
                return ServerReading(
                    name=self._name, stratum=answer.stratum, offset_us=answer.offset_us, delay_us=answer.delay_us
                )

    def _respect(self, kiss: KissOfDeath) -> None:
        if kiss.farewell:
            self._denied = kiss
        else:
            self._rests_until = self._monotonic() + self._rest_s
            self._rest_s = min(2 * self._rest_s, _MOST_REST_S)

    def _failed(self, cause: Cause, what: str) -> ServerReading:
        return ServerReading(name=self._name, fault=Reason(cause, self._name, f"time server {self._name} {what}"))


class _Arrivals(asyncio.DatagramProtocol):
    """What arrives at one socket, each with the time of its arrival on the monotonic clock."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._queue: asyncio.Queue[tuple[bytes, float] | Exception] = asyncio.Queue(_HELD)

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._put((data, self._monotonic()))

    def error_received(self, exc: Exception) -> None:
        self._put(exc)

    def _put(self, arrival: tuple[bytes, float] | Exception) -> None:
        if not self._queue.full():
            self._queue.put_nowait(arrival)

    async def next(self) -> tuple[bytes, float]:
        """Wait for the next one. Raises what the kernel reported in its place."""
        arrival = await self._queue.get()
        if isinstance(arrival, Exception):
            raise arrival
        return arrival
