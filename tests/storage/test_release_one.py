"""A database of the first release is brought to this one without a record being touched, and goes on."""

from collections.abc import Iterator

import pytest

from minispine.audit import found_by, index
from minispine.audit.encoding import iso_time
from minispine.audit.events import AuditUnavailable, EventType
from minispine.audit.index import IndexBroken
from minispine.audit.reading import bodies, events
from minispine.audit.vault import PATIENT
from minispine.audit.verification import Verified, verify
from minispine.storage import Database, Registry, SchemaOutdated, StorageUnavailable, Store
from tests.audit.conftest import VAULT, Clock, LogMaker, clock, make_log, note, received
from tests.databases import Postgres
from tests.storage import release_one

__all__ = ["clock", "make_log"]


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database of each kind as the first release left it."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        postgres.admin("DROP SCHEMA public CASCADE")
        postgres.admin("CREATE SCHEMA public")
    with Database.open(url) as database:
        release_one.make(database)
        yield database


@pytest.fixture
def upgraded(old: Database) -> Database:
    """The same, brought to this release."""
    old.migrate()
    return old


def kept(database: Database) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    with database.reading(Store.AUDIT) as session:
        return (
            session.rows("SELECT sequence, exchange, hash, leaf FROM audit_record WHERE sequence <= 8 ORDER BY 1"),
            session.rows("SELECT sequence, salt, private, bodies FROM audit_payload WHERE sequence <= 8 ORDER BY 1"),
        )


def test_no_record_is_rewritten(old: Database) -> None:
    with pytest.raises(SchemaOutdated):
        old.check_schema()
    old.migrate()
    old.check_schema()
    assert kept(old) == (release_one.records(), release_one.payloads())
    assert isinstance(verify(old), Verified)
    assert [v.body for v in Registry(old).history("client", "ward")] == [{"name": "Ward system"}, {"name": "Ward"}]


def test_nothing_is_written_before_the_log_says_what_its_keys_are(upgraded: Database, make_log: LogMaker) -> None:
    log = make_log(upgraded, begun=False)
    with pytest.raises(AuditUnavailable, match="minispine audit init"):
        log.append_now(note())


def test_it_goes_on_from_there_and_verifies_as_a_whole(upgraded: Database, make_log: LogMaker, clock: Clock) -> None:
    clock.us += 60_000_000
    log = make_log(upgraded)
    assert log.close_orphans(lambda _: set()) == 1
    log.append_now(received("new", "new"))
    assert kept(upgraded) == (release_one.records(), release_one.payloads())
    found = verify(upgraded)
    assert isinstance(found, Verified)
    assert found.records == 11
    told = list(events(upgraded, vault=VAULT))
    begun = next(e for e in told if e["type"] == EventType.AUDIT_BEGUN)
    assert (begun["sequence"], begun["data"]["earlier_records"]) == (9, 8)
    assert begun["sealed_at"] == iso_time(clock.us)
    assert told[-3]["type"] == EventType.EXCHANGE_OUTCOME_UNKNOWN
    assert [e["private"] for e in told if e["sequence"] == 4] == [{}, {"nhs_number": release_one.PATIENT}]
    assert [body.content for body in bodies(upgraded, 4, VAULT)] == [b"<family>Markerby</family>"]


def test_its_records_are_found_once_the_index_is_made_anew(upgraded: Database, make_log: LogMaker) -> None:
    log = make_log(upgraded)
    log.append_now(received("new", "new"))
    patient = VAULT.term(PATIENT, release_one.PATIENT)
    with pytest.raises(IndexBroken):
        list(index.postings(upgraded, patient))
    index.rebuild(upgraded, found_by.entries_of(upgraded, VAULT))
    assert list(index.postings(upgraded, patient)) == [4, 6, 8, 10]


@pytest.mark.parametrize("table", ["audit_record", "audit_payload"])
def test_its_records_are_kept_from_change_as_new_ones_are(upgraded: Database, table: str) -> None:
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET sequence = 100 + sequence"):
        with upgraded.session(Store.AUDIT) as session, pytest.raises(StorageUnavailable):
            session.run(statement)
