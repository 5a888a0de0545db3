"""The account that serves on PostgreSQL: the log works under it, and it cannot touch what is written."""

from collections.abc import Iterator

import psycopg
import pytest

from minispine.audit import index
from minispine.audit.checkpointing import Checkpointer
from minispine.audit.declaration import begin, in_force
from minispine.audit.events import EventType
from minispine.audit.log import AuditLog
from minispine.audit.note import sign
from minispine.audit.reading import events
from minispine.audit.redaction import NotTheOwner, redact
from minispine.audit.removal_request import RemovalRequest
from minispine.storage import Database, SchemaOutdated, StorageMisconfigured, StorageUnavailable, Store, role
from minispine.storage.tables import AUDIT, REGISTRY
from tests.audit.conftest import AUTHORITIES, AUTHORITY_SIGNERS, ORIGIN, SIGNER, START, VAULT, received, replied
from tests.audit.samples import ACTOR
from tests.databases import Postgres

NAME = "minispine-serving"


@pytest.fixture
def owner(postgres: Postgres, postgresql_url: str) -> Iterator[Database]:
    """The migrated database, as its owner, who is no superuser."""
    postgres.admin("CREATE ROLE minispine_owner LOGIN CREATEROLE")
    postgres.admin("DROP SCHEMA public CASCADE")
    postgres.admin("CREATE SCHEMA public AUTHORIZATION minispine_owner")
    url = postgresql_url.replace("//postgres@", "//minispine_owner@")
    with Database.open(url) as database:
        database.migrate()
        yield database
    for name in (NAME, "minispine_owner"):
        postgres.admin(f"DO $$ BEGIN EXECUTE 'DROP OWNED BY \"{name}\" CASCADE'; EXCEPTION WHEN OTHERS THEN END $$")
        postgres.admin(f'DROP ROLE IF EXISTS "{name}"')
    postgres.admin("CREATE SCHEMA IF NOT EXISTS public")


@pytest.fixture
def serving(owner: Database, postgresql_url: str) -> Iterator[Database]:
    """The same database, as the account that serves."""
    assert role.let_serve(owner, NAME)
    with Database.open(postgresql_url.replace("//postgres@", f"//{NAME}@")) as database:
        yield database


@pytest.fixture
def log(serving: Database) -> Iterator[AuditLog]:
    """A log that was begun and written by that account."""
    log = AuditLog(serving, system_id="SMSP-1", instance="serving", vault=VAULT, now=lambda: START)
    begin(log, origin=ORIGIN, signer=SIGNER, authorities=(), actor=ACTOR.as_data())
    log.append_now(received("e", "m"))
    log.append_now(replied("e", "m"))
    yield log
    log.close_now()


def test_every_table_has_its_grant() -> None:
    schemas = {"audit_schema", "registry_schema"}
    assert set(role.GRANTS) == {*AUDIT.tables, *REGISTRY.tables} | schemas


def test_the_whole_log_works_under_it(serving: Database, log: AuditLog) -> None:
    serving.migrate()
    serving.check_schema()
    serving.check_durable()
    claim = serving.claim_for_serving("instance")
    assert claim.living({"instance", "other"}) == {"instance"}
    log.close_orphans(claim.living)
    small = index.Shape(block=2, fan=2, top=2, dense=4, page=5, slice=8)
    while index.fold(serving, shape=small):
        pass
    assert Checkpointer(serving, SIGNER.private_key, now=lambda: START).make().size == 3
    assert [e["type"] for e in events(serving, vault=VAULT)][-1] == EventType.EXCHANGE_REPLIED
    with serving.session(Store.REGISTRY) as session:
        session.begin()
        session.run(
            "INSERT INTO registry_document (kind, key, version, body, changed_at, changed_by)"
            " VALUES ('client', 'ward', 1, '{}', 1, '{}')"
        )
        session.run("UPDATE registry_state SET version = version + 1")
        session.run("INSERT INTO registry_outbox (kind, key, version, event) VALUES ('client', 'ward', 1, '{}')")
        session.run("DELETE FROM registry_outbox")
        session.commit()


KEPT = ("audit_record", "audit_payload", "audit_checkpoint", "audit_removal", "audit_archive")


FORBIDDEN = (
    *(f"DELETE FROM {table}" for table in KEPT),
    *(f"TRUNCATE {table}" for table in KEPT),
    *(f"DROP TABLE {table}" for table in KEPT),
    *(f"ALTER TABLE {table} DISABLE TRIGGER ALL" for table in KEPT),
    "UPDATE audit_record SET leaf = leaf",
    "UPDATE audit_payload SET private = private",
    "UPDATE audit_payload SET wrapped = wrapped",
    "UPDATE audit_checkpoint SET note = note",
    "UPDATE audit_removal SET record = record",
    "UPDATE audit_archive SET record = record",
    "DELETE FROM audit_head",
    "TRUNCATE audit_head",
    "INSERT INTO audit_removal (sequence, record) VALUES (2, 1)",
    "INSERT INTO audit_archive (first, last, name, digest, record) VALUES (1, 3, 'x', '\\x00', 1)",
    "DROP TRIGGER audit_record_append_only ON audit_record",
    "DROP FUNCTION audit_refuse_change() CASCADE",
    "CREATE OR REPLACE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$",
    "SET session_replication_role = replica",
    "CREATE TABLE mine (a int)",
    "UPDATE registry_document SET body = body",
    "DELETE FROM registry_document",
    "SET ROLE minispine_owner",
)


@pytest.mark.requirement("SMSP-AUDIT-001", "b")
@pytest.mark.requirement("MSCA-AUD-01", "b")
@pytest.mark.requirement("IG-3.9.6", "d")
def test_it_may_not_change_what_is_written_nor_take_away_what_keeps_it(serving: Database, log: AuditLog) -> None:
    before = list(events(serving, vault=VAULT))
    for statement in FORBIDDEN:
        with serving.session(Store.AUDIT) as session, pytest.raises(StorageUnavailable) as refused:
            session.run(statement)
        assert str(refused.value) == "InsufficientPrivilege 42501", statement
    assert list(events(serving, vault=VAULT)) == before


@pytest.mark.requirement("IG-3.9.6", "a")
def test_it_cannot_carry_out_an_order_and_the_owner_can(owner: Database, serving: Database) -> None:
    log = AuditLog(serving, system_id="SMSP-1", instance="serving", vault=VAULT, now=lambda: START)
    begin(log, origin=ORIGIN, signer=SIGNER, authorities=AUTHORITIES, actor=ACTOR.as_data())
    log.append_now(received("e", "m"))
    log.close_now()
    declared = in_force(serving)
    assert declared is not None
    request = RemovalRequest.of(declared, reference="Case", ranges=[(2, 2)], random_bytes=bytes)
    order = sign(request.encode(), AUTHORITY_SIGNERS)
    with pytest.raises(NotTheOwner, match="--owner-url"):
        redact(serving, log, order, actor=ACTOR.as_data())
    owners = AuditLog(owner, system_id="SMSP-1", instance="owner", vault=VAULT, now=lambda: START)
    done = redact(owner, owners, order, actor=ACTOR.as_data())
    owners.close_now()
    assert (done.sequences, done.cleared) == ((2,), True)


def test_without_the_tables_of_this_release_it_says_who_has_to_migrate(owner: Database, serving: Database) -> None:
    with owner.session(Store.AUDIT) as session:
        session.run("UPDATE audit_schema SET version_num = 'audit_0003'")
    with pytest.raises(SchemaOutdated, match="minispine migrate --owner-url"):
        serving.migrate()


def test_after_a_migration_it_may_use_what_is_new(owner: Database, serving: Database, log: AuditLog) -> None:
    with owner.session(Store.AUDIT) as session:
        session.run(f'REVOKE ALL ON audit_record, audit_witness FROM "{NAME}"')
        session.run(f'GRANT SELECT ON audit_record TO "{NAME}"')
    assert role.grant_again(owner) == (NAME,)
    log.append_now(received("f", "n"))


def test_an_account_that_owns_the_tables_or_may_do_anything_does_not_serve(owner: Database) -> None:
    for name in ("minispine_owner", "postgres"):
        with pytest.raises(StorageMisconfigured, match="nothing could be kept from it"):
            role.let_serve(owner, name)


@pytest.mark.parametrize("name", ["", 'x"; DROP TABLE audit_record; --', "with blank", "x" * 64])
def test_an_account_has_a_plain_name(owner: Database, name: str) -> None:
    with pytest.raises(StorageMisconfigured, match="letters, digits"):
        role.let_serve(owner, name)


def test_its_password_is_set_when_it_is_made_and_left_alone_later(owner: Database, postgres: Postgres) -> None:
    assert role.let_serve(owner, NAME, "first password")
    assert not role.let_serve(owner, NAME, "another")
    with psycopg.connect(host=str(postgres.folder), user="postgres", dbname="postgres") as connection:
        [(kept,)] = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (NAME,)).fetchall()
    assert kept.startswith("SCRAM-SHA-256$")
    assert "first password" not in kept


def test_the_account_is_the_one_that_the_address_names() -> None:
    assert role.user_of("postgresql://jo@host/db") == "jo"
    assert role.user_of("postgresql://host/db") is None


def test_sqlite_has_no_accounts(sqlite_database: Database) -> None:
    with pytest.raises(StorageMisconfigured, match="only PostgreSQL"):
        role.let_serve(sqlite_database, NAME)
    assert role.grant_again(sqlite_database) == ()
