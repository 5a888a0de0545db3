"""`minispine backup` and `minispine restore`, as an operator runs them."""

import shutil
from pathlib import Path

import pytest

from minispine.audit import reading
from minispine.audit.checkpointing import Checkpointer
from minispine.audit.keyfiles import load
from minispine.audit.opening import open_database, open_log
from minispine.config import load as load_settings
from tests.audit.conftest import START, received
from tests.cli.conftest import Command

APPROVED = ("--approved-by", "A. Director, chief information officer", "--reason", "the disk broke")


@pytest.fixture
def backed_up(minispine: Command, config: Path, tmp_path: Path) -> Path:
    """A log that was lost after a backup, and the folder of the backup; `witnessed` beside it is a later checkpoint."""
    assert minispine("audit", "init", "--config", config, "--without-redaction").code == 0
    settings = load_settings(config)
    keys = load(settings.audit.keys)
    folder = tmp_path / "backup"
    done = minispine("backup", folder, "--config", config)
    assert (done.code, done.out) == (0, f"{folder} holds the first 1 records; record 2 says that it was made\n")
    with open_database(settings.storage) as database:
        log = open_log(database, keys, settings=settings, instance="test", now=lambda: START)
        log.append_now(received("e", "m"))
        log.close_now()
        made = Checkpointer(database, keys.log_key, now=lambda: START).make()
    (tmp_path / "witnessed").write_text(made.note)
    assert database.folder is not None
    shutil.rmtree(database.folder)
    return folder


def test_a_backup_is_read_as_a_log(minispine: Command, backed_up: Path) -> None:
    verified = minispine("audit", "verify", "--storage", f"sqlite:{backed_up}")
    assert verified.code in (0, 3), verified.err
    again = minispine("backup", backed_up)
    assert again.code != 0


def test_a_lost_log_goes_on_from_its_backup(minispine: Command, config: Path, backed_up: Path, tmp_path: Path) -> None:
    done = minispine("restore", backed_up, "--config", config, *APPROVED, "--witnessed", tmp_path / "witnessed")
    assert done.code == 0, done.err
    assert done.out == ("the log goes on from 1 records; record 2 begins epoch 2\nlost are the records from 2 to 3\n")
    with open_database(load_settings(config).storage) as database:
        [told] = reading.events(database, first=2)
    assert told["data"]["approved_by"] == "A. Director, chief information officer"
    assert told["data"]["checkpoint"] == (tmp_path / "witnessed").read_text()
    settings = load_settings(config)
    with open_database(settings.storage) as database:
        made = Checkpointer(database, load(settings.audit.keys).log_key, now=lambda: START).make()
    (tmp_path / "later").write_text(made.note)
    asked = ["audit", "verify", "--config", config]
    for checkpoint in ("witnessed", "later"):
        asked += ["--checkpoint", tmp_path / checkpoint]
    verified = minispine(*asked)
    assert verified.code == 3, verified.err
    assert verified.out.splitlines()[-1] == (
        "consistent, not proven: a checkpoint given is over records that are not here: records 2 to 3 of epoch 1 were"
        " lost, as record 2 says and A. Director, chief information officer approved; if you know this to be so, give"
        " --restored 2"
    )
    assert minispine(*asked, "--restored", "1").code == 3
    assert minispine(*asked, "--restored", "2").code == 0
    twice = minispine("restore", backed_up, "--config", config, *APPROVED, "--no-witness")
    assert (twice.code, twice.out) == (1, "")
    assert "an empty one" in twice.err


def test_that_no_orders_are_known_is_said(minispine: Command, config: Path, backed_up: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    done = minispine("restore", backed_up, "--config", config, *APPROVED, "--no-witness", "--redactions", gone)
    assert done.code == 0
    assert f"There is no {gone}, so no order to destroy payloads is known here." in done.err


def test_it_has_to_be_said_what_the_witness_knows_and_who_approved(
    minispine: Command, config: Path, backed_up: Path, tmp_path: Path
) -> None:
    neither = minispine("restore", backed_up, "--config", config, *APPROVED)
    both = minispine(
        "restore", backed_up, "--config", config, *APPROVED, "--no-witness", "--witnessed", tmp_path / "witnessed"
    )
    nobody = minispine("restore", backed_up, "--config", config, "--approved-by", " ", "--reason", "x", "--no-witness")
    assert [(done.code, done.out) for done in (neither, both, nobody)] == [(2, "")] * 3
    assert minispine("restore", backed_up, "--config", config, *APPROVED, "--no-witness").code == 0


def test_what_is_no_backup_is_refused(minispine: Command, config: Path, backed_up: Path, tmp_path: Path) -> None:
    (backed_up / "backup.json").unlink()
    done = minispine("restore", backed_up, "--config", config, *APPROVED, "--no-witness")
    assert (done.code, done.out) == (1, "")
    assert "is not a whole backup" in done.err


def test_a_checkpoint_that_is_no_text_is_a_mistake(minispine: Command, config: Path, backed_up: Path) -> None:
    (backed_up.parent / "bytes").write_bytes(b"\xff")
    done = minispine("restore", backed_up, "--config", config, *APPROVED, "--witnessed", backed_up.parent / "bytes")
    assert (done.code, done.err.endswith("bytes: it is not text in UTF-8\n")) == (2, True)
