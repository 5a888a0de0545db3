"""Moving old payloads to a file: nothing young, nothing lost, and still within reach of a court's order."""

import datetime
import secrets
from pathlib import Path

import pytest

from minispine.audit import archive, archiving, index
from minispine.audit.archive import Archive, ArchiveUnreadable
from minispine.audit.archiving import Archived, ArchiveRefused, archive_month
from minispine.audit.declaration import Declaration
from minispine.audit.events import EventType
from minispine.audit.log import AuditLog
from minispine.audit.note import sign
from minispine.audit.reading import RecordUnreadable, bodies, events
from minispine.audit.redaction import ArchiveNeeded, redact
from minispine.audit.removal_request import RemovalRequest, parse_ranges
from minispine.audit.vault import PATIENT
from minispine.audit.verification import Archives, Broken, Verified, verify
from minispine.storage import Database, StorageUnavailable, Store
from tests.audit.checkpoints import remove_triggers, tamper
from tests.audit.conftest import AUTHORITY_SIGNERS, ORIGIN, SIGNER, VAULT, Clock, LogMaker, received, replied
from tests.audit.samples import ACTOR

BY = ACTOR.as_data()
DAY = 86_400_000_000


def at(text: str) -> int:
    return round(datetime.datetime.fromisoformat(f"{text}+00:00").timestamp()) * 1_000_000


@pytest.fixture
def log(database: Database, make_log: LogMaker, clock: Clock) -> AuditLog:
    """A log of three months: records 2 to 5 are of September, 6 to 9 of October, then one of November."""
    clock.us = at("2026-09-01")
    log = make_log(database)
    for month, days in (("09", ("02", "30T23:59:59")), ("10", ("01", "31"))):
        for day in days:
            clock.us = at(f"2026-{month}-{day}")
            log.append_now(received(f"e{month}{day}", f"m{month}{day}"))
            log.append_now(replied(f"e{month}{day}", f"m{month}{day}"))
    clock.us = at("2026-11-01")
    log.append_now(received("e11", "m11"))
    clock.us = at("2027-01-01")
    return log


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "archives"
    folder.mkdir()
    return folder


def move(
    database: Database, log: AuditLog, folder: Path, month: str = "2026-09", keep_days: int | None = 31
) -> Archived:
    return archive_month(database, log, month, folder, keep_days=keep_days, actor=BY)


def held(database: Database) -> list[int]:
    with database.reading(Store.AUDIT) as session:
        return [row[0] for row in session.rows("SELECT sequence FROM audit_payload ORDER BY sequence")]


def test_a_month_begins_and_ends_at_midnight_utc() -> None:
    assert archiving.month("2026-12") == (at("2026-12-01"), at("2027-01-01"))
    assert archiving.month("2028-02") == (at("2028-02-01"), at("2028-03-01"))
    for text in ("2026", "2026-13", "2026-9", "September", "2026-09-01"):
        with pytest.raises(ValueError, match=r"month|time data|unconverted"):
            archiving.month(text)


def test_payloads_of_a_month_go_to_a_file_and_everything_else_stays(
    database: Database, log: AuditLog, folder: Path
) -> None:
    shown = {e["sequence"]: e for e in events(database, vault=VAULT)}
    done = move(database, log, folder)
    assert done == Archived(file=folder / "2026-09-1-5.archive", first=1, last=5, payloads=2, record=11)
    assert held(database) == [6, 8, 10]
    told = next(events(database, first=11))
    made = Archive.open(done.file)
    assert told["type"] == EventType.AUDIT_ARCHIVED
    assert told["data"] == {"actor": BY, "first": 1, "last": 5, "name": made.name, "sha256": made.digest().hex()}
    now = {e["sequence"]: e for e in events(database, vault=VAULT)}
    assert (now[2]["private"], now[2]["archived"]) == (None, made.name)
    assert now[6] == shown[6]
    assert list(index.postings(database, VAULT.term(PATIENT, "9434765919"))) == [2, 4, 6, 8, 10]
    assert done.file.stat().st_mode & 0o777 == 0o600
    assert isinstance(verify(database), Verified)


def test_verification_reads_the_archives_that_it_is_given(database: Database, log: AuditLog, folder: Path) -> None:
    done = move(database, log, folder)
    seen = verify(database, archives=Archives([folder]))
    assert isinstance(seen, Verified)
    assert not [each for each in seen.observations if "not looked at" in each.text]
    with done.file.open("r+b") as file:
        file.seek(-40, 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    found = verify(database, archives=Archives([done.file]))
    assert isinstance(found, Broken)
    assert found.check in ("archive", "payload")


@pytest.mark.requirement("SMSP-AUDIT-001", "e")
@pytest.mark.requirement("MSCA-AUD-01", "d")
@pytest.mark.parametrize(
    ("month", "keep_days", "now"),
    [
        ("2026-09", None, "2999-01-01"),
        ("2026-09", 93, "2027-01-01"),
        ("2026-09", 92, "2026-12-31T23:59:59"),
        ("2026-12", 31, "2027-01-01"),
        ("2027-01", 31, "2027-01-15"),
    ],
)
def test_what_is_to_be_kept_is_not_moved(
    database: Database, log: AuditLog, folder: Path, clock: Clock, month: str, keep_days: int | None, now: str
) -> None:
    clock.us = at(now)
    before = held(database)
    with pytest.raises(ArchiveRefused):
        move(database, log, folder, month, keep_days)
    assert held(database) == before
    assert list(folder.iterdir()) == []
    assert not list(events(database, first=11))


def test_the_day_after_it_may_be(database: Database, log: AuditLog, folder: Path, clock: Clock) -> None:
    clock.us = at("2027-01-01")
    assert move(database, log, folder, keep_days=92).payloads == 2


def test_a_run_that_ended_in_the_middle_is_finished_by_the_next(
    database: Database, log: AuditLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> int:
        raise StorageUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(archiving, "_move", die)
        with pytest.raises(StorageUnavailable):
            move(database, log, folder)
    assert held(database) == [2, 4, 6, 8, 10]
    assert isinstance(verify(database), Verified)
    (folder / "2026-09-1-5.unfinished").write_text("left over")
    done = move(database, log, folder)
    assert (done.record, done.payloads) == (11, 2)
    assert move(database, log, folder).payloads == 0
    assert not list(events(database, first=12))
    done.file.write_bytes(b"")
    with pytest.raises((ArchiveUnreadable, ArchiveRefused)):
        move(database, log, folder)


def test_a_payload_that_is_not_as_it_was_written_is_not_moved(database: Database, log: AuditLog, folder: Path) -> None:
    tamper(database, "audit_payload", "UPDATE audit_payload SET bodies = private WHERE sequence = 4")
    with pytest.raises(ArchiveRefused, match="record 4"):
        move(database, log, folder)
    assert held(database) == [2, 4, 6, 8, 10]
    assert list(folder.iterdir()) == []


def test_a_record_that_is_not_one_any_more_is_named(database: Database, log: AuditLog, folder: Path) -> None:
    remove_triggers(database, "audit_record")
    with database.session(Store.AUDIT) as session:
        session.run("UPDATE audit_record SET leaf = ? WHERE sequence = 4", (b"\x02{}",))
    with pytest.raises(RecordUnreadable, match="record 4 "):
        move(database, log, folder)
    assert held(database) == [2, 4, 6, 8, 10]
    assert list(folder.iterdir()) == []


@pytest.mark.requirement("SMSP-AUDIT-001", "d")
def test_an_order_reaches_what_is_in_an_archive(database: Database, log: AuditLog, folder: Path) -> None:
    move(database, log, folder)
    declared = Declaration(origin=ORIGIN, epoch=1, log_key=SIGNER.verifier)
    request = RemovalRequest.of(
        declared, reference="Case", ranges=parse_ranges("2,6"), random_bytes=secrets.token_bytes
    )
    order = sign(request.encode(), AUTHORITY_SIGNERS)
    with pytest.raises(ArchiveNeeded, match="record 2 is in an archive"):
        redact(database, log, order, actor=BY)
    assert redact(database, log, order, actor=BY, archives=archive.within(folder)).sequences == (2, 6)
    with database.reading(Store.AUDIT) as session:
        assert session.rows("SELECT sequence FROM audit_archived_key") == [(4,)]
    assert held(database) == [8, 10]
    assert list(index.postings(database, VAULT.term(PATIENT, "9434765919"))) == [4, 8, 10]
    assert next(e for e in events(database, vault=VAULT) if e["sequence"] == 2)["removed"] == "Case"
    assert isinstance(verify(database, archives=Archives([folder])), Verified)


def test_a_key_of_an_archived_payload_goes_only_by_order(database: Database, log: AuditLog, folder: Path) -> None:
    move(database, log, folder)
    for statement in (
        "DELETE FROM audit_archived_key",
        "UPDATE audit_archived_key SET sequence = 3 WHERE sequence = 2",
    ):
        with database.session(Store.AUDIT) as session, pytest.raises(StorageUnavailable):
            session.run(statement)


def test_a_key_that_was_put_there_beforehand_does_not_take_the_place_of_the_payloads(
    database: Database, log: AuditLog, folder: Path
) -> None:
    with database.session(Store.AUDIT) as session:
        [(key,)] = session.rows("SELECT wrapped FROM audit_payload WHERE sequence = 2")
        session.run("INSERT INTO audit_archived_key (sequence, wrapped) VALUES (2, ?)", (bytes(52),))
    move(database, log, folder)
    with database.reading(Store.AUDIT) as session:
        assert session.rows("SELECT wrapped FROM audit_archived_key WHERE sequence = 2") == [(key,)]
    assert isinstance(verify(database, archives=Archives([folder]), vault=VAULT), Verified)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"x" * 8192):
        file = tmp_path / f"{len(content)}.archive"
        file.write_bytes(content)
        with pytest.raises(ArchiveUnreadable, match="is not an archive"):
            Archive.open(file)
    with pytest.raises(ArchiveUnreadable):
        Archive.open(tmp_path / "nowhere.archive")


def test_messages_of_an_archived_record_are_not_in_the_database(
    database: Database, log: AuditLog, folder: Path
) -> None:
    assert bodies(database, 2, VAULT)
    move(database, log, folder)
    assert bodies(database, 2, VAULT) == ()
