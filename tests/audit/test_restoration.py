"""Backups, and logs that go on from one: nothing is lost quietly."""

import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from minispine.audit import backup, index, restoration
from minispine.audit.backup import BackupRefused
from minispine.audit.changes import change_document
from minispine.audit.checkpointing import Checkpointer, StoredCheckpoint
from minispine.audit.declaration import in_force
from minispine.audit.events import AuditUnavailable, EventType
from minispine.audit.keyfiles import AuditKeys
from minispine.audit.log import AuditLog
from minispine.audit.note import sign
from minispine.audit.reading import bodies, events, last_sequence
from minispine.audit.redaction import Removed, publish, redact
from minispine.audit.removal_request import RemovalRequest, RequestInvalid, parse_ranges
from minispine.audit.restoration import Restored, RestoreRefused, restore
from minispine.audit.vault import PATIENT
from minispine.audit.verification import Trusted, Verified, verify
from minispine.keys.ring import KeyRing, MasterKey
from minispine.storage import Database, Registry, Session, StorageUnavailable, Store, copying
from minispine.storage.tables import AUDIT, REGISTRY
from tests.audit.conftest import (
    AUTHORITY_SIGNERS,
    RING,
    SIGNER,
    START,
    Clock,
    LogMaker,
    received,
    replied,
)
from tests.audit.samples import ACTOR

BY = ACTOR.as_data()
KEYS = AuditKeys(SIGNER.private_key, RING, bytes(32))


@pytest.fixture
def log(database: Database, make_log: LogMaker) -> AuditLog:
    """A log of 302 records: a change of the registry, and exchanges."""
    log = make_log(database)
    change_document(
        database,
        log,
        kind="client",
        key="ward",
        body={"name": "Ward"},
        event=EventType.CLIENT_ADDED,
        actor=BY,
        reason="new",
        expected_version=0,
    )
    with log.holding() as hold:
        for n in range(299):
            log.append_in(hold, received(f"e{n}", f"m{n}"))
        log.append_in(hold, replied("e0", "m0"))
    return log


def checkpoint(database: Database) -> StoredCheckpoint:
    return Checkpointer(database, SIGNER.private_key, now=lambda: START).make()


@pytest.fixture
def made(database: Database, log: AuditLog, tmp_path: Path) -> Path:
    """A backup of 302 records with a checkpoint over all of them."""
    checkpoint(database)
    folder = tmp_path / "backup"
    backup.record(log, folder, backup.make(database, folder, now=START), actor=BY)
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind: where the log was on PostgreSQL, its tables are made anew."""
    url = f"sqlite:{tmp_path}/target" if request.param == "sqlite" else request.getfixturevalue("emptied")
    with Database.open(url, lock_timeout_s=2.0) as database:
        database.migrate()
        yield database


@pytest.fixture
def emptied(request: pytest.FixtureRequest, made: Path) -> str:
    """After the backup was made: the server with nothing in it."""
    postgres = request.getfixturevalue("postgres")
    postgres.admin(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres' AND pid <> pg_backend_pid()"
    )
    postgres.admin("DROP SCHEMA public CASCADE")
    postgres.admin("CREATE SCHEMA public")
    url: str = postgres.url("postgres")
    return url


Restore = Callable[..., Restored]


@pytest.fixture
def goes_on(made: Path, target: Database, make_log: LogMaker) -> Restore:
    """Restores the backup into the target."""

    def run(witnessed: str | None = None, keys: AuditKeys = KEYS) -> Restored:
        return restore(
            made,
            target,
            make_log(target, begun=False),
            keys,
            witnessed=witnessed,
            approved_by="A. Director",
            reason="the disk broke",
            actor=BY,
        )

    return run


def rows_of(database: Database) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    for store, metadata in ((Store.AUDIT, AUDIT), (Store.REGISTRY, REGISTRY)):
        with database.reading(store) as session:
            for table in metadata.tables.values():
                columns = ", ".join(c.name for c in table.columns)
                key = ", ".join(c.name for c in table.primary_key)
                found[table.name] = list(session.rows(f"SELECT {columns} FROM {table.name} ORDER BY {key}"))
    return found


def test_a_backup_has_every_row_and_says_what_it_is(database: Database, log: AuditLog, tmp_path: Path) -> None:
    note = checkpoint(database).note
    before = rows_of(database)
    folder = tmp_path / "backup"
    manifest = backup.make(database, folder, now=START)
    assert backup.read(folder) == manifest
    assert (manifest.size, manifest.epoch, manifest.checkpoint) == (302, 1, note)
    assert manifest.root in note
    with Database.open(f"sqlite:{folder}") as copy:
        assert rows_of(copy) == before
        found = verify(copy)
    assert isinstance(found, Verified)
    assert found.records == 302
    assert {file.stat().st_mode & 0o777 for file in folder.glob("*.db")} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_backup_is_recorded(database: Database, made: Path) -> None:
    told = next(events(database, first=303))
    digest = json.loads((made / "backup.json").read_text())["files"]["audit.db"]
    assert told["type"] == EventType.AUDIT_BACKED_UP
    assert told["data"] == {"actor": BY, "name": "backup", "size": 302, "sha256": digest}


def test_a_backup_is_made_of_one_moment_while_the_log_is_written(
    database: Database, log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Session.pages
    original = Session.copy_file

    def write_meanwhile() -> None:
        log.append_now(received("later", "later"))

    def pages(self: Session, *arguments: object, **options: object) -> object:
        write_meanwhile()
        return asked(self, *arguments, **options)  # type: ignore[arg-type]

    def copy_file(self: Session, file: Path) -> None:
        write_meanwhile()
        original(self, file)

    monkeypatch.setattr(Session, "pages", pages)
    monkeypatch.setattr(Session, "copy_file", copy_file)
    manifest = backup.make(database, tmp_path / "backup", now=START)
    assert 302 <= manifest.size < last_sequence(database)
    with Database.open(f"sqlite:{tmp_path}/backup") as copy:
        assert isinstance(verify(copy), Verified)


def test_the_files_of_sqlite_are_copied_as_they_were_between_two_changes_of_the_registry(
    sqlite_database: Database, make_log: LogMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make_log(sqlite_database)
    changes = iter((1, 2))
    asked = Session.rows

    def rows(self: Session, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        found = asked(self, sql, parameters)
        if sql == copying._VERSION and (number := next(changes, None)) is not None:
            # Just after the registry was looked at first, and before the log is.
            told = {"kind": "client", "key": "ward", "event": EventType.CLIENT_EDITED, "actor": BY, "reason": None}
            change_document(sqlite_database, log, body={"n": number}, expected_version=None, **told)  # type: ignore[arg-type]
        return found

    monkeypatch.setattr(Session, "rows", rows)
    backup.make(sqlite_database, tmp_path / "backup", now=START)
    monkeypatch.undo()
    with Database.open(f"sqlite:{tmp_path}/backup") as copy:
        kept = rows_of(copy)
    assert len(kept["audit_change"]) == len(kept["registry_document"])


def test_a_folder_that_holds_something_and_a_log_that_was_not_begun_are_refused(
    sqlite_database: Database, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").write_text("")
    with pytest.raises(BackupRefused, match="not empty"):
        backup.make(sqlite_database, tmp_path / "full", now=START)
    with pytest.raises(BackupRefused, match="has not been begun"):
        backup.make(sqlite_database, tmp_path / "backup", now=START)
    with pytest.raises(BackupRefused, match="not a whole backup"):
        backup.read(tmp_path / "backup")


def test_a_log_goes_on_in_a_new_epoch_that_says_what_was_lost(
    database: Database, log: AuditLog, made: Path, target: Database, goes_on: Restore, make_log: LogMaker
) -> None:
    with Database.open(f"sqlite:{made}") as copy:
        copied = rows_of(copy)
    note = copied["audit_checkpoint"][0][4]  # type: ignore[index]
    done = goes_on(note)
    assert done == Restored(size=302, epoch=2, record=303, first_lost=None, last_lost=None)
    found = rows_of(target)
    for table in ("audit_record", "audit_payload", "audit_index_pending"):
        extra = len(found[table]) - len(copied[table])
        assert (found[table][: len(copied[table])], extra) == (copied[table], 1), table
    told = next(events(target, first=303, vault=log.vault))
    assert told["type"] == EventType.AUDIT_RESTORED
    data = dict(told["data"])
    assert "epoch 2\n" in data.pop("declaration")
    assert data == {
        "actor": BY,
        "checkpoint": note,
        "first_lost": None,
        "last_lost": None,
        "approved_by": "A. Director",
    }
    assert told["private"] == {"reason": "the disk broke"}
    fresh = make_log(target)
    fresh.append_now(received("new", "new"))
    after = checkpoint(target)
    assert (after.epoch, after.size, after.checkpoint.origin) == (2, 304, f"{SIGNER.name}/2")
    verified = verify(target, trusted=[Trusted.of("witness", note), Trusted.of("new witness", after.note)])
    assert isinstance(verified, Verified), verified
    assert verified.proof is not None


@pytest.mark.parametrize("table", ["audit_record", "audit_payload"])
def test_what_was_restored_cannot_be_changed(goes_on: Restore, target: Database, table: str) -> None:
    goes_on()
    with target.session(Store.AUDIT) as session, pytest.raises(StorageUnavailable):
        session.run(f"DELETE FROM {table}")


def test_the_witness_tells_which_records_are_lost(sqlite_url: str, make_log: LogMaker, tmp_path: Path) -> None:
    with Database.open(sqlite_url) as database:
        database.migrate()
        log = make_log(database)
        backup.make(database, tmp_path / "backup", now=START)
        for n in range(5):
            log.append_now(received(f"e{n}", f"m{n}"))
        seen = checkpoint(database).note
    with Database.open(f"sqlite:{tmp_path}/target") as target:
        target.migrate()
        done = restore(
            tmp_path / "backup",
            target,
            make_log(target, begun=False),
            KEYS,
            witnessed=seen,
            approved_by="A. Director",
            reason="",
            actor=BY,
        )
        assert (done.size, done.first_lost, done.last_lost) == (1, 2, 6)
        assert isinstance(verify(target, trusted=[Trusted.of("witness", seen)]), Verified)


def test_without_a_witness_nobody_knows_how_much_is_lost(goes_on: Restore) -> None:
    done = goes_on(None)
    assert (done.first_lost, done.last_lost) == (303, None)


def test_nothing_is_restored_from_what_is_not_the_witnessed_log(
    goes_on: Restore, target: Database, made: Path, tmp_path: Path, make_log: LogMaker, clock: Clock
) -> None:
    with Database.open(f"sqlite:{tmp_path}/other") as other:
        other.migrate()
        fork = make_log(other)
        fork.append_now(received("x", "x"))
        note = checkpoint(other).note
    for witnessed in (note, "no note", sign("text\n", [SIGNER])):
        with pytest.raises(RestoreRefused, match="witness"):
            goes_on(witnessed)
    stranger = AuditKeys(AUTHORITY_SIGNERS[0].private_key, RING, bytes(32))
    with pytest.raises(RestoreRefused, match="is not the log's"):
        goes_on(keys=stranger)
    with pytest.raises(RestoreRefused, match="cannot be read"):
        goes_on(keys=AuditKeys(SIGNER.private_key, KeyRing((MasterKey.of(b"x" * 32),)), bytes(32)))
    assert in_force(target) is None
    assert rows_of(target)["audit_record"] == []
    goes_on()
    with pytest.raises(RestoreRefused, match="an empty one"):
        goes_on()


def test_a_changed_backup_is_refused(goes_on: Restore, made: Path, target: Database) -> None:
    with Database.open(f"sqlite:{made}") as copy, copy.session(Store.AUDIT) as session:
        session.run("DROP TRIGGER audit_record_refuses_delete")
        session.run("DELETE FROM audit_record WHERE sequence = 302")
    with pytest.raises(BackupRefused, match=r"audit\.db was changed"):
        goes_on()
    manifest = json.loads((made / "backup.json").read_text())
    manifest["files"]["audit.db"] = backup.digest_of(made / "audit.db")
    (made / "backup.json").write_text(json.dumps(manifest))
    with pytest.raises(RestoreRefused, match="record 302 of the backup"):
        goes_on()
    assert rows_of(target)["audit_record"] == []


def test_a_restore_that_fails_leaves_nothing(
    goes_on: Restore, target: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AuditUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(AuditLog, "declare_in", fail)
        with pytest.raises(AuditUnavailable):
            goes_on()
    assert rows_of(target)["audit_record"] == rows_of(target)["registry_document"] == []
    assert rows_of(target)["audit_head"][0][1] == 0  # type: ignore[index]
    assert goes_on().record == 303


def order(log: AuditLog, database: Database, records: str) -> str:
    declared = in_force(database)
    assert declared is not None
    request = RemovalRequest.of(
        declared, reference="Case", ranges=parse_ranges(records), random_bytes=secrets.token_bytes
    )
    return sign(request.encode(), AUTHORITY_SIGNERS)


@pytest.mark.requirement("SMSP-AUDIT-001", "d")
def test_what_was_destroyed_after_the_backup_is_destroyed_again_and_nothing_else(
    database: Database, log: AuditLog, tmp_path: Path, make_log: LogMaker
) -> None:
    published = tmp_path / "published"
    early, late, beyond = order(log, database, "2"), order(log, database, "3-4"), ""
    redact(database, log, early, actor=BY)
    backup.make(database, tmp_path / "backup", now=START)
    redact(database, log, late, actor=BY)
    log.append_now(received("lost", "lost"))
    beyond = order(log, database, "5,305")
    redact(database, log, beyond, actor=BY)
    for note in (early, late, beyond):
        publish(published, note, RemovalRequest.decode(note[: note.index("\n\n") + 1]))
    (published / "redactions" / "stray.txt").write_bytes(b"\xff\xfe")
    os.mkfifo(published / "redactions" / "pipe.txt")
    (published / "redactions" / "forged.txt").write_text(sign(late[: late.index("\n\n") + 1], AUTHORITY_SIGNERS[:1]))
    with Database.open(f"sqlite:{tmp_path}/target") as target:
        target.migrate()
        restored = make_log(target, begun=False)
        arguments = {"approved_by": "A. Director", "reason": "", "actor": BY}
        restore(tmp_path / "backup", target, restored, KEYS, witnessed=None, **arguments)  # type: ignore[arg-type]
        for n in range(5):
            restored.append_now(received(f"n{n}", f"n{n}"))
        done = [d for _, d in restoration.remove_again(target, restored, published / "redactions", actor=BY)]
        removed = [d.sequences for d in done if isinstance(d, Removed)]
        assert sorted(removed) == [(3, 4), (5,)]
        assert [d.cause for d in done if isinstance(d, RequestInvalid)] == [
            *("not-signed", "not-a-request", "not-a-request")
        ]
        assert [bool(bodies(target, n, restored.vault)) for n in (2, 3, 4, 5, 6, 305)] == [
            *(False, False, False, False),
            *(True, True),
        ]
        patient = restored.vault.term(PATIENT, "9434765919")
        assert not {2, 3, 4, 5} & set(index.postings(target, patient))
        assert 305 in set(index.postings(target, patient))
        again = [d for _, d in restoration.remove_again(target, restored, published / "redactions", actor=BY)]
        assert len(again) == 3
        assert isinstance(verify(target), Verified)


def test_the_registry_comes_along(goes_on: Restore, target: Database, make_log: LogMaker) -> None:
    goes_on()
    [ward] = Registry(target).history("client", "ward")
    assert (ward.version, ward.body) == (1, {"name": "Ward"})
    asked = {"kind": "client", "key": "ward", "event": EventType.CLIENT_EDITED, "actor": BY, "reason": None}
    fresh = make_log(target)
    assert change_document(target, fresh, body={"name": "New"}, expected_version=1, **asked) == 2  # type: ignore[arg-type]
    assert isinstance(verify(target), Verified)


_PASSING = {
    "cache_entry": (
        "INSERT INTO cache_entry (key, patient, client, operation, service, fetched_at, strip_at, gone_at, sealed)"
        " VALUES (?, ?, 'ward', 'verifyNHSNumber', 'pds', 1, 2, 3, ?)",
        (b"key", b"patient", b"a kept answer, encrypted"),
    ),
    "spine_slots": (
        "INSERT INTO spine_slots (service, version, state) VALUES ('pds', 1, ?)",
        (b"the moments of calls",),
    ),
}


def _put_passing(database: Database) -> None:
    with database.session(Store.REGISTRY) as session:
        session.begin()
        for statement, parameters in _PASSING.values():
            session.run(statement, parameters)
        session.commit()


def _passing_in(database: Database) -> dict[str, int]:
    with database.session(Store.REGISTRY) as session:
        return {table: session.rows(f"SELECT COUNT(*) FROM {table}")[0][0] for table in _PASSING}


def test_no_backup_has_kept_answers_or_the_moments_of_calls(database: Database, log: AuditLog, tmp_path: Path) -> None:
    _put_passing(database)
    backup.make(database, tmp_path / "backup", now=START)
    with Database.open(f"sqlite:{tmp_path}/backup") as copy:
        assert _passing_in(copy) == {"cache_entry": 0, "spine_slots": 0}
    content = b"".join(file.read_bytes() for file in (tmp_path / "backup").iterdir())
    assert b"a kept answer, encrypted" not in content
    assert _passing_in(database) == {"cache_entry": 1, "spine_slots": 1}, "what is in use is left alone"
    backup.read(tmp_path / "backup")


def test_a_log_goes_on_without_the_kept_answers_that_a_backup_was_given(
    made: Path, target: Database, goes_on: Restore
) -> None:
    """One made by hand, or by another release: a number that had to be forgotten since must not come back."""
    with Database.open(f"sqlite:{made}") as copy:
        _put_passing(copy)
        with copy.session(Store.REGISTRY) as session:
            session.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    manifest = json.loads((made / backup.MANIFEST).read_bytes())
    manifest["files"]["registry.db"] = backup.digest_of(made / "registry.db")
    (made / backup.MANIFEST).write_text(json.dumps(manifest))
    goes_on()
    assert _passing_in(target) == {"cache_entry": 0, "spine_slots": 0}
