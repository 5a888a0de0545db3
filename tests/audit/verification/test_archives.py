"""Payloads that were moved to a file: looked at when it is given, and told when it is not."""

import sqlite3
from pathlib import Path

import pytest

from minispine.audit import index
from minispine.audit.archiving import archive_month
from minispine.audit.found_by import entries_of, not_given
from minispine.audit.vault import PATIENT
from minispine.audit.verification import Archives, Broken, Verified, verify
from minispine.storage import Database, Store
from tests.audit.conftest import VAULT, LogMaker
from tests.audit.long_log import Steady, disarm, exchanges
from tests.audit.samples import ACTOR

SEPTEMBER_US = 1_788_220_800_000_000
MONTHS_US = 120 * 86_400_000_000


@pytest.fixture
def file(database: Database, make_log: LogMaker, tmp_path: Path) -> Path:
    """The archive of records 1 to 21 of a log, of which the even ones have payloads; record 22 says so.

    The payload of record 6 looks like one of the first release, which stay in the database.
    """
    clock = Steady(SEPTEMBER_US)
    log = make_log(database, now=clock)
    exchanges(log, range(10))
    with database.session(Store.AUDIT) as session:
        session.run("UPDATE audit_payload SET wrapped = NULL WHERE sequence = 6")
    clock.us += MONTHS_US
    done = archive_month(database, log, "2026-09", tmp_path, keep_days=31, actor=ACTOR.as_data())
    assert (done.first, done.last, done.record) == (1, 21, 22)
    return done.file


def found(database: Database, *files: Path) -> tuple[int, str]:
    result = verify(database, archives=Archives(files))
    assert isinstance(result, Broken), result
    return result.sequence, result.check


def test_an_archive_is_checked_where_it_is_given_and_named_where_it_is_not(database: Database, file: Path) -> None:
    for files, kinds in (((), ["key", "archived"]), ((file,), ["key"]), ((file.parent,), ["key"])):
        result = verify(database, archives=Archives(files))
        assert isinstance(result, Verified)
        assert [each.kind for each in result.observations] == kinds


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
