"""The power-cut drill: is a record on disk before the first byte of what it is about leaves?

A power cut keeps what was flushed and may lose everything else. So for each exchange, one at a time, the flush that
covers its first record must have returned before the first byte of a question to Spine is handed to the kernel, and the
flush that covers its last record before the first byte of the reply. Records are recognised among the bytes that are
written by their hashes, which are in the log; TLS hides what is sent, but with one exchange at a time it can only be
that exchange's.
"""

import contextlib
import os
import re
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec
import psycopg
from tests.journeys.house import House, Spine

from benchmarks.load import renewed, templates
from benchmarks.reckoning import read_trail
from benchmarks.tracing import Call, CannotTrace, read_trace, traced
from benchmarks.witnesses import Told, read_reply
from minispine.storage import Database, Store

__all__ = ["CannotTrace", "Exchange", "Order", "judge", "trace_order"]

WARM_UP: Final = 10
"""Exchanges before tracing begins, so that every connection stands."""
CARELESS: Final = Path(__file__).parent / "careless"
_WAL_FRAME_HEADER: Final = 24
_WAL: Final = "/pg_wal/"
_COMMITTED: Final = b"COMMIT\0"
_LOCAL_SOCKET: Final = re.compile(r"UNIX[-A-Z]*:\[(\d+)->(\d+)")


class Exchange(msgspec.Struct, kw_only=True):
    """One exchange as it looks from outside and in the log.

    `since_us` and `until_us` enclose it (UTC microseconds); `asking` and `replying` are the hashes of the records that
    have to be on disk before Spine is asked and before the client is answered.
    """

    message_id: str
    since_us: int
    until_us: int
    asking: bytes
    replying: bytes


class Order(msgspec.Struct):
    """What came of one trace: exchanges checked, those in which something left too early, those not told apart."""

    checked: int = 0
    violations: list[str] = []
    not_told_apart: list[str] = []


class Flushing(Protocol):
    """How a database makes a commit durable, as it is seen in a trace."""

    def before(self, calls: Sequence[Call], digest: bytes, message: Call) -> bool | None:
        """Whether the flush that covers the record of this hash returned before a message was begun.

        `calls` begin where the exchange does. None where the record is not found.
        """
        ...


class SqliteFlushing:
    """SQLite in WAL mode: a commit is a run of frames, of which the last is marked, and a flush of the file.

    A frame is written as its header of 24 bytes and then its page; in the header of a commit's last frame the bytes 4
    to 8 hold the size of the database, in all others nought.
    """

    def before(self, calls: Sequence[Call], digest: bytes, message: Call) -> bool | None:
        """See `Flushing`."""
        wal = [call for call in calls if call.target.endswith("/audit.db-wal")]
        found = next((n for n, call in enumerate(wal) if call.writes and digest in call.content), None)
        if found is None:
            return None
        own = [call for call in wal[max(0, found - 1) :] if call.thread == wal[found].thread and call.writes]
        marked = next((n for n, call in enumerate(own) if _is_last_frame(call)), None)
        if marked is None or marked + 1 >= len(own):
            return False
        page = own[marked + 1]
        return any(c.flushes and c.done and c.begun > page.ended and c.ended < message.begun for c in wal)


def _is_last_frame(call: Call) -> bool:
    return len(call.content) == _WAL_FRAME_HEADER and call.content[4:8] != bytes(4)


class PostgresqlFlushing:
    """PostgreSQL: the provider sends the record, then commits; the server writes the WAL, flushes, says COMMIT."""

    def before(self, calls: Sequence[Call], digest: bytes, message: Call) -> bool | None:
        """See `Flushing`."""
        shown = digest.hex().encode()
        sent = next((c for c in calls if _ends(c) and (digest in c.content or shown in c.content)), None)
        if sent is None:
            return None
        after = [call for call in calls if call.begun >= sent.begun]
        there = (_ends(sent) or ())[::-1]
        confirmed = next((c for c in after if _ends(c) == there and _COMMITTED in c.content), None)
        if confirmed is None or confirmed.begun > message.begun:
            return False
        commit = next(c for c in reversed(after) if _ends(c) == _ends(sent) and c.begun < confirmed.begun)
        wal = [c for c in after if _WAL in c.target and commit.begun < c.begun < confirmed.begun]
        written = next((c for c in wal if c.writes), None)
        if written is None:
            return False
        return any(c.flushes and c.done and c.begun > written.ended and c.ended < confirmed.begun for c in wal)


def _ends(call: Call) -> tuple[str, ...] | None:
    """Ours and the other end of a local socket that is written to, None for anything else."""
    ends = _LOCAL_SOCKET.match(call.target) if call.writes else None
    return ends.groups() if ends else None


FLUSHING: Final[dict[str, Flushing]] = {"sqlite": SqliteFlushing(), "postgresql": PostgresqlFlushing()}


def judge(calls: Sequence[Call], exchanges: Sequence[Exchange], flushing: Flushing, ports: "Ports") -> Order:
    """Look for the flushes of each exchange; pure, so that it can be shown to see disorder."""
    order = Order()
    begun = [call.at_us for call in calls]
    for exchange in exchanges:
        # A careless server may write a record long after its exchange: it is looked for up to the end.
        since = calls[bisect_left(begun, exchange.since_us) :]
        within = since[: bisect_right(begun, exchange.until_us) - bisect_left(begun, exchange.since_us)]
        asked = next((c for c in within if c.writes and c.target.endswith(f":{ports.spine}]")), None)
        replied = next((c for c in within if c.writes and f":{ports.machines}->" in c.target), None)
        if asked is None or replied is None:
            order.not_told_apart.append(exchange.message_id)
            continue
        found = [
            flushing.before(since, exchange.asking, asked),
            flushing.before(since, exchange.replying, replied),
        ]
        if None in found:
            order.not_told_apart.append(exchange.message_id)
            continue
        order.checked += 1
        if not all(found):
            order.violations.append(exchange.message_id)
    return order


class Ports(msgspec.Struct, frozen=True):
    """By which sockets are known: the port the provider serves machines on, and the one that Spine has."""

    machines: int
    spine: int


def trace_order(house: House, spine: Spine, exchanges: int, *, flushing: bool = True) -> Order:
    """Start a provider of one worker, trace so many exchanges, stop it and judge.

    Without `flushing` the provider's commits wait for no disk, which has to show. Raises `CannotTrace`.
    """
    people = spine.people("plain", 50)
    url = house.settings["storage"]["url"]
    with _environment(flushing), house:
        house.start()
        assert house.process is not None
        asking = _Asking(house, people)
        for _ in range(WARM_UP):
            asking.ask()
        traces = [house.process.pid, *house.workers(), *_server_processes(url)]
        output = house.folder / "trace"
        with traced(traces, output):
            asked = [asking.ask() for _ in range(exchanges)]
        asking.close()
        ports = Ports(house.port, urlsplit(spine.url).port or 443)
        house.stop()
        calls = read_trace(output)
        output.unlink()
        kind = "postgresql" if url.startswith("postgres") else "sqlite"
        return judge(calls, list(_with_records(house, asked)), FLUSHING[kind], ports)


class _Asking:
    """One client that asks one question after another, and when."""

    def __init__(self, house: House, people: list[dict[str, Any]]) -> None:
        self._line = house.line()
        self._work = templates(people, "localhost")
        self._turn = 0

    def ask(self) -> tuple[Told, int, int]:
        """Ask, and give what was told, and the times (UTC microseconds) between which that was."""
        self._turn += 1
        message_id, body = renewed(self._work[self._turn % len(self._work)][1])
        since_us = _now_us()
        answer = self._line.ask(body)
        return read_reply(message_id, answer.body), since_us, _now_us()

    def close(self) -> None:
        self._line.socket.close()


def _with_records(house: House, asked: list[tuple[Told, int, int]]) -> Iterator[Exchange]:
    trail = read_trail(house)
    hashes = _hashes(house)
    for told, since_us, until_us in asked:
        last = trail.reply_to(told)
        first = trail.first.get(told.asked)
        assert told.code, f"a question got fault {told.fault}"
        assert first is not None
        assert last is not None
        assert first < last
        yield Exchange(
            message_id=told.asked,
            since_us=since_us,
            until_us=until_us,
            asking=hashes[first],
            replying=hashes[last],
        )


def _hashes(house: House) -> dict[int, bytes]:
    with Database.open(house.settings["storage"]["url"]) as database, database.reading(Store.AUDIT) as session:
        return {sequence: bytes(digest) for sequence, digest in session.rows("SELECT sequence, hash FROM audit_record")}


def _server_processes(url: str) -> list[int]:
    """The processes of a PostgreSQL server, of which the first is the parent of those yet to come."""
    if not url.startswith("postgres"):
        return []
    with psycopg.connect(url, autocommit=True) as connection:
        (folder,) = connection.execute("SHOW data_directory").fetchone() or ("",)
    parent = int(Path(folder, "postmaster.pid").read_text().split()[0])
    return [parent, *map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())]


@contextlib.contextmanager
def _environment(flushing: bool) -> Iterator[None]:
    """Processes that are started meanwhile flush, or do not."""
    before = os.environ.get("PYTHONPATH")
    if not flushing:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(CARELESS), before)))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = before


def _now_us() -> int:
    return time.time_ns() // 1000
