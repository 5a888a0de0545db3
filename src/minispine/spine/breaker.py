"""A breaker: stops asking a service that has failed several times running, and tries it again one call at a time.

States and moves:

====== ===================================================== ====================================================
state  what happens                                          then
====== ===================================================== ====================================================
closed a call fails, the n-th running                        open
closed a call fails, at least the second running, and the    open: where little is asked, n failures would take
       first of them was `SLOW_S` ago or longer              too long
closed any other call fails                                  closed, one more is counted
closed a call succeeds                                       closed, the count is nought again
open   the time is up and a call asks to be let through      trying, that call is the trial
trying the trial succeeds                                    closed, the count is nought, the time is the first again
trying the trial fails                                       open, for twice the time, up to `LONGEST_S`
trying the trial is given up without a result                open, but the next call may be the trial at once
====== ===================================================== ====================================================

A call that was let through before the breaker opened has no say any more. No clock is read: the time, in seconds of
any clock that does not go backwards, is handed in.
"""

from typing import Final, Literal

import msgspec

from minispine.spine.ports import CallResult

State = Literal["closed", "open", "trying"]

SLOW_S: Final = 15.0
LONGEST_S: Final = 10.0
"""Longer would keep people waiting for a service that is back; a trial costs one of them a time-out at the most."""


class Permit(msgspec.Struct, frozen=True):
    """Leave to make one call, to be handed back with its result; `opened` counts how often the breaker had opened."""

    opened: int
    trial: bool


class Breaker:
    """The state of one breaker. `failures` running open it; it stays open for `open_s` seconds, longer each time that
    its trial fails.
    """

    def __init__(self, *, failures: int, open_s: float) -> None:
        self._limit = failures
        self._open_s = open_s
        self._state: State = "closed"
        self._running = 0
        self._first_at = 0.0
        """When the first of the failures running was."""
        self._opened = 0
        self._open_until = 0.0
        self._next_open_s = open_s

    @property
    def state(self) -> State:
        """The state as of the last call or result."""
        return self._state

    def shut(self, now: float) -> bool:
        """Whether nothing is let through, not even a trial, because the time is not up."""
        return self._state == "open" and now < self._open_until

    def permit(self, now: float) -> Permit | None:
        """Let a call through, or not. To be asked for when the call could leave at once: a trial that waits for
        something of ours would keep everybody else out.
        """
        if self._state == "closed":
            return Permit(self._opened, trial=False)
        if self._state == "open" and now >= self._open_until:
            self._state = "trying"
            return Permit(self._opened, trial=True)
        return None

    def holds(self, permit: Permit) -> bool:
        """Whether the result of a call still has a say: the breaker has not opened since it was let through."""
        return permit.opened == self._opened

    def settle(self, permit: Permit, result: CallResult, now: float) -> None:
        """Take the result of a call that was let through; each permit is settled once."""
        if not self.holds(permit):
            return
        if result == "succeeded":
            self._state = "closed"
            self._running = 0
            self._next_open_s = self._open_s
        elif permit.trial and result == "given up":
            self._state = "open"
        elif result == "failed":
            self._running += 1
            if self._running == 1:
                self._first_at = now
            slow = now - self._first_at >= SLOW_S
            if permit.trial or slow or self._running >= self._limit:
                self._open(now)

    def _open(self, now: float) -> None:
        self._state = "open"
        self._running = 0
        self._opened += 1
        self._open_until = now + self._next_open_s
        self._next_open_s = max(self._open_s, min(2 * self._next_open_s, LONGEST_S))
