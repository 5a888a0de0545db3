"""Replacing the master key: beside a provider, broken off and gone on with, and never to the loss of a payload."""

from collections.abc import Iterator

import pytest

from minispine.audit.events import AuditUnavailable, Entry, Event, EventType
from minispine.audit.log import AuditLog
from minispine.audit.reading import bodies, events
from minispine.audit.redaction import NotTheOwner
from minispine.audit.rotation import (
    KEY,
    NotForgettable,
    Rewrapped,
    check_may_rewrap,
    forget_old,
    record_new,
    rewrap,
)
from minispine.audit.vault import PayloadUnreadable, Vault
from minispine.audit.verification import Verified, verify
from minispine.keys.ring import ID_BYTES, KeyRing, MasterKey
from minispine.storage import Database, StorageUnavailable, Store, role
from tests.audit.conftest import FIRST, RING, START, VAULT, LogMaker, received
from tests.audit.samples import ACTOR
from tests.databases import Postgres

INDEX_KEY = bytes(32)
TWO = KeyRing((MasterKey.of(b"\x01" * 32), *RING.keys))
AFTER = Vault(TWO, INDEX_KEY)
NEW_ALONE = Vault(TWO.newest_alone(), INDEX_KEY)
BODY = b"<family>Markerby</family>"
BY = ACTOR.as_data()
STARTED = Entry(
    events=(
        Event(
            type=EventType.PROVIDER_STARTED,
            at=START,
            data={"actor": BY, "version": "1", "workers": 1, "pid": 1},
        ),
    )
)


def wrapped_by(database: Database) -> list[bytes]:
    """The ids of the master keys that the records' data keys are wrapped by, in order."""
    with database.session(Store.AUDIT) as session:
        rows = session.rows("SELECT wrapped FROM audit_payload ORDER BY sequence")
    return [bytes(row[0])[:ID_BYTES] for row in rows]


def readable(database: Database, sequence: int, vault: Vault) -> bool:
    return [body.content for body in bodies(database, sequence, vault)] == [BODY]


@pytest.fixture
def old(database: Database, make_log: LogMaker) -> AuditLog:
    """A log with three exchanges, as a provider writes it that knows one master key."""
    log = make_log(database)
    for number in range(3):
        log.append_now(received(f"e-{number}", f"m-{number}"))
    return log


@pytest.fixture
def new(database: Database, old: AuditLog, make_log: LogMaker) -> AuditLog:
    """The same log after a second master key was put in front, as whoever starts now writes it."""
    record_new(old, RING, TWO, actor=BY)
    return make_log(database, vault=AFTER)


def test_every_payload_is_read_with_the_new_key_alone(database: Database, new: AuditLog) -> None:
    reached: list[int] = []
    assert rewrap(database, AFTER, between=reached.append) == Rewrapped(3, 0, 0)
    assert wrapped_by(database) == [TWO.newest.id] * 3
    assert reached == [FIRST + 2]
    for sequence in range(FIRST, FIRST + 3):
        assert readable(database, sequence, NEW_ALONE)
        with pytest.raises(PayloadUnreadable):
            bodies(database, sequence, VAULT)
    assert isinstance(verify(database), Verified)


def test_what_was_wrapped_is_passed_over(database: Database, new: AuditLog) -> None:
    with pytest.raises(InterruptedError):
        rewrap(database, AFTER, first=FIRST + 1, between=_break_off)
    assert wrapped_by(database) == [RING.newest.id, TWO.newest.id, TWO.newest.id]
    assert rewrap(database, AFTER) == Rewrapped(1, 0, 0)
    assert rewrap(database, AFTER) == Rewrapped(0, 0, 0)


def _break_off(_: int) -> None:
    raise InterruptedError


def test_long_logs_are_worked_through_page_by_page(
    database: Database, new: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minispine.audit.rotation._AT_ONCE", 2)
    reached: list[int] = []
    assert rewrap(database, AFTER, between=reached.append).count == 3
    assert reached == [FIRST + 1, FIRST + 2]


def test_a_payload_that_goes_meanwhile_does_not_come_back(
    database: Database, new: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Vault.rewrap
    told = {"actor": ACTOR.as_data(), "records": str(FIRST), "reference": "KB 12/2026", "request": "as signed"}
    event = Event(type=EventType.AUDIT_PAYLOAD_REMOVED, at=START, data=told)
    record = new.append_now(Entry(events=(event,))).sequence

    def destroyed_meanwhile(vault: Vault, wrapped: bytes) -> bytes | None:
        with database.session(Store.AUDIT) as session:
            session.begin()
            session.run("INSERT INTO audit_removal (sequence, record) VALUES (?, ?)", (FIRST, record))
            session.run("DELETE FROM audit_payload WHERE sequence = ?", (FIRST,))
            session.commit()
        monkeypatch.setattr(Vault, "rewrap", real)
        return real(vault, wrapped)

    monkeypatch.setattr(Vault, "rewrap", destroyed_meanwhile)
    rewrap(database, AFTER)
    assert wrapped_by(database) == [TWO.newest.id] * 2


def test_keys_of_archived_payloads_are_wrapped_too(database: Database, new: AuditLog) -> None:
    with database.session(Store.AUDIT) as session:
        session.begin()
        session.run(
            "INSERT INTO audit_archived_key (sequence, wrapped)"
            " SELECT sequence, wrapped FROM audit_payload WHERE sequence = ?",
            (FIRST,),
        )
        session.commit()
    assert rewrap(database, AFTER).count == 4
    with database.session(Store.AUDIT) as session:
        [[wrapped]] = session.rows("SELECT wrapped FROM audit_archived_key")
    assert bytes(wrapped)[:ID_BYTES] == TWO.newest.id
    assert NEW_ALONE.data_key(bytes(wrapped))


def test_payloads_under_a_key_that_is_not_here_are_counted_and_left(database: Database, new: AuditLog) -> None:
    stranger = Vault(KeyRing((MasterKey.of(b"\x07" * 32),)), INDEX_KEY)
    assert rewrap(database, stranger) == Rewrapped(0, 3, FIRST)
    assert wrapped_by(database) == [RING.newest.id] * 3


def test_the_change_is_on_record_with_both_fingerprints_and_who_did_it(database: Database, new: AuditLog) -> None:
    last = list(events(database))[-1]
    assert (last["type"], last["data"]) == (
        "key.changed",
        {"key": KEY, "before": RING.newest.id.hex(), "after": TWO.newest.id.hex(), "actor": BY},
    )


# ── forgetting ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_old_keys_are_retired_once_nothing_is_under_them_and_everybody_was_started_anew(
    database: Database, old: AuditLog, new: AuditLog
) -> None:
    old.append_now(received("before the restart", "m"))
    new.append_now(STARTED)
    new.append_now(received("after it", "m"))
    assert forget_old(database, new, TWO, actor=BY) == Rewrapped(4, 0, 0)
    assert wrapped_by(database) == [TWO.newest.id] * 5
    last = list(events(database))[-1]
    assert (last["data"]["before"], last["data"]["after"]) == (RING.newest.id.hex(), None)
    assert isinstance(verify(database), Verified)


def test_whoever_still_has_a_retired_key_in_front_cannot_write_and_whoever_has_not_can(
    database: Database, old: AuditLog, new: AuditLog, make_log: LogMaker
) -> None:
    new.append_now(STARTED)
    forget_old(database, new, TWO, actor=BY)
    for log in (old, make_log(database)):
        with pytest.raises(AuditUnavailable, match="retired; start it again"):
            log.append_now(received("too late", "m"))
    only = make_log(database, vault=NEW_ALONE)
    receipt = only.append_now(received("in time", "m"))
    assert readable(database, receipt.sequence, NEW_ALONE)


def test_what_comes_between_the_last_look_and_the_retirement_is_not_lost(
    database: Database, old: AuditLog, new: AuditLog
) -> None:
    new.append_now(STARTED)
    late: list[int] = []

    def write_once(_: int) -> None:
        if not late:
            late.append(old.append_now(received("late", "m")).sequence)

    forget_old(database, new, TWO, actor=BY, between=write_once)
    assert readable(database, late[0], NEW_ALONE)


def test_nothing_is_forgotten_before_the_provider_was_started_anew(
    database: Database, old: AuditLog, make_log: LogMaker
) -> None:
    old.append_now(STARTED)
    record = record_new(old, RING, TWO, actor=BY)
    with pytest.raises(NotForgettable, match=f"was not started since record {record}"):
        forget_old(database, make_log(database, vault=AFTER), TWO, actor=BY)
    assert wrapped_by(database) == [RING.newest.id] * 3


def test_nothing_is_forgotten_while_somebody_writes_under_an_old_key(
    database: Database, old: AuditLog, new: AuditLog
) -> None:
    new.append_now(STARTED)
    record = old.append_now(received("not started anew", "m")).sequence
    with pytest.raises(NotForgettable, match=f"record {record} was written under an old master key"):
        forget_old(database, new, TWO, actor=BY)
    old.append_now(received("still writes", "m"))


def test_nothing_is_forgotten_of_a_key_whose_coming_is_not_on_record(
    database: Database, old: AuditLog, make_log: LogMaker
) -> None:
    with pytest.raises(NotForgettable, match="no record says since when"):
        forget_old(database, make_log(database, vault=AFTER), TWO, actor=BY)


def test_nothing_is_forgotten_while_a_payload_cannot_be_opened(
    database: Database, old: AuditLog, new: AuditLog
) -> None:
    with database.session(Store.AUDIT) as session:
        session.begin()
        session.run("UPDATE audit_payload SET wrapped = ? WHERE sequence = ?", (b"\xff" * 52, FIRST + 1))
        session.commit()
    new.append_now(STARTED)
    with pytest.raises(NotForgettable, match=f"that of record {FIRST + 1} first"):
        forget_old(database, new, TWO, actor=BY)
    old.append_now(received("still writes", "m"))


def test_it_can_be_done_again_where_it_was_broken_off(database: Database, new: AuditLog) -> None:
    new.append_now(STARTED)
    forget_old(database, new, TWO, actor=BY)
    before = len(list(events(database)))
    assert forget_old(database, new, TWO, actor=BY) == Rewrapped(0, 0, 0)
    assert len(list(events(database))) == before


# ── who may ─────────────────────────────────────────────────────────────────────────────────────────────────────────

NAME = "minispine-rotating"


@pytest.fixture
def serving(postgres: Postgres, postgresql_url: str) -> Iterator[Database]:
    """A PostgreSQL database with one record, as the account that serves from it."""
    with Database.open(postgresql_url) as owner:
        role.let_serve(owner, NAME)
    with Database.open(postgresql_url.replace("//postgres@", f"//{NAME}@")) as database:
        yield database
    postgres.admin(f'DROP OWNED BY "{NAME}" CASCADE')
    postgres.admin(f'DROP ROLE "{NAME}"')


def test_the_account_that_serves_cannot_put_anything_in_the_place_of_a_key(
    serving: Database, postgresql_url: str, make_log: LogMaker
) -> None:
    """A wrapped key that is written over is a payload that is destroyed, and nothing else would be needed for it."""
    log = make_log(serving)
    log.append_now(received("e", "m"))
    with pytest.raises(NotTheOwner, match="--owner-url"):
        check_may_rewrap(serving)
    with pytest.raises(StorageUnavailable, match="42501"):
        rewrap(serving, AFTER)
    with Database.open(postgresql_url) as owner:
        check_may_rewrap(owner)
        assert rewrap(owner, AFTER).count == 1
    assert readable(serving, FIRST, NEW_ALONE)
