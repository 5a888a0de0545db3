"""How much may be asked a second time: a part of what is asked the first time, and a little more.

Without such a bound a service that begins to fail is asked twice as often just then. No clock is read: the time, in
seconds of any clock that does not go backwards, is handed in.
"""

from typing import Final

RESERVE: Final = 3
"""So many may be repeated one after another after a quiet time."""
PER_REPEAT: Final = 10
"""So many first attempts earn one repeat."""
REFILL_S: Final = 20.0
"""So many seconds earn one repeat, so that one may be made where little is asked."""


class RetryBudget:
    """What one worker may repeat of its calls to one service.

    Invariant: while `n` first attempts are made in `t` seconds, no more than RESERVE + n / PER_REPEAT + t / REFILL_S
    repeats are permitted.
    """

    def __init__(self, now: float) -> None:
        self._earned: float = RESERVE * PER_REPEAT  # in first attempts
        self._as_of = now

    def asked(self) -> None:
        """Count a first attempt."""
        self._earn(1)

    def permit(self, now: float) -> bool:
        """Say whether one more call may be repeated, and count it if so."""
        self._earn((now - self._as_of) * PER_REPEAT / REFILL_S)
        self._as_of = now
        if self._earned < PER_REPEAT:
            return False
        self._earned -= PER_REPEAT
        return True

    def _earn(self, first_attempts: float) -> None:
        self._earned = min(RESERVE * PER_REPEAT, self._earned + first_attempts)
