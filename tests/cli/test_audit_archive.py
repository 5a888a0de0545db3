"""`minispine audit archive`, as an operator runs it."""

import datetime
from pathlib import Path

import pytest

from minispine.audit.keyfiles import load
from minispine.audit.opening import open_database, open_log
from minispine.config import load as load_settings
from tests.audit.conftest import received
from tests.cli.conftest import Command

SEPTEMBER = round(datetime.datetime(2025, 9, 10, tzinfo=datetime.UTC).timestamp()) * 1_000_000


@pytest.fixture
def old(minispine: Command, config: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log that was begun in September 2025; the folder for its archives."""
    with monkeypatch.context() as then:
        then.setattr("minispine.cli.audit_init.now_us", lambda: SEPTEMBER)
        assert minispine("audit", "init", "--config", config, "--without-redaction").code == 0
    settings = load_settings(config)
    with open_database(settings.storage) as database:
        log = open_log(database, load(settings.audit.keys), settings=settings, instance="test", now=lambda: SEPTEMBER)
        log.append_now(received("e", "m"))
        log.close_now()
    folder = config.parent / "archives"
    folder.mkdir()
    return folder


def test_by_default_nothing_is_ever_archived(minispine: Command, config: Path, old: Path) -> None:
    done = minispine("audit", "archive", "--config", config, "--month", "2025-09", "--to", old)
    assert (done.code, done.out) == (1, "")
    assert "for ever" in done.err
    assert list(old.iterdir()) == []


def test_an_old_month_goes_to_a_file_that_verify_reads(minispine: Command, config: Path, old: Path) -> None:
    config.write_text(config.read_text().replace("[clock]", "[audit]\nkeep_days = 31\n[clock]"))
    done = minispine("audit", "archive", "--config", config, "--month", "2025-09", "--to", old)
    assert (done.code, done.out) == (
        0,
        f"the payloads of 1 records, from 1 to 2, are in {old}/2025-09-1-2.archive; record 3 says so\n",
    )
    (config.parent / "witnessed").write_text(minispine("audit", "checkpoint", "--config", config).out)
    asked = ("audit", "verify", "--config", config, "--checkpoint", config.parent / "witnessed")
    verified = minispine(*asked)
    assert verified.code == 3
    assert verified.out.splitlines()[-1] == (
        "consistent, not proven: the archive 2025-09-1-2.archive was not looked at: give it with --archive"
    )
    assert minispine(*asked, "--archive", old).code == 0
    verified = minispine(*asked, "--without-payloads")
    assert verified.code == 0
    assert "the payloads were not looked at (--without-payloads)" in verified.out
    shown = minispine("audit", "events", "--config", config, "--private").out
    assert '"archived":"2025-09-1-2.archive"' in shown.replace(" ", "")


def test_a_month_is_typed_as_one(minispine: Command, config: Path, old: Path) -> None:
    done = minispine("audit", "archive", "--config", config, "--month", "September", "--to", old)
    assert (done.code, done.out) == (2, "")
