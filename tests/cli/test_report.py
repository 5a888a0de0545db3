"""The throughput of each day as a command tells it: days of the United Kingdom, in three forms."""

import asyncio
import csv
import datetime
import io
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from minispine.audit import reading
from minispine.cli import report
from minispine.provider.throughput import Throughput
from minispine.storage import Database
from tests.cli.conftest import Command, Ended

pytestmark = pytest.mark.usefixtures("begun")
UK = ZoneInfo("Europe/London")
NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=UK)
Count = Callable[..., None]


def us(moment: datetime.datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "now_us", lambda: us(NOW))


@pytest.fixture
def count(config: Path) -> Count:
    """Count requests of one moment, as a provider with this configuration would."""

    def run(moment: datetime.datetime, times: int = 1, **other: str) -> None:
        what = {"operation": "verifyNHSNumber", "organisation": "RXX", "lane": "attended", "outcome": "SMSP-0000"}
        with Database.open(f"sqlite:{config.parent}/data") as database:
            counting = Throughput(database, now=lambda: us(moment))
            for _ in range(times):
                counting.count(**what | other)
            asyncio.run(counting.flush())

    return run


@pytest.fixture
def told(minispine: Command, config: Path) -> Command:
    return lambda *options: minispine("report", "throughput", *options, "--config", config)


def rows(ended: Ended) -> list[dict[str, str]]:
    assert ended.code == 0, ended.err
    return list(csv.DictReader(io.StringIO(ended.out)))


@pytest.mark.requirement("SMSP-PERF-002", "b", "c")
def test_each_day_of_a_range_has_its_total_and_its_peak_hour(told: Command, count: Count) -> None:
    for hour, times in ((9, 10), (14, 25), (20, 5)):
        count(datetime.datetime(2026, 11, 19, hour, 59, 59, tzinfo=UK), times)
    count(datetime.datetime(2026, 11, 18, 23, 59, tzinfo=UK))
    count(datetime.datetime(2026, 11, 21, 0, 0, tzinfo=UK), 2)
    ended = told("--from", "2026-11-19", "--to", "2026-11-20", "--format", "csv")
    assert ended.err == ""
    assert told("--to", "2026-11-17", "--by", "lane").err == "minispine: no request was counted on these days\n"
    assert ended.out == (
        "day,total,peak_hour,peak_hour_utc,peak_hour_count\r\n"
        "2026-11-19,40,14:00,2026-11-19T14:00:00Z,25\r\n"
        "2026-11-20,0,,,0\r\n"
    )


def test_days_and_hours_are_those_on_the_wall_also_when_the_clocks_change(told: Command, count: Count) -> None:
    short, long = datetime.date(2026, 3, 29), datetime.date(2026, 10, 25)
    for day in (short, long):
        begins = datetime.datetime.combine(day, datetime.time(), UK)
        ends = datetime.datetime.combine(day + datetime.timedelta(days=1), datetime.time(), UK)
        hours = (us(ends) - us(begins)) // 3_600_000_000
        assert hours == (23 if day == short else 25)
        for number in range(-1, hours + 1):
            count(begins.astimezone(datetime.UTC) + datetime.timedelta(hours=number))
    twice = datetime.datetime(2026, 10, 25, 1, 30, tzinfo=UK)
    count(twice, 3)
    count(twice.replace(fold=1), 4)
    spring = told("--from", str(short), "--to", str(short), "--format", "csv")
    autumn = told("--from", str(long), "--to", str(long), "--format", "csv")
    assert [row["total"] for row in rows(spring)] == ["23"]
    (row,) = rows(autumn)
    assert row["total"] == "32"
    assert (row["peak_hour"], row["peak_hour_utc"]) == ("01:00", "2026-10-25T01:00:00Z")
    assert "01:00 GMT" in told("--from", str(long), "--to", str(long)).out


def test_a_summer_evening_is_not_the_next_day_nor_the_day_before(told: Command, count: Count) -> None:
    count(datetime.datetime(2026, 7, 1, 0, 10, tzinfo=UK))
    count(datetime.datetime(2026, 7, 1, 23, 50, tzinfo=UK), 2)
    found = rows(told("--from", "2026-06-30", "--to", "2026-07-02", "--format", "csv"))
    assert [(row["day"], row["total"]) for row in found] == [
        ("2026-06-30", "0"),
        ("2026-07-01", "3"),
        ("2026-07-02", "0"),
    ]


def test_requests_are_told_apart_as_asked(told: Command, count: Count) -> None:
    count(NOW, 2)
    count(NOW, 3, operation="getNHSNumber", lane="batch", outcome="fault-2100")
    count(NOW, 1, operation="", organisation="", lane="", outcome="fault-2000")
    found = told("--by", "outcome, service", "--format", "json").json()
    assert (found["zone"], found["by"]) == ("Europe/London", ["service", "outcome"])
    assert [(day["service"], day["outcome"], day["total"]) for day in found["days"]] == [
        ("", "fault-2000", 1),
        ("pds", "SMSP-0000", 2),
        ("pds", "fault-2100", 3),
    ]
    assert found["days"][0]["peak_hour_utc"] == "2026-11-21T12:00:00Z"
    lines = told("--by", "lane").out.splitlines()
    assert lines[0].split() == ["day", "lane", "total", "peak", "hour", "from", "in", "that", "hour"]
    assert lines[1].split() == ["2026-11-21", "-", "1", "12:00", "GMT", "1"]


def test_without_days_it_tells_the_last_thirty_and_that_today_is_not_over(told: Command, count: Count) -> None:
    count(NOW)
    ended = told("--format", "csv")
    found = rows(ended)
    assert (len(found), found[0]["day"], found[-1]["day"], found[-1]["total"]) == (30, "2026-10-23", "2026-11-21", "1")
    assert ended.err == "minispine: 2026-11-21 is not over yet\n"
    assert [row["day"] for row in rows(told("--from", "2026-11-20", "--to", "2026-12-31", "--form", "csv"))] == [
        "2026-11-20",
        "2026-11-21",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--from", "yesterday"), "'yesterday' is not a day such as 2026-03-01"),
        (("--from", "2026-11-20", "--to", "2026-11-19"), "--from 2026-11-20 is after --to 2026-11-19"),
        (("--to", "0001-01-01"), "further away"),
        (("--by", "outcome,organization"), "did you mean organisation?"),
    ],
)
def test_what_cannot_be_told_is_said_in_one_line(told: Command, options: tuple[str, ...], said: str) -> None:
    ended = told(*options)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert said in ended.err


@pytest.mark.requirement("SMSP-PERF-002", "d")
def test_nothing_of_a_patient_is_in_any_form(told: Command, count: Count) -> None:
    markers = ("9449310467", "LANGAN", "20090310", "KT21 2PN")
    for marker in markers:
        for place in ("operation", "lane", "outcome"):
            count(NOW, **{place: marker})
    count(NOW, organisation="9449310467")
    for form in ("table", "csv", "json"):
        ended = told("--by", "service,operation,organisation,lane,outcome", "--format", form)
        assert ended.code == 0
        assert "other" in ended.out
        assert not [marker for marker in markers if marker in ended.out]


def test_a_look_at_the_figures_leaves_nothing_in_the_trail(told: Command, config: Path) -> None:
    with Database.open(f"sqlite:{config.parent}/data") as database:
        before = reading.last_sequence(database)
        assert told().code == 0
        assert reading.last_sequence(database) == before
