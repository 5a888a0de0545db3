"""A period of the log as evidence: complete, verified by itself, and spoilt by any byte that changes."""

import io
import json
import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from minispine.audit.checkpointing import Checkpointer
from minispine.audit.encoding import unframe_bodies
from minispine.audit.evidence import EvidenceUnavailable, Upheld, verify, write
from minispine.audit.evidence.form import Ending, Heading, Line, decode, digest, encode
from minispine.audit.log import AuditLog
from minispine.audit.merkle import leaf_hash
from minispine.audit.note import Signer, sign
from minispine.audit.vault import Part, unlock
from minispine.audit.verification import Broken, Proof
from minispine.storage import Database, Store
from tests.audit.conftest import ORIGIN, SIGNER, VAULT
from tests.audit.long_log import RECORDS, REMOVAL, REMOVED, SIZES, Steady, checkpoint, exchanges
from tests.audit.long_log import write as write_log

ATTACKER = Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x09"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A log on SQLite; nobody changes it."""
    database = Database.open(f"sqlite:{tmp_path_factory.mktemp('evidence') / 'database'}")
    database.migrate()
    write_log(database)
    return database


def evidence(database: Database, first: int, last: int, **options: object) -> bytes:
    stream = io.BytesIO()
    write(database, first, last, stream, vault=VAULT, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def upheld(content: bytes, **options: object) -> Upheld:
    result = verify(io.BytesIO(content), **options)  # type: ignore[arg-type]
    assert isinstance(result, Upheld), result
    return result


def found(content: bytes, **options: object) -> tuple[int, str]:
    result = verify(io.BytesIO(content), **options)  # type: ignore[arg-type]
    assert isinstance(result, Broken), result
    assert result.detail
    return result.sequence, result.check


def changed(content: bytes, at: int, **members: object) -> bytes:
    """Evidence of which somebody changed a line, and made the ending good."""
    lines = content.splitlines(keepends=True)[:-1]
    kind: type[Heading] | type[Line] = Heading if at == 0 else Line
    fields = {name: getattr(line, name) for line in [decode(lines[at], kind)] for name in kind.__struct_fields__}
    lines[at] = encode(kind(**(fields | members)))
    summed = digest()
    summed.update(b"".join(lines))
    return b"".join(lines) + encode(Ending(summed.hexdigest()))


def line_at(content: bytes, at: int) -> Line:
    return decode(content.splitlines(keepends=True)[at], Line)


@pytest.mark.requirement("IG-3.9.2", "g")
def test_a_period_has_every_record_with_its_number_and_its_hash(database: Database) -> None:
    write_log(database)
    content = evidence(database, 10, 320)
    lines = [decode(line, Line) for line in content.splitlines(keepends=True)[1:-1]]
    assert [line.sequence for line in lines] == list(range(10, 321))
    with database.reading(Store.AUDIT) as session:
        rows = session.rows("SELECT hash, leaf FROM audit_record WHERE sequence BETWEEN 10 AND 320 ORDER BY sequence")
    assert [(line.hash, b"\x02" + line.leaf.encode()) for line in lines] == rows
    trusted = [checkpoint(database, 4)]
    result = upheld(content, trusted=trusted, known_key=SIGNER.verifier)
    assert (result.first, result.last, result.size) == (10, 320, RECORDS)
    assert result.proof == Proof(320, "the witness")


@pytest.mark.parametrize(
    ("first", "last"), [(1, 1), (1, 412), (2, 255), (256, 257), (257, 301), (200, 412), (412, 412)]
)
def test_any_period_can_be_taken(small: Database, first: int, last: int) -> None:
    assert upheld(evidence(small, first, last)).proof is None


@settings(max_examples=25, deadline=None)
@given(st.integers(1, RECORDS), st.integers(1, RECORDS))
def test_any_period_is_proven_by_the_checkpoint_that_it_is_taken_with(small: Database, one: int, other: int) -> None:
    first, last = min(one, other), max(one, other)
    number = next(n for n, size in enumerate(SIZES, 1) if size >= last)
    trusted = checkpoint(small, number)
    content = evidence(small, first, last, checkpoint=trusted.note)
    assert upheld(content, trusted=[trusted]).proof == Proof(last, "the witness")


def test_a_checkpoint_within_the_period_proves_what_is_before_it(small: Database) -> None:
    content = evidence(small, 290, 410)
    assert upheld(content, trusted=[checkpoint(small, 1)]).proof == Proof(301, "the witness")
    assert upheld(content, trusted=[checkpoint(small, 2)]).proof == Proof(401, "the witness")


def test_a_checkpoint_that_says_nothing_of_the_period_proves_nothing(small: Database) -> None:
    result = upheld(evidence(small, 310, 320), trusted=[checkpoint(small, 1)])
    assert result.proof is None
    assert [each.kind for each in result.observations] == ["key", "checkpoints"]


# ── one changed byte ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("IG-3.9.2", "g")
def test_any_byte_that_changes_makes_it_fail(small: Database) -> None:
    content = evidence(small, 398, 404)
    randomness = random.Random(20261121)
    ends = [0, *(at for at, byte in enumerate(content) if byte == 0x0A), len(content) - 2]
    for at in {*ends, *(randomness.randrange(len(content)) for _ in range(300))}:
        spoilt = bytearray(content)
        spoilt[at] ^= 1 << randomness.randrange(8)
        assert isinstance(verify(io.BytesIO(spoilt)), Broken), f"byte {at} of {len(content)}"


def test_a_file_that_is_cut_short_or_added_to_fails(small: Database) -> None:
    content = evidence(small, 398, 404)
    lines = content.splitlines(keepends=True)
    for spoilt in (b"", content[:-1], content + b"\n", b"".join(lines[:-1]), lines[0], content + lines[-1], b"x" * 99):
        assert found(spoilt) == (0, "file")


# ── an attacker who makes the ending good ───────────────────────────────────────────────────────────────────────────


def test_what_is_changed_shows_by_the_check_that_it_should(small: Database) -> None:
    content = evidence(small, 398, 404)
    forged = line_at(content, 3).leaf.replace("ward", "home")
    assert found(changed(content, 3, leaf=forged)) == (400, "hash")
    leaf = b"\x02" + forged.encode()
    assert found(changed(content, 3, leaf=forged, hash=leaf_hash(leaf))) == (398, "proof")
    assert found(changed(content, 3, payload=line_at(content, 1).payload)) == (400, "payload")
    assert found(changed(content, 3, payload=None)) == (400, "payload")
    assert found(changed(content, 3, sequence=401)) == (400, "sequence")
    assert found(changed(content, 0, left=[bytes(32)] * 5)) == (398, "proof")
    assert found(changed(content, 0, right=[])) == (398, "proof")
    assert found(changed(content, 0, declarations=[])) == (398, "declaration")
    assert found(changed(content, 0, checkpoint=checkpoint(small, 1).note)) == (0, "file"), "it is over fewer records"
    text = checkpoint(small, 4).note.split("\n\n")[0] + "\n"
    assert found(changed(content, 0, checkpoint=sign(text, [ATTACKER]))) == (398, "checkpoint")
    other = checkpoint(small, 2).note
    assert found(changed(evidence(small, 390, 395), 0, checkpoint=other)) == (1, "proof")
    assert found(
        changed(content, 0, checkpoint=decode(content.splitlines(True)[0], Heading).checkpoint.replace("4", "5"))
    )


def test_a_log_made_anew_is_not_the_one_whose_key_or_checkpoint_is_known(
    small: Database, sqlite_database: Database
) -> None:
    write_log(sqlite_database, signer=ATTACKER)
    content = evidence(sqlite_database, 10, 20)
    assert upheld(content).proof is None
    assert found(content, known_key=SIGNER.verifier) == (10, "key")
    assert found(content, trusted=[checkpoint(small, 4)]) == (10, "trusted-checkpoint")


def test_a_payload_that_was_destroyed_is_missed_without_the_order_of_both(small: Database) -> None:
    content = evidence(small, REMOVED, REMOVED + 2)
    assert line_at(content, 1).payload is None
    assert [(each.kind, each.sequence) for each in upheld(content, known_key=SIGNER.verifier).observations] == [
        ("removed", REMOVAL)
    ]
    assert found(changed(content, 0, explanations=[])) == (REMOVED, "payload")


# ── payloads ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_payloads_stay_encrypted_unless_they_are_disclosed(small: Database) -> None:
    line = line_at(evidence(small, 2, 2), 1)
    assert line.payload is not None
    assert line.payload.wrapped is not None
    assert line.payload.data_key is None
    content = evidence(small, 2, 2, disclose=True)
    upheld(content)
    disclosed = line_at(content, 1).payload
    assert disclosed is not None
    assert disclosed.wrapped is None
    assert disclosed.private is not None
    assert disclosed.bodies is not None
    assert disclosed.data_key is not None
    private = unlock(Part.PRIVATE, disclosed.private, salt=disclosed.salt, data_key=disclosed.data_key)
    assert json.loads(private)[1]["question"] == {"nhs_number": "9434765919"}
    bodies = unlock(Part.BODIES, disclosed.bodies, salt=disclosed.salt, data_key=disclosed.data_key)
    assert unframe_bodies(bodies)[0].content == b"<family>Markerby</family>"


def test_another_key_than_the_record_was_encrypted_with_is_noticed(small: Database) -> None:
    content = evidence(small, 2, 6, disclose=True)
    payload = line_at(content, 1).payload
    assert payload is not None
    assert found(changed(content, 1, payload=replace(payload, data_key=bytes(32)))) == (2, "payload")


# ── what cannot be had ──────────────────────────────────────────────────────────────────────────────────────────────


def test_there_is_no_evidence_of_what_no_checkpoint_is_over(sqlite_database: Database) -> None:
    write_log(sqlite_database)
    log = AuditLog(sqlite_database, system_id="SMSP-1", instance="later", vault=VAULT, now=Steady())
    exchanges(log, range(900, 901))
    log.close_now()
    with pytest.raises(EvidenceUnavailable, match="audit checkpoint"):
        evidence(sqlite_database, 400, 414)
    with pytest.raises(EvidenceUnavailable, match="there is no record 9999"):
        evidence(sqlite_database, 400, 9999)
    with pytest.raises(EvidenceUnavailable):
        evidence(sqlite_database, 5, 4)
    with pytest.raises(EvidenceUnavailable):
        evidence(sqlite_database, 1, 401, checkpoint=checkpoint(sqlite_database, 1).note)
    Checkpointer(sqlite_database, SIGNER.private_key, now=Steady()).make()
    upheld(evidence(sqlite_database, 400, 414))
