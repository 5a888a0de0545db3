"""A time server asked over a real socket, by a double that does what real ones do."""

import asyncio
import socket
import time
from typing import Any

import pytest

from minispine.spine.clock.asking import TRIES, TimeServer
from minispine.spine.clock.port import ServerReading
from tests.time_server import TimeServerDouble, packet

CLOSE_US = 100_000
"""How near a measurement on a busy machine has to come."""


class Seconds:
    """A monotonic clock that goes on by itself, and further when the test says so."""

    def __init__(self) -> None:
        self.more = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.more


def server(address: tuple[str, int], *, timeout_s: float = 2.0, **options: Any) -> TimeServer:
    options = {"now": lambda: time.time_ns() // 1000, "monotonic": time.monotonic} | options
    return TimeServer("clock.example", address, timeout_s=timeout_s, **options)


def read(double: TimeServerDouble, **options: Any) -> ServerReading:
    return asyncio.run(server(double.address, **options).read())


def cause(reading: ServerReading) -> str | None:
    assert reading.fault is None or reading.fault.about == "clock.example"
    return reading.fault.cause if reading.fault is not None else None


@pytest.mark.requirement("SMSP-AUDIT-009", "b")
@pytest.mark.parametrize("ahead_s", [0.0, 0.7, -3600.0])
def test_a_server_is_read_by_its_name_with_its_stratum_and_the_measured_difference(ahead_s: float) -> None:
    with TimeServerDouble(ahead_s=ahead_s, stratum=3) as double:
        reading = read(double)
    assert (reading.name, reading.stratum, reading.fault) == ("clock.example", 3, None)
    assert reading.offset_us == pytest.approx(ahead_s * 1e6, abs=CLOSE_US)
    assert reading.delay_us is not None
    assert 0 <= reading.delay_us < CLOSE_US


def test_a_lost_packet_is_sent_again_with_another_nonce() -> None:
    with TimeServerDouble(silent=TRIES - 1) as double:
        reading = read(double, timeout_s=0.3)
    assert cause(reading) is None
    assert len({request[40:] for request in double.requests}) == TRIES


def test_a_silent_server_is_given_up_in_time() -> None:
    with TimeServerDouble(silent=TRIES) as double:
        begun = time.monotonic()
        reading = read(double, timeout_s=0.05)
        assert time.monotonic() - begun < 2
    assert cause(reading) == "silent"
    assert len(double.requests) == TRIES


def test_what_answers_somebody_else_is_passed_over_for_our_answer() -> None:
    with TimeServerDouble(stratum=3) as double:
        double.before = [
            lambda nonce: packet(nonce ^ 1, time.time() + 3600, stratum=1),
            lambda nonce: packet(nonce ^ 1, time.time(), leap=3, stratum=0, reference_id=b"DENY"),
            lambda nonce: b"\0" * 4,
        ]
        reading = read(double)
    assert (cause(reading), reading.stratum) == (None, 3)


def test_an_answer_from_elsewhere_is_not_taken() -> None:
    """Even with the right nonce: the socket is connected."""
    with TimeServerDouble(silent=1) as double, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
        forger.bind(("127.0.0.1", 0))

        async def story() -> ServerReading:
            reading = asyncio.create_task(server(double.address, timeout_s=0.4).read())
            loop = asyncio.get_running_loop()
            give_up_at = loop.time() + 5
            while not double.requests and loop.time() < give_up_at:
                await asyncio.sleep(0.005)
            nonce = int.from_bytes(double.requests[0][40:])
            for port in _udp_ports_towards(double.address[1]):
                forger.sendto(packet(nonce, time.time() + 3600), ("127.0.0.1", port))
            return await reading

        reading = asyncio.run(story())
    assert reading.offset_us == pytest.approx(0, abs=CLOSE_US)


def _udp_ports_towards(port: int) -> list[int]:
    """The local ports of sockets that are connected to a UDP port of this machine."""
    with open("/proc/net/udp") as table:
        rows = [line.split() for line in table][1:]
    found = [int(row[1].partition(":")[2], 16) for row in rows if row[2].endswith(f":{port:04X}")]
    assert found
    return found


@pytest.mark.requirement("SMSP-AUDIT-010", "a")
@pytest.mark.parametrize("says", [{"leap": 3}, {"stratum": 0, "reference_id": bytes(4)}], ids=str)
def test_a_server_without_synchronisation_has_no_time_to_give(says: dict[str, Any]) -> None:
    with TimeServerDouble(**says) as double:
        reading = read(double)
    assert cause(reading) == "unsynchronised"
    assert reading.offset_us is None


def test_where_nothing_listens_the_reading_says_so() -> None:
    with TimeServerDouble() as double:
        nobody = double.address
    reading = asyncio.run(server(nobody, timeout_s=2).read())
    assert cause(reading) == "silent"
    assert reading.fault is not None
    assert f"nothing listens at its UDP port {nobody[1]}" in reading.fault.text


def test_a_name_that_cannot_be_resolved_is_a_reading_too() -> None:
    reading = asyncio.run(server(("no-such-host.invalid", 123)).read())
    assert cause(reading) == "silent"


@pytest.mark.parametrize("code", [b"DENY", b"RSTR"])
def test_a_server_that_denies_us_is_never_asked_again(code: bytes) -> None:
    with TimeServerDouble(leap=3, stratum=0, reference_id=code) as double:
        asked = server(double.address)
        for _ in range(3):
            assert cause(asyncio.run(asked.read())) == "unusable"
    assert len(double.requests) == 1


def test_a_server_that_finds_us_too_frequent_is_given_longer_and_longer_rests() -> None:
    seconds = Seconds()
    with TimeServerDouble(leap=3, stratum=0, reference_id=b"RATE") as double:
        asked = server(double.address, monotonic=seconds)
        for rest_s, requests in ((0, 1), (127, 1), (2, 2), (250, 2), (7, 3)):
            seconds.more += rest_s
            assert cause(asyncio.run(asked.read())) == "unusable"
            assert len(double.requests) == requests
        double.says = {}
        seconds.more += 600
        assert cause(asyncio.run(asked.read())) is None
        double.says = {"stratum": 0, "reference_id": b"RATE"}
        asyncio.run(asked.read())
        seconds.more += 129  # the first rest again
        asyncio.run(asked.read())
    assert len(double.requests) == 6
