"""Standard output whose failure can be told from any other: what a command could not say is nobody's mistake."""

import io
import os
import sys
from typing import TextIO


class OutputFailed(OSError):
    """Standard output did not take what was written to it: the disk is full, or it was closed."""


class _Output(io.FileIO):
    """The file under standard output. That a reader has gone is no failure, and stays a `BrokenPipeError`."""

    def write(self, content: object, /) -> int:
        try:
            return super().write(content)  # type: ignore[arg-type]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputFailed(error.errno, error.strerror) from None


def name_failures() -> None:
    """Have writing to standard output raise `OutputFailed` from now on, in this process."""
    if sys.stdout is None:
        return
    encoding, errors = sys.stdout.encoding, sys.stdout.errors
    raw = _Output(sys.stdout.fileno(), "wb", closefd=False)
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=raw.isatty())


def give_up(stream: TextIO) -> None:
    """Have what is still to be written to a stream go nowhere, because the interpreter would try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
