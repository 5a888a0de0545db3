"""What verifying takes into account: the first release's records, epochs, the registry, and what goes on meanwhile."""

from typing import Any

import pytest

from minispine.audit.changes import change_document
from minispine.audit.checkpoint import Checkpoint, sign_checkpoint
from minispine.audit.checkpointing import Checkpointer
from minispine.audit.declaration import Declaration, begin, in_force, log_name
from minispine.audit.encoding import GENESIS, chain, commit, encode_json
from minispine.audit.events import Entry, EventType
from minispine.audit.log import AuditLog
from minispine.audit.merkle import Frontier, leaf_hash
from minispine.audit.note import Signer, sign
from minispine.audit.vault import Part
from minispine.audit.verification import Broken, Proof, Result, Trusted, Unrecorded, Verified, verify
from minispine.storage import Database, Store
from tests.audit.conftest import AUTHORITIES, ORIGIN, SIGNER, START, VAULT, LogMaker, note, received, replied
from tests.audit.long_log import Steady, checkpoint, disarm, exchanges
from tests.audit.samples import ACTOR, sample


def is_good(database: Database, **options: Any) -> Verified:
    result = verify(database, **options)
    assert isinstance(result, Verified), result
    return result


def found(result: Result) -> tuple[int, str]:
    assert isinstance(result, Broken), result
    return result.sequence, result.check


def test_records_written_meanwhile_are_no_fault(database: Database, make_log: LogMaker) -> None:
    log = make_log(database)
    told = []

    def write_on(done: int, records: int) -> None:
        told.append((done, records))
        log.append_now(note())

    for records in (1, 2, 3):
        assert is_good(database, progress=write_on).records == records
    assert told == [(1, 1), (2, 2), (3, 3)]


# ── the registry ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def changed(database: Database, log: AuditLog) -> Database:
    """Two changes of the registry, each with its record."""
    for key in ("lab", "ward"):
        change_document(
            database,
            log,
            kind="client",
            key=key,
            body={"name": key},
            event=EventType.CLIENT_ADDED,
            actor=ACTOR.as_data(),
            reason=None,
            expected_version=0,
        )
    return database


def test_a_log_that_lacks_the_record_of_a_change_is_not_the_log_it_was(changed: Database) -> None:
    is_good(changed)
    with changed.session(Store.AUDIT) as session:
        session.run("UPDATE audit_change SET sequence = 1 WHERE key = 'ward'")
    assert verify(changed) == Unrecorded("client", "ward", 1)
    with changed.session(Store.AUDIT) as session:
        session.run("DELETE FROM audit_change")
    assert verify(changed) == Unrecorded("client", "lab", 1)


def test_a_change_whose_record_is_still_owed_is_no_fault(changed: Database) -> None:
    with changed.session(Store.AUDIT) as session:
        session.run("DELETE FROM audit_change WHERE key = 'lab'")
    with changed.session(Store.REGISTRY) as session:
        session.run("INSERT INTO registry_outbox (kind, key, version, event) VALUES ('client', 'lab', 1, '{}')")
    is_good(changed)


# ── the first release ───────────────────────────────────────────────────────────────────────────────────────────────

OLD_RECORDS = 300


@pytest.fixture
def upgraded(database: Database) -> Database:
    """A log of the first release after its tables were brought to this one: chained, and payloads in the clear."""
    previous, frontier = GENESIS, Frontier.EMPTY
    with database.session(Store.AUDIT) as session:
        session.begin()
        for sequence in range(1, OLD_RECORDS + 1):
            salt, private = sequence.to_bytes(16), encode_json([{"nhs_number": "9434765919"}])
            leaf = b"\x01" + encode_json(
                {
                    "bodies": None,
                    "client": "ward",
                    "client_message_id": None,
                    "events": [{"at": START, "data": {}, "type": "exchange.received"}],
                    "exchange": f"e{sequence}",
                    "instance": "first-release",
                    "private": commit(salt, Part.PRIVATE, private),
                    "repeats": None,
                    "sealed_at": START + sequence,
                    "sequence": sequence,
                    "system_id": "SMSP-1",
                }
            )
            previous, frontier = chain(previous, leaf), frontier.extend([leaf_hash(leaf)])
            session.run(
                "INSERT INTO audit_record (sequence, exchange, hash, leaf) VALUES (?, ?, ?, ?)",
                (sequence, f"e{sequence}", previous, leaf),
            )
            session.run(
                "INSERT INTO audit_payload (sequence, salt, private) VALUES (?, ?, ?)", (sequence, salt, private)
            )
        session.run(
            "UPDATE audit_head SET sequence = ?, sealed_at = ?, hash = ?, frontier = ?",
            (OLD_RECORDS, START + OLD_RECORDS, previous, frontier.encode()),
        )
        session.commit()
    return database


def test_records_of_the_first_release_verify_for_ever(upgraded: Database, make_log: LogMaker) -> None:
    before = is_good(upgraded)
    assert [each.kind for each in before.observations] == ["key"]
    log = make_log(upgraded)
    exchanges(log, range(1000, 1010))
    Checkpointer(upgraded, SIGNER.private_key, now=Steady()).make()
    after = is_good(upgraded, trusted=[checkpoint(upgraded, 1)], known_key=SIGNER.verifier, vault=VAULT)
    assert after.proof == Proof(OLD_RECORDS + 21, "the witness")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE audit_record SET hash = leaf WHERE sequence = 7", (7, "chain")),
        ("UPDATE audit_record SET leaf = hash WHERE sequence = 7", (7, "hash")),
        ("DELETE FROM audit_record WHERE sequence = 7", (7, "sequence")),
        ("UPDATE audit_payload SET private = salt WHERE sequence = 7", (7, "payload")),
        ("DELETE FROM audit_payload WHERE sequence = 7", (7, "payload")),
        ("UPDATE audit_payload SET wrapped = salt WHERE sequence = 7", (7, "payload")),
    ],
)
def test_records_of_the_first_release_are_held_to_their_chain(
    upgraded: Database, make_log: LogMaker, statement: str, expected: tuple[int, str]
) -> None:
    make_log(upgraded)
    disarm(upgraded)
    with upgraded.session(Store.AUDIT) as session:
        session.run(statement)
    assert found(verify(upgraded)) == expected


def test_nothing_is_written_before_the_keys_are_stated(upgraded: Database, make_log: LogMaker) -> None:
    """A log that goes on in the newer form without its keys was written to by something else than this product."""
    log = make_log(upgraded, begun=False)
    with log.holding() as hold:
        hold.declared = 1
        log.append_in(hold, note())
    assert found(verify(upgraded)) == (OLD_RECORDS + 1, "declaration")


def test_a_log_says_rightly_after_how_many_records_it_began(upgraded: Database, make_log: LogMaker) -> None:
    log = make_log(upgraded, begun=False)
    stated = Declaration(origin=ORIGIN, epoch=1, log_key=SIGNER.verifier, authorities=AUTHORITIES)
    note = sign(stated.encode(), [SIGNER])
    event = sample(EventType.AUDIT_BEGUN, actor=ACTOR.as_data(), declaration=note, earlier_records=OLD_RECORDS - 1)
    with log.holding() as hold:
        log.declare_in(hold, Entry(events=(event,)), epoch=1)
    assert found(verify(upgraded)) == (OLD_RECORDS + 1, "declaration")


# ── a log that goes on from a backup ────────────────────────────────────────────────────────────────────────────────

SECOND = Signer(log_name(ORIGIN, 2), SIGNER.private_key)


def go_on(database: Database, seen: Trusted | None, **lost: Any) -> None:
    """Begin the second epoch, as a restored log does: `seen` is the last checkpoint that somebody outside had."""
    stated = Declaration(origin=ORIGIN, epoch=2, log_key=SECOND.verifier, authorities=AUTHORITIES)
    log = AuditLog(database, system_id="SMSP-1", instance="restored", vault=VAULT, now=Steady())
    event = sample(
        EventType.AUDIT_RESTORED,
        actor=ACTOR.as_data(),
        declaration=sign(stated.encode(), [SIGNER]),
        checkpoint=None if seen is None else seen.note,
        approved_by="the Caldicott Guardian",
        **lost,
    )
    with log.holding() as hold:
        log.declare_in(hold, Entry(events=(event,)), epoch=2)
    exchanges(log, range(500, 505))
    log.close_now()
    Checkpointer(database, SIGNER.private_key, now=Steady()).make()


@pytest.fixture
def lost(database: Database, make_log: LogMaker) -> Trusted:
    """A checkpoint over 41 records of a log whose backup had 21, of which the database is a copy again."""
    log = make_log(database)
    exchanges(log, range(10))
    checkpointer = Checkpointer(database, SIGNER.private_key, now=Steady())
    checkpointer.make()
    with database.reading(Store.AUDIT) as session:
        head = session.rows("SELECT sequence, sealed_at, hash, frontier FROM audit_head")[0]
    exchanges(log, range(10, 20))
    checkpointer.make()
    lost = checkpoint(database, 2)
    disarm(database)
    with database.session(Store.AUDIT) as session:
        session.begin()
        for table in ("record", "payload"):
            session.run(f"DELETE FROM audit_{table} WHERE sequence > 21")
        session.run("DELETE FROM audit_checkpoint WHERE number = 2")
        session.run("UPDATE audit_head SET sequence = ?, sealed_at = ?, hash = ?, frontier = ?", head)
        session.run("DELETE FROM audit_open")
        session.run("DELETE FROM audit_index_pending WHERE first > 21")
        session.commit()
    return lost


def test_records_that_are_lost_are_missed_until_a_record_says_so(database: Database, lost: Trusted) -> None:
    before = checkpoint(database, 1)
    assert found(verify(database, trusted=[before, lost])) == (22, "trusted-checkpoint")
    go_on(database, lost, first_lost=22, last_lost=41)
    declared = in_force(database)
    assert declared is not None
    assert declared.epoch == 2
    told = is_good(database, trusted=[before, lost], known_key=SIGNER.verifier, known_restorations=(22,))
    assert told.proof == Proof(21, "the witness")
    assert [(each.kind, each.sequence) for each in told.observations] == [("restored", 22)] * 2
    assert told.doubts == ()
    assert is_good(database, trusted=[checkpoint(database, 2)]).proof == Proof(32, "the witness")


def test_nothing_is_proven_beyond_a_loss_that_nobody_knows_of(database: Database, lost: Trusted) -> None:
    """Who has the log's key can cut the end off and say that it was lost."""
    before = checkpoint(database, 1)
    go_on(database, lost, first_lost=22, last_lost=41)
    for known in ((), (21,)):
        told = is_good(database, trusted=[before, lost, lost], known_restorations=known)
        [doubt] = told.doubts
        for said in (
            "records 22 to 41 of epoch 1 were lost",
            "record 22 says",
            "the Caldicott Guardian",
            "--restored 22",
        ):
            assert said in doubt
    assert is_good(database, trusted=[before]).doubts == ()


def test_how_much_was_lost_may_be_unknown_if_that_is_said(database: Database, lost: Trusted) -> None:
    before = checkpoint(database, 1)
    go_on(database, None, first_lost=22, last_lost=None)
    told = is_good(database, trusted=[before])
    assert told.proof == Proof(21, "the witness")
    assert any("an unknown one" in each.text for each in told.observations if each.kind == "restored")


@pytest.mark.parametrize("known", [(), (22,)])
def test_it_is_untrue_that_nobody_had_seen_what_was_lost_if_somebody_had(
    database: Database, lost: Trusted, known: tuple[int, ...]
) -> None:
    go_on(database, None, first_lost=22, last_lost=None)
    assert found(verify(database, trusted=[lost], known_restorations=known)) == (22, "trusted-checkpoint")


@pytest.mark.parametrize("size", [40, 41, 42])
def test_what_was_seen_of_the_lost_records_is_what_the_log_says_was_seen(
    database: Database, lost: Trusted, size: int
) -> None:
    """Another tree of the same size, and a longer one, show that the checkpoint that it names is not the last one."""
    go_on(database, lost, first_lost=22, last_lost=41)
    other = Trusted.of("another", sign_checkpoint(Checkpoint(ORIGIN, size, bytes(32)), SIGNER))
    result = verify(database, trusted=[other], known_restorations=(22,))
    if size < 41:
        assert isinstance(result, Verified)
    else:
        assert found(result) == (22, "trusted-checkpoint")


@pytest.mark.parametrize("grown", [0, 15])
def test_no_more_may_be_lost_than_a_record_says(database: Database, lost: Trusted, grown: int) -> None:
    """Whether or not the log has come to that size again."""
    go_on(database, checkpoint(database, 1), first_lost=None, last_lost=None)
    log = AuditLog(database, system_id="SMSP-1", instance="later", vault=VAULT, now=Steady())
    exchanges(log, range(600, 600 + grown))
    log.close_now()
    assert found(verify(database, trusted=[lost])) == (22, "trusted-checkpoint")


@pytest.mark.parametrize(
    ("first_lost", "last_lost"), [(22, 40), (22, 42), (22, None), (21, 41), (23, 41), (None, 41), (None, None)]
)
def test_what_is_said_to_be_lost_is_what_the_checkpoint_shows(
    database: Database, lost: Trusted, first_lost: int | None, last_lost: int | None
) -> None:
    go_on(database, lost, first_lost=first_lost, last_lost=last_lost)
    assert found(verify(database)) == (22, "declaration")


def test_a_checkpoint_of_a_later_epoch_is_of_another_log(database: Database, lost: Trusted) -> None:
    with database.reading(Store.AUDIT) as session:
        frontier = Frontier.decode(21, bytes(session.rows("SELECT frontier FROM audit_head")[0][0]))
    later = sign_checkpoint(Checkpoint(SECOND.name, 21, frontier.root()), SECOND)
    result = verify(database, trusted=[Trusted.of("the witness", later)])
    assert found(result) == (1, "trusted-checkpoint")
    assert "a later epoch" in result.detail  # type: ignore[union-attr]


@pytest.mark.parametrize("epoch", [1, 3])
def test_epochs_follow_one_another(database: Database, make_log: LogMaker, epoch: int) -> None:
    log = make_log(database)
    key = Signer(log_name(ORIGIN, epoch), SIGNER.private_key).verifier
    stated = Declaration(origin=ORIGIN, epoch=epoch, log_key=key, authorities=AUTHORITIES)
    event = sample(
        EventType.AUDIT_RESTORED,
        actor=ACTOR.as_data(),
        declaration=sign(stated.encode(), [SIGNER]),
        checkpoint=None,
        first_lost=None,
        last_lost=None,
    )
    with log.holding() as hold:
        log.declare_in(hold, Entry(events=(event,)), epoch=epoch)
    assert found(verify(database)) == (2, "declaration")


def test_a_log_without_authorities_never_gets_any(database: Database, make_log: LogMaker) -> None:
    log = make_log(database, begun=False)
    begin(log, origin=ORIGIN, signer=SIGNER, authorities=(), actor=ACTOR.as_data())
    stated = Declaration(origin=ORIGIN, epoch=1, log_key=SIGNER.verifier, authorities=AUTHORITIES)
    event = sample(EventType.AUDIT_KEYS_CHANGED, actor=ACTOR.as_data(), declaration=sign(stated.encode(), [SIGNER]))
    with log.holding() as hold:
        log.declare_in(hold, Entry(events=(event,)), epoch=1)
    assert found(verify(database)) == (2, "declaration")


def test_exchanges_that_are_not_over_are_an_observation(database: Database, make_log: LogMaker) -> None:
    log = make_log(database)
    for name in ("e1", "e2"):
        log.append_now(received(name))
    log.append_now(replied("e2"))
    told = [each for each in is_good(database).observations if each.kind == "open"]
    assert [(each.sequence, each.text[:2]) for each in told] == [(2, "1 ")]
