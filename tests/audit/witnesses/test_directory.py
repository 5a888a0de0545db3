"""A witness that is a directory: its history, and what is not written over it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from minispine.audit.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from minispine.audit.checkpointing import StoredCheckpoint
from minispine.audit.note import Signer
from minispine.audit.outside import NotPlain, notes_in, read_plain
from minispine.audit.verification import NoCheckpoint, trusted
from minispine.audit.witnesses.directory import DirectoryRecipient
from minispine.audit.witnesses.recipient import Conflict, Recipient, Refused, Superseded, Taken, Unreachable
from minispine.config.settings import DirectoryWitness
from tests.audit.conftest import ORIGIN, SIGNER
from tests.audit.witnesses.conftest import Issue, Showing

Show = Callable[[Recipient], Showing]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "other-disk"
    folder.mkdir()
    return folder


@pytest.fixture
def show(showing: Show, folder: Path) -> Showing:
    return showing(DirectoryRecipient(DirectoryWitness(name="disk", directory=folder)))


def note_of(size: int, signer: Signer = SIGNER) -> str:
    return sign_checkpoint(Checkpoint(signer.name, size, bytes(32)), signer)


def test_every_checkpoint_is_kept_and_the_newest_is_at_hand(issue: Issue, show: Showing, folder: Path) -> None:
    stored = [issue(3), issue(0), issue(300)]
    for each in stored:
        assert show(each) == each.note
    assert (folder / "checkpoint").read_text() == stored[-1].note
    kept = sorted((folder / "2026-09").iterdir(), key=lambda file: int(file.name.rpartition("-")[2]))
    assert [file.read_text() for file in kept] == [each.note for each in stored]
    assert [file.name for file in kept] == [f"1-{each.size}-{each.at // 1_000_000}" for each in stored]
    assert set(notes_in(folder)) == {*kept, folder / "checkpoint"}
    assert kept[0].stat().st_mode & 0o777 == 0o644


def test_taking_the_same_again_changes_nothing(issue: Issue, show: Showing, folder: Path) -> None:
    stored = issue()
    show(stored)
    before = [(file, file.stat().st_ino) for file in notes_in(folder)]
    show(stored)
    assert [(file, file.stat().st_ino) for file in notes_in(folder)] == before


def test_a_disk_that_is_not_mounted_is_not_written_to(issue: Issue, show: Showing, folder: Path) -> None:
    show(issue())
    away = folder.rename(folder.with_name("away"))
    with pytest.raises(Unreachable, match="not there"):
        show(issue())
    folder.mkdir()
    with pytest.raises(Refused, match="gone"):
        show(issue())
    assert list(folder.iterdir()) == []
    folder.rmdir()
    away.rename(folder)
    show(issue())


def test_what_cannot_be_written_is_unreachable(issue: Issue, show: Showing, folder: Path) -> None:
    (folder / "2026-09").write_text("a file where a folder should be")
    with pytest.raises(Unreachable, match="cannot be used"):
        show(issue())
    assert not (folder / "checkpoint").exists()


@pytest.mark.requirement("SMSP-AUDIT-001", "a")
@pytest.mark.parametrize(("size", "why"), [(3, "first 3 records"), (3000, "3000 records")])
def test_a_log_that_does_not_extend_what_is_there_is_a_conflict(
    issue: Issue, show: Showing, folder: Path, size: int, why: str
) -> None:
    (folder / "checkpoint").write_text(note_of(size))
    with pytest.raises(Conflict, match=why):
        show(issue(9))
    assert open_checkpoint((folder / "checkpoint").read_text(), SIGNER.verifier).size == size


def test_a_later_checkpoint_that_another_process_put_there_stays(issue: Issue, show: Showing, folder: Path) -> None:
    early, late = issue(), issue()
    show(late)
    with pytest.raises(Superseded):
        show(early)
    assert (folder / "checkpoint").read_text() == late.note


@pytest.mark.parametrize("content", ["", "nothing\n\nsigned\n", "\xff"])
def test_what_is_no_checkpoint_is_not_written_over(issue: Issue, show: Showing, folder: Path, content: str) -> None:
    (folder / "checkpoint").write_bytes(content.encode("latin-1"))
    with pytest.raises(Refused, match="not a checkpoint"):
        show(issue())
    assert (folder / "checkpoint").read_bytes() == content.encode("latin-1")


def test_the_directory_of_another_log_is_not_taken_over(issue: Issue, show: Showing, folder: Path) -> None:
    other = Signer(f"{ORIGIN}/2", SIGNER.private_key)
    (folder / "checkpoint").write_text(note_of(3, other))
    with pytest.raises(Refused, match="another log"):
        show(issue())


def test_a_later_epoch_goes_on_in_the_same_directory(show: Showing, issue: Issue, folder: Path) -> None:
    """Its log may have lost records that the witness has seen: then the restored log says so itself."""
    (folder / "checkpoint").write_text(note_of(3000))
    show.before = Taken(5, 1, 3000)
    made = issue(9)
    later = Signer(f"{ORIGIN}/3", SIGNER.private_key)
    note = sign_checkpoint(Checkpoint(later.name, made.size, made.checkpoint.root), later)
    show(StoredCheckpoint(number=6, at=made.at, epoch=3, size=made.size, note=note))
    assert (folder / "checkpoint").read_text() == note


def test_a_pipe_or_device_where_a_checkpoint_should_be_holds_nobody_up(
    issue: Issue, show: Showing, folder: Path
) -> None:
    stored = issue()
    os.mkfifo(folder / "checkpoint")
    with pytest.raises(Unreachable, match="not a plain file"):
        show(stored)
    (folder / "checkpoint").unlink()
    (folder / "checkpoint").symlink_to("/dev/zero")
    with pytest.raises(Unreachable, match="not a plain file"):
        show(stored)
    (folder / "checkpoint").unlink()
    (folder / "2026-09").mkdir(exist_ok=True)
    kept = folder / "2026-09" / f"1-{stored.size}-{stored.at // 1_000_000}"
    kept.unlink(missing_ok=True)
    os.mkfifo(kept)
    with pytest.raises(Unreachable, match="not a plain file"):
        show(stored)


def test_whoever_verifies_passes_over_a_pipe_in_a_directory(issue: Issue, folder: Path) -> None:
    (folder / "tile").mkdir()
    (folder / "checkpoints").mkdir()
    os.mkfifo(folder / "checkpoint")
    os.mkfifo(folder / "checkpoints" / "1-1-1")
    with pytest.raises(NoCheckpoint):
        trusted.read(folder)
    (folder / "checkpoints" / "1-2-2").write_text(issue().note)
    assert [each.source for each in trusted.read(folder)] == [str(folder / "checkpoints" / "1-2-2")]


def test_what_others_can_write_is_read_up_to_a_bound(folder: Path) -> None:
    (folder / "long").write_bytes(b"abcdef")
    assert read_plain(folder / "long", 4) == b"abcd"
    with pytest.raises(NotPlain):
        read_plain(folder, 4)
