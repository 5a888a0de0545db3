"""A log with something of everything that a verification looks at, made once and copied for each test that spoils it.

Records: 1 begins it; 2 to 401 are exchanges, with a checkpoint over 301 and one over 401; 402 says that the payload of
record 4 was destroyed, which both authorities ordered; 403 to 412 are exchanges again, with two checkpoints over all.
"""

import itertools

from minispine.audit import redaction
from minispine.audit.checkpointing import Checkpointer
from minispine.audit.declaration import Declaration, begin
from minispine.audit.encoding import FIRST_VERSION, GENESIS, chain, version_of
from minispine.audit.log import AuditLog
from minispine.audit.merkle import Frontier, leaf_hash
from minispine.audit.note import Signer, sign
from minispine.audit.removal_request import RemovalRequest
from minispine.audit.tree import keep_tiles
from minispine.audit.verification.trusted import Trusted
from minispine.storage import Database, Session, Store
from minispine.storage.tables import AUDIT
from tests.audit.conftest import AUTHORITIES, AUTHORITY_SIGNERS, ORIGIN, SIGNER, START, VAULT, received, replied
from tests.audit.samples import ACTOR

RECORDS = 412
SIZES = (301, 401, RECORDS, RECORDS)
"""What the checkpoints are over, in order."""
REMOVED, REMOVAL = 4, 402
"""The record whose payload was destroyed, and the one that says so."""
SECOND_US = 1_000_000


class Steady:
    """A clock that goes on a second each time it is read."""

    def __init__(self, us: int = START) -> None:
        self.us = us

    def __call__(self) -> int:
        self.us += SECOND_US
        return self.us


def write(database: Database, clock: Steady | None = None, *, signer: Signer = SIGNER, client: str = "ward") -> None:
    """Write the log."""
    clock = clock or Steady()
    log = AuditLog(database, system_id="SMSP-1", instance="instance-1", vault=VAULT, now=clock)
    checkpointer = Checkpointer(database, signer.private_key, now=clock)
    begin(log, origin=ORIGIN, signer=signer, authorities=AUTHORITIES, actor=ACTOR.as_data())
    exchanges(log, range(150), client)
    checkpointer.make()
    exchanges(log, range(150, 200), client)
    checkpointer.make()
    redaction.redact(database, log, order([REMOVED]), actor=ACTOR.as_data())
    exchanges(log, range(200, 205), client)
    checkpointer.make()
    checkpointer.make()
    log.close_now()


def exchanges(log: AuditLog, numbers: range, client: str = "ward") -> None:
    """Append two records for each exchange, ten exchanges in one commit."""
    waiting = iter(numbers)
    while some := list(itertools.islice(waiting, 10)):
        with log.holding() as hold:
            for number in some:
                log.append_in(hold, received(f"e{number}", f"m{number}", client=client))
                log.append_in(hold, replied(f"e{number}", f"m{number}", client=client))


def order(records: list[int], signers: tuple[Signer, ...] = AUTHORITY_SIGNERS) -> str:
    """An order to destroy payloads, as signed by both authorities."""
    ranges = [(record, record) for record in records]
    declared = Declaration(origin=ORIGIN, epoch=1, log_key=SIGNER.verifier)
    request = RemovalRequest.of(declared, reference="KB 12/2026", ranges=ranges, random_bytes=bytes)
    return sign(request.encode(), signers)


def checkpoint(database: Database, number: int, source: str = "the witness") -> Trusted:
    """One of the checkpoints, as somebody outside may have it."""
    with database.reading(Store.AUDIT) as session:
        return Trusted.of(source, session.rows("SELECT note FROM audit_checkpoint WHERE number = ?", (number,))[0][0])


def disarm(database: Database) -> None:
    """Take the triggers away, as somebody with the database in hand can."""
    with database.session(Store.AUDIT) as session:
        session.begin()
        if database.kind == "postgresql":
            statements = [f"ALTER TABLE {table} DISABLE TRIGGER ALL" for table in AUDIT.tables]
        else:
            triggers = session.rows("SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'audit%'")
            statements = [f"DROP TRIGGER {name}" for (name,) in triggers]
        for statement in statements:
            session.run(statement)
        session.commit()


def make_good(session: Session, *, tiles: bool = True) -> None:
    """Compute everything anew that follows from the leaves as they are now: hashes, the head, and the tiles."""
    previous, frontier, last = GENESIS, Frontier.EMPTY, 0
    for sequence, leaf in session.rows("SELECT sequence, leaf FROM audit_record ORDER BY sequence"):
        leaf, last = bytes(leaf), sequence
        previous = chain(previous, leaf) if version_of(leaf) == FIRST_VERSION else leaf_hash(leaf)
        frontier = frontier.extend([leaf_hash(leaf)])
        session.run("UPDATE audit_record SET hash = ? WHERE sequence = ?", (previous, sequence))
    session.run("UPDATE audit_head SET sequence = ?, hash = ?, frontier = ?", (last, previous, frontier.encode()))
    if tiles:
        session.run("DELETE FROM audit_tile")


def make_tiles(database: Database, size: int = RECORDS) -> None:
    """Make the tiles anew."""
    keep_tiles(database, size)
