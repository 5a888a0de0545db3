"""How much room the log has: said early, and work refused while refusals can still be recorded."""

import asyncio
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minispine.audit.events import EventType
from minispine.config.settings import Storage
from minispine.domain.outcome import Unavailable
from minispine.observe import metrics
from minispine.observe.log import configure
from minispine.provider.asking import TIMED_OUT
from minispine.provider.room import LOOK_S, Room
from tests.provider.conftest import Scene

PLACE = Path("/data")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged."""
    stream = io.StringIO()
    configure("info", stream)
    yield stream
    configure("info")


class Disk:
    """A disk of a hundred blocks for us, and five that are root's."""

    def __init__(self, free: float = 50) -> None:
        self.free = free
        self.asked: list[Path] = []

    def __call__(self, path: Path) -> os.statvfs_result:
        self.asked.append(path)
        if self.free < 0:
            raise OSError(5, "Input/output error")
        return os.statvfs_result((4096, 4096, 105, self.free + 5, self.free, 0, 0, 0, 0, 255))


def said(room: Room) -> tuple[list[str], list[str]]:
    return room.reasons(), room.warnings()


def test_below_a_fifth_it_warns_and_below_a_twentieth_it_is_not_ready(lines: io.StringIO) -> None:
    disk = Disk()
    room = Room(Storage(), PLACE, statvfs=disk)
    shown = []
    for free in (50, 20, 19, 5, 4, 0, 4, 6, 21):
        disk.free = free
        room.measure()
        shown.append((room.state, room.has_some(), len(room.reasons()), len(room.warnings())))
    assert shown == [
        ("enough", True, 0, 0),
        ("enough", True, 0, 0),
        ("low", True, 0, 1),
        ("low", True, 0, 1),
        ("none", False, 1, 0),
        ("none", False, 1, 0),
        ("none", False, 1, 0),
        ("low", True, 0, 1),
        ("enough", True, 0, 0),
    ]
    assert set(disk.asked) == {PLACE}
    assert metrics.STORAGE_FREE._value.get() == 0.21
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [(line["ref"], line["free_percent"]) for line in told] == [
        ("MS0070", 19.0),
        ("MS0071", 4.0),
        ("MS0070", 6.0),
        ("MS0072", 21.0),
    ]


def test_a_state_is_left_for_a_better_one_only_by_something_more() -> None:
    disk = Disk()
    room = Room(Storage(warn_free=0.203, refuse_free=0.057), PLACE, statvfs=disk)
    shown = []
    for free in (20, 20.5, 21, 20.5, 20, 5, 6, 5, 6.5):
        disk.free = free
        room.measure()
        shown.append(room.state)
    assert shown == ["low", "low", "enough", "enough", "low", "none", "none", "none", "low"]


def test_the_words_say_how_much_and_what_comes_next() -> None:
    disk = Disk(12)
    room = Room(Storage(), PLACE, statvfs=disk)
    room.measure()
    assert said(room) == ([], ["only 12.0% of /data is free; below 5% requests are refused (docs/retention.md)"])
    disk.free = 3
    room.measure()
    assert said(room) == (["only 3.0% of /data is free: requests are refused until there is more than 5%"], [])


def test_the_limits_are_those_of_the_configuration() -> None:
    room = Room(Storage(warn_free=0.6, refuse_free=0.5), PLACE, statvfs=Disk(55))
    room.measure()
    assert room.state == "low"


def test_where_it_cannot_be_known_it_is_said_and_nothing_is_refused() -> None:
    room = Room(Storage(url="postgresql://me@elsewhere/db"), None, statvfs=Disk(1))
    room.measure()
    assert room.has_some()
    assert "storage.volume" in room.warnings()[0]
    broken = Room(Storage(), PLACE, statvfs=Disk(-1))
    broken.measure()
    assert broken.has_some()
    assert broken.warnings() == ["how much room is left in /data cannot be measured"]


def test_the_volume_of_postgresql_is_watched_where_it_is_named() -> None:
    disk = Disk(3)
    room = Room(Storage(url="postgresql://me@/db", volume=Path("/pg")), None, statvfs=disk)
    room.measure()
    assert (disk.asked, room.has_some()) == ([Path("/pg")], False)


def test_it_is_measured_again_and_again() -> None:
    disk = Disk(50)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        disk.free = 1
        if len(slept) == 2:
            raise asyncio.CancelledError

    room = Room(Storage(), PLACE, statvfs=disk, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(room.watch())
    assert (slept, room.state) == ([LOOK_S, LOOK_S], "none")


def test_this_machines_own_disk_can_be_measured(tmp_path: Path) -> None:
    room = Room(Storage(warn_free=0.0, refuse_free=0.0), tmp_path)
    room.measure()
    assert room.state == "enough"


def test_without_room_a_request_gets_the_retryable_fault_with_a_small_record(scene: Scene) -> None:
    scene.has_room = False
    answer = scene.serve(scene.message())
    assert (answer.status, answer.retry_after_s, answer.label) == (503, 60, "fault-2100")
    assert b"2100" in answer.body
    [entry] = scene.log.entries
    assert [event.type for event in entry.events] == [
        EventType.EXCHANGE_RECEIVED,
        EventType.EXCHANGE_REFUSED,
        EventType.EXCHANGE_REPLIED,
    ]
    assert entry.events[1].data["reason"] == "disk"
    assert all(b"jsmith" not in body.content for body in entry.bodies)
    assert scene.spine.asked == []
    scene.has_room = True
    scene.serve(scene.message(), Unavailable(event=TIMED_OUT))
    assert len(scene.spine.asked) == 1
