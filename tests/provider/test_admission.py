"""The gate: at most so many at once, so many waiting, nobody past a deadline."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.provider.admission import Admission, Busy


def test_a_turn_is_free_then_waited_for_in_order_then_refused() -> None:
    async def scene() -> list[str]:
        gate = Admission(max_in_flight=1, max_waiting=2)
        far = asyncio.get_running_loop().time() + 60
        happened: list[str] = []
        release = asyncio.Event()

        async def visit(name: str) -> None:
            try:
                async with gate.turn(far):
                    happened.append(f"{name} in")
                    await release.wait()
            except Busy as busy:
                happened.append(f"{name} busy {busy.retry_after_s >= 1}")

        tasks = []
        for name in "abcd":
            tasks.append(asyncio.create_task(visit(name)))
            await asyncio.sleep(0)
        assert gate.full
        release.set()
        await asyncio.gather(*tasks)
        assert not gate.full
        return happened

    assert asyncio.run(scene()) == ["a in", "d busy True", "b in", "c in"]


def test_nobody_waits_past_a_deadline() -> None:
    async def scene() -> None:
        gate = Admission(max_in_flight=1, max_waiting=5)
        now = asyncio.get_running_loop().time()
        async with gate.turn(now + 60):
            with pytest.raises(Busy):
                async with gate.turn(now - 1):
                    raise AssertionError("admitted past its deadline")
        async with gate.turn(now + 60):
            pass

    asyncio.run(scene())


def test_a_turn_that_is_freed_just_as_a_wait_ends_is_not_lost() -> None:
    async def scene() -> None:
        gate = Admission(max_in_flight=1, max_waiting=5)
        far = asyncio.get_running_loop().time() + 60
        await gate._enter(far)
        waiter = asyncio.create_task(gate._enter(far))
        await asyncio.sleep(0)
        waiter.cancel()  # cancels what it waits for at once; the waiter itself gets to run only later
        gate._leave()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        await gate._enter(far)

    asyncio.run(scene())


@given(st.lists(st.sampled_from(["come", "leave", "give up"]), max_size=60), st.integers(1, 3), st.integers(0, 3))
def test_invariant(moves: list[str], most: int, waiting: int) -> None:
    """However callers come, leave and give up, no more than the permitted number hold a turn and none is lost."""

    async def scene() -> None:
        gate = Admission(max_in_flight=most, max_waiting=waiting)
        far = asyncio.get_running_loop().time() + 60
        inside = 0
        doors: list[tuple[asyncio.Event, asyncio.Task[None]]] = []

        async def visit(door: asyncio.Event) -> None:
            nonlocal inside
            try:
                async with gate.turn(far):
                    inside += 1
                    assert inside <= most
                    try:
                        await door.wait()
                    finally:
                        inside -= 1
            except Busy:
                pass

        for move in moves:
            if move == "come":
                door = asyncio.Event()
                doors.append((door, asyncio.create_task(visit(door))))
            elif doors and move == "leave":
                doors.pop(0)[0].set()
            elif doors:
                doors.pop()[1].cancel()
            for _ in range(3):
                await asyncio.sleep(0)
        for door, _ in doors:
            door.set()
        for _ in range(3 * len(moves) + 3):
            await asyncio.sleep(0)
        for _ in range(most):  # every turn can be had again
            await gate._enter(far)
        assert gate._free == 0

    asyncio.run(scene())
