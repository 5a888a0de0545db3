"""A log states its keys in its first record, and nobody else changes them than those that they name."""

from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from minispine.audit.declaration import (
    AlreadyBegun,
    Declaration,
    DeclarationInvalid,
    begin,
    change,
    check_origin,
    in_force,
    log_name,
    note_of,
    signed_by,
)
from minispine.audit.encoding import read_leaf
from minispine.audit.events import AuditUnavailable
from minispine.audit.log import AuditLog
from minispine.audit.note import Signer, sign
from minispine.audit.reading import events, last_sequence
from minispine.storage import Database, Store
from tests.audit.conftest import AUTHORITIES, AUTHORITY_SIGNERS, FIRST, ORIGIN, SIGNER, LogMaker, note
from tests.audit.samples import ACTOR

BY = ACTOR.as_data()


def signer(number: int, name: str = ORIGIN) -> Signer:
    return Signer(name, Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


OTHER = signer(9)
BEGUN = Declaration(origin=ORIGIN, epoch=1, log_key=SIGNER.verifier, authorities=AUTHORITIES)
NEW_KEY = msgspec.structs.replace(BEGUN, log_key=OTHER.verifier)
NEW_AUTHORITIES = msgspec.structs.replace(BEGUN, authorities=(signer(5, "a").verifier, signer(6, "b").verifier))


@given(
    st.integers(1, 9),
    st.lists(st.integers(1, 200), max_size=2).filter(lambda numbers: len(numbers) != 1),
    st.sampled_from(["minispine/SMSP-1", "log.example", "ä"]),
)
def test_decoding_is_the_inverse_of_encoding(epoch: int, authorities: list[int], origin: str) -> None:
    declaration = Declaration(
        origin=origin,
        epoch=epoch,
        log_key=signer(7, log_name(origin, epoch)).verifier,
        authorities=tuple(signer(number, f"authority-{number}").verifier for number in authorities),
    )
    assert Declaration.decode(declaration.encode()) == declaration
    assert declaration.name == declaration.log_key.name


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("minispine audit keys", "minispine audit key"),
        ("epoch 1", "epoch 0"),
        ("epoch 1", "epoch 01"),
        ("epoch 1", "epoch one"),
        ("epoch 1", "epoch 2"),
        ("log minispine", "key minispine"),
        (f"\n{ORIGIN}\n", "\nanother\n"),
        (f"authority {AUTHORITIES[1]}\n", ""),
        (f"authority {AUTHORITIES[1]}\n", f"authority {AUTHORITIES[1]}\nauthority {AUTHORITIES[1]}\n"),
        (f"authority {AUTHORITIES[1]}\n", f"authority {AUTHORITIES[1]}"),
        (f"authority {AUTHORITIES[1]}\n", f"authority {AUTHORITIES[1]}\n\n"),
        (AUTHORITIES[0].key_id.hex(), "00000000"),
    ],
)
def test_what_is_no_declaration_in_its_one_form_is_refused(old: str, new: str) -> None:
    text = BEGUN.encode()
    assert old in text
    with pytest.raises(DeclarationInvalid):
        Declaration.decode(text.replace(old, new, 1))


@pytest.mark.parametrize("origin", ["", "two words", "a+b", "a\nb", "a\u2003b"])
def test_an_origin_that_could_not_stand_in_a_checkpoint_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_origin(origin)


def test_a_later_epoch_has_another_name() -> None:
    assert (log_name(ORIGIN, 1), log_name(ORIGIN, 2)) == (ORIGIN, f"{ORIGIN}/2")


@pytest.mark.parametrize(
    ("declaration", "before", "signers", "counts"),
    [
        (BEGUN, None, [SIGNER], True),
        (BEGUN, None, [OTHER], False),
        (BEGUN, None, [*AUTHORITY_SIGNERS], False),
        (NEW_KEY, BEGUN, [SIGNER], True),
        (NEW_KEY, BEGUN, [SIGNER, OTHER], True),
        (NEW_KEY, BEGUN, [OTHER], False),
        (NEW_KEY, BEGUN, [*AUTHORITY_SIGNERS], False),
        (NEW_AUTHORITIES, BEGUN, [SIGNER, *AUTHORITY_SIGNERS], True),
        (NEW_AUTHORITIES, BEGUN, [SIGNER], False),
        (NEW_AUTHORITIES, BEGUN, [SIGNER, AUTHORITY_SIGNERS[0]], False),
        (NEW_AUTHORITIES, BEGUN, [*AUTHORITY_SIGNERS], False),
        (NEW_AUTHORITIES, BEGUN, [SIGNER, signer(5, "a"), signer(6, "b")], False),
    ],
)
def test_keys_change_by_the_word_of_the_old_ones(
    declaration: Declaration, before: Declaration | None, signers: list[Signer], counts: bool
) -> None:
    signed = sign(declaration.encode(), signers)
    if counts:
        assert signed_by(signed, before) == declaration
    else:
        with pytest.raises(DeclarationInvalid):
            signed_by(signed, before)


def test_a_signature_of_something_else_does_not_count() -> None:
    lines = sign(BEGUN.encode(), [SIGNER]).partition("\n\n")
    with pytest.raises(DeclarationInvalid):
        signed_by(NEW_KEY.encode() + "\n" + lines[2], BEGUN)
    for no_note in ("", "text\n", BEGUN.encode(), BEGUN.encode() + "\n"):
        with pytest.raises(DeclarationInvalid):
            signed_by(no_note, None)


def test_a_log_that_was_begun_without_authorities_never_gets_any() -> None:
    alone = msgspec.structs.replace(BEGUN, authorities=())
    with pytest.raises(DeclarationInvalid, match="never gets any"):
        signed_by(sign(BEGUN.encode(), [SIGNER]), alone)


def test_the_first_record_states_the_keys_and_nothing_is_written_before_it(
    database: Database, make_log: LogMaker
) -> None:
    log = make_log(database, begun=False)
    assert in_force(database) is None
    with pytest.raises(AuditUnavailable, match="minispine audit init"):
        log.append_now(note())
    assert last_sequence(database) == 0
    assert begin(log, origin=ORIGIN, signer=SIGNER, authorities=AUTHORITIES, actor=BY).sequence == 1
    assert in_force(database) == BEGUN
    (first,) = events(database)
    assert (first["type"], first["data"]["actor"], first["data"]["earlier_records"]) == ("audit.begun", BY, 0)
    assert signed_by(first["data"]["declaration"], None) == BEGUN
    assert log.append_now(note()).sequence == FIRST


def test_a_log_begins_once(database: Database, log: AuditLog) -> None:
    with pytest.raises(AlreadyBegun):
        begin(log, origin=ORIGIN, signer=OTHER, authorities=(), actor=BY)
    assert last_sequence(database) == 1
    assert in_force(database) == BEGUN


@pytest.mark.parametrize("authorities", [AUTHORITIES[:1], (*AUTHORITIES, OTHER.verifier)])
def test_there_are_two_authorities_or_none(database: Database, make_log: LogMaker, authorities: Any) -> None:
    log = make_log(database, begun=False)
    with pytest.raises(DeclarationInvalid):
        begin(log, origin=ORIGIN, signer=SIGNER, authorities=authorities, actor=BY)
    assert in_force(database) is None


def test_keys_are_changed_by_a_record_and_each_counts_from_then_on(database: Database, log: AuditLog) -> None:
    change(log, sign(NEW_KEY.encode(), [SIGNER]), actor=BY)
    assert in_force(database) == NEW_KEY
    with pytest.raises(DeclarationInvalid):
        change(log, sign(BEGUN.encode(), [SIGNER]), actor=BY)
    change(log, sign(BEGUN.encode(), [OTHER]), actor=BY)
    assert in_force(database) == BEGUN
    assert [e["type"] for e in events(database)] == ["audit.begun", "audit.keys-changed", "audit.keys-changed"]


@pytest.mark.parametrize(
    "other",
    [
        Declaration(origin="another", epoch=1, log_key=signer(9, "another").verifier, authorities=AUTHORITIES),
        Declaration(origin=ORIGIN, epoch=2, log_key=signer(9, f"{ORIGIN}/2").verifier, authorities=AUTHORITIES),
    ],
)
def test_the_keys_of_another_log_or_epoch_are_not_put_in_force(
    database: Database, log: AuditLog, other: Declaration
) -> None:
    with pytest.raises(DeclarationInvalid, match="another log"):
        change(log, sign(other.encode(), [SIGNER]), actor=BY)
    assert in_force(database) == BEGUN


def test_keys_of_a_log_that_has_none_cannot_be_changed(database: Database, make_log: LogMaker) -> None:
    with pytest.raises(DeclarationInvalid, match="not been begun"):
        change(make_log(database, begun=False), sign(NEW_KEY.encode(), [SIGNER]), actor=BY)


def test_a_head_that_points_to_a_record_without_keys_is_noticed(database: Database, log: AuditLog) -> None:
    log.append_now(note())
    with database.session(Store.AUDIT) as session:
        session.run("UPDATE audit_head SET declared = 2")
    with pytest.raises(DeclarationInvalid, match="does not"):
        in_force(database)


def test_a_declaration_is_looked_for_in_the_events_that_may_hold_one(database: Database, log: AuditLog) -> None:
    log.append_now(note())
    with database.session(Store.AUDIT) as session:
        rows = session.rows("SELECT leaf FROM audit_record ORDER BY sequence")
    found = [note_of(event) for row in rows for event in read_leaf(bytes(row[0]))["events"]]
    assert found == [sign(BEGUN.encode(), [SIGNER]), None]
    assert note_of({"type": "audit.begun", "data": {"declaration": 7}}) == ""
    assert note_of({"type": "audit.begun"}) == ""
