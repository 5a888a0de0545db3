"""`minispine report throughput`: how many requests were answered on each day, and in which hour most (SMSP-PERF-002).

There are only counts in it and nothing of patients, so that, unlike a look at the audit trail, reading it is not
recorded there.
"""

import csv
import datetime
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

from cyclopts import Parameter

from minispine.audit.export.csv import harmless
from minispine.audit.words import UK
from minispine.cli.errors import Mistaken
from minispine.cli.output import table
from minispine.cli.trail import CONFIG, now_us, opened
from minispine.cli.values import unknown
from minispine.provider.throughput import HOUR_US, DayCount, Dimension, by_day, counted

DIMENSIONS: Final[tuple[Dimension, ...]] = get_args(Dimension)
_DAY: Final = datetime.timedelta(days=1)
_DAYS: Final = 30
_EARLIEST: Final = datetime.date(1970, 1, 2)
_LATEST: Final = datetime.date(9999, 12, 30)


Form = Annotated[Literal["table", "csv", "json"], Parameter(name=("--format", "--form"))]


def throughput(
    *, from_: str | None = None, to: str | None = None, by: str = "", form: Form = "table", config: Path = CONFIG
) -> None:
    """Tell how many requests were answered on each day, and in which hour most of them (SMSP-PERF-002).

    Every request of an identified client counts, whatever it was answered. Days and hours are those of the United
    Kingdom; on the days on which the clocks change they have 23 and 25 hours. Without --by there is a line for each
    day, also where nothing was asked; with it one for each day and what was found. Of the running day it tells what
    has been counted, but for the last ten seconds or so.

    There is nothing of patients in it, so that reading it leaves no entry in the audit trail. docs/budget.md has the
    steps by which a request of NHS England for these figures is answered.

    Args:
        from_: The first day, such as 2026-03-01; 30 days up to the last one when left out.
        to: The last day; today when left out.
        by: What to tell apart, with commas between: service, operation, organisation, lane, outcome. The outcome is
            the response code, or the number of the fault.
        form: table to read, csv for a spreadsheet, json for a program. CSV and JSON have the peak hour in UTC, too.
        config: The provider's configuration, which says where the counts are.
    """
    told_apart = _dimensions(by)
    today = _uk_day(now_us() // HOUR_US)
    last = _day(to) if to is not None else today
    first = _day(from_) if from_ is not None else last - (_DAYS - 1) * _DAY
    if first > last:
        raise Mistaken(f"--from {first} is after --to {last}")
    with opened(config) as trail:
        hours = counted(trail.database, first_hour=_first_hour(first), end_hour=_first_hour(last + _DAY), by=told_apart)
        days = by_day(hours, _uk_day)
    if not told_apart:
        days = list(_with_empty_days(days, first, min(last, today)))
    _FORMS[form](days, told_apart)
    if not any(day.total for day in days):
        print("minispine: no request was counted on these days", file=sys.stderr)
    if first <= today <= last:
        print(f"minispine: {today} is not over yet", file=sys.stderr)


def _dimensions(by: str) -> tuple[Dimension, ...]:
    named = [name.strip() for name in by.split(",")] if by.strip() else []
    for name in named:
        if name not in DIMENSIONS:
            raise unknown("way to tell requests apart", name, DIMENSIONS)
    return tuple(name for name in DIMENSIONS if name in named)


def _day(text: str) -> datetime.date:
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        raise Mistaken(f"{text!r} is not a day such as 2026-03-01") from None
    if not _EARLIEST <= day <= _LATEST:
        raise Mistaken(f"{text!r} is further away than days go here")
    return day


def _first_hour(day: datetime.date) -> int:
    """Give the hour since 1970 with which a day begins in the United Kingdom."""
    return int(datetime.datetime.combine(day, datetime.time(), UK).timestamp()) * 1_000_000 // HOUR_US


def _uk_day(hour: int) -> datetime.date:
    return _moment(hour).date()


def _moment(hour: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(hour * HOUR_US // 1_000_000, UK)


def _with_empty_days(days: list[DayCount], first: datetime.date, last: datetime.date) -> Iterator[DayCount]:
    found = {day.day: day for day in days}
    for number in range((last - first).days + 1):
        day = first + number * _DAY
        yield found.get(day) or DayCount(day=day, group=(), total=0, peak_hour=None, peak_count=0)


def _peak(day: DayCount) -> tuple[str, str]:
    """Give the hour with the most requests, by the clock on the wall and in UTC."""
    if day.peak_hour is None:
        return "", ""
    peak = _moment(day.peak_hour)
    return f"{peak:%H:%M}", f"{peak.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"


def _print_table(days: list[DayCount], by: tuple[Dimension, ...]) -> None:
    rows = []
    for day in days:
        peak = "" if day.peak_hour is None else f"{_moment(day.peak_hour):%H:%M %Z}"
        rows.append([str(day.day), *(word or "-" for word in day.group), str(day.total), peak, str(day.peak_count)])
    table(("day", *by, "total", "peak hour from", "in that hour"), rows)


def _print_csv(days: list[DayCount], by: tuple[Dimension, ...]) -> None:
    out = csv.writer(sys.stdout, lineterminator="\r\n")
    out.writerow(("day", *by, "total", "peak_hour", "peak_hour_utc", "peak_hour_count"))
    for day in days:
        out.writerow((day.day, *map(harmless, day.group), day.total, *_peak(day), day.peak_count))


def _print_json(days: list[DayCount], by: tuple[Dimension, ...]) -> None:
    found = []
    for day in days:
        peak, peak_utc = _peak(day)
        found.append(
            {
                "day": str(day.day),
                **dict[str, str](zip(by, day.group, strict=True)),
                "total": day.total,
                "peak_hour": peak or None,
                "peak_hour_utc": peak_utc or None,
                "peak_hour_count": day.peak_count,
            }
        )
    print(json.dumps({"zone": UK.key, "by": by, "days": found}))


_FORMS: Final = {"table": _print_table, "csv": _print_csv, "json": _print_json}
