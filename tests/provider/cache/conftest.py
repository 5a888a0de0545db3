"""One worker's cache on each kind of database, with rules and a clock that a test changes."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, Self, TypeVar

import pytest

from minispine.domain.outcome import Outcome
from minispine.domain.patient import SpineRecord
from minispine.domain.question import Question
from minispine.observe import metrics
from minispine.provider.cache import Cache, CacheKeys, Kept, Scope
from minispine.provider.cache.keeping import SETTLED_S
from minispine.storage import Database, Store
from minispine.vocabulary.cache_rules import CacheRules
from tests.provider.cache.samples import KEYS, Clock, found, rule, rules, scope

T = TypeVar("T")


class Worker:
    """A worker with its cache, step by step. `rules` are those in force in its eyes."""

    def __init__(self, database: Database, clock: Clock, keys: CacheKeys = KEYS) -> None:
        self.rules: CacheRules = rules(rule())
        self.clock = clock
        self.database = database
        self.runner = asyncio.Runner()
        self.cache = Cache(database, keys, lambda: self.rules, now=clock)
        clock.pass_s(SETTLED_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self.cache.close())
        self.runner.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def learn(
        self, question: Question, outcome: Outcome | None = None, whose: Scope | None = None, exchange: str = "E-1"
    ) -> None:
        self.run(self.cache.learn(question, outcome or found(), whose or scope(), exchange=exchange))

    def answer(self, question: Question, whose: Scope | None = None, *, outage: bool = False) -> Kept | None:
        return self.run(self.cache.answer(question, whose or scope(), outage=outage))

    def record(self, question: Question, whose: Scope | None = None, *, outage: bool = False) -> SpineRecord | None:
        """The record that a question is answered with, None where it is not answered from what is kept."""
        kept = self.answer(question, whose, outage=outage)
        return kept.outcome.record if kept else None

    def sweep(self) -> None:
        self.run(self.cache.sweep())

    def rows(self, what: str = "*", where: str = "client <> ''") -> list[tuple[Any, ...]]:
        with self.database.session(Store.REGISTRY) as session:
            return session.rows(f"SELECT {what} FROM cache_entry WHERE {where} ORDER BY fetched_at, key")

    def change(self, statement: str, *parameters: object) -> None:
        with self.database.session(Store.REGISTRY) as session:
            session.begin()
            session.run(statement, parameters)
            session.commit()


def counted(result: str) -> float:
    """What the metric of a result says so far."""
    return float(metrics.CACHE.labels("pds", result)._value.get())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker(database: Database, clock: Clock) -> Iterator[Worker]:
    with Worker(database, clock) as worker:
        yield worker


@pytest.fixture
def another(database: Database, clock: Clock, worker: Worker) -> Iterator[Worker]:
    """A second worker on the same database."""
    with Worker(database, clock) as another:
        yield another


@pytest.fixture
def alone(sqlite_database: Database, clock: Clock) -> Iterator[Worker]:
    """A worker where the kind of database is of no interest."""
    with Worker(sqlite_database, clock) as worker:
        yield worker
