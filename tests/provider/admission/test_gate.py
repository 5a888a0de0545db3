"""One worker's part in the budget: what waits, when it leaves, and who is refused, on a clock that is made."""

import asyncio
import collections
import itertools
import time

import pytest
from prometheus_client import REGISTRY

from minispine.domain.lanes import Lane
from minispine.domain.operations import NationalService
from minispine.provider.admission import Admission
from minispine.provider.admission.book import SECOND, Desk, Want
from minispine.provider.admission.gate import _Slot
from minispine.provider.admission.store import SlotStore
from minispine.spine.http import Unreachable
from minispine.spine.ports import NoSlot, ServiceShut
from minispine.storage import Database
from minispine.vocabulary.budgets import Limit, ServiceBudget
from tests.provider.admission.scene import ASID, EPOCH_US, OTHER_ASID, SHARES, Scene, over_the_limit

DEFECT = "slots of pds cannot be taken because of a defect of our own: see the log"


def test_whoever_comes_alone_leaves_at_once() -> None:
    scene = Scene(per_second=10)

    async def play() -> float:
        began_s = scene.loop.time()
        await scene.exchange("a", answer_s=0)
        return scene.loop.time() - began_s

    assert scene.run(play()) < 0.01


def test_nothing_is_looked_at_while_nothing_waits() -> None:
    scene = Scene(per_second=10)

    async def play() -> tuple[int, int]:
        await scene.exchange("a")
        looks = scene.store.looks
        await asyncio.sleep(60)
        return looks, scene.store.looks

    before, after = scene.run(play())
    assert before == after <= 2


@pytest.mark.parametrize(("per_second", "workers"), [(5.0, 1), (5.0, 3), (60.0, 3), (400.0, 1), (400.0, 3)])
@pytest.mark.requirement("SMSP-PERF-001", "a")
def test_the_limit_holds_over_all_workers_and_is_used(per_second: float, workers: int) -> None:
    scene = Scene(per_second=per_second, workers=workers, max_waiting=2000)
    count = int(per_second * 4)

    async def play() -> float:
        began_s = scene.loop.time()
        await asyncio.gather(
            *(scene.exchange(f"{n}", worker=n % workers, client=f"client {n % 4}") for n in range(count))
        )
        return scene.loop.time() - began_s

    took_s = scene.run(play())
    assert set(scene.ends.values()) == {"answered"}
    assert len(scene.left) == count
    assert over_the_limit(scene.left, per_second) == []
    assert all(0 <= one.at_s - one.from_s <= 0.02 for one in scene.left)
    assert count / took_s > 0.95 * per_second


def test_no_call_leaves_before_the_last_moment_at_which_its_slot_can_be() -> None:
    scene = Scene(per_second=10)
    scene.store.blurred_s = 0.006

    async def play() -> None:
        await asyncio.gather(*scene.start_many("abcdef"))

    scene.run(play())
    # The readings leave 3 ms on either side of the moment that it truly is, and the last of it is waited for.
    last_us = scene.store.book.lines[ASID].bucket.until - SECOND // 10 - EPOCH_US
    assert 0.003 <= scene.left[-1].at_s - last_us / SECOND + 1e-6 < 0.006


def test_calls_of_one_client_leave_in_the_order_they_came() -> None:
    scene = Scene(per_second=20)
    names = [f"{n}" for n in range(12)]

    async def play() -> None:
        await asyncio.gather(*scene.start_many(names))

    scene.run(play())
    assert scene.order == names


@pytest.mark.requirement("SMSP-PERF-007", "a")
@pytest.mark.requirement("SMSP-PERF-007", "b")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_person_goes_before_a_batch_that_came_first(workers: int) -> None:
    scene = Scene(per_second=10, workers=workers)

    async def play() -> None:
        batch = scene.start_many([f"row {n}" for n in range(20)], lane="batch", client="trace")
        await asyncio.sleep(0.45)
        await scene.exchange("nurse", worker=workers - 1)
        for task in batch:
            task.cancel()

    scene.run(play())
    before = scene.order.index("nurse")
    assert 4 <= before <= 6  # within two slots of those that a batch of 20 had before it came


def test_in_one_lane_clients_take_turns_over_all_workers() -> None:
    scene = Scene(per_second=20, workers=2)

    async def play() -> None:
        many = scene.start_many([f"many {n}" for n in range(40)], client="many", worker=0)
        few = scene.start_many([f"few {n}" for n in range(10)], client="few", worker=1)
        await asyncio.gather(*few)
        for task in many:
            task.cancel()

    scene.run(play())
    counts = collections.Counter(name.split()[0] for name in scene.order[:20])
    assert abs(counts["many"] - counts["few"]) <= 2


def test_a_second_question_goes_before_those_that_begin() -> None:
    scene = Scene(per_second=10)

    async def play() -> None:
        two = scene.start("two", calls=2)
        await asyncio.sleep(0)
        others = scene.start_many([f"one {n}" for n in range(6)])
        await asyncio.gather(two, *others)

    scene.run(play())
    assert scene.order[:3].count("two") == 2


def test_a_slot_whose_time_is_over_is_lost_and_the_call_keeps_its_place() -> None:
    scene = Scene(per_second=10)

    async def play() -> None:
        late = scene.start("late", late_s=[0.03])
        await asyncio.sleep(0)
        await asyncio.gather(late, *scene.start_many("abc"))

    before = _counted("lost")
    scene.run(play())
    assert scene.order == ["late", "a", "b", "c"]
    assert _counted("lost") == before + 1
    assert over_the_limit(scene.left, 10) == []


def test_a_slot_that_nobody_uses_is_lost_and_gives_its_room_back() -> None:
    scene = Scene(per_second=10, max_in_flight=1)

    async def play() -> str:
        await scene.turns().wait()  # whoever has it is gone
        return await scene.exchange("next")

    assert scene.run(play()) == "answered"


def test_a_slot_may_be_used_for_20_ms_less_the_way_to_the_wire() -> None:
    async def used_after(scene: Scene, late_s: float) -> bool:
        slot = await scene.turns().wait()
        await asyncio.sleep(late_s)
        return slot.use()

    for late_s, expected in [(0.0, True), (0.010, True), (0.016, False)]:
        scene = Scene(per_second=10)
        assert scene.run(used_after(scene, late_s)) is expected


def test_a_slot_is_not_used_when_the_loop_has_stood_still_for_too_long() -> None:
    scene = Scene(per_second=10)

    async def play() -> bool:
        slot = await scene.turns().wait()
        scene.loop.stand_still(0.016)
        return slot.use()

    assert scene.run(play()) is False


def test_a_slot_is_used_once() -> None:
    scene = Scene(per_second=10)

    async def play() -> list[bool]:
        slot = await scene.turns().wait()
        return [slot.use(), slot.use()]

    assert scene.run(play()) == [True, False]


# ── who is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SMSP-PERF-001", "c")
def test_who_has_no_hope_is_refused_at_once_and_told_when_to_come_again() -> None:
    scene = Scene(per_second=5)

    async def play() -> tuple[float, str]:
        waiting = scene.start_many([f"{n}" for n in range(100)])
        await asyncio.sleep(0.1)
        began_s = scene.loop.time()
        await scene.exchange("hopeless", patience_s=5)
        took_s = scene.loop.time() - began_s
        for task in waiting:
            task.cancel()
        await asyncio.sleep(1)
        return took_s, await scene.exchange("later", patience_s=5)

    took_s, later = scene.run(play())
    assert scene.ends["hopeless"] == "busy"
    assert took_s < 0.05
    assert 13 <= scene.refused["hopeless"].retry_after_s <= 16  # 100 before it take 20 s, of which it had 5
    assert later == "answered"


def test_of_a_burst_those_are_refused_that_cannot_be_served_in_time() -> None:
    scene = Scene(per_second=5)

    async def play() -> float:
        began_s = scene.loop.time()
        tasks = scene.start_many([f"{n}" for n in range(200)], patience_s=10)
        await asyncio.sleep(0.1)
        refused = sum(task.done() for task in tasks)
        assert 145 <= refused <= 155
        await asyncio.gather(*tasks)
        return scene.loop.time() - began_s

    assert scene.run(play()) <= 10
    assert scene.order == [f"{n}" for n in range(len(scene.left))]
    assert 45 <= len(scene.left) <= 55


@pytest.mark.requirement("SMSP-PERF-001", "c")
def test_a_newcomer_is_refused_by_what_is_known_without_waiting_for_a_look() -> None:
    scene = Scene(per_second=5)

    def refusal(time_left_s: float, calls: int = 1, lane: str = "attended") -> int | None:
        busy = scene.admission.refusal(
            asid=ASID,
            lane="attended" if lane == "attended" else "batch",
            client="ward",
            calls=calls,
            time_left_s=time_left_s,
        )
        return None if busy is None else busy.retry_after_s

    async def play() -> None:
        assert refusal(1.0) is None
        waiting = scene.start_many([f"{n}" for n in range(20)])
        await asyncio.sleep(0.01)
        looks = scene.store.looks
        assert refusal(6.0) is None
        assert refusal(3.0) in (1, 2)
        assert refusal(5.0, calls=20) in (3, 4)
        assert refusal(6.0, lane="batch") is None
        assert scene.store.looks == looks
        for task in waiting:
            task.cancel()

    scene.run(play())


def test_what_waits_at_other_workers_counts_for_a_newcomer() -> None:
    scene = Scene(per_second=5, workers=2)

    async def play() -> tuple[float, str]:
        scene.start_many([f"{n}" for n in range(50)], client="ward", worker=0)
        await asyncio.sleep(0.1)
        began_s = scene.loop.time()
        end = await scene.exchange("newcomer", worker=1, patience_s=5)
        return scene.loop.time() - began_s, end

    took_s, end = scene.run(play())
    assert end == "busy"
    assert took_s < 0.05


def test_no_more_wait_than_may() -> None:
    scene = Scene(per_second=1, max_waiting=5)
    scene.store.away = True

    async def play() -> None:
        tasks = scene.start_many([f"{n}" for n in range(8)])
        await asyncio.sleep(0.1)
        assert sorted(scene.ends.values()).count("busy") == 3
        full = scene.admission.refusal(asid=ASID, lane="attended", client="ward", calls=1, time_left_s=300)
        assert full is not None
        for task in tasks:
            task.cancel()

    scene.run(play())
    assert all(busy.retry_after_s >= 1 for busy in scene.refused.values())


def test_a_client_that_fills_the_room_to_wait_makes_room_for_one_that_waits_with_less() -> None:
    scene = Scene(per_second=1, max_waiting=10)
    scene.store.away = True

    def refused() -> bool:
        busy = scene.admission.refusal(asid=ASID, lane="attended", client="ward", calls=1, time_left_s=300)
        return busy is not None

    async def play() -> None:
        scene.start_many([f"hog {n}" for n in range(10)], client="hog", patience_s=300)
        await asyncio.sleep(0.1)
        assert not refused()
        scene.start_many([f"ward {n}" for n in range(7)], patience_s=300)
        await asyncio.sleep(0.1)
        assert refused()
        scene.start_many(["hog again"], client="hog", patience_s=300)
        await asyncio.sleep(0.1)
        # Its newest give way, until both wait with as many.
        assert set(scene.ends) == {*(f"hog {n}" for n in range(5, 10)), "ward 5", "ward 6", "hog again"}

    scene.run(play())
    assert all(busy.retry_after_s >= 1 for busy in scene.refused.values())


@pytest.mark.parametrize(("hog", "ward", "gives_way"), [("batch", "attended", True), ("attended", "batch", False)])
def test_a_lane_makes_room_for_those_before_it_and_not_for_those_behind(
    hog: Lane, ward: Lane, *, gives_way: bool
) -> None:
    scene = Scene(per_second=1, max_waiting=10)
    scene.store.away = True

    async def play() -> None:
        scene.start_many([f"{n}" for n in range(10)], lane=hog, client="hog", patience_s=300)
        scene.start_many([f"other {n}" for n in range(10)], lane="attended", client="other", patience_s=300)
        await asyncio.sleep(0.1)
        scene.ends.clear()
        scene.start("ward", lane=ward, patience_s=300)
        await asyncio.sleep(0.1)

    scene.run(play())
    ended = [name for name, end in scene.ends.items() if end == "busy"]
    assert ("ward" in ended) is not gives_way
    assert len(ended) == 1


def test_what_has_to_go_on_makes_room_for_nobody() -> None:
    scene = Scene(per_second=5, max_waiting=3)

    async def play() -> None:
        goes_on = scene.start_many("abc", client="hog", calls=2, answer_s=1)
        await asyncio.sleep(0.9)
        assert scene.order == ["a", "b", "c"]
        scene.store.away = True
        await asyncio.sleep(0.7)  # now their second calls wait
        assert await scene.exchange("ward") == "busy"
        scene.store.away = False
        await asyncio.gather(*goes_on)

    scene.run(play())
    assert scene.ends == {"a": "answered", "b": "answered", "c": "answered", "ward": "busy"}


def test_nobody_waits_past_the_moment_from_which_no_answer_would_be_in_time() -> None:
    scene = Scene(per_second=5)

    async def play() -> float:
        scene.store.away = True
        began_s = scene.loop.time()
        await scene.exchange("a", patience_s=2)
        return scene.loop.time() - began_s

    assert 1.4 <= scene.run(play()) < 2
    assert scene.ends == {"a": "busy"}


def test_who_waits_is_given_up_once_even_the_whole_budget_would_not_do() -> None:
    scene = Scene(per_second=10)

    async def play() -> float:
        tasks = scene.start_many([f"{n}" for n in range(30)], patience_s=4)
        await asyncio.sleep(0.5)
        scene.budget = ServiceBudget(default=Limit(per_second=1), shares=SHARES)
        began_s = scene.loop.time()
        while sum(not task.done() for task in tasks) > 4:
            await asyncio.sleep(0.01)
        return scene.loop.time() - began_s

    assert scene.run(play()) < 1.2


def test_a_budget_that_is_changed_holds_from_the_next_look_on() -> None:
    scene = Scene(per_second=5)

    async def play() -> None:
        tasks = scene.start_many([f"{n}" for n in range(100)])
        await asyncio.sleep(2)
        scene.left.clear()
        scene.budget = ServiceBudget(default=Limit(per_second=10), shares=SHARES)
        await asyncio.sleep(4)
        for task in tasks:
            task.cancel()

    scene.run(play())
    assert 38 <= len(scene.left) <= 41
    assert over_the_limit(scene.left, 10) == []


def test_a_client_with_a_limit_of_its_own_keeps_it_and_does_not_hold_up_others() -> None:
    scene = Scene(per_second=20, clients={"held": Limit(per_second=2)})

    async def play() -> None:
        held = scene.start_many([f"held {n}" for n in range(20)], client="held")
        free = scene.start_many([f"free {n}" for n in range(30)], client="free")
        await asyncio.gather(*free)
        for task in held:
            task.cancel()

    scene.run(play())
    counts = collections.Counter(name.split()[0] for name in scene.order)
    assert counts["free"] == 30
    assert 2 <= counts["held"] <= 5


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_dead_worker_wanted_holds_nobody_up() -> None:
    scene = Scene(per_second=10, workers=2)

    async def play() -> None:
        scene.start_many([f"dead {n}" for n in range(50)], worker=0)
        await asyncio.sleep(0.25)
        scene.workers[0].die()
        await asyncio.gather(*scene.start_many([f"row {n}" for n in range(30)], lane="batch", client="b", worker=1))

    scene.run(play())
    rows = [one for one in scene.left if one.name.startswith("row")]
    assert len(rows) == 30
    # Each slot that was left for the dead one costs some milliseconds, and after a second none is.
    assert rows[-1].at_s - rows[0].at_s < 2.9 + 10 * 0.012
    assert rows[0].at_s - scene.left[len(scene.left) - 31].at_s < 0.15


def test_a_worker_that_shows_itself_but_does_not_take_its_slots_costs_others_little() -> None:
    scene = Scene(per_second=10, workers=1)

    async def stand_idle() -> None:
        want = Want(ASID, 0, "ward", again=False, count=5, waiting=5, since=scene.store.now())
        while True:
            scene.store.book.desks["idle"] = Desk(seen=scene.store.now(), wants=[want])
            await asyncio.sleep(0.001)

    async def play() -> None:
        idle = scene.loop.create_task(stand_idle())
        await asyncio.sleep(0)
        await asyncio.gather(*scene.start_many([f"{n}" for n in range(20)], lane="batch", client="trace"))
        idle.cancel()

    scene.run(play())
    between_s = [after.from_s - before.from_s for before, after in itertools.pairwise(scene.left)]
    assert len(scene.left) == 20
    assert 0.105 < sum(between_s) / len(between_s) < 0.115  # so long it was waited for, each time


def test_who_is_cancelled_leaves_nothing_behind() -> None:
    scene = Scene(per_second=5, workers=2)

    async def play() -> float:
        await scene.exchange("first", worker=1)
        tasks = scene.start_many([f"{n}" for n in range(10)], worker=0)
        await asyncio.sleep(0.02)
        assert scene.store.book.desks
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0.02)
        assert not scene.store.book.desks
        began_s = scene.loop.time()
        await scene.exchange("other", lane="batch", worker=1)
        return scene.loop.time() - began_s

    assert scene.run(play()) < 0.25


def test_a_slot_that_comes_just_as_its_call_is_cancelled_goes_to_the_next() -> None:
    scene = Scene(per_second=5)

    async def play() -> None:
        await scene.exchange("before")
        first, second = scene.start_many(["first", "second"])
        give = scene.admission._give

        def give_and_cancel(slot: _Slot) -> None:
            give(slot)
            if not first.done():
                scene.loop.call_soon(first.cancel)  # which is before the first gets to run with its slot

        scene.admission._give = give_and_cancel  # type: ignore[method-assign]
        await second

    scene.run(play())
    assert scene.order == ["before", "second"]
    assert 0.19 <= scene.left[1].from_s - scene.left[0].from_s <= 0.21
    assert scene.ends["first"] == "cancelled"


def test_clients_that_have_gone_use_up_no_slots() -> None:
    scene = Scene(per_second=5)
    left_at_s = scene.loop.time() + 0.05

    async def play() -> float:
        await scene.exchange("before")
        rude = {"client": "rude", "gone": lambda: scene.loop.time() > left_at_s}
        scene.start_many([f"{n}" for n in range(40)], patience_s=25, **rude)
        await asyncio.sleep(0.1)
        live = scene.start_many([f"live {n}" for n in range(5)], client="rude")
        began_s = scene.loop.time()
        await asyncio.gather(*live)
        return scene.loop.time() - began_s

    assert scene.run(play()) < 1.1
    assert collections.Counter(scene.ends.values()) == {"answered": 6, "gone": 40}


def test_a_slot_of_a_client_that_has_gone_since_it_was_taken_goes_to_the_next() -> None:
    scene = Scene(per_second=5)

    async def play() -> None:
        await scene.exchange("before")
        gone_s = scene.left[0].from_s + 0.199
        await asyncio.gather(scene.start("first", gone=lambda: scene.loop.time() >= gone_s), scene.start("second"))

    scene.run(play())
    assert scene.order == ["before", "second"]
    assert scene.left[1].from_s - scene.left[0].from_s == pytest.approx(0.2, abs=0.002)
    assert scene.ends["first"] == "gone"


def test_a_client_that_has_gone_once_something_has_left_keeps_its_turn() -> None:
    scene = Scene(per_second=5)

    async def play() -> str:
        return await scene.exchange("two", calls=2, gone=lambda: bool(scene.left))

    assert scene.run(play()) == "answered"
    assert scene.order == ["two", "two"]


def test_who_has_gone_already_gets_none_of_the_slots_that_are_there_for_whoever_comes() -> None:
    scene = Scene(per_second=2000)

    async def play() -> str:
        for n in range(200):
            scene.start(f"{n}")
            await asyncio.sleep(0.0025)
        await scene.exchange("live", answer_s=0)
        return await scene.exchange("gone", gone=lambda: True)

    assert scene.run(play()) == "gone"


def test_while_no_slots_can_be_had_clients_that_have_gone_leave_their_room_to_others() -> None:
    scene = Scene(per_second=5, max_waiting=10)

    async def play() -> int:
        scene.store.away = True
        hung_up = asyncio.Event()
        scene.start_many([f"{n}" for n in range(10)], gone=hung_up.is_set)
        await asyncio.sleep(0.1)
        hung_up.set()
        await asyncio.sleep(1.1)
        return list(scene.ends.values()).count("gone")

    assert scene.run(play()) == 10


def test_when_no_connection_can_be_made_everybody_who_waits_is_told() -> None:
    scene = Scene(per_second=5)
    scene.workers[0].failure = Unreachable("no answer")
    scene.workers[0].connecting_s = 5.0
    waits_s: list[float] = []
    told: list[BaseException] = []

    async def call(lane: Lane) -> None:
        began_s = scene.loop.time()
        with pytest.raises(Unreachable, match="no answer") as failure:
            await scene.turns(lane=lane, patience_s=10).wait()
        waits_s.append(scene.loop.time() - began_s)
        told.append(failure.value)

    async def play() -> None:
        calls = []
        for n in range(30):
            calls.append(scene.loop.create_task(call("batch" if n % 3 else "attended")))
            await asyncio.sleep(0.5)
        await asyncio.gather(*calls)

    scene.run(play())
    assert len(waits_s) == 30
    assert max(waits_s) < 5.1  # one attempt to connect, and not one for each who came before
    assert len({id(one) for one in told}) == 30  # each may add to its own where it was raised


def test_while_a_connection_is_in_use_only_the_first_in_line_is_told_that_no_other_can_be_made() -> None:
    scene = Scene(per_second=5)
    worker = scene.workers[0]
    worker.idle = 1
    worker.failure = Unreachable("refused")
    worker.connecting_s = 0.5

    async def play() -> None:
        under_way = scene.start("under way", answer_s=0.7)
        await asyncio.sleep(0.05)
        rows = scene.start_many(["row"], lane="batch", client="trace")
        nurse = scene.start("nurse")
        await asyncio.gather(under_way, nurse, *rows)

    scene.run(play())
    assert scene.ends == {"under way": "answered", "nurse": "failed", "row": "answered"}


def test_while_connections_are_being_opened_calls_leave_on_those_that_are_open() -> None:
    scene = Scene(per_second=400, burst=5)
    worker = scene.workers[0]
    worker.idle = 2
    worker.connecting_s = 3.0

    async def play() -> None:
        await asyncio.gather(*scene.start_many([f"{n}" for n in range(30)], answer_s=0.01))

    began_s = scene.loop.time()
    scene.run(play())
    assert len(scene.left) == 30
    assert scene.left[-1].at_s - began_s < 1


def test_no_slot_is_taken_without_a_connection() -> None:
    scene = Scene(per_second=5)
    scene.workers[0].connecting_s = 2.0

    async def play() -> None:
        await scene.exchange("a")

    before = _counted("lost")
    began_s = scene.loop.time()
    scene.run(play())
    assert 2.0 <= scene.left[0].at_s - began_s < 2.05
    assert _counted("lost") == before


def test_a_defect_in_connecting_ends_the_watch_and_not_silently() -> None:
    scene = Scene(per_second=5)
    scene.workers[0].failure = RuntimeError("a defect")

    async def play() -> None:
        scene.start("a")
        with pytest.raises(RuntimeError, match="a defect"):
            await scene.workers[0].watching
        assert scene.admission.warnings() == [DEFECT]
        scene.workers[0].failure = None
        watching = scene.loop.create_task(scene.admission.watch())  # as the worker begins it again
        assert await scene.exchange("b") == "answered"
        assert scene.admission.warnings() == []
        watching.cancel()

    scene.run(play())


def test_a_defect_in_connecting_is_told_of_until_a_connection_can_be_made() -> None:
    scene = Scene(per_second=5)
    worker = scene.workers[0]
    worker.failure = RuntimeError("a defect")
    worker.connecting_s = 2.0

    async def play() -> None:
        scene.start("a")
        with pytest.raises(RuntimeError, match="a defect"):
            await worker.watching
        watching = scene.loop.create_task(scene.admission.watch())
        await asyncio.sleep(1)  # looks go well, but it is still tried to connect
        assert scene.admission.warnings() == [DEFECT]
        watching.cancel()

    scene.run(play())


def test_a_defect_in_a_look_is_told_of_until_a_look_succeeds_and_who_came_is_judged_then() -> None:
    scene = Scene(per_second=5)
    change = scene.store.change

    def defective(*_: object, **__: object) -> None:
        raise TypeError("a defect")

    async def play() -> None:
        worker = scene.workers[0]
        assert scene.admission.warnings() == []
        scene.store.change = defective  # type: ignore[method-assign, assignment]
        tasks = scene.start_many([f"{n}" for n in range(20)], client="one", patience_s=5)
        tasks += scene.start_many([f"{n}" for n in range(20, 40)], client="other", patience_s=5)
        with pytest.raises(TypeError):
            await worker.watching
        assert scene.admission.warnings() == [DEFECT]
        scene.store.change = change  # type: ignore[method-assign]
        worker.watching = scene.loop.create_task(scene.admission.watch())
        await asyncio.sleep(0.05)
        assert scene.admission.warnings() == []
        # At once: each client gets every other of about 24 slots, which is only found out for newcomers.
        assert 14 <= list(scene.ends.values()).count("busy") <= 18
        await asyncio.gather(*tasks)

    scene.run(play())


@pytest.mark.parametrize("slow_s", [0.001, 30.0])
def test_when_the_service_is_shut_everybody_who_waits_is_told(slow_s: float) -> None:
    scene = Scene(per_second=5)

    async def play() -> float:
        await scene.exchange("first")
        scene.workers[0].thread.takes_s = slow_s
        tasks = scene.start_many([f"{n}" for n in range(10)], lane="batch")
        await asyncio.sleep(0.1)
        scene.workers[0].is_shut = True
        began_s = scene.loop.time()
        await asyncio.gather(*tasks)
        with pytest.raises(ServiceShut):
            await scene.turns().wait()
        return scene.loop.time() - began_s

    assert scene.run(play()) <= 0.26
    assert collections.Counter(scene.ends.values())["shut"] >= 9


def test_a_failure_that_shuts_the_service_is_told_at_once() -> None:
    scene = Scene(per_second=5)

    async def play() -> float:
        scene.start_many(["a", "b"])
        await asyncio.sleep(0.01)
        slot = await scene.turns(patience_s=20).wait()
        assert slot.use()
        tasks = scene.start_many(["c", "d"])
        await asyncio.sleep(0.001)
        scene.workers[0].is_shut = True
        began_s = scene.loop.time()
        slot.finish("failed")
        await asyncio.gather(*tasks)
        return scene.loop.time() - began_s

    assert scene.run(play()) < 0.001


def test_while_the_store_is_away_nothing_leaves_and_afterwards_all_goes_on() -> None:
    scene = Scene(per_second=10)

    async def play() -> None:
        await scene.exchange("before")
        scene.store.away = True
        tasks = scene.start_many("abc")
        await asyncio.sleep(5)
        assert scene.order == ["before"]
        assert scene.admission.warnings()
        assert scene.store.looks < 20
        scene.store.away = False
        await asyncio.gather(*tasks)

    scene.run(play())
    assert scene.order == ["before", "a", "b", "c"]
    assert scene.admission.warnings() == []


def test_no_more_calls_are_in_flight_than_may_be() -> None:
    scene = Scene(per_second=300, max_in_flight=4)
    told: list[float] = []

    async def play() -> None:
        tasks = scene.start_many([f"{n}" for n in range(40)], answer_s=0.1)
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0.005)
            told.append(_value("minispine_in_flight", service="pds"))

    scene.run(play())
    moments = [one.at_s for one in scene.left]
    assert max(sum(at_s - 0.099 < other_s <= at_s for other_s in moments) for at_s in moments) == 4
    assert max(told[20:]) == 4
    assert len(scene.left) == 40
    assert scene.left[-1].at_s - scene.left[0].at_s < 40 / 4 * 0.1 * 1.2


def test_room_that_is_short_is_shared_between_accredited_systems() -> None:
    scene = Scene(per_second=300, max_in_flight=2)

    async def play() -> None:
        one = scene.start_many([f"one {n}" for n in range(100)], answer_s=0.1)
        other = scene.start_many([f"other {n}" for n in range(10)], asid=OTHER_ASID, answer_s=0.1)
        await asyncio.gather(*other)
        for task in one:
            task.cancel()

    scene.run(play())
    assert sum(name.startswith("one") for name in scene.order) <= 16


def test_the_slots_of_one_accredited_system_are_not_those_of_another() -> None:
    scene = Scene(per_second=5)

    async def play() -> None:
        tasks = scene.start_many([f"one {n}" for n in range(10)])
        tasks += scene.start_many([f"other {n}" for n in range(10)], asid=OTHER_ASID)
        await asyncio.gather(*tasks)

    began_s = scene.loop.time()
    scene.run(play())
    assert scene.left[-1].at_s - began_s < 2.1
    for asid in ("one", "other"):
        assert over_the_limit([one for one in scene.left if one.name.startswith(asid)], 5) == []


# ── blocks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_steady_flow_below_the_limit_costs_a_look_for_many_calls() -> None:
    scene = Scene(per_second=2000)
    waits: list[float] = []

    async def call(name: str) -> None:
        began_s = scene.loop.time()
        await scene.exchange(name)
        waits.append(scene.loop.time() - began_s - 0.02)

    async def play() -> int:
        tasks = []
        for n in range(2000):
            tasks.append(scene.loop.create_task(call(f"{n}")))
            await asyncio.sleep(0.0025)
            if n == 1000:
                scene.store.looks = 0
        looks = scene.store.looks
        await asyncio.gather(*tasks)
        return looks

    lost = _counted("lost")
    assert scene.run(play()) < 2.5 / 0.04  # one for each block
    assert _counted("lost") - lost < 2000
    assert max(waits[1000:]) < 0.001  # and nobody waits for it
    assert len(scene.left) == 2000
    assert over_the_limit(scene.left[::50], 2000) == []
    assert max(waits) < 0.02


def test_slots_for_whoever_comes_are_not_taken_from_others() -> None:
    scene = Scene(per_second=100, workers=2)

    async def play() -> None:
        async def flow() -> None:
            for n in range(300):
                scene.start(f"flow {n}", client="flow", worker=0)
                await asyncio.sleep(0.02)

        flowing = scene.loop.create_task(flow())
        await asyncio.sleep(2)
        await asyncio.gather(*scene.start_many([f"bulk {n}" for n in range(150)], client="bulk", worker=1))
        flowing.cancel()

    scene.run(play())
    bulk = [one for one in scene.left if one.name.startswith("bulk")]
    flow = [one for one in scene.left if one.name.startswith("flow") and bulk[0].at_s <= one.at_s <= bulk[-1].at_s]
    assert over_the_limit(scene.left, 100) == []
    took_s = bulk[-1].at_s - bulk[0].at_s
    assert (len(bulk) + len(flow)) / took_s > 92


def test_a_client_with_a_limit_of_its_own_gets_no_slot_that_was_for_anybody() -> None:
    scene = Scene(per_second=1000, clients={"held": Limit(per_second=2)})

    async def play() -> None:
        for n in range(400):
            scene.start(f"free {n}", client="free")
            await asyncio.sleep(0.0025)
            if n % 10 == 0:
                scene.start(f"held {n}", client="held", patience_s=3)
            await asyncio.sleep(0.0025)
        await asyncio.sleep(5)

    scene.run(play())
    assert over_the_limit([one for one in scene.left if one.name.startswith("held")], 2) == []


# ── what is told ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_metrics_tell_of_slots_and_of_who_waits() -> None:
    scene = Scene(per_second=5)
    labels = {"service": "pds", "lane": "batch"}

    async def play() -> None:
        used = _counted("used")
        seconds = _value("minispine_slot_seconds_count", **labels)
        tasks = scene.start_many([f"{n}" for n in range(6)], lane="batch")
        await asyncio.sleep(0.55)
        assert _value("minispine_waiting", **labels) == 3
        assert _value("minispine_budget_per_second", service="pds", asid=ASID) == 5
        await asyncio.gather(*tasks)
        await asyncio.sleep(0.1)
        assert _value("minispine_waiting", **labels) == _value("minispine_in_flight", service="pds") == 0
        assert _counted("used") - used == 6
        assert _value("minispine_slot_seconds_count", **labels) - seconds == 6

    scene.run(play())


def test_at_the_end_what_a_worker_wants_is_taken_out_of_the_book() -> None:
    scene = Scene(per_second=1)

    async def play() -> None:
        tasks = scene.start_many("abc")
        await asyncio.sleep(0.05)
        assert list(scene.store.book.desks) == ["worker 0"]
        scene.workers[0].die()
        scene.workers[0].thread.takes_s = 0
        scene.admission.close()
        assert not scene.store.book.desks
        await asyncio.gather(*tasks)
        with pytest.raises(NoSlot):
            await scene.turns().wait()

    scene.run(play())


# ── with the database ───────────────────────────────────────────────────────────────────────────────────────────────


def test_workers_share_a_budget_by_way_of_the_database(database: Database) -> None:
    """As they run: each with a connection and a thread of its own, in the time that there is."""
    per_second = 60.0
    budget = ServiceBudget(default=Limit(per_second=per_second), shares=SHARES)
    moments: list[float] = []

    async def prepare(calls: int) -> int:
        return max(calls, 10)

    async def call(admission: Admission) -> None:
        turns = admission.turns(asid=ASID, lane="attended", client="ward", deadline_s=time.monotonic() + 30)
        while not (slot := await turns.wait()).use():
            pass
        moments.append(slot.from_s)  # type: ignore[attr-defined]
        slot.finish("succeeded")

    async def play() -> None:
        workers = [
            Admission(
                SlotStore(database, NationalService.PDS),
                service=NationalService.PDS,
                instance=f"worker {n}",
                budget=lambda: budget,
                prepare=prepare,
                shut=lambda: False,
                max_in_flight=10,
                max_waiting=100,
            )
            for n in range(3)
        ]
        watching = [asyncio.ensure_future(worker.watch()) for worker in workers]
        await asyncio.gather(*(call(workers[n % 3]) for n in range(45)))
        for watch in watching:
            watch.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        for worker in workers:
            worker.close()

    asyncio.run(play())
    moments.sort()
    assert len(moments) == 45
    # Where a slot's moment is on our own clock is known to some part of a millisecond.
    for first, begin_s in enumerate(moments):
        for count, end_s in enumerate(moments[first:], 1):
            assert count <= per_second * (end_s - begin_s + 0.02) + 1
    store = SlotStore(database, NationalService.PDS)
    assert store.look()[0].desks == {}
    store.close()


def _value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def _counted(result: str) -> float:
    return _value("minispine_slots_total", service="pds", asid=ASID, result=result)
