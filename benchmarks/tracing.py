"""The system calls of running processes, in the order in which they happened, as strace sees them.

strace stops a process at the beginning and at the end of each call. What was caused by a call's end therefore comes
after that end in its output, whichever processes are concerned: an order that can be relied on, unlike times.
"""

import contextlib
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

WRITES: Final = frozenset({"pwrite64", "pwritev", "pwritev2", "write", "writev", "sendto", "sendmsg"})
FLUSHES: Final = frozenset({"fdatasync", "fsync"})

_ATTACH_S: Final = 20.0
_LONGEST: Final = 1 << 20
_NEVER: Final = 1 << 62
_LINE: Final = re.compile(r"(\d+) +(\d+)\.(\d{6}) (.*)\n?")
_CALL: Final = re.compile(r"(\w+)\(\d+<(.*?)>[,) ]")
_RESUMED: Final = re.compile(r"<\.\.\. \w+ resumed>")
_RESULT: Final = re.compile(r"= (-?\d+|\?)[^=]*$")
_STRING: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


class CannotTrace(Exception):
    """Why system calls cannot be traced here, in a sentence."""


class Call(msgspec.Struct):
    """One system call on a file or socket, `target`: a path, or ``TCP:[ours->theirs]``, or whatever strace calls it.

    `begun` and `ended` are its places in the order of everything; `at_us` is when it began, in UTC microseconds. What
    it wrote is `content`. `done` says that it succeeded; without an end it was under way when tracing ended.
    """

    thread: int
    at_us: int
    name: str
    target: str
    content: bytes
    begun: int
    ended: int = _NEVER
    done: bool = False

    @property
    def flushes(self) -> bool:
        """Whether it is a flush of a file."""
        return self.name in FLUSHES

    @property
    def writes(self) -> bool:
        """Whether it writes, or sends."""
        return self.name in WRITES


@contextlib.contextmanager
def traced(processes: Iterable[int], output: Path) -> Iterator[None]:
    """Trace what these processes, their threads and their children yet to come write and flush, into a file.

    Raises `CannotTrace`.
    """
    strace = shutil.which("strace")
    if strace is None:
        raise CannotTrace("strace is not installed (on Debian: apt-get install strace)")
    pids = list(processes)
    command = [strace, "-f", "-yy", "-ttt", "-xx", "-s", str(_LONGEST), "-e", "signal=none"]
    command += ["-e", f"trace={','.join(sorted(WRITES | FLUSHES))}", "-o", str(output)]
    for pid in pids:
        command += ["-p", str(pid)]
    with output.with_suffix(".said").open("w+") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        try:
            give_up_at = time.monotonic() + _ATTACH_S
            while not all(_is_traced(pid) for pid in pids):
                if process.poll() is not None or time.monotonic() > give_up_at:
                    said.seek(0)
                    raise CannotTrace(f"strace cannot attach: {(said.read().strip().splitlines() or ['no word'])[-1]}")
                time.sleep(0.01)
            yield
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)  # it lets go of the processes, which go on
            process.wait()


def _is_traced(pid: int) -> bool:
    """Whether every thread of a process is traced, or the process is gone."""
    try:
        return all(
            "\nTracerPid:\t0\n" not in status.read_text() for status in Path(f"/proc/{pid}/task").glob("*/status")
        )
    except OSError:
        return not Path(f"/proc/{pid}").exists()


def read_trace(output: Path) -> list[Call]:
    """The calls of a trace, in the order in which they began."""
    with output.open() as lines:
        return list(_calls(lines))


def _calls(lines: Iterable[str]) -> Iterator[Call]:
    under_way: dict[int, Call] = {}
    for place, line in enumerate(lines):
        parts = _LINE.fullmatch(line)
        if parts is None:
            continue
        thread, text = int(parts[1]), parts[4]
        if _RESUMED.match(text):
            if (call := under_way.pop(thread, None)) is not None:
                _end(call, text, place)
            continue
        what = _CALL.match(text)
        if what is None:
            continue
        at_us = int(parts[2]) * 1_000_000 + int(parts[3])
        content = b"".join(_plain(found) for found in _STRING.findall(text, what.end() - 1))
        call = Call(thread, at_us, what[1], _target(what[2]), content, begun=place)
        if text.endswith("<unfinished ...>"):
            under_way[thread] = call
        else:
            _end(call, text, place)
        yield call


def _end(call: Call, text: str, place: int) -> None:
    result = _RESULT.search(text)
    call.ended = place
    call.done = result is not None and result[1] not in ("-1", "?")


def _target(shown: str) -> str:
    """A path that strace shows in hexadecimal, as all strings; what stands for a socket is not."""
    return _plain(shown).decode(errors="replace") if shown.startswith("\\x") else shown


def _plain(shown: str) -> bytes:
    return bytes.fromhex(shown.replace("\\x", ""))
