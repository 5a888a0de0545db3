"""A log with checkpoints, and witnesses of each kind to show them to."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from minispine.audit.checkpointing import Checkpointer, StoredCheckpoint
from minispine.audit.log import AuditLog
from minispine.audit.witnesses.recipient import Offer, Recipient, Taken
from minispine.storage import Database
from tests.audit.checkpoints import grow
from tests.audit.conftest import SIGNER, Clock
from tests.audit.witnesses.doubles import Authority

Issue = Callable[..., StoredCheckpoint]


@pytest.fixture
def issue(database: Database, log: AuditLog, clock: Clock) -> Issue:
    """Adds records, a second later each time, and makes a checkpoint."""
    checkpointer = Checkpointer(database, SIGNER.private_key, now=clock)

    def made(records: int = 1) -> StoredCheckpoint:
        grow(log, records)
        clock.us += 1_000_000
        return checkpointer.make()

    return made


class Showing:
    """Shows checkpoints to a recipient and remembers what it took, as a feeder does."""

    def __init__(self, database: Database, recipient: Recipient) -> None:
        self.recipient = recipient
        self.before = Taken()
        self._database = database

    def __call__(self, stored: StoredCheckpoint) -> str:
        note = self.recipient.take(Offer(self._database, stored, self.before))
        self.before = Taken(stored.number, stored.epoch, stored.size)
        return note


@pytest.fixture
def showing(database: Database) -> Callable[[Recipient], Showing]:
    return lambda recipient: Showing(database, recipient)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def until(condition: Callable[[], bool]) -> None:
    """Wait for what other threads are to bring about."""
    gate = threading.Event()
    for _ in range(2000):
        if condition():
            return
        gate.wait(0.01)
    raise AssertionError("it has not come to be")
