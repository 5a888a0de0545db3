"""No change of the registry without its record, and no record without its change, whatever breaks in between."""

import json
from typing import Any

import pytest

from minispine.audit.changes import change_document, settle
from minispine.audit.events import AuditUnavailable, EventType
from minispine.audit.log import AuditLog
from minispine.audit.reading import events
from minispine.audit.verification import Unrecorded, Verified, verify
from minispine.storage import ConnectionLost, Database, Registry, Session, Store, VersionConflict
from tests.audit.conftest import ACTOR, FIRST, VAULT, LogMaker, note

BODY = {"name": "Ward system", "timeout_s": 25.0, "share": 0.5}


def change(database: Database, log: AuditLog, body: dict[str, Any] | None = None, **options: Any) -> int:
    asked: dict[str, Any] = {
        "kind": "client",
        "key": "ward",
        "event": EventType.CLIENT_EDITED,
        "actor": ACTOR.as_data(),
        "reason": "asked for",
        "expected_version": None,
    }
    return change_document(database, log, body=body, **(asked | options))


def changes(database: Database) -> list[dict[str, Any]]:
    return [e["data"] for e in events(database) if e["type"] == "client.edited"]


def test_a_change_is_recorded_with_before_and_after_by_whom_and_when(database: Database, log: AuditLog) -> None:
    assert change(database, log, BODY, expected_version=0) == 1
    assert change(database, log, {"name": "New"}, expected_version=1) == 2
    assert change(database, log, None, expected_version=2) == 3
    exact = {"name": "Ward system", "timeout_s": 25, "share": "0.5"}
    common = {"kind": "client", "key": "ward", "actor": ACTOR.as_data()}
    assert changes(database) == [
        common | {"version": 1, "changed_entries": 3, "before": None, "after": exact},
        common | {"version": 2, "changed_entries": 3, "before": exact, "after": {"name": "New"}},
        common | {"version": 3, "changed_entries": 1, "before": {"name": "New"}, "after": None},
    ]
    told = list(events(database, first=FIRST, vault=VAULT))
    assert [e["private"] for e in told] == [{"reason": "asked for"}] * 3
    assert {e["at"] for e in told} == {"2026-09-21T14:13:20.000000Z"}
    history = Registry(database).history("client", "ward")
    assert [(v.version, v.body, v.changed_by) for v in history] == [
        (1, BODY, ACTOR.as_data()),
        (2, {"name": "New"}, ACTOR.as_data()),
        (3, None, ACTOR.as_data()),
    ]
    with database.session(Store.REGISTRY) as session:
        assert session.rows("SELECT * FROM registry_outbox") == []


@pytest.mark.requirement("IG-3.9.11", "b")
def test_a_first_version_is_recorded_with_what_was_shipped_and_a_removal_with_what_comes_back(
    database: Database, log: AuditLog
) -> None:
    shipped, own = {"version": "1", "codes": {"A": "a"}}, {"version": "2", "codes": {"A": "b", "B": "b"}}
    for body in (own, None, own):
        change(database, log, body, shipped=shipped)
    told = [(r["before"], r["after"], r["changed_entries"]) for r in changes(database)]
    assert told == [(shipped, own, 3), (own, shipped, 3), (shipped, own, 3)]


def test_a_change_to_another_version_is_refused_and_leaves_no_record(database: Database, log: AuditLog) -> None:
    change(database, log, BODY)
    with pytest.raises(VersionConflict):
        change(database, log, {}, expected_version=7)
    assert len(changes(database)) == 1
    assert log.append_now(note()).sequence == FIRST + 1


def failing_at(monkeypatch: pytest.MonkeyPatch, method: str, number: int, *, after: bool) -> None:
    """Let the nth use of a session's method fail, before or after it has done its work."""
    original, uses = getattr(Session, method), 0

    def failing(session: Session, *arguments: Any) -> Any:
        nonlocal uses
        uses += 1
        if uses == number and not after:
            raise ConnectionLost("pulled out")
        result = original(session, *arguments)
        if uses == number:
            raise ConnectionLost("pulled out")
        return result

    monkeypatch.setattr(Session, method, failing)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("commit", [1, 2, 3])
def test_whichever_commit_fails_the_record_and_the_change_come_together_in_the_end(
    database: Database, make_log: LogMaker, monkeypatch: pytest.MonkeyPatch, commit: int, after: bool
) -> None:
    """The commits of one change: on SQLite the registry's, the log's, the outbox's; on PostgreSQL one for all."""
    log = make_log(database)
    log.append_now(note())
    with monkeypatch.context() as patch:
        failing_at(patch, "commit", commit, after=after)
        try:
            change(database, log, BODY)
        except AuditUnavailable:
            pass
        else:
            assert commit == 3 or database.one_transaction
    settle(database, log)
    recorded = [(r["key"], r["version"], r["after"]["name"]) for r in changes(database)]
    made = [("ward", v.version, (v.body or {})["name"]) for v in Registry(database).history("client", "ward")]
    assert recorded == made
    assert settle(database, log) == 0
    assert isinstance(verify(database), Verified)
    with database.session(Store.REGISTRY) as session:
        assert session.rows("SELECT * FROM registry_outbox") == []


def test_a_record_that_is_owed_is_written_before_the_next_change(
    sqlite_database: Database, make_log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make_log(sqlite_database)
    with monkeypatch.context() as patch:
        failing_at(patch, "commit", 2, after=False)
        with pytest.raises(AuditUnavailable):
            change(sqlite_database, log, BODY)
    assert changes(sqlite_database) == []
    assert change(sqlite_database, make_log(sqlite_database), {"name": "New"}) == 2
    assert [r["version"] for r in changes(sqlite_database)] == [1, 2]


def test_free_text_of_a_document_stands_in_the_private_part(database: Database, log: AuditLog) -> None:
    change(database, log, {"name": "Ward", "note": "for Mr Markerby"}, reason=None)
    change(database, log, {"name": "Ward", "note": "for nobody"}, reason=None)
    first, second = events(database, first=FIRST, vault=VAULT)
    assert (first["data"]["after"], first["data"]["changed_entries"]) == ({"name": "Ward"}, 2)
    assert first["private"] == {"note_after": "for Mr Markerby"}
    assert (second["data"]["before"], second["data"]["after"]) == ({"name": "Ward"}, {"name": "Ward"})
    assert second["private"] == {"note_before": "for Mr Markerby", "note_after": "for nobody"}


def test_a_record_owed_by_the_first_release_is_written_in_the_form_of_now(
    sqlite_database: Database, make_log: LogMaker
) -> None:
    log = make_log(sqlite_database)
    told = {"kind": "client", "key": "ward", "version": 1, "before": None, "after": {"name": "Ward"}}
    told |= {"actor": {"account": "jo", "uid": 7}, "reason": "asked for"}
    event = {"type": "client.edited", "at": 5, "data": told, "private": {}}
    with sqlite_database.session(Store.REGISTRY) as session:
        session.run(
            "INSERT INTO registry_outbox (kind, key, version, event) VALUES ('client', 'ward', 1, ?)",
            (json.dumps(event),),
        )
    assert settle(sqlite_database, log) == 1
    (written,) = events(sqlite_database, first=FIRST, vault=VAULT)
    assert (written["data"]["actor"]["user_id"], written["data"]["changed_entries"]) == ("jo", 1)
    assert written["private"] == {"reason": "asked for"}


def test_a_document_that_is_not_the_one_that_was_recorded_shows(database: Database, log: AuditLog) -> None:
    change(database, log, BODY | {"note": "any words"})
    change(database, log, {"name": "New"})
    change(database, log, None)
    assert isinstance(verify(database), Verified)
    forged = '{"name":"Ward system","timeout_s":99}'
    with database.session(Store.REGISTRY) as session:
        session.begin()
        session.run("UPDATE registry_document SET body = ? WHERE version = 1", (forged,))
        session.commit()
    assert verify(database) == Unrecorded("client", "ward", 1)
