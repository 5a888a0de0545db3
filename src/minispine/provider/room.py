"""How much room is left where the audit log is kept: said early, and acted on while refusals can still be recorded.

A disk that runs full stops everything at once, with the last record perhaps half told. So the free space is measured
again and again: below `storage.warn_free` somebody is told, below `storage.refuse_free` requests get the retryable
fault, each with its record, for which the rest of the room is kept.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Literal

from minispine.config.settings import Storage
from minispine.observe import metrics
from minispine.observe.log import LogEvent, log
from minispine.storage.disk import Statvfs, space

LOOK_S: Final = 5.0
"""How often it is measured: in that time nothing near a twentieth of a disk is written."""
RETRY_AFTER_S: Final = 60
_MORE: Final = 0.005
"""So much more has to be free before a state is left for a better one, so that it does not come and go."""

State = Literal["enough", "low", "none", "unknown"]
_LINES: Final = {"enough": LogEvent.ROOM_ENOUGH, "low": LogEvent.ROOM_LOW, "none": LogEvent.ROOM_NONE}


class Room:
    """One worker's knowledge of the free space. `statvfs` is the system call; `sleep` takes seconds."""

    def __init__(
        self,
        settings: Storage,
        folder: Path | None,
        *,
        statvfs: Statvfs = os.statvfs,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._place = folder or settings.volume
        self._statvfs = statvfs
        self._sleep = sleep
        self._free: float | None = None
        self.state: State = "unknown"

    def has_some(self) -> bool:
        """Whether there is room for new work; where nobody can tell, there is."""
        return self.state != "none"

    async def watch(self) -> None:
        """Measure for as long as the worker serves."""
        while True:
            await asyncio.to_thread(self.measure)
            await self._sleep(LOOK_S)

    def measure(self) -> None:
        """Measure once, and say so where the state is another."""
        before, self._free = self.state, self._measured()
        if self._free is None:
            self.state = "unknown"
            return
        metrics.STORAGE_FREE.set(self._free)
        if self._free < self._settings.refuse_free + (_MORE if before == "none" else 0):
            self.state = "none"
        else:
            worse = before in ("none", "low")
            self.state = "low" if self._free < self._settings.warn_free + (_MORE if worse else 0) else "enough"
        if self.state != before and (before, self.state) != ("unknown", "enough"):
            log(_LINES[self.state], place=str(self._place), free_percent=round(self._free * 100, 1))

    def reasons(self) -> list[str]:
        """Say what keeps the provider from being ready: that it refuses everything."""
        if self.state != "none" or self._free is None:
            return []
        return [f"{self._shown()}: requests are refused until there is more than {self._settings.refuse_free:.0%}"]

    def warnings(self) -> list[str]:
        """Say what somebody should see to."""
        if self._place is None:
            return ["how much room the database has is not known: name its volume in storage.volume, if it is here"]
        if self.state == "unknown":
            return [f"how much room is left in {self._place} cannot be measured"]
        if self.state == "low":
            return [f"{self._shown()}; below {self._settings.refuse_free:.0%} requests are refused (docs/retention.md)"]
        return []

    def _shown(self) -> str:
        assert self._free is not None
        return f"only {self._free:.1%} of {self._place} is free"

    def _measured(self) -> float | None:
        """The part of the file system that is free to us."""
        if self._place is None:
            return None
        found = space(self._place, self._statvfs)
        return None if found is None else found.share
