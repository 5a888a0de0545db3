"""How many calls a national service is given at once: as many as it answers in its usual time, found out by trying.

Nothing here reads a clock: moments are handed in, in seconds of any clock that does not go backwards.
"""

import math
from typing import Final

START: Final = 16
SLOW_FACTOR: Final = 3.0
SLOW_S: Final = 0.1
"""Answers are slow when of late they take so many times as long as usual, and so much longer."""
_EASED: Final = 0.9
_LATE: Final = 0.1
_DOWN: Final = 0.1
_UP_S: Final = 30.0
"""How soon what is usual follows answers that take longer: a service that has become slower is not held back for it."""


class Concurrency:
    """A limit of calls in flight: one more where all of it was used and went well, half of it after a failure.

    A limit's worth of successes raises it by one, if calls were as many as permitted. Until the first failure, or the
    first time that answers have become slow, it doubles it, so that a worker that has just begun is soon as fast as the
    service. A failure halves it, and answers that have become slow bring it down by a tenth, though never below what it
    began with: a service that is only slow needs more calls at once and not fewer to use up its budget. Either happens
    at most once in the time of an answer, and not for a call that left before it last happened.

    Invariant: the limit is never below 1 and never above `most`.
    """

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._start = float(min(START, most))
        self._limit = self._start
        self._usual_s: float | None = None
        self._late_s = 0.0
        self._heard_s = 0.0
        self._lowered_s = -math.inf
        self._starting = True

    @property
    def limit(self) -> int:
        """How many calls there may be at once."""
        return int(self._limit)

    def succeeded(self, *, left_s: float, now_s: float, in_flight: int) -> None:
        """Count an answer to a call that left at `left_s`; `in_flight` were under way until now, this one included."""
        took_s = max(0.0, now_s - left_s)
        usual_s = self._learn(took_s, now_s)
        if self._late_s > SLOW_FACTOR * usual_s and self._late_s > usual_s + SLOW_S:
            self._lower(max(min(self._limit, self._start), self._limit * _EASED), left_s, now_s)
        elif in_flight >= self.limit:
            self._limit = min(self._most, self._limit + (1 if self._starting else 1 / self._limit))

    def failed(self, *, left_s: float, now_s: float) -> None:
        """Count a call that left at `left_s` and was not answered as it should have been."""
        self._lower(max(1.0, self._limit / 2), left_s, now_s)

    def _learn(self, took_s: float, now_s: float) -> float:
        if self._usual_s is None:
            self._usual_s = self._late_s = took_s
        elif took_s < self._usual_s:
            self._usual_s += _DOWN * (took_s - self._usual_s)
        else:
            self._usual_s += min(1.0, max(0.0, now_s - self._heard_s) / _UP_S) * (took_s - self._usual_s)
        self._late_s += _LATE * (took_s - self._late_s)
        self._heard_s = now_s
        return self._usual_s

    def _lower(self, limit: float, left_s: float, now_s: float) -> None:
        self._starting = False
        if left_s >= self._lowered_s and now_s >= self._lowered_s + (self._usual_s or 0.0):
            self._limit = limit
            self._lowered_s = now_s
