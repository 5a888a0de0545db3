"""A line on standard error that says how far a command is, once it takes long enough for somebody to wonder."""

import sys
import time
from collections.abc import Callable
from typing import Final

_QUIET_S: Final = 2.0
_EVERY_S: Final = 0.5


class Progress:
    """Shown on a terminal only: what is piped elsewhere wants no line that moves. `text` makes the line of it."""

    def __init__(
        self, text: Callable[..., str], *, monotonic: Callable[[], float] = time.monotonic, shown: bool | None = None
    ) -> None:
        self._text = text
        self._monotonic = monotonic
        self._shown = sys.stderr.isatty() if shown is None else shown
        self._next_s = monotonic() + _QUIET_S
        self._told = False

    def at(self, *how_far: int) -> None:
        """So far it is."""
        if self._shown and (now_s := self._monotonic()) >= self._next_s:
            self._next_s = now_s + _EVERY_S
            self._told = True
            print(f"\r{self._text(*how_far)}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line, if there is something on it."""
        if self._told:
            self._told = False
            print(file=sys.stderr)


def of_records(done: int, records: int) -> str:
    """So many records of all."""
    return f"{done:,} of {records:,} records ({100 * done // max(1, records)} %)"
