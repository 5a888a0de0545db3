"""Is this machine's clock good enough (SMSP-AUDIT-010)? A pure function of what was read.

The offset is the median of the servers that can be counted, so that where there are three or more no single one that is
wrong can make a bad clock look good. A majority of them has to stand within the limit of it: of two, both.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from minispine.spine.clock.port import Cause, DaemonReading, Readings, Reason, ServerReading

Status = Literal["good", "bad", "unknown"]

LEAST_SERVERS: Final = 2
_SPEAK_AGAINST: Final = frozenset[Cause]({"unsynchronised", "stratum", "offset", "disagreement"})
"""Causes that say something of the time; the others only say that it cannot be told."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The highest stratum that a time source may have, and how far our clock may be out, in microseconds."""

    max_stratum: int
    max_offset_us: int


class ClockState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of this machine's clock. It is `good` exactly when there is no reason against it.

    `bad` means that something speaks against it, `unknown` that too little could be read. `stratum` is the highest of
    the sources relied upon, or, where too few can be, the lowest that was reported. `offset_us` is what would have to
    be added to our clock; None where the servers do not settle it. In `servers` a server that is not counted says why.
    """

    status: Status
    stratum: int | None = None
    offset_us: int | None = None
    servers: tuple[ServerReading, ...] = ()
    daemon: DaemonReading | None = None
    reasons: tuple[Reason, ...] = ()

    @property
    def causes(self) -> frozenset[tuple[Cause, str]]:
        """What the reasons are about, without the figures in their words, which change with every measurement."""
        return frozenset((reason.cause, reason.about) for reason in self.reasons)


NOT_MEASURED: Final = ClockState(
    status="unknown", reasons=(Reason("not-measured", "", "the clock has not been measured yet"),)
)


def judge(readings: Readings, limits: Limits) -> ClockState:
    """Decide what is known of the clock."""
    servers = tuple(_checked(server, limits) for server in readings.servers)
    counted = [server for server in servers if server.fault is None]
    reasons = list(_against_daemon(readings.daemon, limits))
    offset_us = None
    if len(servers) < LEAST_SERVERS:
        reasons.append(
            Reason("too-few-servers", "", "fewer than two time servers are configured: name them in clock.servers")
        )
    elif len(counted) < LEAST_SERVERS:
        reasons += [server.fault for server in servers if server.fault is not None]
    else:
        median_us = _median_us(counted)
        agreeing = [s for s in counted if _apart_us(s, median_us) <= limits.max_offset_us]
        if 2 * len(agreeing) <= len(counted):
            reasons.append(_disagreement(counted))
        else:
            offset_us = median_us
            servers = tuple(_marked(server, median_us, limits) for server in servers)
            if abs(offset_us) > limits.max_offset_us:
                reasons.append(_too_far(offset_us, limits))
    return ClockState(
        status=_status(reasons),
        stratum=_stratum(readings.daemon, servers),
        offset_us=offset_us,
        servers=servers,
        daemon=readings.daemon,
        reasons=tuple(reasons),
    )


def _status(reasons: Sequence[Reason]) -> Status:
    if not reasons:
        return "good"
    return "bad" if any(reason.cause in _SPEAK_AGAINST for reason in reasons) else "unknown"


def _checked(server: ServerReading, limits: Limits) -> ServerReading:
    """Give the reading with a fault where this server cannot be counted."""
    if server.fault is not None:
        return server
    if server.stratum is None or server.offset_us is None or server.delay_us is None:
        return _faulty(server, "unusable", "says too little")
    if server.stratum > limits.max_stratum:
        return _faulty(server, "stratum", f"is at stratum {server.stratum}, at most {limits.max_stratum} is permitted")
    if server.delay_us > 2 * limits.max_offset_us:
        # Half the round trip is how wrong the offset may be: it could hide a difference of more than is permitted.
        return _faulty(server, "unusable", f"took {_ms(server.delay_us)} to answer: too long to tell the time by it")
    return server


def _marked(server: ServerReading, median_us: int, limits: Limits) -> ServerReading:
    """Give the reading with a fault where the majority stands elsewhere."""
    if server.fault is not None or _apart_us(server, median_us) <= limits.max_offset_us:
        return server
    return _faulty(server, "disagreement", f"is {_ms(_apart_us(server, median_us))} away from the others")


def _faulty(server: ServerReading, cause: Cause, what: str) -> ServerReading:
    fault = Reason(cause, server.name, f"time server {server.name} {what}")
    return msgspec.structs.replace(server, fault=fault)


def _against_daemon(daemon: DaemonReading | None, limits: Limits) -> Sequence[Reason]:
    if daemon is None:
        return ()
    if daemon.fault is not None:
        return (daemon.fault,)
    if daemon.stratum is None or daemon.stratum > limits.max_stratum:
        said = f"{daemon.name} follows a source at stratum {daemon.stratum}, at most {limits.max_stratum} is permitted"
        return (Reason("stratum", daemon.name, said),)
    return ()


def _stratum(daemon: DaemonReading | None, servers: Sequence[ServerReading]) -> int | None:
    if daemon is not None:
        return daemon.stratum
    counted = [s.stratum for s in servers if s.fault is None and s.stratum is not None]
    reported = [s.stratum for s in servers if s.stratum is not None]
    if len(counted) >= LEAST_SERVERS:
        return max(counted)
    return min(reported) if reported else None


def _median_us(counted: Sequence[ServerReading]) -> int:
    """Give the middle offset; of two in the middle the one that says worse of our clock."""
    offsets = sorted(server.offset_us or 0 for server in counted)
    return max(offsets[(len(offsets) - 1) // 2 : len(offsets) // 2 + 1], key=abs)


def _apart_us(server: ServerReading, offset_us: int) -> int:
    return abs((server.offset_us or 0) - offset_us)


def _disagreement(counted: Sequence[ServerReading]) -> Reason:
    said = ", ".join(f"{server.name} {server.offset_us or 0:+d} us" for server in counted)
    return Reason("disagreement", "", f"the time servers disagree and no majority can be believed: {said}")


def _too_far(offset_us: int, limits: Limits) -> Reason:
    way = "behind" if offset_us > 0 else "ahead of"
    permitted = _ms(limits.max_offset_us)
    said = f"this machine's clock is {_ms(abs(offset_us))} {way} its time servers, at most {permitted} is permitted"
    return Reason("offset", "", said)


def _ms(us: int) -> str:
    return f"{us / 1000:.1f} ms"
