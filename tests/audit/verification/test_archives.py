"""Payloads that were moved to a file: looked at when it is given, and told when it is not."""

import sqlite3
from pathlib import Path

import pytest

from minispine.audit import archive, index
from minispine.audit.archiving import archive_month
from minispine.audit.checkpointing import Checkpointer
from minispine.audit.found_by import entries_of, not_given
from minispine.audit.redaction import redact
from minispine.audit.vault import PATIENT, Vault
from minispine.audit.verification import Archives, Broken, Proof, Verified, verify
from minispine.storage import Database, Store
from tests.audit.conftest import SIGNER, VAULT, LogMaker
from tests.audit.long_log import Steady, checkpoint, disarm, exchanges, order
from tests.audit.samples import ACTOR

SEPTEMBER_US = 1_788_220_800_000_000
MONTHS_US = 120 * 86_400_000_000


@pytest.fixture
def file(database: Database, make_log: LogMaker, tmp_path: Path) -> Path:
    """The archive of records 1 to 21 of a log, of which the even ones have payloads; record 22 says so.

    That of record 6 came back while it was made, and is in the database alone.
    """
    clock = Steady(SEPTEMBER_US)
    log = make_log(database, now=clock)
    exchanges(log, range(10))
    Checkpointer(database, SIGNER.private_key, now=clock).make()
    disarm(database)
    with database.session(Store.AUDIT) as session:
        [row] = session.rows("SELECT * FROM audit_payload WHERE sequence = 6")
        session.run("DELETE FROM audit_payload WHERE sequence = 6")
    clock.us += MONTHS_US
    done = archive_month(database, log, "2026-09", tmp_path, keep_days=31, actor=ACTOR.as_data())
    with database.session(Store.AUDIT) as session:
        session.run("INSERT INTO audit_payload VALUES (?, ?, ?, ?, ?)", tuple(row))
    assert (done.first, done.last, done.record) == (1, 21, 22)
    return done.file


def found(database: Database, *files: Path) -> tuple[int, str]:
    result = verify(database, archives=Archives(files))
    assert isinstance(result, Broken), result
    return result.sequence, result.check


def test_an_archive_is_checked_where_it_is_given_and_named_where_it_is_not(database: Database, file: Path) -> None:
    for files, kinds in (((), ["key", "archived"]), ((file,), ["key"]), ((file.parent,), ["key"])):
        result = verify(database, archives=Archives(files), vault=VAULT)
        assert isinstance(result, Verified)
        assert [each.kind for each in result.observations] == kinds


def test_nothing_is_proven_of_payloads_in_an_archive_that_was_not_given(database: Database, file: Path) -> None:
    seen = checkpoint(database, 1)
    for files, payloads, doubts in (
        ((), True, (f"the archive {file.name} was not looked at: give it with --archive",)),
        ((file,), True, ()),
        ((), False, ()),
    ):
        result = verify(database, trusted=[seen], archives=Archives(files), payloads=payloads)
        assert isinstance(result, Verified)
        assert result.proof == Proof(21, seen.source)
        assert result.doubts == doubts


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    ("statement", "vault"),
    [
        ("DELETE FROM audit_archived_key WHERE sequence = 8", None),
        ("UPDATE audit_archived_key SET wrapped = '' WHERE sequence = 8", None),
        ("UPDATE audit_archived_key SET sequence = 3 WHERE sequence = 8", None),
        (
            "UPDATE audit_archived_key SET wrapped = (SELECT substr(salt, 1, 26) FROM audit_payload)"
            " || (SELECT substr(salt, 1, 26) FROM audit_payload) WHERE sequence = 8",
            VAULT,
        ),
    ],
)
def test_the_key_of_an_archived_payload_is_looked_at(
    database: Database, file: Path, statement: str, vault: Vault | None, given: bool
) -> None:
    disarm(database)
    with database.session(Store.AUDIT) as session:
        session.run(statement)
    result = verify(database, archives=Archives([file] if given else []), vault=vault)
    assert isinstance(result, Broken), result
    assert (result.sequence, result.check) == (8, "payload")


def test_the_key_of_another_archived_payload_shows_beside_its_archive(database: Database, file: Path) -> None:
    disarm(database)
    with database.session(Store.AUDIT) as session:
        [(other,)] = session.rows("SELECT wrapped FROM audit_archived_key WHERE sequence = 10")
        session.run("UPDATE audit_archived_key SET wrapped = ? WHERE sequence = 8", (other,))
    result = verify(database, archives=Archives([file]), vault=VAULT)
    assert isinstance(result, Broken), result
    assert (result.sequence, result.check) == (8, "payload")


def test_no_key_is_missed_of_an_archived_payload_that_was_destroyed(
    database: Database, make_log: LogMaker, file: Path
) -> None:
    redact(database, make_log(database), order([8]), actor=ACTOR.as_data(), archives=archive.at([file]))
    with database.session(Store.AUDIT) as session:
        assert not session.rows("SELECT 1 FROM audit_archived_key WHERE sequence = 8")
    for files in ((), (file,)):
        assert isinstance(verify(database, archives=Archives(files), vault=VAULT), Verified)


def test_a_key_that_is_kept_twice_is_not_believed(database: Database, file: Path) -> None:
    """So that none waits where an archiving will put another."""
    with database.session(Store.AUDIT) as session:
        session.run("INSERT INTO audit_archived_key SELECT sequence, wrapped FROM audit_payload WHERE sequence = 6")
    assert found(database, file) == (6, "payload")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE payload SET private = salt WHERE sequence = 8", (8, "payload")),
        ("UPDATE payload SET salt = 'text' WHERE sequence = 8", (8, "payload")),
        ("DELETE FROM payload WHERE sequence = 8", (1, "archive")),
        ("UPDATE about SET value = 'minispine/SMSP-9' WHERE key = 'origin'", (1, "archive")),
    ],
)
def test_an_archive_that_was_changed_is_noticed(
    database: Database, file: Path, statement: str, expected: tuple[int, str]
) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute(statement)
    connection.close()
    assert found(database, file) == expected


def test_a_payload_that_was_left_out_of_the_archive_is_missed(database: Database, file: Path) -> None:
    disarm(database)
    with database.session(Store.AUDIT) as session:
        session.run("DELETE FROM audit_payload WHERE sequence = 6")
    assert found(database, file) == (6, "payload")


def test_a_table_that_says_more_was_archived_than_the_record_does_is_not_believed(
    database: Database, file: Path
) -> None:
    disarm(database)
    with database.session(Store.AUDIT) as session:
        session.run('UPDATE audit_archive SET "last" = 20')
    assert found(database, file) == (1, "archive")


def test_the_index_of_archived_records_is_made_from_the_archive(database: Database, file: Path) -> None:
    disarm(database)
    with database.session(Store.AUDIT) as session:
        session.run("DELETE FROM audit_payload WHERE sequence = 6")
    archives = Archives((file,))
    assert not_given(database, archives) == []
    assert [each.sequence for each in index.differences(database, entries_of(database, VAULT, archives))] == [6]
    assert not_given(database, Archives()) == [(1, 21, file.name)]
    alone = list(index.differences(database, entries_of(database, VAULT)))
    patient = VAULT.term(PATIENT, "9434765919")
    assert [(each.kind, each.sequence, each.key) for each in alone] == [
        ("false", sequence, patient) for sequence in range(2, 22, 2)
    ]
