"""What a worker holds to be in force: the newest version that holds together, whoever looks, however often at once."""

import asyncio
import threading

import pytest

from minispine.provider.registry_view import RegistryView
from minispine.storage import Document, Snapshot, StorageUnavailable

GOOD: dict[str, dict[str, Document]] = {"client": {}}
BAD = {"client": {"ward": Document(1, {"name": 3})}}


class Shelf:
    """A registry in which a reader may be held up."""

    def __init__(self) -> None:
        self.held = Snapshot(1, GOOD)
        self.away = False
        self.hold: threading.Event | None = None
        self.being_read = threading.Event()

    def version(self) -> int:
        if self.away:
            raise StorageUnavailable("away")
        return self.held.version

    def snapshot(self) -> Snapshot:
        read, hold, self.hold = self.held, self.hold, None
        self.being_read.set()
        if hold is not None:
            hold.wait(5)
        return read


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def view(shelf: Shelf) -> RegistryView:
    return RegistryView(shelf)  # type: ignore[arg-type]


def test_who_read_an_older_version_does_not_put_it_in_the_place_of_a_newer(shelf: Shelf, view: RegistryView) -> None:
    async def story() -> None:
        shelf.held, hold = Snapshot(2, GOOD), threading.Event()
        shelf.hold = hold
        shelf.being_read.clear()
        first = asyncio.create_task(view.refresh())
        await asyncio.to_thread(shelf.being_read.wait, 5)
        shelf.held = Snapshot(3, GOOD)
        second = asyncio.create_task(view.refresh())
        await asyncio.wait([second], timeout=0.1)  # it may have to wait for the first
        hold.set()
        await asyncio.gather(first, second)

    asyncio.run(story())
    assert view.current.version == 3


def test_an_older_version_is_never_taken(shelf: Shelf, view: RegistryView) -> None:
    for version, expected in ((5, 5), (4, 5), (6, 6)):
        shelf.held = Snapshot(version, GOOD)
        asyncio.run(view.refresh())
        assert view.current.version == expected


def test_a_version_that_does_not_hold_together_is_told_and_the_old_one_kept_until_a_newer_does(
    shelf: Shelf, view: RegistryView
) -> None:
    shelf.held = Snapshot(2, BAD)
    asyncio.run(view.refresh())
    assert view.current.version == 1
    assert view.reasons() == ["version 2 of the registry cannot be used"]
    shelf.held = Snapshot(3, GOOD)
    asyncio.run(view.refresh())
    assert (view.current.version, view.reasons()) == (3, [])


def test_a_registry_that_is_away_is_told_until_it_is_back(shelf: Shelf, view: RegistryView) -> None:
    shelf.away = True
    asyncio.run(view.refresh())
    assert view.reasons() == ["the registry cannot be read: StorageUnavailable"]
    shelf.away = False
    asyncio.run(view.refresh())
    assert view.reasons() == []
