# ruff: noqa: F811
"""What a provider says of its checkpoints: when it is not ready, what it warns of, and what it measures."""

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from minispine.audit.checkpoint import Checkpoint, sign_checkpoint
from minispine.audit.issuing import Issuer
from minispine.audit.log import AuditLog
from minispine.config.settings import Audit, DirectoryWitness
from minispine.observe import log as application_log
from minispine.observe import metrics
from minispine.provider.checkpoint_watch import CheckpointWatch
from minispine.storage import Database
from tests.audit.checkpoints import grow, tamper
from tests.audit.conftest import SIGNER, Clock, LogMaker, clock, log, make_log  # noqa: F401

MINUTE = 60_000_000
Watching = Callable[..., "Watched"]


class Watched:
    """A watch of a log, which looks when the test says so, and the directory of its witness."""

    def __init__(
        self, database: Database, folder: Path, now: Clock, log_key: Ed25519PrivateKey, **options: Any
    ) -> None:
        self.disk = folder / "disk"
        witnesses = (DirectoryWitness(name="disk", directory=self.disk),) if options.pop("witness", True) else ()
        settings = Audit(witnesses=witnesses, **options)
        self.issuer = Issuer(database, log_key, settings, now=now)
        self.watch = CheckpointWatch(self.issuer, settings, "production", now=now)
        self.now = now

    def look(self, minutes: float = 0) -> None:
        """After so many minutes, and once the witness has answered."""
        self.now.us += round(minutes * MINUTE)
        made = self.issuer._checkpointer.make_if_due(60)
        if made is not None:
            for feeder in self.issuer._feeders:
                feeder.feed(made)
        self.watch.look()


@pytest.fixture
def watched(database: Database, log: AuditLog, clock: Clock, tmp_path: Path) -> Iterator[Watching]:
    made: list[Watched] = []

    def watching(log_key: Ed25519PrivateKey = SIGNER.private_key, **options: Any) -> Watched:
        made.append(Watched(database, tmp_path, clock, log_key, **options))
        return made[-1]

    yield watching
    for each in made:
        each.issuer.close()


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, object]]]]:
    stream = io.StringIO()
    application_log.configure("info", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    application_log.configure("info")


def test_with_a_witness_that_takes_everything_there_is_nothing_to_say(
    watched: Watching,
    log: AuditLog,
) -> None:
    it = watched()
    it.disk.mkdir()
    for _ in range(3):
        grow(log, 1)
        it.look(1)
        assert (it.watch.reasons(), it.watch.warnings()) == ([], [])
    it.now.us += 2_000_000
    it.look()
    assert metrics.WITNESS_AGE_SECONDS.labels("witness disk")._value.get() == 2.0
    assert metrics.WITNESS_WAITING_SECONDS.labels("witness disk")._value.get() == 0.0
    assert metrics.CHECKPOINT_AGE_SECONDS._value.get() == 2.0


def test_a_witness_that_is_away_is_a_warning_after_some_intervals_and_until_it_is_back(
    watched: Watching,
    log: AuditLog,
) -> None:
    it = watched()
    said = []
    for _ in range(5):
        grow(log, 1)
        it.look(1)
        said.append(bool(it.watch.warnings()))
        assert it.watch.reasons() == []
    assert said == [False, False, False, False, True]
    assert it.watch.warnings() == [
        "witness disk has taken no checkpoint since 2026-09-21 14:14 UTC: its directory is not there"
    ]
    assert metrics.WITNESS_WAITING_SECONDS.labels("witness disk")._value.get() == 240.0
    it.disk.mkdir()
    grow(log, 1)
    it.look(1)
    assert it.watch.warnings() == []


@pytest.mark.requirement("SMSP-AUDIT-001", "a")
def test_a_witness_that_has_seen_another_log_makes_the_provider_not_ready(
    watched: Watching,
    log: AuditLog,
) -> None:
    it = watched()
    it.disk.mkdir()
    (it.disk / "checkpoint").write_text(sign_checkpoint(Checkpoint(SIGNER.name, 1, bytes(32)), SIGNER))
    grow(log, 1)
    it.look(1)
    (reason,) = it.watch.reasons()
    assert reason.startswith("witness disk says that the audit log was rewritten: the first 1 records")
    assert it.watch.warnings() == []
    # Every process says so, not only the one that asked.
    another = watched()
    another.watch.look()
    assert another.watch.reasons() == [reason]
    (it.disk / "checkpoint").unlink()
    it.look(10)
    assert it.watch.reasons() == []


@pytest.mark.requirement("SMSP-AUDIT-001", "a")
def test_a_log_that_does_not_extend_its_checkpoint_makes_the_provider_not_ready(
    database: Database,
    watched: Watching,
    log: AuditLog,
    lines: Callable[[], list[dict[str, object]]],
) -> None:
    it = watched(witness=False, no_witness_reason="a test")
    grow(log, 5)
    it.watch.look()
    value = "x'00'" if database.kind == "sqlite" else "'\\x00'::bytea"
    rows = "(SELECT hash FROM audit_record WHERE sequence = 3)"
    tamper(database, "audit_record", f"UPDATE audit_record SET hash = {rows} WHERE sequence = 4", f"SELECT {value}")
    for _ in range(2):
        grow(log, 1)
        it.now.us += MINUTE
        it.watch.look()
        (reason,) = it.watch.reasons()
        assert reason.startswith("no checkpoint of the audit log is signed: the first 6 records are not those")
        assert reason.endswith("; run: minispine audit verify")
    assert [line["ref"] for line in lines()] == ["MS0063"]


def test_another_key_makes_the_provider_not_ready(watched: Watching) -> None:
    it = watched(Ed25519PrivateKey.generate())
    it.watch.look()
    assert "another key as its own" in it.watch.reasons()[0]


def test_while_no_checkpoint_is_made_at_all_it_warns(watched: Watching, log: AuditLog) -> None:
    it = watched()
    it.disk.mkdir()
    it.look()
    it.now.us += 13 * MINUTE
    assert it.watch.warnings() == []
    it.now.us += 1
    assert it.watch.warnings() == ["no checkpoint of the audit log has been made since 2026-09-21 14:13 UTC"]


def test_what_stands_in_the_place_of_a_witness_is_said_for_as_long_as_it_does(
    database: Database,
    watched: Watching,
    clock: Clock,
) -> None:
    it = watched(witness=False, no_witness_reason="the regional hub comes in May")
    it.watch.look()
    assert it.watch.warnings() == ["the audit log has no witness outside: the regional hub comes in May"]
    issuer = Issuer(database, SIGNER.private_key, Audit(), now=clock)
    assert CheckpointWatch(issuer, Audit(), "demonstration", now=clock).warnings() == [
        "the audit log has no witness outside: this is a demonstration"
    ]


def test_it_looks_several_times_an_interval_and_a_database_that_is_away_ends_nothing(
    sqlite_database: Database,
    make_log: LogMaker,
    clock: Clock,
) -> None:
    make_log(sqlite_database)
    settings = Audit(checkpoint_interval_s=20)
    paused: list[float] = []
    issuer = Issuer(sqlite_database, SIGNER.private_key, settings, now=clock)

    async def sleep(seconds: float) -> None:
        paused.append(seconds)
        folder = sqlite_database.folder
        assert folder is not None
        if len(paused) == 1:
            (folder / "audit.db").rename(folder / "away.db")
            clock.us += 20 * MINUTE
        elif len(paused) == 3:
            raise asyncio.CancelledError

    watch = CheckpointWatch(issuer, settings, "demonstration", now=clock, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch.watch())
    assert paused == [2.0] * 3
