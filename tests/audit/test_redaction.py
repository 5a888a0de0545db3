"""Destroying payloads: only by both authorities' word, wholly, and with a record that says so."""

import functools
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from minispine.audit import index, redaction
from minispine.audit.declaration import Declaration, begin
from minispine.audit.events import AuditUnavailable, EventType
from minispine.audit.log import AuditLog
from minispine.audit.note import Signer, sign
from minispine.audit.reading import bodies, events
from minispine.audit.redaction import AlreadyRemoved, redact
from minispine.audit.removal_request import RemovalRequest, RequestInvalid, parse_ranges
from minispine.audit.vault import PATIENT, PayloadUnreadable, Vault
from minispine.audit.verification import Verified, verify
from minispine.keys.ring import KeyRing, MasterKey
from minispine.storage import Database, Store
from tests.audit.conftest import AUTHORITY_SIGNERS, FIRST, ORIGIN, SIGNER, VAULT, LogMaker, received, replied
from tests.audit.samples import ACTOR

BY = ACTOR.as_data()
PATIENT_TERM = VAULT.term(PATIENT, "9434765919")
CLIENT_TERM = VAULT.term("client", "ward")


def order(records: str, signers: Iterable[Signer] = AUTHORITY_SIGNERS, reference: str = "Case 17") -> str:
    declared = Declaration(origin=ORIGIN, epoch=1, log_key=SIGNER.verifier)
    request = RemovalRequest.of(
        declared, reference=reference, ranges=parse_ranges(records), random_bytes=secrets.token_bytes
    )
    return sign(request.encode(), signers)


@pytest.fixture
def log(database: Database, make_log: LogMaker) -> AuditLog:
    """Three exchanges about one patient: records 2, 4 and 6 have payloads."""
    log = make_log(database)
    for n in range(3):
        log.append_now(received(f"e{n}", f"m{n}"))
        log.append_now(replied(f"e{n}", f"m{n}"))
    return log


def found(database: Database, term: bytes) -> list[int]:
    return list(index.postings(database, term))


def payloads(database: Database) -> dict[int, tuple[Any, ...]]:
    with database.reading(Store.AUDIT) as session:
        return {row[0]: row for row in session.rows("SELECT * FROM audit_payload ORDER BY sequence")}


@pytest.mark.requirement("SMSP-AUDIT-001", "d")
@pytest.mark.requirement("IG-3.9.6", "a")
def test_an_order_of_both_destroys_payload_salt_and_index_entries_and_leaves_the_record(
    database: Database, log: AuditLog
) -> None:
    before = {e["sequence"]: e for e in events(database)}
    with database.reading(Store.AUDIT) as session:
        records = session.rows("SELECT * FROM audit_record ORDER BY sequence")
    note = order("2,5-6")
    done = redact(database, log, note, actor=BY)
    assert (done.record, done.sequences, done.cleared) == (8, (2, 6), True)
    assert list(payloads(database)) == [4]
    assert found(database, PATIENT_TERM) == [4]
    assert found(database, CLIENT_TERM) == [2, 3, 4, 5, 6, 7]
    assert bodies(database, 2, VAULT) == ()
    shown = {e["sequence"]: e for e in events(database, vault=VAULT)}
    assert (shown[2]["private"], shown[2]["removed"]) == (None, "Case 17")
    assert shown[4]["private"] != {}
    told = next(events(database, first=8))
    assert told["type"] == EventType.AUDIT_PAYLOAD_REMOVED
    assert told["data"] == {"actor": BY, "records": "2,5-6", "reference": "Case 17", "request": note}
    with database.reading(Store.AUDIT) as session:
        assert session.rows("SELECT * FROM audit_record WHERE sequence <= 7 ORDER BY sequence") == records
        assert session.rows("SELECT sequence, record FROM audit_removal ORDER BY sequence") == [(2, 8), (6, 8)]
    assert {n: e["data"] for n, e in shown.items() if n <= 7} == {n: e["data"] for n, e in before.items()}
    verified = verify(database)
    assert isinstance(verified, Verified)
    assert [(each.kind, each.sequence) for each in verified.observations if each.kind == "removed"] == [("removed", 8)]


def test_entries_that_were_folded_into_segments_go_too(
    database: Database, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = index.Shape(block=16, fan=2, top=2, dense=4, page=5, slice=8)
    monkeypatch.setattr(index, "remove", functools.partial(index.remove, shape=small))
    for n in range(3, 30):
        log.append_now(received(f"e{n}", f"m{n}"))
    while index.fold(database, shape=small):
        pass
    with_patient = list(index.postings(database, PATIENT_TERM, shape=small))
    redact(database, log, order("4,12"), actor=BY)
    assert list(index.postings(database, PATIENT_TERM, shape=small)) == [n for n in with_patient if n not in (4, 12)]


@pytest.mark.requirement("IG-3.9.6", "a")
@pytest.mark.parametrize(
    ("note", "cause"),
    [
        (order("2", AUTHORITY_SIGNERS[:1]), "not-signed"),
        (order("2", [AUTHORITY_SIGNERS[0], Signer(AUTHORITY_SIGNERS[1].name, SIGNER.private_key)]), "not-signed"),
        (order("2", [SIGNER]), "not-signed"),
        (order("2").replace("records 2", "records 4"), "not-signed"),
        (order("2").replace(ORIGIN, "minispine/other"), "another-log"),
        (order("2-900"), "no-such-record"),
        (order("3,5"), "no-payload"),
        ("please\n", "not-a-request"),
    ],
)
def test_anything_less_destroys_nothing(database: Database, log: AuditLog, note: str, cause: str) -> None:
    before = payloads(database)
    with pytest.raises(RequestInvalid) as refusal:
        redact(database, log, note, actor=BY)
    assert refusal.value.cause == cause
    assert payloads(database) == before
    assert found(database, PATIENT_TERM) == [2, 4, 6]
    assert not list(events(database, first=8))


def test_a_refused_attempt_is_recorded_with_its_cause(database: Database, log: AuditLog) -> None:
    note = order("2", AUTHORITY_SIGNERS[:1])
    for text in (note, "please\n"):
        with pytest.raises(RequestInvalid) as refusal:
            redact(database, log, text, actor=BY)
        redaction.refused(log, refusal.value, text, actor=BY)
    one, other = events(database, first=8, vault=VAULT)
    assert one["type"] == other["type"] == EventType.AUDIT_REMOVAL_REFUSED
    assert one["data"] == {"actor": BY, "cause": "not-signed", "records": "2"}
    assert one["private"] == {"reference": "Case 17"}
    assert other["data"] == {"actor": BY, "cause": "not-a-request"}


def test_an_order_is_carried_out_once(database: Database, log: AuditLog) -> None:
    note = order("2-4")
    redact(database, log, note, actor=BY)
    with pytest.raises(AlreadyRemoved) as already:
        redact(database, log, note, actor=BY)
    assert already.value.record == 8
    assert list(events(database, first=9)) == []
    assert redact(database, log, order("2-6"), actor=BY).sequences == (6,)


def test_a_failure_in_the_middle_destroys_nothing(
    database: Database, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = payloads(database)

    def fail(*_: object) -> None:
        raise AuditUnavailable("away")

    monkeypatch.setattr(index, "remove", fail)
    with pytest.raises(AuditUnavailable):
        redact(database, log, order("2"), actor=BY)
    assert payloads(database) == before
    assert not list(events(database, first=8))


def test_nothing_is_destroyed_whose_index_entries_cannot_be_known(
    database: Database, log: AuditLog, make_log: LogMaker
) -> None:
    stranger = make_log(database, vault=Vault(KeyRing((MasterKey.of(b"x" * 32),)), bytes(32)))
    with pytest.raises(PayloadUnreadable):
        redact(database, stranger, order("2"), actor=BY)
    assert 2 in payloads(database)


@pytest.mark.requirement("IG-3.9.6", "b")
def test_nothing_of_a_log_without_authorities_can_be_destroyed(database: Database, make_log: LogMaker) -> None:
    log = make_log(database, begun=False)
    begin(log, origin=ORIGIN, signer=SIGNER, authorities=(), actor=BY)
    log.append_now(received("e", "m"))
    with pytest.raises(RequestInvalid) as refusal:
        redact(database, log, order(f"{FIRST}"), actor=BY)
    assert refusal.value.cause == "no-authorities"


def test_the_old_bytes_are_gone_from_the_files_of_sqlite(sqlite_database: Database, make_log: LogMaker) -> None:
    log = make_log(sqlite_database)
    for n in range(40):
        log.append_now(received(f"e{n}", f"m{n}"))
    rows = payloads(sqlite_database)
    folder = sqlite_database.folder
    assert folder is not None
    entry = index.entry(PATIENT_TERM, 10)

    def held() -> list[bytes]:
        content = b"".join(file.read_bytes() for file in folder.glob("audit.db*"))
        return [part for part in (*rows[10][1:], entry) if part is not None and bytes(part) in content]

    assert len(held()) == 5
    assert redact(sqlite_database, log, order("10"), actor=BY).cleared
    assert held() == []
    assert 11 in payloads(sqlite_database)


def test_an_order_that_was_carried_out_is_published(tmp_path: Path) -> None:
    note = order("2")
    request = RemovalRequest.decode(note[: note.index("\n\n") + 1])
    file = redaction.publish(tmp_path / "published", note, request)
    assert file == tmp_path / "published" / "redactions" / f"{request.number}.txt"
    assert file.read_text() == note
