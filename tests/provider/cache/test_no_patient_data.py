"""Nothing of a patient is in the files of the database, nor in what is counted or said of the cache."""

import sqlite3
from pathlib import Path

from prometheus_client import generate_latest

from minispine.domain.outcome import NotVerified, Superseded
from minispine.provider.cache import Cache, CacheKeys
from tests.provider.cache.conftest import Worker
from tests.provider.cache.samples import (
    BORN,
    NUMBER,
    OTHER,
    TTL_S,
    check,
    found,
    person,
    retrieval,
    search,
)

MARKERS = (
    "MARKERGIVEN",
    "MARKERFAMILY",
    "MARKERSTREET",
    "MARKERPHONE",
    "LS1 4HY",
    BORN,
    NUMBER,
    OTHER,
)


def _files(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


def _markers_in(content: bytes) -> list[str]:
    written = [marker for marker in MARKERS if marker.encode() in content]
    return written + [marker for marker in MARKERS if marker.encode("utf-16-le") in content]


def test_no_plaintext_is_in_the_database_whatever_happens_to_entries(alone: Worker) -> None:
    folder = alone.database.folder
    assert folder is not None

    def look() -> None:
        assert _markers_in(_files(folder)) == []

    for question in (check(), retrieval(), search()):
        alone.learn(question)
        look()
    alone.learn(check(OTHER), NotVerified(event="e"))
    alone.learn(retrieval(OTHER), found(person(OTHER)))
    alone.clock.pass_s(TTL_S + 1)
    alone.sweep()
    look()
    alone.learn(retrieval(), Superseded(event="e", nhs_number=OTHER))
    look()
    with sqlite3.connect(folder / "registry.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    look()


def test_a_marker_would_be_seen(alone: Worker) -> None:
    """The search above finds what is there."""
    alone.learn(check())
    alone.change("UPDATE cache_entry SET operation = 'MARKERFAMILY'")
    assert alone.database.folder is not None
    assert _markers_in(_files(alone.database.folder)) == ["MARKERFAMILY"]


def test_nothing_of_a_patient_is_counted_or_said(alone: Worker) -> None:
    for question in (check(), retrieval(), search()):
        alone.learn(question)
        alone.answer(question)
    alone.change("UPDATE cache_entry SET sealed = ?", b"noise")
    alone.answer(check())
    said = generate_latest() + "".join(alone.cache.warnings()).encode() + repr(alone.cache).encode()
    assert _markers_in(said) == []
    assert alone.cache.warnings() != []
    assert isinstance(alone.cache, Cache)
    assert "secret" not in repr(CacheKeys)
