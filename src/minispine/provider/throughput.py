"""How many requests were answered: counted by the hour, kept for years, told by the day (SMSP-PERF-002).

A worker counts in memory and adds what it has counted to the table `throughput_hour` every few seconds; the rows are
those of all workers together. What is counted is what a request was, never whom it was about: the words that get in
here are checked against what can stand in such a place. The report is `minispine report throughput`.
"""

import asyncio
import datetime
import random
import re
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from minispine.domain.lanes import LANES
from minispine.domain.nhs_number import is_valid
from minispine.domain.operations import Operation
from minispine.domain.organisation import is_ods_code
from minispine.observe import metrics
from minispine.storage import ConnectionLost, Database, StorageError, Store

HOUR_US: Final = 3_600_000_000
MEASURE_S: Final = 1.0
WRITE_S: Final = 10.0
"""About how often a worker writes what it has counted: what a worker that is killed has not written, is not counted."""
MOST_KEYS: Final = 20_000
"""How many different counts a worker holds at most; beyond them organisations are no longer told apart."""
OTHER: Final = "other"
"""What stands in the place of a word that cannot be one of those that are counted by."""

_JITTER: Final = 0.2
_TICK_US: Final = 100_000
_TICKS: Final = 600
"""The last minute is counted in tenths of a second."""
_OUTCOME: Final = re.compile(r"[A-Z]{2,10}-[0-9]{4}|[a-z][a-z-]{0,30}(-[0-9]{4})?")
_OPERATIONS: Final = frozenset(operation.value for operation in Operation)
_UNKNOWN: Final = ("", "unknown")

_ADD: Final = (
    "INSERT INTO throughput_hour (hour, operation, organisation, lane, outcome, count) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (hour, operation, organisation, lane, outcome)"
    " DO UPDATE SET count = throughput_hour.count + excluded.count"
)

_Key = tuple[int, str, str, str, str]
Dimension = Literal["service", "operation", "organisation", "lane", "outcome"]


class Throughput:
    """What one worker counts of the requests that it answered.

    `now` gives UTC microseconds since 1970, `sleep` waits some seconds, `draw` gives a number from 0 up to 1, by which
    the workers do not all write at the same moment.
    """

    def __init__(
        self,
        database: Database,
        *,
        now: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._now = now
        self._sleep = sleep
        self._draw = draw
        self._counted: dict[_Key, int] = {}
        self._being_written: dict[_Key, int] = {}
        self._ticks: dict[int, int] = {}
        self._counting = threading.Lock()
        self._writing = threading.Lock()
        self._hindered: str | None = None

    def count(self, *, operation: str, organisation: str, lane: str, outcome: str) -> None:
        """Count one request that was answered now. No I/O; never raises for what it is given.

        `operation` is ``unknown`` where it was not understood; `organisation` (an ODS code) and `lane` are empty where
        there is none. `outcome` is the response code, ``fault-2100`` for a fault of that number, or a word in small
        letters. Give the organisation only of a request whose client is registered for it: its number is then
        that of the registrations, not what a peer can think of.
        """
        now = self._now()
        key = (now // HOUR_US, operation, organisation, lane, outcome)
        tick = now // _TICK_US
        with self._counting:
            self._ticks[tick] = self._ticks.get(tick, 0) + 1
            if key not in self._counted:
                key = self._admitted(key)
            self._counted[key] = self._counted.get(key, 0) + 1

    def warnings(self) -> list[str]:
        """Say what somebody should look at."""
        if self._hindered is None:
            return []
        return [f"the throughput cannot be written and is kept in memory: {self._hindered}"]

    async def watch(self) -> None:
        """Measure the last minute every second, and write what was counted about every ten, for as long as it runs."""
        async with asyncio.TaskGroup() as watches:
            watches.create_task(self._watch_last_minute())
            watches.create_task(self._watch_writing())

    def measure(self) -> int:
        """Give how many requests were answered in the last minute (SMSP-PERF-002 a), to a tenth of a second."""
        newest = self._now() // _TICK_US
        with self._counting:
            # A tick of the time to come is from before the clock was set back.
            self._ticks = {tick: n for tick, n in self._ticks.items() if newest - _TICKS < tick <= newest}
            found = sum(self._ticks.values())
        metrics.LAST_MINUTE.set(found)
        return found

    async def flush(self) -> None:
        """Write what was counted up to now. What cannot be written is kept for another time; nothing is raised."""
        await asyncio.to_thread(self._write)

    async def _watch_last_minute(self) -> None:
        while True:
            self.measure()
            await self._sleep(MEASURE_S)

    async def _watch_writing(self) -> None:
        while True:
            await self._sleep(WRITE_S * (1 + _JITTER * (2 * self._draw() - 1)))
            await self.flush()

    def _admitted(self, key: _Key) -> _Key:
        """Give a key that may be added to those that are held."""
        hour, operation, organisation, lane, outcome = key
        if operation not in _OPERATIONS and operation not in _UNKNOWN:
            operation = OTHER
        if lane and lane not in LANES:
            lane = OTHER
        if not _OUTCOME.fullmatch(outcome):
            outcome = OTHER
        full = len(self._counted) + len(self._being_written) >= MOST_KEYS
        if organisation and (full or not is_ods_code(organisation) or is_valid(organisation)):
            organisation = OTHER
        return hour, operation, organisation, lane, outcome

    def _write(self) -> None:
        """Add what was counted to the table in one transaction.

        Whole in one thread, so that it is carried through whatever becomes of the task that waits for it. Where the
        connection breaks while the transaction is committed, nobody knows whether it was: what was in it counts as
        written. Such a moment then tells of too few requests rather than of requests that never were.
        """
        with self._writing:
            with self._counting:
                taken = self._being_written = self._counted
                self._counted = {}
            if not taken:
                return
            # In one order in all workers, so that none waits for a row of another that waits for it.
            rows = [(*key, count) for key, count in sorted(taken.items())]
            committing = False
            try:
                with self._database.session(Store.REGISTRY) as session:
                    session.begin()
                    session.run_many(_ADD, rows)
                    committing = True
                    session.commit()
            except StorageError as error:
                self._hindered = str(error)
                self._settle(written=committing and isinstance(error, ConnectionLost))
            else:
                self._hindered = None
                self._settle(written=True)

    def _settle(self, *, written: bool) -> None:
        with self._counting:
            taken, self._being_written = self._being_written, {}
            for key, count in () if written else taken.items():
                self._counted[key] = self._counted.get(key, 0) + count


class HourCount(msgspec.Struct, frozen=True):
    """How many requests were answered in one hour (hours since 1970, UTC); `group` is what they have in common."""

    hour: int
    group: tuple[str, ...]
    count: int


class DayCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests were answered on one day, and in which hour most of them.

    `peak_hour` is in hours since 1970, the first of several that had as many; None where there were none at all.
    """

    day: datetime.date
    group: tuple[str, ...]
    total: int
    peak_hour: int | None
    peak_count: int


def counted(database: Database, *, first_hour: int, end_hour: int, by: Sequence[Dimension] = ()) -> Iterator[HourCount]:
    """Read the counts of the hours from `first_hour` up to and without `end_hour`, in their order.

    The requests of an hour are told apart by what `by` names. What workers have counted in the last seconds may not
    have been written yet. Raises `StorageUnavailable`.
    """
    columns = ["operation" if name == "service" else name for name in by]
    listed = ", ".join(dict.fromkeys(["hour", *columns]))
    sql = (
        f"SELECT {', '.join(['hour', *columns])}, CAST(SUM(count) AS BIGINT) FROM throughput_hour"  # noqa: S608  # names of columns
        f" WHERE hour >= ? AND hour < ? GROUP BY {listed} ORDER BY {listed}"
    )
    with database.reading(Store.REGISTRY) as session:
        for page in session.pages(sql, (first_hour, end_hour)):
            for hour, *group, count in page:
                named = (_service(word) if name == "service" else word for name, word in zip(by, group, strict=True))
                yield HourCount(hour, tuple(named), count)


def by_day(counts: Iterable[HourCount], day_of: Callable[[int], datetime.date]) -> list[DayCount]:
    """Sum up hours to days: for each day and group the total and the hour with the most (SMSP-PERF-002 b).

    `day_of` gives the day to which an hour belongs. Days without a request are not there.
    """
    hours: dict[tuple[datetime.date, tuple[str, ...]], dict[int, int]] = {}
    for one in counts:
        of_day = hours.setdefault((day_of(one.hour), one.group), {})
        of_day[one.hour] = of_day.get(one.hour, 0) + one.count
    found = []
    for (day, group), of_day in sorted(hours.items()):
        peak = min(of_day, key=lambda hour: (-of_day[hour], hour))
        found.append(
            DayCount(day=day, group=group, total=sum(of_day.values()), peak_hour=peak, peak_count=of_day[peak])
        )
    return found


def _service(operation: str) -> str:
    """Give the national service of an operation; one that is none has none."""
    return Operation(operation).national_service.value if operation in _OPERATIONS else operation
