"""The table itself: who keeps and who forgets something of one number do so one after the other."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from minispine.provider.cache.entries import NEVER, Change, Entries, Row
from minispine.provider.cache.lessons import answers
from minispine.storage import Database, Store
from tests.provider.cache.samples import KEYS, NUMBER, START, S, check, person, retrieval, search

PATIENT = KEYS.digest("patient", NUMBER)
ROW = Row(b"k" * 16, PATIENT, "ward", "verifyNHSNumber", "pds", START, NEVER, START + 60 * S, b"sealed")


def test_whoever_keeps_waits_for_whoever_forgets(postgresql_url: str) -> None:
    """Otherwise neither would see what the other has not committed, and the answer would stay."""
    with Database.open(postgresql_url) as database, Database.open(postgresql_url) as other:
        entries = Entries(database, KEYS)
        with database.session(Store.REGISTRY) as forgetting, ThreadPoolExecutor(1) as thread:
            forgetting.begin()
            entries.forget_in_turn(forgetting, PATIENT, START)
            keeping = thread.submit(Entries(other, KEYS).change, [Change(put=ROW)], START)
            with database.session(Store.REGISTRY) as looking:
                while not keeping.done() and not looking.rows(
                    "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                ):
                    time.sleep(0.005)
            forgetting.commit()
            assert [each.kept for each in keeping.result()] == [False]
        assert entries.by_operation() == []


def test_whoever_forgets_waits_for_whoever_keeps(postgresql_url: str) -> None:
    with Database.open(postgresql_url) as database, Database.open(postgresql_url) as other:
        entries = Entries(database, KEYS)
        with database.session(Store.REGISTRY) as keeping, ThreadPoolExecutor(1) as thread:
            keeping.begin()
            entries.change_in(keeping, [Change(put=ROW)], START)
            forgetting = thread.submit(Entries(other, KEYS).change, [Change(forget=(PATIENT,))], START)
            with database.session(Store.REGISTRY) as looking:
                while not forgetting.done() and not looking.rows(
                    "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                ):
                    time.sleep(0.005)
            keeping.commit()
            assert [each.forgotten for each in forgetting.result()] == [1]
        assert entries.by_operation() == []


@pytest.mark.parametrize(
    ("kind", "question", "expected"),
    [
        ("check", check(), True),
        ("check", retrieval(), False),
        ("check", search(), False),
        ("details", check(), True),
        ("details", retrieval(), True),
        ("details", search(), False),
        ("search", check(), False),
        ("search", retrieval(), False),
        ("search", search(), True),
    ],
)
def test_each_kind_of_entry_answers_its_own_questions(kind: str, question: object, expected: bool) -> None:
    assert answers(kind, person(), question) is expected  # type: ignore[arg-type]
