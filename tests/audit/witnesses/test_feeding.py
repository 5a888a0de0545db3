"""Feeding a recipient: what is remembered of it, that it gets the newest, and that a slow one holds up nobody."""

import io
import json
import threading
from collections.abc import Callable, Iterator

import pytest

from minispine.audit.checkpoint import Checkpoint, sign_checkpoint
from minispine.audit.checkpointing import StoredCheckpoint
from minispine.audit.merkle import EMPTY_ROOT
from minispine.audit.witnesses.feeding import DEFECT, Feeder
from minispine.audit.witnesses.recipient import Conflict, Offer, Refused, Superseded, Taken, Unreachable
from minispine.audit.witnesses.remembering import Remembered, all_remembered, did_not_take, remembered, took
from minispine.observe.log import configure
from minispine.storage import Database
from tests.audit.conftest import ORIGIN, SIGNER, START, Clock
from tests.audit.witnesses.conftest import Issue, until


class Recipient:
    """Takes what it is offered, or does what the test says."""

    name = "double"
    called = "witness double"

    def __init__(self) -> None:
        self.offers: list[Offer] = []
        self.does: list[Exception | threading.Event] = []
        self.reached = threading.Event()

    def take(self, offer: Offer) -> str:
        self.offers.append(offer)
        self.reached.set()
        if self.does:
            match self.does.pop(0):
                case Exception() as problem:
                    raise problem
                case threading.Event() as until:
                    assert until.wait(20)
        return offer.stored.note + "signed"


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, object]]]]:
    stream = io.StringIO()
    configure("info", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    configure("info")


@pytest.fixture
def recipient() -> Recipient:
    return Recipient()


@pytest.fixture
def feeder(database: Database, recipient: Recipient, clock: Clock) -> Iterator[Feeder]:
    feeder = Feeder(recipient, database, now=clock, waits=lambda failures: 0.01 * failures)
    yield feeder
    feeder.close(20)


def known(database: Database) -> Remembered:
    return all_remembered(database, ["double"])[0]


def test_what_it_took_is_remembered_and_told_it_the_next_time(
    database: Database, issue: Issue, feeder: Feeder, recipient: Recipient, clock: Clock
) -> None:
    assert known(database) == Remembered(name="double")
    first, second = issue(), issue()
    assert known(database).waiting_since == first.at
    assert feeder.feed(first) is None
    taken = Taken(first.number, 1, first.size)
    assert known(database) == Remembered(
        name="double", taken=taken, at=clock.us, note=first.note + "signed", waiting_since=second.at
    )
    assert feeder.feed(second) is None
    assert known(database).waiting_since is None
    assert [offer.before for offer in recipient.offers] == [Taken(), taken]


def test_it_is_not_offered_what_it_took_before(
    database: Database, issue: Issue, feeder: Feeder, recipient: Recipient, clock: Clock
) -> None:
    early, late = issue(), issue()
    took(database, "double", late, late.note, at=START)
    assert feeder.feed(early) is None
    assert feeder.feed(late) is None
    assert recipient.offers == []
    took(database, "double", early, early.note, at=START + 1)
    assert known(database).taken.number == late.number


@pytest.mark.parametrize("problem", [Unreachable("away"), Refused("unknown here"), Conflict("rewritten")])
def test_why_it_took_nothing_is_remembered_until_it_does(
    database: Database,
    issue: Issue,
    feeder: Feeder,
    recipient: Recipient,
    problem: Exception,
    lines: Callable[[], list[dict[str, object]]],
) -> None:
    recipient.does = [problem, problem]
    stored = issue()
    assert feeder.feed(stored) == str(problem)
    assert feeder.feed(stored) == str(problem)
    conflict = isinstance(problem, Conflict)
    assert known(database) == Remembered(
        name="double", problem=str(problem), conflict=conflict, waiting_since=stored.at
    )
    assert feeder.feed(stored) is None
    assert known(database).problem is None
    assert not known(database).conflict
    assert [(line["ref"], line["recipient"], line.get("reason")) for line in lines()] == [
        ("MS0062" if conflict else "MS0060", "witness double", str(problem)),
        ("MS0061", "witness double", None),
    ]


def test_a_conflict_stays_though_the_witness_is_away_afterwards(
    database: Database, issue: Issue, feeder: Feeder, recipient: Recipient
) -> None:
    recipient.does = [Conflict("rewritten"), Unreachable("away")]
    stored = issue()
    for _ in range(2):
        feeder.feed(stored)
        assert (known(database).problem, known(database).conflict) == ("rewritten", True)
    assert feeder.feed(issue()) is None
    assert not known(database).conflict


def test_the_failure_of_one_process_does_not_hide_the_success_of_another(database: Database, issue: Issue) -> None:
    early, late = issue(), issue()
    took(database, "double", late, late.note, at=START)
    did_not_take(database, "double", late, "away", conflict=False)
    did_not_take(database, "double", early, "rewritten", conflict=True)
    assert (known(database).problem, known(database).conflict) == (None, False)
    did_not_take(database, "double", issue(), "away", conflict=False)
    assert known(database).problem == "away"
    assert remembered(database, "double").taken.number == late.number


def test_a_superseded_checkpoint_is_neither_taken_nor_a_failure(
    database: Database, issue: Issue, feeder: Feeder, recipient: Recipient
) -> None:
    recipient.does = [Superseded()]
    assert feeder.feed(issue()) is None
    assert known(database).taken == Taken()
    assert known(database).problem is None


def test_a_defect_in_a_recipient_ends_nothing_and_tells_no_values(
    issue: Issue, feeder: Feeder, recipient: Recipient, lines: Callable[[], list[dict[str, object]]]
) -> None:
    recipient.does = [RuntimeError("secret")]
    assert feeder.feed(issue()) == DEFECT
    assert [line["exception"] for line in lines()] == ["RuntimeError"]
    assert "secret" not in str(lines())
    assert feeder.feed(issue()) is None


def test_a_database_that_is_away_is_no_fault_of_the_recipient(
    sqlite_database: Database, clock: Clock, recipient: Recipient
) -> None:
    folder = sqlite_database.folder
    assert folder is not None
    stored = StoredCheckpoint(1, START, 1, 0, sign_checkpoint(Checkpoint(ORIGIN, 0, EMPTY_ROOT), SIGNER))
    (folder / "audit.db").rename(folder / "away.db")
    assert Feeder(recipient, sqlite_database, now=clock).feed(stored) == "the database is away"


def test_in_its_thread_it_tries_until_the_newest_is_taken(
    database: Database, issue: Issue, feeder: Feeder, recipient: Recipient
) -> None:
    recipient.does = [Unreachable("away")] * 5
    stored = issue()
    feeder.offer(stored)
    until(lambda: known(database).taken.number == stored.number)
    assert len(recipient.offers) == 6


def test_while_one_is_under_way_only_the_newest_of_those_that_come_waits(
    database: Database, issue: Issue, feeder: Feeder, recipient: Recipient
) -> None:
    gate = threading.Event()
    recipient.does = [gate]
    several = [issue() for _ in range(4)]
    feeder.offer(several[0])
    assert recipient.reached.wait(20)
    for stored in several[1:]:
        feeder.offer(stored)  # none of these waits for the recipient
    gate.set()
    until(lambda: known(database).taken.number == several[-1].number)
    assert [offer.stored.number for offer in recipient.offers] == [several[0].number, several[-1].number]


def test_closing_does_not_wait_for_a_recipient_that_hangs(issue: Issue, feeder: Feeder, recipient: Recipient) -> None:
    gate = threading.Event()
    recipient.does = [gate]
    feeder.offer(issue())
    assert recipient.reached.wait(20)
    feeder.close(0.0)
    gate.set()
    feeder.close(20)
    feeder.offer(issue())
    assert len(recipient.offers) == 1
