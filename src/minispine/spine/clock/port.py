"""What the rest of the product knows of time sources: the readings, and the Protocol that takes them.

A reading is what was heard, and why it cannot be used where it cannot. Whether the clock is good enough is decided from
readings alone, in ``judging.py``.
"""

from typing import Literal, Protocol

import msgspec

Cause = Literal[
    "not-measured", "too-few-servers", "silent", "unusable", "unsynchronised", "stratum", "offset", "disagreement"
]
"""Why a reading, or the clock as a whole, cannot be relied upon."""


class Reason(msgspec.Struct, frozen=True):
    """Why something cannot be relied upon: the cause, the server or daemon it is about (empty: the clock), in words."""

    cause: Cause
    about: str
    text: str


class ServerReading(msgspec.Struct, frozen=True, kw_only=True):
    """What one time server answered.

    `name` is as configured. `stratum` is the server's own. `offset_us` is what would have to be added to our clock to
    make it the server's: more than 0 when ours is behind. `delay_us` is the round trip, so that the offset is wrong by
    at most half of it. Where `fault` stands, none of the rest may be counted.
    """

    name: str
    stratum: int | None = None
    offset_us: int | None = None
    delay_us: int | None = None
    fault: Reason | None = None


class DaemonReading(msgspec.Struct, frozen=True, kw_only=True):
    """What the daemon that sets this machine's clock says: the stratum of the source it follows, and which that is."""

    name: str
    stratum: int | None = None
    follows: str | None = None
    fault: Reason | None = None


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement: every configured server, and the daemon where one is configured."""

    servers: tuple[ServerReading, ...]
    daemon: DaemonReading | None = None


class ServerPort(Protocol):
    """One time server."""

    async def read(self) -> ServerReading:
        """Ask it. Never raises for anything that the network or the server does: that is a reading with a fault."""


class DaemonPort(Protocol):
    """The daemon that sets this machine's clock."""

    async def read(self) -> DaemonReading:
        """Ask it. Never raises for anything that the daemon does: that is a reading with a fault."""


class ClockPort(Protocol):
    """Everything by which this machine's clock is judged."""

    async def read(self) -> Readings:
        """Measure once, all sources at the same time, without holding up the event loop. Never raises."""
