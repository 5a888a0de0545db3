"""What chronyd says of the source it follows, by ``chronyc -c tracking``.

That command prints one line of fourteen values separated by commas: reference id (hex), reference name, stratum, time
of the last update, four offsets and frequencies, two errors of those, root delay and root dispersion (seconds), update
interval, leap status. Its stratum is this machine's own, one more than that of the source.
"""

from collections.abc import Sequence
from typing import Final

from minispine.spine.clock.command import CommandFailed, output
from minispine.spine.clock.port import Cause, DaemonReading, Reason

_NAME: Final = "chrony"
_VALUES: Final = 14
_SYNCHRONISED: Final = frozenset({"Normal", "Insert second", "Delete second"})
_OWN_CLOCK: Final = "7F7F0101"
"""The reference id by which chronyd says that it follows nothing but itself (its directive ``local``)."""
_MAX_DISTANCE_S: Final = 1.0
"""As for a server's answer: further than this from true time is not synchronised (RFC 5905, MAXDIST)."""


class Chrony:
    """`DaemonPort` over chronyc, which has `timeout_s` seconds. Any account may ask; `-n` spares a look-up of names."""

    def __init__(self, *, timeout_s: float, command: Sequence[str] = ("chronyc",)) -> None:
        self._command = (*command, "-n", "-c", "tracking")
        self._timeout_s = timeout_s

    async def read(self) -> DaemonReading:
        """Ask chronyd. Never raises for anything that it does."""
        try:
            return read_tracking(await output(self._command, timeout_s=self._timeout_s))
        except CommandFailed as failed:
            return _failed("silent", f"does not answer: {failed}; is chronyd running?")


def read_tracking(text: str) -> DaemonReading:
    """Read what ``chronyc -c tracking`` prints."""
    values = text.strip().split(",")
    try:
        if len(values) != _VALUES:
            raise ValueError
        stratum, distance_s = int(values[2]), float(values[10]) / 2 + float(values[11])
    except ValueError:
        return _failed("unusable", "says something that cannot be read")
    reference_id, follows, leap = values[0], values[1], values[13]
    if leap not in _SYNCHRONISED or stratum < 1 or reference_id == _OWN_CLOCK:
        return _failed("unsynchronised", "is not synchronised")
    if not distance_s <= _MAX_DISTANCE_S:
        return _failed("unsynchronised", "may itself be more than a second out: it has lost its source")
    return DaemonReading(name=_NAME, stratum=stratum - 1, follows=follows or reference_id)


def _failed(cause: Cause, what: str) -> DaemonReading:
    return DaemonReading(name=_NAME, fault=Reason(cause, _NAME, f"{_NAME} {what}"))
