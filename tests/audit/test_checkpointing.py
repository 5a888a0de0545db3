"""When checkpoints are made, what they say, and that nothing is signed of a log that is not the one it was."""

import base64
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from minispine.audit.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint, signed_at_s
from minispine.audit.checkpointing import (
    Checkpointer,
    LogRewritten,
    StoredCheckpoint,
    WrongLogKey,
    last_checkpoint,
)
from minispine.audit.declaration import Declaration, change
from minispine.audit.log import AuditLog
from minispine.audit.merkle import EMPTY_ROOT, Frontier, leaf_hash
from minispine.audit.note import SignatureInvalid, sign
from minispine.audit.sealing import NotBegun
from minispine.storage import Database, StorageUnavailable, Store
from minispine.storage.turns import Turn, take
from tests.audit import naive_merkle
from tests.audit.checkpoints import grow, leaves, tamper
from tests.audit.conftest import AUTHORITIES, ORIGIN, SIGNER, Clock, LogMaker
from tests.audit.samples import ACTOR

MINUTE = 60_000_000
KEY = SIGNER.private_key


@pytest.fixture
def checkpointer(database: Database, log: AuditLog, clock: Clock) -> Checkpointer:
    return Checkpointer(database, KEY, now=clock)


def kept(database: Database) -> list[StoredCheckpoint]:
    with database.reading(Store.AUDIT) as session:
        rows = session.rows("SELECT number, at, epoch, size, note FROM audit_checkpoint ORDER BY number")
    return [StoredCheckpoint(*row) for row in rows]


def test_a_checkpoint_is_of_every_record_and_says_when_it_was_made(
    database: Database, log: AuditLog, checkpointer: Checkpointer, clock: Clock
) -> None:
    for records in (0, 5, 300):
        grow(log, records)
        clock.us += 1_500_000
        made = checkpointer.make()
        everything = leaves(database)
        assert open_checkpoint(made.note, SIGNER.verifier) == Checkpoint(
            ORIGIN, len(everything), naive_merkle.mth(everything)
        )
        assert signed_at_s(made.note, SIGNER.verifier) == clock.us // 1_000_000
        assert (made.at, made.epoch, made.size) == (clock.us, 1, len(everything))
        assert made.checkpoint == open_checkpoint(made.note, SIGNER.verifier)
    assert [each.number for each in kept(database)] == [1, 2, 3]
    with database.reading(Store.AUDIT) as session:
        assert last_checkpoint(session) == kept(database)[-1]
        assert session.rows("SELECT level, number FROM audit_tile") == [(0, 0)]


def test_two_checkpoints_of_one_state_differ_by_their_time(checkpointer: Checkpointer, clock: Clock) -> None:
    one = checkpointer.make()
    clock.us += MINUTE
    other = checkpointer.make()
    assert one.checkpoint == other.checkpoint
    assert one.note != other.note


def test_the_time_is_signed_as_a_cosignature_and_may_be_left_out() -> None:
    checkpoint = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert signed_at_s(sign_checkpoint(checkpoint, SIGNER), SIGNER.verifier) is None
    timed = sign_checkpoint(checkpoint, SIGNER, at_s=1_790_000_000)
    line = timed.splitlines()[-1].removeprefix(f"— {ORIGIN} ")
    content = base64.b64decode(line)[4:]
    assert content[:8] == (1_790_000_000).to_bytes(8)
    # As C2SP tlog-cosignature has it, written out here.
    message = f"cosignature/v1\ntime 1790000000\n{checkpoint.encode()}".encode()
    KEY.public_key().verify(content[8:], message)
    forged = timed.replace(line, base64.b64encode(base64.b64decode(line)[:4] + bytes(8) + content[8:]).decode())
    with pytest.raises(SignatureInvalid):
        signed_at_s(forged, SIGNER.verifier)


def test_one_is_due_each_interval_with_new_records_and_each_tenth_without(
    log: AuditLog, checkpointer: Checkpointer, clock: Clock
) -> None:
    made = []
    for minute in range(45):
        if minute in (3, 4, 20):
            grow(log, 1)
        if checkpointer.make_if_due(60):
            made.append(minute)
        clock.us += MINUTE
    assert made == [0, 3, 4, 14, 20, 30, 40]


def test_before_the_interval_is_over_nothing_is_due(log: AuditLog, checkpointer: Checkpointer, clock: Clock) -> None:
    assert checkpointer.make_if_due(60)
    grow(log, 1)
    clock.us += MINUTE - 1
    assert checkpointer.make_if_due(60) is None
    clock.us += 1
    assert checkpointer.make_if_due(60)


def test_a_clock_that_goes_back_does_not_stop_checkpoints(
    log: AuditLog, checkpointer: Checkpointer, clock: Clock
) -> None:
    assert checkpointer.make_if_due(60)
    clock.us -= 24 * 60 * MINUTE
    assert checkpointer.make_if_due(60)
    grow(log, 1)
    clock.us -= 1
    assert checkpointer.make_if_due(60) is None


def test_several_processes_make_one_an_interval_between_them(database: Database, log: AuditLog, clock: Clock) -> None:
    several = [Checkpointer(database, KEY, now=clock) for _ in range(4)]
    for number in range(1, 4):
        grow(log, 300)
        clock.us += MINUTE
        made: list[StoredCheckpoint | None] = []
        threads = [
            threading.Thread(target=lambda one=one, made=made: made.append(one.make_if_due(60))) for one in several
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len([each for each in made if each]) == 1
        assert len(made) == 4
        assert len(kept(database)) == number


def test_of_a_log_without_a_first_record_there_is_none(database: Database, make_log: LogMaker, clock: Clock) -> None:
    make_log(database, begun=False)
    with pytest.raises(NotBegun):
        Checkpointer(database, KEY, now=clock).make()


def test_another_key_than_the_logs_signs_nothing(database: Database, log: AuditLog, clock: Clock) -> None:
    with pytest.raises(WrongLogKey):
        Checkpointer(database, Ed25519PrivateKey.generate(), now=clock).make()
    assert kept(database) == []


def test_after_a_change_of_keys_the_new_one_signs(database: Database, log: AuditLog, clock: Clock) -> None:
    before = Checkpointer(database, KEY, now=clock).make()
    fresh = type(SIGNER)(ORIGIN, Ed25519PrivateKey.generate())
    declared = Declaration(origin=ORIGIN, epoch=1, log_key=fresh.verifier, authorities=AUTHORITIES)
    change(log, sign(declared.encode(), [SIGNER]), actor=ACTOR.as_data())
    with pytest.raises(WrongLogKey):
        Checkpointer(database, KEY, now=clock).make()
    successor = Checkpointer(database, fresh.private_key, now=clock)
    for number in (2, 3):
        made = successor.make()
        assert (made.number, open_checkpoint(made.note, fresh.verifier).size) == (number, before.size + 1)


def rewrite_from(database: Database, sequence: int) -> None:
    """Change a record and all that is computed from it, but for what was signed and the tiles."""
    every = leaves(database)
    every[sequence - 1] = every[sequence - 1].replace(b"worker", b"WORKER")
    assert every != leaves(database)
    hashes = [leaf_hash(leaf) for leaf in every]
    tamper(
        database,
        "audit_record",
        f"UPDATE audit_record SET leaf = {blob(database, every[sequence - 1])},"
        f" hash = {blob(database, hashes[sequence - 1])} WHERE sequence = {sequence}",
    )
    frontier = Frontier.EMPTY.extend(hashes).encode()
    tamper(database, "audit_head", f"UPDATE audit_head SET frontier = {blob(database, frontier)}")


def blob(database: Database, content: bytes) -> str:
    return f"x'{content.hex()}'" if database.kind == "sqlite" else f"'\\x{content.hex()}'::bytea"


@pytest.mark.requirement("SMSP-AUDIT-001", "a")
@pytest.mark.parametrize("sequence", [5, 290])
@pytest.mark.parametrize("tiles", ["kept", "removed"])
def test_nothing_is_signed_of_a_log_that_was_rewritten(
    database: Database, log: AuditLog, checkpointer: Checkpointer, sequence: int, tiles: str
) -> None:
    grow(log, 299)
    checkpointer.make()
    grow(log, 10)
    rewrite_from(database, sequence)
    if tiles == "removed":
        tamper(database, "audit_tile", "DELETE FROM audit_tile")
    for one in (checkpointer, Checkpointer(database, KEY, now=Clock())):
        with pytest.raises(LogRewritten):
            one.make()
        with pytest.raises(LogRewritten):
            one.make_if_due(0)
    assert len(kept(database)) == 1


def test_a_change_after_the_last_checkpoint_shows_by_the_head(
    database: Database, log: AuditLog, checkpointer: Checkpointer
) -> None:
    grow(log, 9)
    checkpointer.make()
    grow(log, 9)
    tamper(database, "audit_record", f"UPDATE audit_record SET hash = {blob(database, bytes(32))} WHERE sequence = 15")
    with pytest.raises(LogRewritten, match="head"):
        checkpointer.make()


def cut(database: Database, log: AuditLog, size: int) -> None:
    """Put the log back to where it was, checkpoints included."""
    hashes = [leaf_hash(leaf) for leaf in leaves(database)[:size]]
    log.close_now()
    tamper(database, "audit_record", f"DELETE FROM audit_record WHERE sequence > {size}")
    tamper(database, "audit_checkpoint", f"DELETE FROM audit_checkpoint WHERE size > {size}")
    tamper(
        database,
        "audit_head",
        f"UPDATE audit_head SET sequence = {size}, hash = {blob(database, hashes[-1])},"
        f" frontier = {blob(database, Frontier.EMPTY.extend(hashes).encode())}",
    )


def test_a_log_that_was_cut_shows_by_its_last_checkpoint_and_by_what_the_process_signed(
    database: Database, log: AuditLog, checkpointer: Checkpointer, clock: Clock
) -> None:
    grow(log, 9)
    checkpointer.make()
    grow(log, 10)
    checkpointer.make()
    every = kept(database)
    cut(database, log, 12)
    with pytest.raises(LogRewritten, match="20 records"):
        checkpointer.make()
    # A process that was not there cannot know it from the database alone; the witnesses do.
    assert Checkpointer(database, KEY, now=clock).make().size == 12
    tamper(database, "audit_checkpoint", "DELETE FROM audit_checkpoint")
    with database.session(Store.AUDIT) as session:
        for each in every:
            session.run("INSERT INTO audit_checkpoint VALUES (?, ?, ?, ?, ?)", tuple(getattr(each, f) for f in FIELDS))
    with pytest.raises(LogRewritten, match="20 records"):
        Checkpointer(database, KEY, now=clock).make()


FIELDS = ("number", "at", "epoch", "size", "note")


@pytest.mark.parametrize("note", ["", "nothing\n\n", "forged"])
def test_a_checkpoint_that_the_log_did_not_sign_is_not_built_upon(
    database: Database, log: AuditLog, checkpointer: Checkpointer, note: str
) -> None:
    made = checkpointer.make()
    if note == "forged":
        note = sign(made.text, [type(SIGNER)(ORIGIN, Ed25519PrivateKey.generate())])
    tamper(database, "audit_checkpoint", f"UPDATE audit_checkpoint SET note = '{note}'")
    with pytest.raises(LogRewritten, match="checkpoint 1"):
        checkpointer.make()


def test_the_head_that_is_damaged_is_not_signed(database: Database, log: AuditLog, checkpointer: Checkpointer) -> None:
    tamper(database, "audit_head", f"UPDATE audit_head SET frontier = {blob(database, b'')}")
    with pytest.raises(LogRewritten, match="head"):
        checkpointer.make()


def test_while_checkpoints_are_made_the_log_is_written(database_url: str, make_log: LogMaker, clock: Clock) -> None:
    """Nothing holds the head for longer than a transaction of the log may wait, nor waits for it for ever."""
    with Database.open(database_url, lock_timeout_s=15.0) as database:  # SQLite is not fair to who waits for its lock
        log = make_log(database)
        grow(log, 3000)
        done = threading.Event()
        failures: list[BaseException] = []

        def write() -> None:
            try:
                while not done.is_set():
                    grow(log, 1)
            except BaseException as failure:
                failures.append(failure)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            sizes = [Checkpointer(database, KEY, now=clock).make().size for _ in range(3)]
        finally:
            done.set()
            writer.join()
        assert not failures
        assert sizes == sorted(sizes)
        log.close_now()


def test_a_process_that_was_stopped_while_it_made_one_does_not_keep_others_from_it(
    postgresql_url: str, make_log: LogMaker, clock: Clock
) -> None:
    with Database.open(postgresql_url, lock_timeout_s=1.0) as database:
        make_log(database)
        stopped = database.session(Store.AUDIT)
        stopped.begin()
        take(stopped, Turn.CHECKPOINT)
        assert Checkpointer(database, KEY, now=clock).make().number == 1
        with pytest.raises(StorageUnavailable):
            stopped.commit()
        stopped.discard()
