"""What admission tells by metrics. A call only counts here; ten times a second all of it is passed on at once.

A metric that several processes share costs a write to a file in memory each time, and there would be six for each call.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from minispine.domain.lanes import LANES
from minispine.domain.operations import NationalService
from minispine.observe import metrics

TELL_EVERY_S: Final = 0.1
"""For how long what was counted may be kept back."""


class Telling:
    """The metrics of one service in one worker. `used` and `lost` count slots by ASID until they are told."""

    def __init__(self, service: NationalService) -> None:
        self._service = service
        self.used: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self._in_flight = metrics.IN_FLIGHT.labels(service)
        self._concurrency = metrics.CONCURRENCY.labels(service)
        self._seconds = [metrics.slot_seconds(service, lane) for lane in LANES]
        self._limits: dict[str, float] = {}

    def waited(self, lane: int, seconds: float) -> None:
        """Tell how long a call waited for its slot; `lane` is its place in `LANES`."""
        self._seconds[lane].observe(seconds)

    def tell(self, *, in_flight: int, concurrency: int, waiting: Mapping[int, int]) -> None:
        """Pass on what was counted, and how things are now; `waiting` is how many calls wait, by lane."""
        for result, slots in (("used", self.used), ("lost", self.lost)):
            for asid, count in slots.items():
                metrics.slots(self._service, asid, result).inc(count)
            slots.clear()
        self._in_flight.set(in_flight)
        self._concurrency.set(concurrency)
        for number, lane in enumerate(LANES):
            metrics.waiting(self._service, lane).set(waiting.get(number, 0))

    def tell_limit(self, asid: str, per_second: float) -> None:
        """Tell the limit of an ASID that is in force."""
        if self._limits.get(asid) != per_second:
            self._limits[asid] = per_second
            metrics.BUDGET_PER_SECOND.labels(self._service, asid).set(per_second)
