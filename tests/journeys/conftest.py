"""Houses to live in for a while: one that every journey may visit, and materials for houses of their own."""

import datetime
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minispine.keys import pki
from minispine.keys.pki import Kind
from tests.conftest import SHARED
from tests.journeys.house import House, Spine

OPENTEST = SHARED / "corpus/itk/spine-smsp/open_test_data.csv"

HouseMaker = Callable[..., House]


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PKI with everybody's certificates."""
    folder = tmp_path_factory.mktemp("keys") / "pki"
    now = datetime.datetime.now(datetime.UTC)
    pki.create(folder, now=now)
    pki.issue(folder, "provider", Kind.SERVER, now=now)
    pki.issue(folder, "spine", Kind.SPINE_SERVER, now=now)
    pki.issue(folder, "spine-client", Kind.SPINE_CLIENT, now=now)
    for name in ("ward", "clinic", "stranger"):
        pki.issue(folder, name, Kind.CLIENT, now=now, organisation="A Trust")
    return folder


@pytest.fixture(scope="session")
def spine(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spine]:
    """A simulated Spine that all houses share; a test that sets faults takes them away again."""
    patients = OPENTEST if OPENTEST.is_file() else None
    shared = Spine(tmp_path_factory.mktemp("spine"), keys, size=2000, patients=patients)
    yield shared
    shared.stop()


@pytest.fixture(autouse=True)
def _good_health(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave Spine without faults, and with few calls to list."""
    yield
    if "spine" in request.fixturenames:
        shared: Spine = request.getfixturevalue("spine")
        shared.faults()
        shared.forget_calls()


@pytest.fixture(scope="session")
def house(keys: Path, spine: Spine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A provider on SQLite with the client `ward`, for journeys that leave it as it was."""
    folder = tmp_path_factory.mktemp("house")
    with House(folder, keys, spine.url, spine.practices) as shared:
        shared.configure("machines", body_timeout_s=2.0)
        shared.write()
        shared.load_organisations()
        shared.register()
        yield shared.start()


@pytest.fixture
def make_house(keys: Path, spine: Spine, tmp_path: Path) -> Iterator[HouseMaker]:
    """Makes houses that are not started yet, and stops them in the end."""
    made: list[House] = []

    def make(spine_url: str = spine.url) -> House:
        made.append(House(tmp_path / f"house-{len(made)}", keys, spine_url, spine.practices))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def own_spine(keys: Path, tmp_path: Path) -> Iterator[Spine]:
    """A Spine for one test, which may stop it."""
    own = Spine(tmp_path / "spine", keys, size=60)
    yield own
    own.stop()


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port
