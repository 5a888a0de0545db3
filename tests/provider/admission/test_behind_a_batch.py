"""Somebody who waits at a screen, and five hundred rows of a batch that came before, on a clock that is made."""

import asyncio
from itertools import pairwise

import pytest

from minispine.domain.lanes import Lane
from minispine.provider.admission.book import LEAD_US, SECOND
from tests.provider.admission.scene import Left, Scene, over_the_limit

ROWS = 500
PER_SECOND = 10.0
SLOT_S = 1 / PER_SECOND
PATIENCE_S = 2 * ROWS * SLOT_S
TAKEN_S = LEAD_US / SECOND + 0.002
"""How long before its instant a slot may have been taken, with the look that takes it: whoever comes then is too late
for that one."""
FULL_CYCLE = 20
"""Every so many slots one is the batch's by its share, which is a twentieth."""


def left(scene: Scene, name: str) -> Left:
    (found,) = [one for one in scene.left if one.name == name]
    return found


def rows(scene: Scene, *, lane: Lane = "batch", clients: int = 1) -> list[asyncio.Task[str]]:
    """Have the batch wait, as many rows of each client at each worker."""
    return [
        scene.start(
            f"row {n}",
            lane=lane,
            client=f"batch {n % clients}",
            patience_s=PATIENCE_S,
            worker=n // clients % len(scene.workers),
        )
        for n in range(ROWS)
    ]


@pytest.mark.requirement("SMSP-PERF-007", "b")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_person_has_the_first_or_the_second_slot_behind_500_rows_of_a_batch(workers: int) -> None:
    """At whatever moment of the cycle of shares, and of a slot, the person comes."""
    scene = Scene(per_second=PER_SECOND, workers=workers)
    came: dict[str, float] = {}

    async def play() -> int:
        batch = rows(scene)
        await asyncio.sleep(3 * SLOT_S)
        for n in range(2 * FULL_CYCLE):
            await asyncio.sleep(SLOT_S * (1 + n % 7 / 7))
            came[f"nurse {n}"] = scene.loop.time()
            assert await scene.exchange(f"nurse {n}", worker=n % workers) == "answered"
        still = sum(not row.done() for row in batch)
        for row in batch:
            row.cancel()
        return still

    assert scene.run(play()) > ROWS / 2, "the batch waited throughout"
    for name, came_s in came.items():
        slot_s = left(scene, name).from_s
        others = [one for one in scene.left if came_s + TAKEN_S < one.from_s < slot_s]
        assert len(others) <= 1
        assert slot_s <= came_s + 2 * SLOT_S + TAKEN_S
    assert not over_the_limit(scene.left, PER_SECOND)


@pytest.mark.requirement("SMSP-PERF-007", "b")
@pytest.mark.parametrize("lane", ["attended", "batch"])
def test_a_client_with_the_priority_of_500_rows_takes_turns_with_those_who_sent_them(lane: Lane) -> None:
    """Of five clients that wait and one that comes, each has one slot of any six: no sooner, and no later."""
    scene = Scene(per_second=PER_SECOND)

    async def play() -> int:
        batch = rows(scene, lane=lane, clients=5)
        await asyncio.sleep(20.5 * SLOT_S)
        before = len(scene.left)
        nurses = [scene.start(f"nurse {n}", lane=lane, patience_s=PATIENCE_S) for n in range(4)]
        await asyncio.gather(*nurses)
        for row in batch:
            row.cancel()
        return before

    before = scene.run(play())
    places = [number for number, name in enumerate(scene.order[before:], start=1) if name.startswith("nurse")]
    assert 2 <= places[0] <= 6
    assert [later - earlier for earlier, later in pairwise(places)] == [6, 6, 6]


@pytest.mark.requirement("SMSP-PERF-007", "b")
def test_what_the_batch_itself_asks_last_waits_until_all_its_rows_have_gone() -> None:
    scene = Scene(per_second=PER_SECOND)

    async def play() -> None:
        batch = rows(scene)
        await asyncio.sleep(3 * SLOT_S)
        await scene.exchange("last", lane="batch", client="batch 0", patience_s=PATIENCE_S)
        await asyncio.gather(*batch)

    scene.run(play())
    assert scene.order == [*(f"row {n}" for n in range(ROWS)), "last"]
