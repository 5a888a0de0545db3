"""A breaker: stops asking a service that has failed several times running, and tries it again one call at a time.

States and moves:

====== ================================================= =======
state  what happens                                      then
====== ================================================= =======
closed a call fails and is the n-th running              open
closed a call succeeds                                   closed, the count is nought again
open   the time is up and a call asks to be let through  trying, that call is the trial
trying the trial succeeds                                closed
trying the trial fails                                   open
trying the trial is given up without a result            open, but the next call may be the trial at once
====== ================================================= =======

A call that was let through before the breaker opened has no say any more. No clock is read: the time, in seconds of
any clock that does not go backwards, is handed in.
"""

from typing import Literal

import msgspec

State = Literal["closed", "open", "trying"]
Result = Literal["succeeded", "failed", "given up"]


class Permit(msgspec.Struct, frozen=True):
    """Leave to make one call, to be handed back with its result; `opened` counts how often the breaker had opened."""

    opened: int
    trial: bool


class Breaker:
    """The state of one breaker. `failures` running open it; it stays open for `open_s` seconds."""

    def __init__(self, *, failures: int, open_s: float) -> None:
        self._limit = failures
        self._open_s = open_s
        self._state: State = "closed"
        self._running = 0
        self._opened = 0
        self._open_until = 0.0

    @property
    def state(self) -> State:
        """The state as of the last call or result."""
        return self._state

    def permit(self, now: float) -> Permit | None:
        """Let a call through, or not."""
        if self._state == "closed":
            return Permit(self._opened, trial=False)
        if self._state == "open" and now >= self._open_until:
            self._state = "trying"
            return Permit(self._opened, trial=True)
        return None

    def settle(self, permit: Permit, result: Result, now: float) -> None:
        """Take the result of a call that was let through; each permit is settled once."""
        if permit.opened != self._opened:
            return
        if result == "succeeded":
            self._state = "closed"
            self._running = 0
        elif permit.trial and result == "given up":
            self._state = "open"
        elif result == "failed":
            self._running += 1
            if permit.trial or self._running >= self._limit:
                self._state = "open"
                self._running = 0
                self._opened += 1
                self._open_until = now + self._open_s
