"""The packets of NTP as a client needs them (RFC 5905, and RFC 4330 for clients that only ask). No I/O, no clock.

What asks over a socket is in ``asking.py``. A request tells nothing of our clock: its transmit timestamp is a random
number, which the server has to send back, so that nobody who does not see our packets can answer for it.
"""

import struct
from typing import Final

import msgspec

from minispine.spine.clock.port import Cause

PACKET_BYTES: Final = 48
NONCE_BYTES: Final = 8

_PACKET: Final = struct.Struct("!BBbbIIIQQQQ")
_LEAP_UNSYNCHRONISED: Final = 3
_VERSIONS: Final = (3, 4)
_MODE_CLIENT: Final = 3
_MODE_SERVER: Final = 4
_HIGHEST_STRATUM: Final = 15
"""16 means not synchronised, more is reserved."""
_ERA: Final = 2**64
"""Timestamps count 2^-32 seconds since 1900 modulo 2^64: they begin again in 2036."""
_SECONDS_1900_TO_1970: Final = 2_208_988_800
_MAX_DISTANCE_US: Final = 1_000_000
"""RFC 5905 calls it MAXDIST: a server that may be further than this from true time is not synchronised."""
_COARSEST_TICK_US: Final = 16_000
"""The coarsest clock in use counts 64 times a second; a server's own two times may be out by that."""
_FAREWELLS: Final = frozenset({"DENY", "RSTR"})
"""Codes by which a server asks not to be asked again (RFC 5905, 7.4)."""
_SLOW_DOWN: Final = "RATE"


class NotOurAnswer(Exception):
    """A packet that does not answer our request: nothing follows from it, and the answer may still come."""


class AnswerRefused(Exception):
    """The answer to our request is one that no time can be taken from: the cause, and what the server does."""

    def __init__(self, cause: Cause, what: str) -> None:
        super().__init__(what)
        self.cause: Cause = cause
        self.what = what


class KissOfDeath(AnswerRefused):
    """The server asks to be left alone: for good when `farewell`, else to be asked less often."""

    def __init__(self, code: str) -> None:
        self.farewell = code in _FAREWELLS
        wish = "asks not to be asked again" if self.farewell else "asks to be asked less often"
        super().__init__("unusable", f"{wish} ({code})")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A server's answer: its stratum, 1 to 15, and how its clock stands to ours (as in `ServerReading`)."""

    stratum: int
    offset_us: int
    delay_us: int


def write_request(nonce: bytes) -> bytes:
    """Write a client's packet that carries `NONCE_BYTES` random bytes and nothing else."""
    return _PACKET.pack(4 << 3 | _MODE_CLIENT, 0, 0, 0, 0, 0, 0, 0, 0, 0, int.from_bytes(nonce))


def read_answer(packet: bytes, *, nonce: bytes, sent_at_us: int, took_us: int) -> Answer:
    """Read what came `took_us` after the request with this nonce was sent at `sent_at_us` by our clock (UTC).

    Which era the server's timestamps are of follows from our own clock, which may be wrong by up to 68 years for that.
    Extension fields behind the packet are not read.

    Raises:
        NotOurAnswer: it is no answer to that request.
        KissOfDeath: the server asks to be left alone.
        AnswerRefused: the server is not synchronised, or what it says does not hold together.
    """
    if len(packet) < PACKET_BYTES:
        raise NotOurAnswer
    (first, stratum, _, _, root_delay, root_dispersion, reference_id, reference, originate, receive, transmit) = (
        _PACKET.unpack_from(packet)
    )
    leap, version, mode = first >> 6, first >> 3 & 7, first & 7
    if mode != _MODE_SERVER or version not in _VERSIONS or originate != int.from_bytes(nonce):
        raise NotOurAnswer
    if stratum == 0 and (code := _code(reference_id)) in _FAREWELLS | {_SLOW_DOWN}:
        raise KissOfDeath(code)
    if leap == _LEAP_UNSYNCHRONISED or not 1 <= stratum <= _HIGHEST_STRATUM:
        raise AnswerRefused("unsynchronised", "is not synchronised")
    if receive == 0 or transmit == 0:
        raise AnswerRefused("unusable", "does not say what time it is")
    if reference != 0 and _signed(transmit - reference) < 0:
        raise AnswerRefused("unusable", "says that it was set in its own future")
    sent = _timestamp(sent_at_us)
    held_us = _us(_signed(transmit - receive))
    delay_us = took_us - held_us
    if held_us < -_COARSEST_TICK_US or delay_us < -_COARSEST_TICK_US:
        raise AnswerRefused("unusable", "gives times that cannot have been")
    delay_us = max(delay_us, 0)
    distance_us = _short_us(root_delay) // 2 + _short_us(root_dispersion) + delay_us // 2
    if distance_us > _MAX_DISTANCE_US:
        raise AnswerRefused("unsynchronised", "may itself be more than a second out")
    forward_us = _us(_signed(receive - sent))
    back_us = _us(_signed(transmit - sent)) - took_us
    return Answer(stratum=stratum, offset_us=(forward_us + back_us) // 2, delay_us=delay_us)


def _timestamp(us: int) -> int:
    """Write UTC microseconds since 1970 as an NTP timestamp."""
    return ((us + _SECONDS_1900_TO_1970 * 1_000_000 << 32) // 1_000_000) % _ERA


def _signed(difference: int) -> int:
    """Read a difference of two timestamps as the one nearest to 0, so that it holds across the end of an era."""
    return (difference + _ERA // 2) % _ERA - _ERA // 2


def _us(difference: int) -> int:
    """Turn a difference in 2^-32 s into microseconds, to the nearest."""
    return difference * 1_000_000 + 2**31 >> 32


def _short_us(value: int) -> int:
    """Turn NTP's short format, 2^-16 s, into microseconds."""
    return value * 1_000_000 >> 16


def _code(reference_id: int) -> str:
    return reference_id.to_bytes(4).decode("ascii", "replace").rstrip("\0")
