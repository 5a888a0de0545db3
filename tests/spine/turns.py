"""Turns for tests that are not about the budget: a slot whenever one is wanted, on a connection opened for it."""

from typing import Protocol

from minispine.spine.ports import CallResult


class Prepares(Protocol):
    """What opens connections: a port, or the HTTP client."""

    async def prepare(self, calls: int) -> int: ...


class FreeSlot:
    """A slot whose time is never over, unless `lost`; keeps what came of its call."""

    def __init__(self, *, lost: bool = False) -> None:
        self.lost = lost
        self.used = False
        self.results: list[CallResult] = []

    def use(self) -> bool:
        assert not self.used
        self.used = not self.lost
        return self.used

    def finish(self, result: CallResult) -> None:
        assert self.used
        assert not self.results
        self.results.append(result)


class FreeTurns:
    """Gives a slot at once; those numbered in `lost` are over before they can be used. Keeps all that it gave."""

    def __init__(self, spine: Prepares, *, lost: frozenset[int] = frozenset()) -> None:
        self.slots: list[FreeSlot] = []
        self._spine = spine
        self._lost = lost

    async def wait(self) -> FreeSlot:
        await self._spine.prepare(1)
        slot = FreeSlot(lost=len(self.slots) in self._lost)
        self.slots.append(slot)
        return slot

    @property
    def results(self) -> list[CallResult]:
        """What came of the calls, in the order of their slots."""
        assert all(len(slot.results) == slot.used for slot in self.slots)
        return [result for slot in self.slots for result in slot.results]
