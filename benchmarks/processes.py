"""The processes that benchmarks measure: started like a user starts them, their CPU read from the system's accounts."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
AMPLE_PER_S = "10000"
"""A budget of calls to Spine that keeps nothing waiting."""


def cpu_us(*pids: int) -> float:
    """The CPU time that processes have used so far, all their threads, user and system, in microseconds."""
    total = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) * _TICK_US
    return total


def main_threads_us(*pids: int) -> float:
    """The part of it that the processes' main threads used, in microseconds."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1000


@contextlib.contextmanager
def demonstration(*options: str) -> Iterator[dict[str, Any]]:
    """A whole demonstration (provider, simulated Spine, registered client), as described by its demo.json."""
    with tempfile.TemporaryDirectory(prefix="minispine-bench-") as folder:
        described = Path(folder, "demo.json")
        process = subprocess.Popen(
            [sys.executable, "-m", "minispine", "demo", "--data", folder, "--per-second", AMPLE_PER_S, *options],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            while not described.exists():
                if process.poll() is not None:
                    raise SystemExit("the demonstration did not start")
                time.sleep(0.1)
            yield json.loads(described.read_text())
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def fetch(url: str) -> bytes:
    """GET a loopback address."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        content: bytes = answer.read()
    return content
