import datetime
from pathlib import Path

import pytest

from minispine.keys import pki

NOW = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A development PKI that tests only read; one that changes it takes `pki_folder`."""
    folder = tmp_path_factory.mktemp("made") / "pki"
    pki.create(folder, now=NOW)
    return folder


@pytest.fixture
def pki_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pki"
    pki.create(folder, now=NOW)
    return folder


@pytest.fixture
def now() -> datetime.datetime:
    return NOW
