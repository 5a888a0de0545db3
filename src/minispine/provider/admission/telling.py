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
    """The metrics of one service in one worker.

    Kept until they are told: `used` and `lost` count slots by ASID, and `waited_s` has how long each call waited for
    its own, by lane.
    """

    def __init__(self, service: NationalService) -> None:
        self._service = service
        self.used: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self._in_flight = metrics.IN_FLIGHT.labels(service)
        self._concurrency = metrics.CONCURRENCY.labels(service)
        self.waited_s: list[list[float]] = [[] for _ in LANES]
        self._limits: dict[str, float] = {}

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
            observe = metrics.slot_seconds(self._service, lane).observe
            for seconds in self.waited_s[number]:
                observe(seconds)
            self.waited_s[number].clear()

    def tell_limit(self, asid: str, per_second: float) -> None:
        """Tell the limit of an ASID that is in force."""
        if self._limits.get(asid) != per_second:
            self._limits[asid] = per_second
            metrics.BUDGET_PER_SECOND.labels(self._service, asid).set(per_second)
