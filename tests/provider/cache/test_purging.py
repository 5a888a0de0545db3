"""Throwing away on somebody's order: what goes, what stays, and the record of it."""

from typing import Any

import pytest

from minispine.audit.events import AuditUnavailable
from minispine.audit.log import AuditLog
from minispine.audit.reading import events
from minispine.provider.cache import purge_now
from minispine.provider.cache.entries import MARK_S
from minispine.storage import Database
from tests.audit.conftest import VAULT, LogMaker, make_log  # noqa: F401
from tests.audit.samples import ACTOR
from tests.provider.cache.conftest import Worker
from tests.provider.cache.samples import KEYS, NUMBER, OTHER, check, found, person, retrieval, scope, search

BY = ACTOR.as_data()


@pytest.fixture
def log(database: Database, make_log: LogMaker) -> AuditLog:  # noqa: F811
    return make_log(database)


def _purge(worker: Worker, log: AuditLog, **what: Any) -> int:
    return purge_now(worker.database, KEYS, log, actor=BY, reason="asked for", **what)


def _last(database: Database) -> tuple[str, dict[str, Any], dict[str, Any]]:
    event = list(events(database, vault=VAULT))[-1]
    return event["type"], event["data"], event["private"]


@pytest.fixture
def known(worker: Worker) -> Worker:
    for client in ("ward", "lab"):
        for number in (NUMBER, OTHER):
            for question in (check(number), retrieval(number), search(family=number)):
                worker.learn(question, found(person(number)), scope(client=client))
    return worker


def test_of_a_patient_everything_goes_for_every_client(known: Worker, log: AuditLog, database: Database) -> None:
    assert _purge(known, log, nhs_number=NUMBER) == 6
    assert len(known.rows()) == 6
    assert known.answer(check()) is None
    assert known.record(check(OTHER)) == person(OTHER)
    assert _last(database) == (
        "cache.purged",
        {"actor": BY, "scope": "a patient's", "count": 6},
        {"nhs_number": NUMBER, "reason": "asked for"},
    )


def test_of_a_patient_no_answer_on_its_way_brings_it_back(known: Worker, log: AuditLog) -> None:
    _purge(known, log, nhs_number=NUMBER)
    known.learn(retrieval())
    assert known.answer(retrieval()) is None
    known.clock.pass_s(MARK_S)
    known.learn(retrieval())
    assert known.record(retrieval()) == person()


def test_of_a_client_only_its_own_goes(known: Worker, log: AuditLog, database: Database) -> None:
    assert _purge(known, log, client="lab") == 6
    assert {row[0] for row in known.rows("client")} == {"ward"}
    assert _last(database) == (
        "cache.purged",
        {"actor": BY, "scope": "a client's", "count": 6, "client": "lab"},
        {"reason": "asked for"},
    )


def test_all_is_all(known: Worker, log: AuditLog, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minispine.provider.cache.entries._AT_ONCE", 5)
    assert _purge(known, log) == 12
    assert known.rows() == []
    assert _last(database) == ("cache.purged", {"actor": BY, "scope": "all", "count": 12}, {"reason": "asked for"})
    assert _purge(known, log) == 0


def test_a_number_that_was_forgotten_stays_so_when_all_is_thrown_away(known: Worker, log: AuditLog) -> None:
    _purge(known, log, nhs_number=NUMBER)
    _purge(known, log)
    known.learn(retrieval())
    assert known.rows() == []


@pytest.mark.parametrize("what", [{}, {"client": "lab"}, {"nhs_number": NUMBER}], ids=["all", "client", "patient"])
def test_nothing_is_thrown_away_quietly(
    known: Worker, log: AuditLog, what: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the record cannot be made, at least the last portion stays, so that it is done again."""
    monkeypatch.setattr("minispine.provider.cache.entries.Entries.delete_most", lambda *_: 0)
    before = known.rows()

    def fail(*_: object) -> None:
        raise AuditUnavailable("not now")

    monkeypatch.setattr(log, "append_in", fail)
    with pytest.raises(AuditUnavailable):
        _purge(known, log, **what)
    assert known.rows() == before


def test_what_other_keys_would_look_for_is_not_found(known: Worker, log: AuditLog) -> None:
    """The digest of a patient is keyed: whoever has the table alone cannot ask it about a number."""
    assert known.rows(
        "1",
        f"patient = x'{KEYS.digest('patient', NUMBER).hex()}'"
        if known.database.kind == "sqlite"
        else f"patient = '\\x{KEYS.digest('patient', NUMBER).hex()}'",
    )
    assert {len(row[0]) for row in known.rows("patient")} == {16}
