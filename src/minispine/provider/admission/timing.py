"""Where the moments of the clock that all workers share are on this process's own, and how long a look takes.

Nothing here reads a clock.
"""

from typing import Final

from minispine.provider.admission.book import SECOND
from minispine.provider.admission.store import Reading

DRIFT: Final = 500e-6
"""How fast one clock may run against the other: as fast as a machine's clock is ever set right while it runs."""
LEAST_AHEAD_S: Final = 0.0005
MOST_AHEAD_S: Final = 0.015


class SharedClock:
    """What the shared clock's time is on our own, within bounds.

    Each reading bounds it: it was made after `before_s` and before `after_s`. The bounds of all readings hold together,
    each the wider the older it is. Where they cannot all be true one of the clocks was set, and only the last counts.
    """

    def __init__(self) -> None:
        self._known = False
        self._low_s = 0.0
        self._high_s = 0.0
        self._as_of_s = 0.0

    def learn(self, reading: Reading) -> None:
        """Take a reading into account."""
        low_s = reading.before_s - reading.now / SECOND
        high_s = reading.after_s - reading.now / SECOND
        if self._known:
            wider_s = DRIFT * max(0.0, reading.after_s - self._as_of_s)
            both = max(low_s, self._low_s - wider_s), min(high_s, self._high_s + wider_s)
            if both[0] <= both[1]:
                low_s, high_s = both
        self._known = True
        self._low_s, self._high_s, self._as_of_s = low_s, high_s, reading.after_s

    def earliest_s(self, instant: int) -> float:
        """Give the first moment of our clock at which a moment of the shared one can be."""
        return instant / SECOND + self._low_s

    def latest_s(self, instant: int) -> float:
        """Give the last one: by then it has come."""
        return instant / SECOND + self._high_s

    def shared(self, moment_s: float) -> int:
        """Give about what the shared clock says at a moment of ours, in microseconds."""
        return int((moment_s - (self._low_s + self._high_s) / 2) * SECOND)


class LookTime:
    """How long it takes from reading the shared clock until what was taken is at hand."""

    def __init__(self) -> None:
        self._mean_s = 0.002
        self._spread_s = 0.001

    def learn(self, took_s: float) -> None:
        """Count one look; one that took very long counts as the longest that is allowed for."""
        off_s = min(took_s, MOST_AHEAD_S) - self._mean_s
        self._mean_s += off_s / 8
        self._spread_s += (abs(off_s) - self._spread_s) / 4

    @property
    def ahead_us(self) -> int:
        """How far ahead a slot must be for its instant not to have passed before it is at hand, but for rare looks."""
        return int(max(LEAST_AHEAD_S, min(MOST_AHEAD_S, self._mean_s + 2 * self._spread_s)) * SECOND)
