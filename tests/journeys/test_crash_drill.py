"""The crash and power-cut drills of `scripts/bench crash`, short: a few kills, a few exchanges traced, on SQLite."""

import random
from pathlib import Path

import pytest
from benchmarks.kills import drill
from benchmarks.order import CannotTrace, trace_order

from tests.journeys.house import House, Spine

KILLS = 6
SEED = 35
"""By this number a worker that is starting and the whole provider are among what is killed."""
EXCHANGES = 5


@pytest.fixture(scope="module")
def drilled(keys: Path, spine: Spine, tmp_path_factory: pytest.TempPathFactory) -> House:
    """A provider with a client, not running between the drills."""
    house = House(tmp_path_factory.mktemp("drills"), keys, spine.url, spine.practices)
    house.write()
    house.load_organisations()
    house.register()
    return house


def test_killed_again_and_again_under_load_it_has_a_record_of_all_it_asked_and_answered(
    drilled: House, spine: Spine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a supervisor that is killed leaves its metrics behind
    done = drill(drilled, spine, kills=KILLS, chance=random.Random(SEED))
    found = done.reckoning
    assert done.kills == KILLS
    assert set(done.targets) == {"worker", "starting", "everything"}
    assert found.replies > KILLS
    assert found.asks > KILLS
    assert found.replies_without_record == []
    assert found.asks_without_record == []
    assert found.gaps == []
    assert found.left_open == []
    assert found.unknown_yet_replied == []
    assert found.closed_as_unknown > 0
    assert found.verified, found.verify_said


def test_what_covers_a_message_is_flushed_before_its_first_byte_leaves(drilled: House, spine: Spine) -> None:
    try:
        order = trace_order(drilled, spine, EXCHANGES)
    except CannotTrace as reason:
        pytest.skip(str(reason))
    assert order.checked == EXCHANGES, order
    assert order.violations == []


def test_the_same_drill_sees_that_nothing_is_flushed(drilled: House, spine: Spine) -> None:
    try:
        order = trace_order(drilled, spine, EXCHANGES, flushing=False)
    except CannotTrace as reason:
        pytest.skip(str(reason))
    assert order.checked == EXCHANGES, order
    assert len(order.violations) == EXCHANGES
