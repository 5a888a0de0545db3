"""The hour that comes twice in autumn is two hours in the trail (SMSP-AUDIT-011)."""

import datetime
import os
import re
import time
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest

from minispine.audit.events import Entry, Event, EventType
from minispine.audit.reading import events
from minispine.storage import Database
from tests.audit.conftest import Clock, LogMaker

LONDON = ZoneInfo("Europe/London")
SUMMER = datetime.datetime(2026, 10, 25, 0, 30, tzinfo=datetime.UTC)
WINTER = datetime.datetime(2026, 10, 25, 1, 30, tzinfo=datetime.UTC)


@pytest.fixture(autouse=True)
def _machine_in_london(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's own zone, which must have no influence."""
    with monkeypatch.context() as patch:
        patch.setitem(os.environ, "TZ", "Europe/London")
        time.tzset()
        yield
    time.tzset()


def us(when: datetime.datetime) -> int:
    return int(when.timestamp()) * 1_000_000


@pytest.mark.requirement("SMSP-AUDIT-011", "a")
def test_two_events_at_half_past_one_local_time_keep_their_order_and_say_their_offset(
    database: Database, make_log: LogMaker, clock: Clock
) -> None:
    assert {when.astimezone(LONDON).strftime("%H:%M") for when in (SUMMER, WINTER)} == {"01:30"}
    assert time.localtime(SUMMER.timestamp()).tm_hour == time.localtime(WINTER.timestamp()).tm_hour == 1
    clock.us = us(SUMMER)
    log = make_log(database)
    for when in (SUMMER, WINTER):
        clock.us = us(when)
        event = Event(type=EventType.CERTIFICATES_READ, at=us(when), data={"worker": 1, "changed": []})
        log.append_now(Entry(events=(event,)))
    found = [each for each in events(database) if each["type"] == EventType.CERTIFICATES_READ]
    assert [each["at"] for each in found] == ["2026-10-25T00:30:00.000000Z", "2026-10-25T01:30:00.000000Z"]
    assert [each["sealed_at"] for each in found] == [each["at"] for each in found]
    for key in ("at", "sealed_at"):
        times = [each[key] for each in events(database)]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text) for text in times)
        assert times == sorted(times)  # as text, too: whoever sorts an export has the true order
    assert datetime.datetime.fromisoformat(found[1]["at"]) - datetime.datetime.fromisoformat(
        found[0]["at"]
    ) == datetime.timedelta(hours=1)
