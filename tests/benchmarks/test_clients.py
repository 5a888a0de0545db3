"""The ways in which clients ask: at random moments, and row by row with patience."""

import asyncio
import itertools
import random
import time
from collections import deque
from typing import Any, cast

import pytest
from benchmarks.clients import Answered, Client, Question, random_moments, row_by_row

from benchmarks import clients
from minispine.domain.operations import Operation

VERIFY = Operation.VERIFY_NHS_NUMBER
ROWS = [Question(operation=VERIFY, person=person, head=b"", body=b"") for person in range(3)]
WELL: dict[str, Any] = {"status": 200, "code": "SMSP-0000"}
LATER: dict[str, Any] = {"status": 503, "retry_after_s": 7}


class Scripted:
    """A client that is told what the script says, one after another."""

    def __init__(self, *script: dict[str, Any]) -> None:
        self.asked: list[int] = []
        self._script = deque(script)

    async def ask(self, question: Question) -> Answered:
        self.asked.append(question.person)
        return Answered(
            client="batch",
            operation=VERIFY,
            person=question.person,
            began_s=0,
            ended_s=0,
            **(self._script.popleft() if self._script else WELL),
        )


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited, without waiting."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(clients.asyncio, "sleep", sleep)
    return waits


def work(client: Scripted) -> int:
    return asyncio.run(row_by_row(cast("Client", client), iter(ROWS), at_once=1, until_s=time.time() + 60))


def test_every_row_is_asked_once(slept: list[float]) -> None:
    client = Scripted()
    assert work(client) == 3
    assert client.asked == [0, 1, 2]
    assert slept == []


def test_a_row_that_hears_the_busy_tone_is_asked_again_when_it_was_told(slept: list[float]) -> None:
    client = Scripted(LATER, WELL)
    assert work(client) == 3
    assert client.asked == [0, 0, 1, 2]
    assert slept == [7]


@pytest.mark.parametrize("said", [{"status": 500}, {"status": None}, {"status": 200, "code": "SMSP-0004"}])
def test_a_fault_or_no_answer_is_no_row_done(slept: list[float], said: dict[str, Any]) -> None:
    client = Scripted(said)
    assert work(client) == 3
    assert client.asked == [0, 0, 1, 2]
    assert slept == [1]


def test_random_moments_are_as_many_as_they_should_be_and_know_nothing_of_each_other() -> None:
    moments = list(random_moments(random.Random(1), 100, 50.0, 150.0))
    assert 9_500 < len(moments) < 10_500
    assert all(50 < before < after < 150 for before, after in itertools.pairwise(moments))
    shorter_than_mean = sum(after - before < 0.01 for before, after in itertools.pairwise(moments))
    assert 0.60 < shorter_than_mean / len(moments) < 0.66  # 1 - 1/e
