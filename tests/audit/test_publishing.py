"""The published log: what an outsider can check by the files alone, and that it only ever goes forward."""

import base64
import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from minispine.audit.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from minispine.audit.checkpointing import Checkpointer, StoredCheckpoint
from minispine.audit.log import AuditLog
from minispine.audit.note import Signer
from minispine.audit.publishing import Publication
from minispine.audit.tiles import Tile, TileHashes, decode_entries
from minispine.audit.witnesses.recipient import Conflict, Offer, Refused, Superseded, Taken, Unreachable
from minispine.storage import Database
from tests.audit import naive_merkle
from tests.audit.checkpoints import grow, leaves
from tests.audit.conftest import ORIGIN, SIGNER, Clock

Publish = Callable[[StoredCheckpoint], None]


@pytest.fixture
def checkpointer(database: Database, log: AuditLog, clock: Clock) -> Checkpointer:
    return Checkpointer(database, SIGNER.private_key, now=clock)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "served" / "log"


@pytest.fixture
def publish(database: Database, directory: Path) -> Publish:
    publication = Publication(directory)

    def published(stored: StoredCheckpoint) -> None:
        assert publication.take(Offer(database, stored, Taken())) == stored.note

    return published


def check_as_an_outsider(directory: Path) -> list[bytes]:
    """Rebuild the log from the files alone, as C2SP tlog-tiles describes them; gives its leaves."""
    checkpoint = open_checkpoint((directory / "checkpoint").read_bytes(), SIGNER.verifier)
    found: list[bytes] = []
    for index in itertools.count():
        width = min(256, checkpoint.size - 256 * index)
        if width <= 0:
            break
        name = f"{index:03}" if width == 256 else f"{index:03}.p/{width}"
        entries = decode_entries((directory / "tile" / "entries" / name).read_bytes())
        assert len(entries) == width
        hashes = b"".join(hashlib.sha256(b"\0" + entry).digest() for entry in entries)
        assert (directory / "tile" / "0" / name).read_bytes() == hashes
        found += entries
    assert naive_merkle.mth(found) == checkpoint.root

    def fetch(tile: Tile) -> bytes:
        return (directory / tile.path).read_bytes()

    reader = TileHashes(fetch, checkpoint.size)
    for level in range(checkpoint.size.bit_length()):
        assert reader.read(level, 0) == naive_merkle.mth(found[: 1 << level])
    return found


def test_an_outsider_can_rebuild_the_log_from_the_files(
    database: Database, log: AuditLog, checkpointer: Checkpointer, publish: Publish, directory: Path
) -> None:
    for records in (0, 3, 252, 1, 300, 0):
        grow(log, records)
        publish(checkpointer.make())
        assert check_as_an_outsider(directory) == leaves(database)


def test_partial_tiles_go_when_the_full_one_is_there(
    log: AuditLog, checkpointer: Checkpointer, publish: Publish, directory: Path
) -> None:
    for records in (9, 10):
        grow(log, records)
        publish(checkpointer.make())
    partial = directory / "tile" / "0" / "000.p"
    # Those of every checkpoint that was published have to stay as long as there is no full one.
    assert sorted(file.name for file in partial.iterdir()) == ["10", "20"]
    grow(log, 280)
    publish(checkpointer.make())
    assert not partial.exists()
    assert not (directory / "tile" / "entries" / "000.p").exists()
    assert [str(path.relative_to(directory)) for path in sorted((directory / "tile").rglob("*")) if path.is_file()] == [
        "tile/0/000",
        "tile/0/001.p/44",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/44",
    ]


def test_every_checkpoint_stays_in_the_history(
    checkpointer: Checkpointer, publish: Publish, directory: Path, clock: Clock
) -> None:
    made = []
    for _ in range(3):
        clock.us += 1_000_000
        made.append(checkpointer.make())
        publish(made[-1])
    kept = sorted((directory / "checkpoints" / "2026-09").iterdir())
    assert [file.read_text() for file in kept] == [each.note for each in made]


def test_nobody_outside_our_group_can_read_it(checkpointer: Checkpointer, publish: Publish, directory: Path) -> None:
    publish(checkpointer.make())
    for path in (directory, *directory.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path


def test_what_was_cut_short_by_the_end_of_the_process_is_made_good(
    database: Database,
    log: AuditLog,
    checkpointer: Checkpointer,
    publish: Publish,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next process goes on where one ended; until it is done, the old checkpoint stands for what it did."""
    grow(log, 299)
    publish(checkpointer.make())
    before = check_as_an_outsider(directory)
    grow(log, 300)
    stored = checkpointer.make()
    for files in itertools.count():
        ended = _end_after(files, monkeypatch)
        try:
            publish(stored)
        except _Ended:
            assert check_as_an_outsider(directory) == before
        if not ended():
            break
    assert files >= 4  # each goes on where the one before it ended
    monkeypatch.undo()
    publish(stored)
    assert check_as_an_outsider(directory) == leaves(database)


class _Ended(BaseException):
    pass


def _end_after(files: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """End the process, as it were, before so many files and one are put in place."""
    import os

    left = [files]
    replace = os.replace if not hasattr(os.replace, "real") else os.replace.real

    def replaced(source: str, target: str) -> None:
        if left[0] == 0:
            left[0] = -1
            raise _Ended
        left[0] -= 1
        replace(source, target)

    replaced.real = replace  # type: ignore[attr-defined]
    monkeypatch.setattr(os, "replace", replaced)
    return lambda: left[0] == -1


def note_of(size: int, signer: Signer = SIGNER) -> str:
    return sign_checkpoint(Checkpoint(signer.name, size, bytes(32)), signer)


@pytest.mark.parametrize(("size", "why"), [(3, "first 3 records"), (3000, "3000 records")])
def test_a_log_that_does_not_extend_what_was_published_is_a_conflict(
    log: AuditLog, checkpointer: Checkpointer, publish: Publish, directory: Path, size: int, why: str
) -> None:
    grow(log, 9)
    publish(checkpointer.make())
    (directory / "checkpoint").write_text(note_of(size))
    grow(log, 9)
    before = sorted(directory.rglob("*"))
    with pytest.raises(Conflict, match=why):
        publish(checkpointer.make())
    assert sorted(directory.rglob("*")) == before


def test_it_only_goes_forward(log: AuditLog, checkpointer: Checkpointer, publish: Publish, directory: Path) -> None:
    early = checkpointer.make()
    grow(log, 300)
    publish(checkpointer.make())
    with pytest.raises(Superseded):
        publish(early)
    assert len(check_as_an_outsider(directory)) == early.size + 300


def test_another_log_is_not_published_over_it(checkpointer: Checkpointer, publish: Publish, directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "checkpoint").write_text(note_of(1, Signer("another", SIGNER.private_key)))
    with pytest.raises(Refused, match="another log"):
        publish(checkpointer.make())


def test_a_later_epoch_is_published_beside_the_earlier(
    database: Database, log: AuditLog, checkpointer: Checkpointer, publish: Publish, directory: Path
) -> None:
    grow(log, 9)
    publish(checkpointer.make())
    grow(log, 9)
    made = checkpointer.make()
    later = Signer(f"{ORIGIN}/2", SIGNER.private_key)
    note = sign_checkpoint(Checkpoint(later.name, made.size, made.checkpoint.root), later)
    publish(StoredCheckpoint(number=made.number, at=made.at, epoch=2, size=made.size, note=note))
    assert len(check_as_an_outsider(directory)) == 10
    assert (directory / "2" / "checkpoint").read_text() == note
    assert (directory / "2" / "tile" / "0" / "000.p" / "19").is_file()
    assert base64.b64encode(made.checkpoint.root).decode() in note
    assert len(leaves(database)) == 19


def test_of_two_processes_one_publishes(
    database: Database, checkpointer: Checkpointer, publish: Publish, directory: Path
) -> None:
    stored = checkpointer.make()
    publish(stored)
    with Publication(directory)._alone(), pytest.raises(Unreachable, match="another process"):
        publish(stored)
    publish(stored)


def test_a_directory_that_cannot_be_made_is_said(checkpointer: Checkpointer, publish: Publish, directory: Path) -> None:
    directory.parent.write_text("a file")
    with pytest.raises(Unreachable, match="cannot be used: not a directory"):
        publish(checkpointer.make())
