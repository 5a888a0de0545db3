"""What a provider does about its clock: measures it again and again, records each change, says whether it is ready.

What the clock is measured by, and what is made of that, is in ``spine/clock``. An unfit clock keeps the provider from
being *ready*, not from answering: see docs/time.md.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

from minispine.audit.events import Entry, Event, EventType
from minispine.config.settings import Clock
from minispine.observe import metrics
from minispine.observe.log import LogEvent, log
from minispine.spine.clock import NOT_MEASURED, Cause, ClockPort, ClockState, Limits, judge

AGAIN_S: Final = 16.0
"""A clock that is not known to be right is measured again after this long, where the interval is not shorter."""
_STALE_AFTER: Final = 4
"""A measurement older than so many intervals says nothing any more."""
_MEASURING_TIMEOUTS: Final = 5
"""A measurement takes less than so many times `clock.timeout_s`: a look-up of the name, and three questions."""
_UNSYNCHRONISED: Final = 16
"""What NTP has for the stratum of a clock that follows nothing."""
_REMEDIES: Final[dict[Cause, str]] = {
    "unusable": "name another in clock.servers",
    "unsynchronised": "name another, or give the daemon a source that is",
    "stratum": "take the time from a source nearer to the origin",
    "offset": "have it set by chrony or systemd-timesyncd",
    "disagreement": "name a third one, or more, in clock.servers",
}
"""What to do about a cause whose words do not say it already."""


class ClockWatch:
    """One worker's knowledge of its machine's clock (SMSP-AUDIT-010 a).

    `record` takes an entry for the audit log and sees to it that it is written, now or when the log is back. `now`
    gives UTC microseconds since 1970, `monotonic` and `sleep` seconds.
    """

    def __init__(
        self,
        settings: Clock,
        port: ClockPort,
        *,
        record: Callable[[Entry], Awaitable[None]],
        now: Callable[[], int],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.state = NOT_MEASURED
        self._settings = settings
        self._limits = Limits(max_stratum=settings.max_stratum, max_offset_us=settings.max_offset_ms * 1000)
        self._port = port
        self._record = record
        self._now = now
        self._monotonic = monotonic
        self._sleep = sleep
        self._measured_s: float | None = None

    async def watch(self) -> None:
        """Measure for as long as the worker serves; sooner again while the clock is not known to be right."""
        while True:
            await self.measure()
            interval_s = self._settings.interval_s
            await self._sleep(interval_s if self.state.status == "good" else min(interval_s, AGAIN_S))

    async def measure(self) -> None:
        """Measure once, and record what was found where it is not what was found before."""
        found = judge(await self._port.read(), self._limits)
        before, self.state = self.state, found
        self._measured_s = self._monotonic()
        metrics.CLOCK_GOOD.set(found.status == "good")
        metrics.CLOCK_STRATUM.set(_UNSYNCHRONISED if found.stratum is None else found.stratum)
        metrics.CLOCK_OFFSET_SECONDS.set(math.nan if found.offset_us is None else found.offset_us / 1_000_000)
        if (found.status, found.causes) != (before.status, before.causes):
            _say(found)
            event = Event(type=EventType.CLOCK_STATE, at=self._now(), data=self._told(found))
            await self._record(Entry(events=(event,)))

    def reasons(self) -> list[str]:
        """Say what keeps the provider from being ready: nothing where the clock is only observed."""
        if self._settings.policy == "observe":
            return []
        return [f"the clock is not known to be right: {why}" for why in self._against()]

    def warnings(self) -> list[str]:
        """Say what somebody should look at: that the clock is only observed, and servers that are not counted."""
        found = [
            f"not counted: {server.fault.text}"
            for server in self.state.servers
            if server.fault is not None and server.fault not in self.state.reasons
        ]
        if self._settings.policy == "observe":
            against = "; ".join(self._against()) or "it is right"
            found.insert(0, f'the clock is only observed (clock.policy = "observe"): {against}')
        return found

    def _against(self) -> list[str]:
        if self._measured_s is not None:
            age_s = self._monotonic() - self._measured_s
            if age_s > _STALE_AFTER * self._settings.interval_s + _MEASURING_TIMEOUTS * self._settings.timeout_s:
                return [f"it was last measured {age_s:.0f} s ago"]
        return [
            f"{reason.text}; {_REMEDIES[reason.cause]} (docs/time.md)" if reason.cause in _REMEDIES else reason.text
            for reason in self.state.reasons
        ]

    def _told(self, state: ClockState) -> dict[str, Any]:
        """Give the data of a `clock.state` event. Offsets are what would have to be added to our clock."""
        daemon = state.daemon
        return {
            "state": state.status,
            "policy": self._settings.policy,
            "source": self._settings.source,
            "follows": daemon.follows if daemon is not None else None,
            "stratum": state.stratum,
            "offset_us": state.offset_us,
            "servers": [
                {
                    "name": server.name,
                    "stratum": server.stratum,
                    "offset_us": server.offset_us,
                    "fault": server.fault.text if server.fault is not None else None,
                }
                for server in state.servers
            ],
            "reasons": [reason.text for reason in state.reasons],
        }


def _say(state: ClockState) -> None:
    if state.status == "good":
        log(LogEvent.CLOCK_RIGHT, stratum=state.stratum, offset_us=state.offset_us)
        return
    why = "; ".join(reason.text for reason in state.reasons)
    log(LogEvent.CLOCK_NOT_RIGHT, state=state.status, stratum=state.stratum, offset_us=state.offset_us, why=why)
