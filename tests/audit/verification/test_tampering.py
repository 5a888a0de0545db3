"""Every way to change a written log that we could think of is noticed, and the test says by which check.

Whoever does it has the database in hand, so the triggers are gone first. What the attacker makes good afterwards grows
from test to test, up to a log made anew as a whole, which only a checkpoint or a key from elsewhere gives away.
"""

import asyncio
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from minispine.audit import declaration, reading
from minispine.audit.checkpoint import Checkpoint, sign_checkpoint
from minispine.audit.checkpointing import Checkpointer
from minispine.audit.declaration import Declaration
from minispine.audit.encoding import commit, encode_json, read_leaf
from minispine.audit.events import Body, Entry, EventType
from minispine.audit.log import AuditLog
from minispine.audit.merkle import leaf_hash
from minispine.audit.note import Cosigner, Signer, sign, write_note
from minispine.audit.vault import Part, PayloadUnreadable
from minispine.audit.verification import Broken, Check, Observation, Proof, Result, Trusted, Verified, verify
from minispine.storage import Database, Session, StorageUnavailable, Store
from tests.audit.conftest import AUTHORITIES, AUTHORITY_SIGNERS, ORIGIN, SIGNER, VAULT, Clock, LogMaker, received
from tests.audit.long_log import (
    RECORDS,
    REMOVAL,
    REMOVED,
    SIZES,
    Steady,
    checkpoint,
    disarm,
    exchanges,
    make_good,
    make_tiles,
    order,
    write,
)
from tests.audit.samples import ACTOR, sample

ATTACKER = Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x09"))
COSIGNER = Cosigner(ORIGIN, SIGNER.private_key)
DAY_US = 86_400_000_000


def found(result: Result) -> tuple[int, Check]:
    assert isinstance(result, Broken), result
    assert result.detail
    return result.sequence, result.check


@contextmanager
def in_hand(database: Database) -> Iterator[Session]:
    """The audit store, for one transaction of somebody who may do anything."""
    with database.session(Store.AUDIT) as session:
        session.begin()
        yield session
        session.commit()


def run(database: Database, *statements: str) -> None:
    with in_hand(database) as session:
        for statement in statements:
            session.run(statement)


def flip(session: Session, table: str, column: str, sequence: int, at: int = 20) -> None:
    content = bytearray(session.rows(f"SELECT {column} FROM {table} WHERE sequence = ?", (sequence,))[0][0])
    content[at] ^= 1
    session.run(f"UPDATE {table} SET {column} = ? WHERE sequence = ?", (bytes(content), sequence))


def edit(session: Session, sequence: int, change: Callable[[bytes], bytes]) -> None:
    leaf = bytes(session.rows("SELECT leaf FROM audit_record WHERE sequence = ?", (sequence,))[0][0])
    changed = change(leaf)
    assert changed != leaf
    session.run("UPDATE audit_record SET leaf = ? WHERE sequence = ?", (changed, sequence))


def client_renamed(leaf: bytes) -> bytes:
    """What an attacker would like: somebody else asked."""
    return leaf.replace(b'"client":"ward"', b'"client":"home"')


def swap(session: Session, table: str, one: int, other: int) -> None:
    for here, there in ((one, -1), (other, one), (-1, other)):
        session.run(f"UPDATE {table} SET sequence = ? WHERE sequence = ?", (there, here))


def move_up(session: Session, first: int) -> None:
    """Make room for a record: each from here on gets the next number."""
    for (sequence,) in session.rows("SELECT sequence FROM audit_record WHERE sequence >= ? ORDER BY 1 DESC", (first,)):
        for table in ("audit_record", "audit_payload"):
            session.run(f"UPDATE {table} SET sequence = ? WHERE sequence = ?", (sequence + 1, sequence))


def insert(session: Session, sequence: int) -> None:
    move_up(session, sequence)
    session.run(
        "INSERT INTO audit_record (sequence, exchange, hash, leaf)"
        f" SELECT {sequence}, exchange, hash, leaf FROM audit_record WHERE sequence = {sequence - 2}"
    )


def renumber(session: Session) -> None:
    """Have each leaf name the number that it has now."""
    for sequence, leaf in session.rows("SELECT sequence, leaf FROM audit_record"):
        fields = read_leaf(bytes(leaf)) | {"sequence": sequence}
        session.run("UPDATE audit_record SET leaf = ? WHERE sequence = ?", (b"\x02" + encode_json(fields), sequence))


def cut(session: Session, last: int) -> None:
    """Cut the end off, and make the head good."""
    for table in ("audit_record", "audit_payload"):
        session.run(f"DELETE FROM {table} WHERE sequence > ?", (last,))
    fields = read_leaf(bytes(session.rows("SELECT leaf FROM audit_record WHERE sequence = ?", (last,))[0][0]))
    session.run("UPDATE audit_head SET sealed_at = ?", (fields["sealed_at"],))
    make_good(session)


LATER = 405
"""A record after the last tile and the last but two checkpoints."""


def then(*steps: Callable[[Session], object]) -> Callable[[Session], None]:
    """Several steps, one after the other."""

    def all_steps(session: Session) -> None:
        for step in steps:
            step(session)

    return all_steps


TAMPERING: dict[str, tuple[Callable[[Session], object], tuple[int, Check]]] = {
    "a bit of a leaf": (lambda s: flip(s, "audit_record", "leaf", 5), (5, "hash")),
    "the version of a leaf": (lambda s: flip(s, "audit_record", "leaf", 5, at=0), (5, "hash")),
    "a bit of a hash": (lambda s: flip(s, "audit_record", "hash", 5), (5, "hash")),
    "a leaf taken away": (lambda s: s.run("UPDATE audit_record SET leaf = hash WHERE sequence = 5"), (5, "hash")),
    "a bit of a private part": (lambda s: flip(s, "audit_payload", "private", 6), (6, "payload")),
    "a bit of a body": (lambda s: flip(s, "audit_payload", "bodies", 8), (8, "payload")),
    "a bit of a salt": (lambda s: flip(s, "audit_payload", "salt", 2, at=0), (2, "payload")),
    "a part of a payload removed": (
        lambda s: s.run("UPDATE audit_payload SET bodies = NULL WHERE sequence = 6"),
        (6, "payload"),
    ),
    "a payload removed": (lambda s: s.run("DELETE FROM audit_payload WHERE sequence = 6"), (6, "payload")),
    "a payload removed, and a table that says why": (
        then(
            lambda s: s.run("DELETE FROM audit_payload WHERE sequence = 6"),
            lambda s: s.run(f"INSERT INTO audit_removal (sequence, record) VALUES (6, {REMOVAL})"),
        ),
        (6, "removal"),
    ),
    "a removal by a record that is none": (
        lambda s: s.run("INSERT INTO audit_removal (sequence, record) VALUES (6, 300)"),
        (6, "removal"),
    ),
    "the table of removals emptied": (lambda s: s.run("DELETE FROM audit_removal"), (REMOVED, "payload")),
    "payloads archived by a record that is none, without their keys": (
        then(
            lambda s: s.run("DELETE FROM audit_payload WHERE sequence <= 20"),
            lambda s: s.run(
                f"INSERT INTO audit_archive (first, last, name, digest, record) SELECT 1, 20, 'x', hash, {REMOVAL}"
                " FROM audit_head"
            ),
        ),
        (2, "payload"),
    ),
    "payloads archived by a record that is none": (
        then(
            lambda s: s.run(
                "INSERT INTO audit_archived_key SELECT sequence, wrapped FROM audit_payload WHERE sequence <= 20"
            ),
            lambda s: s.run("DELETE FROM audit_payload WHERE sequence <= 20"),
            lambda s: s.run(
                f"INSERT INTO audit_archive (first, last, name, digest, record) SELECT 1, 20, 'x', hash, {REMOVAL}"
                " FROM audit_head"
            ),
        ),
        (1, "archive"),
    ),
    "a payload added": (
        lambda s: s.run(
            "INSERT INTO audit_payload (sequence, salt, private, bodies, wrapped)"
            " SELECT 3, salt, private, bodies, wrapped FROM audit_payload WHERE sequence = 2"
        ),
        (3, "payload"),
    ),
    "an empty payload added": (
        lambda s: s.run(
            "INSERT INTO audit_payload (sequence, salt, wrapped)"
            " SELECT 3, salt, wrapped FROM audit_payload WHERE sequence = 2"
        ),
        (3, "payload"),
    ),
    "a payload of no record": (
        lambda s: s.run(
            "INSERT INTO audit_payload (sequence, salt, private, bodies, wrapped)"
            " SELECT 900, salt, private, bodies, wrapped FROM audit_payload WHERE sequence = 2"
        ),
        (900, "payload"),
    ),
    "payloads swapped": (lambda s: swap(s, "audit_payload", 2, 8), (2, "payload")),
    "a record removed": (lambda s: s.run("DELETE FROM audit_record WHERE sequence = 5"), (5, "sequence")),
    "the first record removed": (lambda s: s.run("DELETE FROM audit_record WHERE sequence = 1"), (1, "sequence")),
    "the last record removed": (
        lambda s: s.run(f"DELETE FROM audit_record WHERE sequence = {RECORDS}"),
        (RECORDS, "sequence"),
    ),
    "everything removed": (lambda s: s.run("DELETE FROM audit_record"), (1, "sequence")),
    "records swapped": (lambda s: swap(s, "audit_record", 5, 8), (5, "leaf")),
    "a record inserted at the end": (
        lambda s: s.run(
            "INSERT INTO audit_record (sequence, exchange, hash, leaf)"
            f" SELECT {RECORDS + 1}, exchange, hash, leaf FROM audit_record WHERE sequence = {RECORDS}"
        ),
        (RECORDS + 1, "head"),
    ),
    "a record inserted": (lambda s: insert(s, 6), (6, "leaf")),
    "a record inserted and all renumbered": (then(lambda s: insert(s, 6), lambda s: renumber(s)), (6, "hash")),
    "the end cut off": (lambda s: s.run(f"DELETE FROM audit_record WHERE sequence > {LATER}"), (LATER + 1, "sequence")),
    "the end cut off, head made good": (lambda s: cut(s, LATER), (LATER + 1, "checkpoint")),
    "an exchange renamed": (
        lambda s: s.run("UPDATE audit_record SET exchange = 'e9' WHERE sequence = 3"),
        (3, "exchange"),
    ),
    "the head's hash": (lambda s: flip_head(s, "hash"), (RECORDS, "head")),
    "the head's tree": (lambda s: flip_head(s, "frontier"), (RECORDS, "head")),
    "the head's time": (lambda s: s.run("UPDATE audit_head SET sealed_at = 1"), (RECORDS, "head")),
    "the head's epoch": (lambda s: s.run("UPDATE audit_head SET epoch = 2"), (RECORDS, "head")),
    "the head's declaration": (lambda s: s.run("UPDATE audit_head SET declared = 2"), (RECORDS, "head")),
    "the head removed": (lambda s: s.run("DELETE FROM audit_head"), (0, "head")),
    "a bit of a tile": (lambda s: flip_tile(s, 33), (2, "tile")),
    "a tile cut short": (
        lambda s: s.run("UPDATE audit_tile SET hashes = (SELECT hash FROM audit_record WHERE sequence = 1)"),
        (2, "tile"),
    ),
    "a leaf, hash made good": (
        then(lambda s: edit(s, 6, client_renamed), lambda s: make_good(s, tiles=False)),
        (6, "tile"),
    ),
    "a leaf, hash and tiles made good": (
        then(lambda s: edit(s, 6, client_renamed), lambda s: make_good(s)),
        (1, "checkpoint"),
    ),
    "a later leaf, hash and tiles made good": (
        then(lambda s: edit(s, LATER, client_renamed), lambda s: make_good(s)),
        (SIZES[1] + 1, "checkpoint"),
    ),
    "the clock set back, all made good": (
        then(
            lambda s: edit(s, LATER, lambda leaf: leaf.replace(b'"sealed_at":1790', b'"sealed_at":1690')),
            lambda s: make_good(s),
        ),
        (LATER, "sealed-time"),
    ),
    "a number exchanged, all made good": (
        then(
            lambda s: edit(s, LATER, lambda leaf: leaf.replace(b'"sequence":405', b'"sequence":406')),
            lambda s: make_good(s),
        ),
        (LATER, "leaf"),
    ),
    "another version, all made good": (
        then(lambda s: edit(s, LATER, lambda leaf: b"\x03" + leaf[1:]), lambda s: make_good(s)),
        (LATER, "leaf"),
    ),
    "the first release's version, all made good": (
        then(lambda s: edit(s, LATER, lambda leaf: b"\x01" + leaf[1:]), lambda s: make_good(s)),
        (LATER, "leaf"),
    ),
    "no JSON, all made good": (
        then(lambda s: edit(s, LATER, lambda leaf: leaf[:-1]), lambda s: make_good(s)),
        (LATER, "leaf"),
    ),
    "a leaf without bytes, all made good": (
        then(lambda s: edit(s, LATER, lambda _: b""), lambda s: make_good(s)),
        (LATER, "leaf"),
    ),
    "a checkpoint removed": (
        lambda s: s.run("DELETE FROM audit_checkpoint WHERE number = 2"),
        (SIZES[0] + 1, "checkpoint"),
    ),
    "the first checkpoint removed": (
        lambda s: s.run("DELETE FROM audit_checkpoint WHERE number = 1"),
        (1, "checkpoint"),
    ),
    "a checkpoint's signature": (
        lambda s: s.run("UPDATE audit_checkpoint SET note = replace(note, ' ', ' A') WHERE number = 2"),
        (SIZES[0] + 1, "checkpoint"),
    ),
    "a checkpoint's time": (
        lambda s: s.run("UPDATE audit_checkpoint SET at = at - 3600000000 WHERE number = 2"),
        (SIZES[0] + 1, "checkpoint"),
    ),
    "a checkpoint's size": (
        lambda s: s.run("UPDATE audit_checkpoint SET size = 400 WHERE number = 2"),
        (SIZES[0] + 1, "checkpoint"),
    ),
    "a checkpoint's epoch": (
        lambda s: s.run("UPDATE audit_checkpoint SET epoch = 2 WHERE number = 2"),
        (SIZES[0] + 1, "checkpoint"),
    ),
    "an idle checkpoint's size": (
        lambda s: s.run("UPDATE audit_checkpoint SET size = 400 WHERE number = 4"),
        (RECORDS + 1, "checkpoint"),
    ),
    "a checkpoint signed with the time only": (
        lambda s: rewrite_note(s, 2, lambda text, at_s: write_note(text, [COSIGNER.cosign(text.encode(), at_s)])),
        (SIZES[0] + 1, "checkpoint"),
    ),
    "a checkpoint of another log by the log's key": (
        lambda s: rewrite_note(s, 2, lambda text, _: sign(text.replace("SMSP-1", "SMSP-2"), [SIGNER])),
        (SIZES[0] + 1, "checkpoint"),
    ),
    "a tile made longer": (lambda s: lengthen_tile(s), (1, "tile")),
    "a checkpoint of nothing": (
        lambda s: s.run("UPDATE audit_checkpoint SET size = 0 WHERE number = 2"),
        (SIZES[0] + 1, "checkpoint"),
    ),
    "checkpoints swapped": (
        then(
            lambda s: s.run(
                "UPDATE audit_checkpoint SET number = CASE number WHEN 1 THEN -2 WHEN 2 THEN -1 END WHERE number < 3"
            ),
            lambda s: s.run("UPDATE audit_checkpoint SET number = -number WHERE number < 0"),
        ),
        (SIZES[1] + 1, "checkpoint"),
    ),
}


def flip_head(session: Session, column: str) -> None:
    content = bytearray(session.rows(f"SELECT {column} FROM audit_head")[0][0])
    content[-1] ^= 1
    session.run(f"UPDATE audit_head SET {column} = ?", (bytes(content),))


def lengthen_tile(session: Session) -> None:
    content = bytes(session.rows("SELECT hashes FROM audit_tile WHERE level = 0 AND number = 0")[0][0])
    session.run("UPDATE audit_tile SET hashes = ? WHERE level = 0 AND number = 0", (content + bytes(32),))


def rewrite_note(session: Session, number: int, signed: Callable[[str, int], str]) -> None:
    """Sign a checkpoint anew, of its text and the second in which it was made."""
    note, at = session.rows("SELECT note, at FROM audit_checkpoint WHERE number = ?", (number,))[0]
    made = signed(note.split("\n\n")[0] + "\n", at // 1_000_000)
    session.run("UPDATE audit_checkpoint SET note = ? WHERE number = ?", (made, number))


def flip_tile(session: Session, at: int) -> None:
    content = bytearray(session.rows("SELECT hashes FROM audit_tile WHERE level = 0 AND number = 0")[0][0])
    content[at] ^= 1
    session.run("UPDATE audit_tile SET hashes = ? WHERE level = 0 AND number = 0", (bytes(content),))


@pytest.mark.requirement("SMSP-AUDIT-001", "a")
@pytest.mark.requirement("MSCA-AUD-01", "a")
def test_a_log_as_it_was_written_verifies(long_log: Database) -> None:
    result = verify(long_log, trusted=[checkpoint(long_log, 2)], known_key=SIGNER.verifier)
    assert isinstance(result, Verified)
    assert (result.records, result.proof) == (RECORDS, Proof(SIZES[1], "the witness"))
    assert [(each.kind, each.sequence) for each in result.observations] == [("removed", REMOVAL)]


@pytest.mark.requirement("SMSP-AUDIT-001", "a")
@pytest.mark.requirement("MSCA-AUD-01", "a")
@pytest.mark.parametrize("tampering", TAMPERING)
def test_tampering_is_laid_to_the_first_record_that_it_can_be(long_log: Database, tampering: str) -> None:
    tamper, expected = TAMPERING[tampering]
    trusted = checkpoint(long_log, 4)
    with in_hand(long_log) as session:
        tamper(session)
    assert found(verify(long_log)) == expected
    assert isinstance(verify(long_log, trusted=[trusted]), Broken), "a checkpoint from elsewhere makes nothing better"


ANYTHING_IN_A_COLUMN: dict[str, tuple[int, Check]] = {
    "audit_record SET leaf = {} WHERE sequence = 5": (5, "hash"),
    "audit_record SET hash = {} WHERE sequence = 5": (5, "hash"),
    "audit_record SET exchange = {} WHERE sequence = 5": (5, "exchange"),
    "audit_payload SET salt = {} WHERE sequence = 6": (6, "payload"),
    "audit_payload SET private = {} WHERE sequence = 6": (6, "payload"),
    "audit_head SET sealed_at = {}": (RECORDS, "head"),
    "audit_head SET hash = {}": (RECORDS, "head"),
    "audit_head SET frontier = {}": (RECORDS, "head"),
    "audit_tile SET hashes = {}": (1, "tile"),
    "audit_checkpoint SET note = {} WHERE number = 1": (1, "checkpoint"),
    "audit_checkpoint SET size = {} WHERE number = 1": (1, "checkpoint"),
    "audit_checkpoint SET epoch = {} WHERE number = 1": (1, "checkpoint"),
    "audit_checkpoint SET at = {} WHERE number = 1": (1, "checkpoint"),
    "audit_removal SET record = {}": (REMOVED, "removal"),
}


@pytest.mark.parametrize("value", ["7", "'text'", "CAST(x'FF00' AS TEXT)", "1e300"])
def test_sqlite_keeps_anything_in_a_column_and_it_is_noticed_all_the_same(
    long_sqlite: Path, tmp_path: Path, value: str
) -> None:
    for number, (change, expected) in enumerate(ANYTHING_IN_A_COLUMN.items()):
        shutil.copytree(long_sqlite, tmp_path / str(number))
        with Database.open(f"sqlite:{tmp_path / str(number)}") as copy:
            disarm(copy)
            run(copy, f"UPDATE {change.format(value)}")
            assert found(verify(copy)) == expected, change


def test_messages_cut_short_by_a_longer_salt_are_noticed(database: Database, log: AuditLog) -> None:
    """What is hashed is the same bytes then: only the length of the salt gives it away."""
    event = sample(EventType.LOGIN_LOGGED_OUT, actor=ACTOR.as_data())
    sequence = log.append_now(
        Entry(events=(event,), bodies=(Body("request", random.Random(1).randbytes(5000)),))
    ).sequence
    disarm(database)
    with in_hand(database) as session:
        salt, bodies = map(bytes, session.rows("SELECT salt, bodies FROM audit_payload")[0])
        at = bodies.index(Part.BODIES)
        longer, shorter = salt + bytes((Part.BODIES,)) + bodies[:at], bodies[at + 1 :]
        assert commit(longer, Part.BODIES, shorter) == commit(salt, Part.BODIES, bodies)
        session.run("UPDATE audit_payload SET salt = ?, bodies = ?", (longer, shorter))
    assert found(verify(database)) == (sequence, "payload")


@pytest.mark.requirement("SMSP-AUDIT-009", "g")
@pytest.mark.requirement("MSCA-AUD-03", "e")
def test_the_number_of_a_record_that_is_gone_is_named(database: Database, log: AuditLog) -> None:
    async def write_at_once() -> None:
        await asyncio.gather(*(log.append(received(f"e{n}")) for n in range(1000)))

    asyncio.run(write_at_once())
    result = verify(database)
    assert isinstance(result, Verified)
    assert result.records == 1001
    disarm(database)
    run(database, "DELETE FROM audit_record WHERE sequence = 577")
    assert found(verify(database)) == (577, "sequence")


@pytest.mark.requirement("IG-3.9.6", "d")
def test_a_record_that_the_owner_of_the_database_puts_in_is_noticed(long_log: Database) -> None:
    with in_hand(long_log) as session:
        leaf = bytes(session.rows("SELECT leaf FROM audit_record WHERE sequence = ?", (RECORDS,))[0][0])
        forged = leaf.replace(b'"sequence":%d' % RECORDS, b'"sequence":%d' % (RECORDS + 1))
        session.run(
            "INSERT INTO audit_record (sequence, exchange, hash, leaf) SELECT ?, exchange, ?, ? FROM audit_record"
            " WHERE sequence = ?",
            (RECORDS + 1, leaf_hash(forged), forged, RECORDS),
        )
    assert found(verify(long_log)) == (RECORDS + 1, "head")
    with in_hand(long_log) as session:
        session.run("UPDATE audit_head SET sequence = ?, hash = ?", (RECORDS + 1, leaf_hash(forged)))
    assert found(verify(long_log)) == (RECORDS + 1, "head"), "the tree is not that of the head"


# ── an attacker with more than the database ─────────────────────────────────────────────────────────────────────────


def rewrite(database: Database) -> None:
    """Change a record, and make all of it good without the log's key: the checkpoints have to go."""
    with database.session(Store.AUDIT) as session:
        edit(session, 6, client_renamed)
        make_good(session)
        session.run("DELETE FROM audit_checkpoint")
    make_tiles(database)


def test_a_rewritten_log_without_its_checkpoints_is_consistent_and_not_proven(long_log: Database) -> None:
    trusted = checkpoint(long_log, 1)
    rewrite(long_log)
    result = verify(long_log, known_key=SIGNER.verifier)
    assert isinstance(result, Verified)
    assert result.proof is None
    assert found(verify(long_log, trusted=[trusted])) == (1, "trusted-checkpoint")


def test_a_rewritten_log_with_new_checkpoints_by_its_own_key_is_not_what_was_seen_outside(long_log: Database) -> None:
    trusted = [checkpoint(long_log, number) for number in (1, 2)]
    with in_hand(long_log) as session:
        edit(session, 350, client_renamed)
        make_good(session)
        session.run("DELETE FROM audit_checkpoint")
    Checkpointer(long_log, SIGNER.private_key, now=Steady()).make()
    result = verify(long_log, known_key=SIGNER.verifier)
    assert isinstance(result, Verified)
    assert result.proof is None, "whoever has the key can sign anything"
    assert found(verify(long_log, trusted=trusted)) == (SIZES[0] + 1, "trusted-checkpoint")
    assert found(verify(long_log, trusted=trusted[1:])) == (1, "trusted-checkpoint")


def test_a_log_made_anew_with_another_key_is_not_the_one_whose_key_is_known(database: Database) -> None:
    write(database, signer=ATTACKER)
    assert isinstance(verify(database), Verified)
    assert found(verify(database, known_key=SIGNER.verifier)) == (1, "key")


def test_a_log_made_anew_with_another_key_is_not_what_was_seen_outside(
    long_log: Database, sqlite_database: Database
) -> None:
    write(sqlite_database, signer=ATTACKER)
    assert found(verify(sqlite_database, trusted=[checkpoint(long_log, 3)])) == (1, "trusted-checkpoint")


def test_a_key_put_in_the_place_of_another_shows_by_the_checkpoints(long_log: Database) -> None:
    trusted = checkpoint(long_log, 1)
    stated = Declaration(origin=ORIGIN, epoch=1, log_key=ATTACKER.verifier, authorities=AUTHORITIES)
    note = sign(stated.encode(), [ATTACKER])

    def restate(leaf: bytes) -> bytes:
        fields = read_leaf(leaf)
        fields["events"][0]["data"]["declaration"] = note
        return b"\x02" + encode_json(fields)

    with in_hand(long_log) as session:
        edit(session, 1, restate)
        make_good(session)
    assert found(verify(long_log)) == (1, "checkpoint")
    run(long_log, "DELETE FROM audit_checkpoint")
    assert isinstance(verify(long_log), Verified)
    assert found(verify(long_log, known_key=SIGNER.verifier)) == (1, "key")
    assert found(verify(long_log, trusted=[trusted])) == (1, "trusted-checkpoint")


def append(database: Database, event: EventType, *, declaring: bool = False, **data: Any) -> int:
    """What somebody can do who has the application's own way of writing."""
    log = AuditLog(database, system_id="SMSP-1", instance="attacker", vault=VAULT, now=Steady())
    entry = Entry(events=(sample(event, actor=ACTOR.as_data(), **data),))
    with log.holding() as hold:
        receipt = log.declare_in(hold, entry, epoch=hold.epoch) if declaring else log.append_in(hold, entry)
    log.close_now()
    return receipt.sequence


@pytest.mark.parametrize("signers", [(ATTACKER,), (ATTACKER, *AUTHORITY_SIGNERS), (SIGNER, AUTHORITY_SIGNERS[0])])
def test_keys_change_only_with_the_signatures_of_those_before(long_log: Database, signers: tuple[Signer, ...]) -> None:
    stated = Declaration(
        origin=ORIGIN, epoch=1, log_key=ATTACKER.verifier, authorities=(ATTACKER.verifier, AUTHORITIES[1])
    )
    note = sign(stated.encode(), signers)
    assert append(long_log, EventType.AUDIT_KEYS_CHANGED, declaring=True, declaration=note) == RECORDS + 1
    assert found(verify(long_log)) == (RECORDS + 1, "declaration")


def test_keys_of_another_log_are_none_of_this_one(long_log: Database) -> None:
    elsewhere = Signer("minispine/SMSP-2", SIGNER.private_key)
    stated = Declaration(origin=elsewhere.name, epoch=1, log_key=elsewhere.verifier, authorities=AUTHORITIES)
    append(long_log, EventType.AUDIT_KEYS_CHANGED, declaring=True, declaration=sign(stated.encode(), [SIGNER]))
    assert found(verify(long_log)) == (RECORDS + 1, "declaration")


def test_a_log_does_not_begin_twice(long_log: Database) -> None:
    stated = Declaration(origin=ORIGIN, epoch=1, log_key=ATTACKER.verifier)
    note = sign(stated.encode(), [ATTACKER, SIGNER, *AUTHORITY_SIGNERS])
    append(long_log, EventType.AUDIT_BEGUN, declaring=True, declaration=note, earlier_records=RECORDS)
    assert found(verify(long_log)) == (RECORDS + 1, "declaration")


def test_a_key_that_was_changed_rightly_is_followed(long_log: Database) -> None:
    stated = Declaration(origin=ORIGIN, epoch=1, log_key=ATTACKER.verifier, authorities=AUTHORITIES)
    log = AuditLog(long_log, system_id="SMSP-1", instance="instance-2", vault=VAULT, now=Steady())
    declaration.change(log, sign(stated.encode(), [SIGNER]), actor=ACTOR.as_data())
    log.close_now()
    assert isinstance(verify(long_log, known_key=SIGNER.verifier), Verified)
    assert found(verify(long_log, known_key=ATTACKER.verifier)) == (1, "key"), "it has signed nothing yet"
    made = Checkpointer(long_log, ATTACKER.private_key, now=Steady()).make()
    assert made.size == RECORDS + 1
    result = verify(long_log, known_key=ATTACKER.verifier, trusted=[checkpoint(long_log, number) for number in (1, 5)])
    assert isinstance(result, Verified)
    assert result.proof == Proof(RECORDS + 1, "the witness")


def test_the_other_branch_of_a_fork_is_noticed(long_sqlite: Path, tmp_path: Path) -> None:
    """Two logs with one beginning, each good in itself: who has seen a checkpoint of the one is shown the other."""
    branches = []
    for name in ("one", "other"):
        shutil.copytree(long_sqlite, tmp_path / name)
        branch = Database.open(f"sqlite:{tmp_path / name}")
        log = AuditLog(branch, system_id="SMSP-1", instance=name, vault=VAULT, now=Steady())
        exchanges(log, range(300, 301))
        log.close_now()
        Checkpointer(branch, SIGNER.private_key, now=Steady()).make()
        branches.append(branch)
    for here, there in (branches, branches[::-1]):
        seen = [checkpoint(there, number) for number in (4, 5)]
        assert isinstance(verify(here, trusted=seen[:1]), Verified)
        assert found(verify(here, trusted=seen)) == (RECORDS + 1, "trusted-checkpoint")
    for branch in branches:
        branch.close()


def test_a_log_that_ends_before_what_was_seen_of_it_is_noticed(long_log: Database) -> None:
    trusted = checkpoint(long_log, 4)
    with in_hand(long_log) as session:
        cut(session, LATER)
        session.run("DELETE FROM audit_checkpoint WHERE number > 2")
    assert isinstance(verify(long_log), Verified)
    assert found(verify(long_log, trusted=[trusted])) == (LATER + 1, "trusted-checkpoint")


@pytest.mark.parametrize("signers", [AUTHORITY_SIGNERS[:1], AUTHORITY_SIGNERS[1:], (SIGNER,), (ATTACKER, SIGNER)])
def test_a_payload_goes_only_by_the_word_of_both_authorities(long_log: Database, signers: tuple[Signer, ...]) -> None:
    note = order([6], signers)
    record = append(long_log, EventType.AUDIT_PAYLOAD_REMOVED, records="6", reference="KB 12/2026", request=note)
    run(
        long_log,
        f"INSERT INTO audit_removal (sequence, record) VALUES (6, {record})",
        "DELETE FROM audit_payload WHERE sequence = 6",
    )
    assert found(verify(long_log)) == (record, "removal")


def test_an_order_that_both_have_signed_is_of_the_records_that_it_names_only(long_log: Database) -> None:
    note = order([6])
    record = append(long_log, EventType.AUDIT_PAYLOAD_REMOVED, records="6", reference="KB 12/2026", request=note)
    run(long_log, f"INSERT INTO audit_removal (sequence, record) VALUES (6, {record})")
    result = verify(long_log)
    assert isinstance(result, Verified)
    assert any(each.sequence == 6 and "is there" in each.text for each in result.observations)
    run(long_log, "DELETE FROM audit_payload WHERE sequence = 6")
    assert isinstance(verify(long_log), Verified)
    run(
        long_log,
        f"INSERT INTO audit_removal (sequence, record) VALUES (8, {record})",
        "DELETE FROM audit_payload WHERE sequence = 8",
    )
    assert found(verify(long_log)) == (8, "removal")


def test_nothing_is_destroyed_by_an_order_from_before_it_was_written(long_log: Database) -> None:
    note = order([RECORDS + 2])
    record = append(long_log, EventType.AUDIT_PAYLOAD_REMOVED, records="414", reference="KB 12/2026", request=note)
    log = AuditLog(long_log, system_id="SMSP-1", instance="later", vault=VAULT, now=Steady())
    exchanges(log, range(700, 701))
    log.close_now()
    run(
        long_log,
        f"INSERT INTO audit_removal (sequence, record) VALUES ({RECORDS + 2}, {record})",
        f"DELETE FROM audit_payload WHERE sequence = {RECORDS + 2}",
    )
    assert found(verify(long_log)) == (RECORDS + 2, "removal")


def test_checkpoints_of_another_log_are_no_checkpoints_of_this_one(long_log: Database) -> None:
    elsewhere = Signer("minispine/SMSP-2", SIGNER.private_key)
    foreign = [
        Trusted.of("the witness", sign_checkpoint(Checkpoint(elsewhere.name, size, bytes(32)), elsewhere))
        for size in (5, 5000)
    ]
    assert found(verify(long_log, trusted=foreign)) == (1, "trusted-checkpoint")
    result = verify(long_log, trusted=[*foreign, checkpoint(long_log, 1)])
    assert isinstance(result, Verified)
    assert result.proof == Proof(SIZES[0], "the witness")
    assert result.doubts == ("a checkpoint given is of another log, minispine/SMSP-2",)
    assert found(verify(long_log, trusted=foreign[:1])) == (1, "trusted-checkpoint")
    assert found(verify(long_log, trusted=foreign[1:])) == (1, "trusted-checkpoint")


def test_a_log_of_another_origin_is_not_the_one_that_it_should_be(long_log: Database) -> None:
    """Though its own witnesses, and its own key, may well agree with it."""
    seen = [checkpoint(long_log, 1)]
    assert isinstance(verify(long_log, trusted=seen, known_origin=ORIGIN), Verified)
    assert found(verify(long_log, trusted=seen, known_origin="minispine/SMSP-2")) == (1, "key")


@pytest.mark.parametrize("lost", ["NULL", "salt"])
def test_a_key_that_was_destroyed_shows_without_any(long_log: Database, lost: str) -> None:
    run(long_log, f"UPDATE audit_payload SET wrapped = {lost} WHERE sequence >= 6")
    assert found(verify(long_log)) == (6, "payload")
    assert isinstance(verify(long_log, payloads=False), Verified)


def test_a_key_that_was_exchanged_shows_to_who_has_the_keys(long_log: Database) -> None:
    assert isinstance(verify(long_log, vault=VAULT), Verified)
    with in_hand(long_log) as session:
        [(other,)] = session.rows("SELECT wrapped FROM audit_payload WHERE sequence = 8")
        session.run("UPDATE audit_payload SET wrapped = ? WHERE sequence = 6", (other,))
    assert isinstance(verify(long_log), Verified)
    assert found(verify(long_log, vault=VAULT)) == (6, "payload")
    assert found(verify(long_log, vault=VAULT, processes=2)) == (6, "payload")


def test_a_wrapped_key_is_not_committed_to_and_shows_when_the_payload_is_opened(long_log: Database) -> None:
    with in_hand(long_log) as session:
        flip(session, "audit_payload", "wrapped", 6)
    assert isinstance(verify(long_log), Verified)
    assert found(verify(long_log, vault=VAULT)) == (6, "payload")
    with pytest.raises(PayloadUnreadable):
        reading.bodies(long_log, 6, VAULT)


# ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("IG-3.9.4", "f")
def test_after_the_clock_is_set_back_records_go_on_in_order_and_the_jump_is_marked(
    database: Database, make_log: LogMaker, clock: Clock
) -> None:
    log = make_log(database)

    def add(number: int) -> None:
        log.append_now(Entry(events=(sample(EventType.LOGIN_LOGGED_OUT, at=clock(), actor=ACTOR.as_data()),)))
        clock.us += 1_000_000

    for number in range(3):
        add(number)
    clock.us -= DAY_US
    for number in range(3):
        add(number)
    clock.us += DAY_US
    add(0)
    told = list(reading.events(database))
    assert [each["sequence"] for each in told] == list(range(1, 9))
    assert [each["sealed_at"] for each in told] == sorted(each["sealed_at"] for each in told)
    assert told[4]["at"] < told[3]["at"], "the time as it was read is kept"
    result = verify(database)
    assert isinstance(result, Verified)
    jumps = [each for each in result.observations if each.kind == "clock"]
    assert [each.sequence for each in jumps] == [5]
    assert "23 h 59 min" in jumps[0].text


def test_a_long_time_without_a_checkpoint_is_an_observation(
    database: Database, make_log: LogMaker, clock: Clock
) -> None:
    make_log(database)
    checkpointer = Checkpointer(database, SIGNER.private_key, now=clock)
    for pause_s in (0, 60, 3600):
        clock.us += pause_s * 1_000_000
        checkpointer.make()
    result = verify(database)
    assert isinstance(result, Verified)
    assert [each.kind for each in result.observations] == ["checkpoints", "key"]


def test_what_started_and_stopped_is_an_observation(database: Database, make_log: LogMaker) -> None:
    log = make_log(database)
    for event in (EventType.PROVIDER_STARTED, EventType.PROVIDER_STOPPED):
        log.append_now(Entry(events=(sample(event),)))
    result = verify(database)
    assert isinstance(result, Verified)
    assert [each.kind for each in result.observations if each.sequence > 1] == ["started", "stopped"]


# ── what is no tampering ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_log_that_has_not_begun_verifies(database: Database) -> None:
    assert verify(database) == Verified(0, verify(database).root)  # type: ignore[union-attr]
    assert found(verify(database, known_key=SIGNER.verifier)) == (1, "key")


def test_the_store_that_is_away_is_no_tampering(sqlite_database: Database) -> None:
    run(sqlite_database, "DROP TABLE audit_payload")
    with pytest.raises(StorageUnavailable):
        verify(sqlite_database)


def test_several_processes_find_the_same(sqlite_database: Database, make_log: LogMaker) -> None:
    log = make_log(sqlite_database)
    exchanges(log, range(2100))
    checkpointer = Checkpointer(sqlite_database, SIGNER.private_key, now=Steady())
    checkpointer.make()
    result = verify(sqlite_database, processes=2)
    assert isinstance(result, Verified)
    assert result == verify(sqlite_database, processes=1)
    disarm(sqlite_database)
    with in_hand(sqlite_database) as session:
        flip(session, "audit_record", "leaf", 4150)
    assert found(verify(sqlite_database, processes=2)) == (4150, "hash")


def test_missing_tiles_are_an_observation(long_log: Database) -> None:
    run(long_log, "DELETE FROM audit_tile")
    result = verify(long_log)
    assert isinstance(result, Verified)
    assert Observation("tiles", 0, "") in [Observation(each.kind, each.sequence, "") for each in result.observations]
