"""What a provider does about its clock: readiness, and the trail."""

import asyncio
import io
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from minispine.audit import catalogue
from minispine.audit.events import Entry, EventType
from minispine.audit.reading import events
from minispine.config.settings import Clock
from minispine.observe import log as application_log
from minispine.observe import metrics
from minispine.provider.clock_watch import ClockWatch
from minispine.spine.clock import Readings, Reason, ServerReading, clock_sources
from minispine.storage import Database
from tests.audit.conftest import LogMaker, clock, make_log  # noqa: F401
from tests.time_server import TimeServerDouble

NOW_US = 1_790_000_000_000_000


def server(name: str, offset_us: int = 0, stratum: int = 2) -> ServerReading:
    return ServerReading(name=name, stratum=stratum, offset_us=offset_us, delay_us=1000)


def silent(name: str) -> ServerReading:
    return ServerReading(name=name, fault=Reason("silent", name, f"time server {name} does not answer"))


GOOD = Readings(servers=(server("a", 120), server("b", -80)))
ABOVE = Readings(servers=(server("a"), server("b", stratum=4)))
AWAY = Readings(servers=(silent("a"), silent("b")))


def behind(offset_us: int) -> Readings:
    return Readings(servers=(server("a", offset_us), server("b", offset_us)))


class Story:
    """A watch over readings that the test gives one after another; it sleeps on a clock of its own."""

    def __init__(self, *readings: Readings, **settings: Any) -> None:
        self.readings = list(readings)
        self.recorded: list[Entry] = []
        self.slept: list[float] = []
        self.seconds = 0.0
        self.watch = ClockWatch(
            Clock(**{"servers": ("a", "b")} | settings),
            self,
            record=self._record,
            now=lambda: NOW_US,
            monotonic=lambda: self.seconds,
            sleep=self._sleep,
        )

    async def read(self) -> Readings:
        return self.readings.pop(0)

    async def _record(self, entry: Entry) -> None:
        self.recorded.append(entry)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if not self.readings:
            raise asyncio.CancelledError

    def tell(self) -> list[dict[str, Any]]:
        """Take all the readings; gives the data of what was recorded."""
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(self.watch.watch())
        for entry in self.recorded:
            for event in entry.events:
                catalogue.check(event)
                assert (event.type, event.at, event.private) == (EventType.CLOCK_STATE, NOW_US, {})
        return [event.data for entry in self.recorded for event in entry.events]


@pytest.mark.requirement("SMSP-AUDIT-010", "a")
@pytest.mark.parametrize("stratum", [3, 4, None])
def test_stratum_3_is_ready_and_stratum_4_or_no_synchronisation_is_a_clock_error_in_the_trail(
    database: Database,
    make_log: LogMaker,  # noqa: F811
    stratum: int | None,
) -> None:
    """By two time servers that are asked over real sockets."""
    audit = make_log(database)
    says: dict[str, Any] = {"leap": 3, "stratum": 0} if stratum is None else {"stratum": stratum}

    async def record(entry: Entry) -> None:
        await audit.append(entry)

    with TimeServerDouble(**says) as one, TimeServerDouble(**says) as other:
        settings = Clock(servers=(one.name, other.name), timeout_s=5.0)
        real: dict[str, Callable[[], Any]] = {"now": lambda: time.time_ns() // 1000, "monotonic": time.monotonic}
        watch = ClockWatch(settings, clock_sources(settings, **real), record=record, **real)  # type: ignore[arg-type]
        assert watch.reasons() == ["the clock is not known to be right: the clock has not been measured yet"]
        asyncio.run(watch.measure())
    (found,) = (event["data"] for event in events(database) if event["type"] == EventType.CLOCK_STATE)
    assert (found["stratum"], found["source"], found["policy"]) == (stratum, "ntp", "require")
    assert [each["name"] for each in found["servers"]] == [one.name, other.name]
    if stratum == 3:
        assert (watch.reasons(), found["state"], found["reasons"]) == ([], "good", [])
        return
    why = "is not synchronised" if stratum is None else "is at stratum 4, at most 3 is permitted"
    assert len(watch.reasons()) == 2
    assert all(text.startswith("the clock is not known to be right: time server") for text in watch.reasons())
    assert (found["state"], found["reasons"]) == ("bad", [f"time server {each.name} {why}" for each in (one, other)])


@pytest.mark.requirement("SMSP-AUDIT-009", "b")
def test_the_record_names_the_configured_servers_with_the_measured_difference() -> None:
    (data,) = Story(GOOD).tell()
    assert data == {
        "state": "good",
        "policy": "require",
        "source": "ntp",
        "follows": None,
        "stratum": 2,
        "offset_us": 120,
        "servers": [
            {"name": "a", "stratum": 2, "offset_us": 120, "fault": None},
            {"name": "b", "stratum": 2, "offset_us": -80, "fault": None},
        ],
        "reasons": [],
    }


def test_the_first_state_and_each_change_are_recorded_and_nothing_else() -> None:
    story = Story(GOOD, GOOD, behind(300_000), behind(300_500), AWAY, ABOVE, GOOD, GOOD)
    assert [data["state"] for data in story.tell()] == ["good", "bad", "unknown", "bad", "good"]


def test_a_clock_that_cannot_be_judged_from_the_start_is_recorded_too() -> None:
    assert [data["state"] for data in Story(AWAY, AWAY).tell()] == ["unknown"]


def test_another_reason_is_another_record() -> None:
    assert [data["reasons"] for data in Story(ABOVE, behind(300_000)).tell()] == [
        ["time server b is at stratum 4, at most 3 is permitted"],
        ["this machine's clock is 300.0 ms behind its time servers, at most 250.0 ms is permitted"],
    ]


@pytest.mark.parametrize(("interval_s", "expected"), [(64.0, [64.0, 16.0, 16.0, 64.0]), (2.0, [2.0, 2.0, 2.0, 2.0])])
def test_a_clock_that_is_not_right_is_measured_again_soon(interval_s: float, expected: list[float]) -> None:
    story = Story(GOOD, ABOVE, AWAY, GOOD, interval_s=interval_s)
    story.tell()
    assert story.slept == expected


def test_with_require_each_reason_keeps_the_provider_from_being_ready_and_says_what_to_do() -> None:
    story = Story(ABOVE)
    story.tell()
    assert story.watch.reasons() == [
        "the clock is not known to be right: time server b is at stratum 4, at most 3 is permitted; "
        "take the time from a source nearer to the origin (docs/time.md)"
    ]
    assert story.watch.warnings() == []


@pytest.mark.parametrize(
    ("readings", "said"), [(GOOD, "it is right"), (ABOVE, "time server b is at stratum 4"), (AWAY, "does not answer")]
)
def test_with_observe_it_is_ready_and_always_says_that_the_clock_is_only_observed(
    readings: Readings, said: str
) -> None:
    story = Story(readings, policy="observe")
    assert story.watch.reasons() == []
    assert "has not been measured" in story.watch.warnings()[0]
    (data,) = story.tell()
    assert data["policy"] == "observe"
    assert story.watch.reasons() == []
    (warning,) = story.watch.warnings()
    assert warning.startswith('the clock is only observed (clock.policy = "observe"): ')
    assert said in warning


def test_a_server_that_is_not_counted_is_a_warning_while_the_others_suffice() -> None:
    story = Story(Readings(servers=(server("a"), server("b"), silent("c"), server("d", 9_000_000))))
    story.tell()
    assert story.watch.reasons() == []
    assert story.watch.warnings() == [
        "not counted: time server c does not answer",
        "not counted: time server d is 9000.0 ms away from the others",
    ]


def test_a_measurement_that_is_long_ago_says_nothing_any_more() -> None:
    """As after a defect that keeps ending the watch."""
    story = Story(GOOD)
    story.tell()
    story.seconds = 4 * 64.0 + 5
    assert story.watch.reasons() == []
    story.seconds += 0.1
    assert story.watch.reasons() == ["the clock is not known to be right: it was last measured 261 s ago"]


def test_each_change_is_a_line_of_the_log_and_the_last_measurement_stands_in_the_metrics() -> None:
    stream = io.StringIO()
    application_log.configure("info", stream)
    try:
        Story(ABOVE, GOOD).tell()
    finally:
        application_log.configure("info")
    bad, good = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (bad["ref"], bad["state"]) == ("MS0050", "bad")
    assert "stratum 4" in bad["why"]
    assert (good["ref"], good["stratum"], good["offset_us"]) == ("MS0051", 2, 120)
    shown = metrics.exposition()[0].decode()
    assert "minispine_clock_good 1.0" in shown
    assert "minispine_clock_stratum 2.0" in shown
    assert "minispine_clock_offset_seconds 0.00012" in shown
