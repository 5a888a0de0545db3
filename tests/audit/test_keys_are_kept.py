"""The key of a payload can be wrapped anew and no more: without it the payload is lost, though every byte is there."""

from pathlib import Path

import pytest

from minispine.audit.archiving import archive_month
from minispine.audit.log import AuditLog
from minispine.audit.vault import Vault
from minispine.keys.ring import KeyRing, MasterKey
from minispine.storage import Database, StorageUnavailable, Store
from tests.audit.conftest import FIRST, RING, VAULT, LogMaker, received
from tests.audit.long_log import Steady
from tests.audit.samples import ACTOR

SEPTEMBER_US = 1_788_220_800_000_000
NEWER = Vault(KeyRing((MasterKey.of(b"\x01" * 32), *RING.keys)), bytes(32))


@pytest.fixture(params=["audit_payload", "audit_archived_key"])
def table(request: pytest.FixtureRequest, database: Database, make_log: LogMaker, tmp_path: Path) -> str:
    """Where the key of a record's payload is."""
    clock = Steady(SEPTEMBER_US)
    log = make_log(database, now=clock)
    log.append_now(received("e1"))
    if request.param == "audit_archived_key":
        clock.us += 120 * 86_400_000_000
        archive_month(database, log, "2026-09", tmp_path, keep_days=31, actor=ACTOR.as_data())
    return str(request.param)


@pytest.mark.requirement("SMSP-AUDIT-001", "b")
@pytest.mark.parametrize("lost", [None, b"", b"\x00", bytes(51), bytes(53)])
def test_a_key_is_not_destroyed(database: Database, table: str, lost: bytes | None) -> None:
    with database.session(Store.AUDIT) as session, pytest.raises(StorageUnavailable):
        session.run(f"UPDATE {table} SET wrapped = ? WHERE sequence = ?", (lost, FIRST))


def test_a_key_is_no_text(sqlite_database: Database, make_log: LogMaker) -> None:
    """Which SQLite would keep in a column of bytes."""
    make_log(sqlite_database).append_now(received("e1"))
    with sqlite_database.session(Store.AUDIT) as session, pytest.raises(StorageUnavailable):
        session.run("UPDATE audit_payload SET wrapped = ?", ("x" * 52,))


def test_a_key_is_wrapped_anew(database: Database, table: str) -> None:
    with database.session(Store.AUDIT) as session:
        [(wrapped,)] = session.rows(f"SELECT wrapped FROM {table} WHERE sequence = ?", (FIRST,))
        anew = NEWER.rewrap(bytes(wrapped))
        assert anew is not None
        session.run(f"UPDATE {table} SET wrapped = ? WHERE sequence = ?", (anew, FIRST))
        assert bytes(session.rows(f"SELECT wrapped FROM {table} WHERE sequence = ?", (FIRST,))[0][0]) == anew


def test_a_payload_in_the_clear_gets_no_key(database: Database, log: AuditLog) -> None:
    log.append_now(received("e1"))
    with database.session(Store.AUDIT) as session:
        session.run("INSERT INTO audit_payload (sequence, salt, private) VALUES (1, ?, ?)", (bytes(16), b"[]"))
        session.run("UPDATE audit_payload SET wrapped = NULL WHERE sequence = 1")
    with database.session(Store.AUDIT) as session, pytest.raises(StorageUnavailable):
        session.run("UPDATE audit_payload SET wrapped = ? WHERE sequence = 1", (VAULT.seal(None, None).wrapped,))
