"""What is sealed can be opened with the record's own key and with nothing else, and a term tells no number."""

import secrets
from typing import Any

import pytest
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from minispine.audit.vault import PATIENT, TERM_BYTES, Part, PayloadUnreadable, Sealed, Vault, salt_of
from minispine.keys.ring import KeyRing, MasterKey
from tests.audit.conftest import RING, VAULT

CONTENT = st.binary(max_size=300)
OTHER_RING = KeyRing((MasterKey.of(b"\x01" * 32),))


def opened(vault: Vault, sealed: Sealed) -> tuple[bytes | None, bytes | None]:
    private, bodies = (
        None if content is None else vault.open(part, content, salt=sealed.salt, wrapped=sealed.wrapped)
        for part, content in ((Part.PRIVATE, sealed.private), (Part.BODIES, sealed.bodies))
    )
    return private, bodies


@given(CONTENT | st.none(), CONTENT | st.none())
def test_opening_is_the_inverse_of_sealing(private: bytes | None, bodies: bytes | None) -> None:
    sealed = VAULT.seal(private, bodies)
    assert opened(VAULT, sealed) == (private, bodies)
    for content, kept in ((private, sealed.private), (bodies, sealed.bodies)):
        assert content is None or len(content) < 8 or content not in (kept or b"")


@given(CONTENT, st.sampled_from(["content", "salt", "wrapped"]), st.data())
def test_a_bit_that_was_changed_anywhere_makes_it_unreadable(content: bytes, where: str, data: st.DataObject) -> None:
    sealed = VAULT.seal(content, None)
    parts = {"content": sealed.private or b"", "salt": sealed.salt, "wrapped": sealed.wrapped}
    damaged = bytearray(parts[where])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    parts[where] = bytes(damaged)
    with pytest.raises(PayloadUnreadable):
        VAULT.open(Part.PRIVATE, parts["content"], salt=parts["salt"], wrapped=parts["wrapped"])


def test_no_part_takes_the_place_of_another() -> None:
    one, two = VAULT.seal(b"one", b"bodies"), VAULT.seal(b"two", None)
    assert one.private is not None
    assert two.private is not None
    for part, content, key in ((Part.BODIES, one.private, one), (Part.PRIVATE, two.private, one)):
        with pytest.raises(PayloadUnreadable, match="not as it was written"):
            VAULT.open(part, content, salt=key.salt, wrapped=key.wrapped)


def test_no_other_data_key_can_be_put_in_the_place_of_the_one_it_was_sealed_with() -> None:
    """AES-GCM alone would let somebody with the master key have the same bytes mean something else."""
    chosen = secrets.token_bytes(32)
    forger = Vault(RING, bytes(32), lambda count: chosen)
    sealed, forged = VAULT.seal(b"true", None), forger.seal(b"false", None)
    assert forged.private is not None
    assert forger.open(Part.PRIVATE, forged.private, salt=forged.salt, wrapped=forged.wrapped) == b"false"
    with pytest.raises(PayloadUnreadable, match="not the one that it was written with"):
        VAULT.open(Part.PRIVATE, forged.private, salt=sealed.salt, wrapped=forged.wrapped)


def test_the_same_content_is_never_sealed_alike() -> None:
    one, two = (VAULT.seal(b"9434765919", b"9434765919") for _ in range(2))
    for name in Sealed.__struct_fields__:
        assert getattr(one, name) != getattr(two, name)
    assert one.private != one.bodies


def sealed_by_hand(compressed: bytes) -> dict[str, Any]:
    key = secrets.token_bytes(32)
    wrapped = Vault(RING, bytes(32), lambda count: key).seal(None, None).wrapped
    content = AESGCM(key).encrypt(int(Part.PRIVATE).to_bytes(12), compressed, None)
    return {"content": content, "salt": salt_of(key), "wrapped": wrapped}


@pytest.mark.parametrize(
    "compressed",
    [
        b"",
        b"not zstd",
        zstandard.ZstdCompressor(write_content_size=False).compress(b"of unknown size"),
        zstandard.ZstdCompressor().compress(bytes(64 * 1024 * 1024 + 1)),
    ],
    ids=["empty", "not zstd", "unknown size", "too large"],
)
def test_what_is_encrypted_rightly_but_was_not_made_here_is_refused(compressed: bytes) -> None:
    with pytest.raises(PayloadUnreadable):
        VAULT.open(Part.PRIVATE, **sealed_by_hand(compressed))


def test_a_master_key_that_is_not_there_is_named_by_its_id() -> None:
    sealed = VAULT.seal(b"content", None)
    with pytest.raises(PayloadUnreadable, match=f"the master key {RING.newest.id.hex()} is not here"):
        opened(Vault(OTHER_RING, bytes(32)), sealed)


@given(CONTENT)
def test_a_new_master_key_takes_over_without_touching_what_is_committed_to(content: bytes) -> None:
    sealed = VAULT.seal(content, None)
    both = Vault(KeyRing(OTHER_RING.keys + RING.keys), bytes(32))
    assert opened(both, sealed) == (content, None)
    rewrapped = both.rewrap(sealed.wrapped)
    assert rewrapped is not None
    assert both.rewrap(rewrapped) is None
    assert VAULT.rewrap(sealed.wrapped) is None
    moved = Sealed(sealed.salt, rewrapped, sealed.private, None)
    assert opened(Vault(OTHER_RING, bytes(32)), moved) == (content, None)
    assert both.seal(content, None).wrapped[:4] == OTHER_RING.newest.id


@given(st.text(max_size=12), st.text(max_size=12))
def test_terms_differ_by_kind_value_and_key(one: str, two: str) -> None:
    other = Vault(RING, b"\x01" * 32)
    kinds = (PATIENT, "id", "user")
    terms = {VAULT.term(kind, value) for kind in kinds for value in {one, two}}
    assert len(terms) == len(kinds) * len({one, two})
    assert {len(term) for term in terms} == {TERM_BYTES}
    assert VAULT.term(PATIENT, one) == Vault(OTHER_RING, bytes(32)).term(PATIENT, one), "rotation leaves the index"
    assert terms.isdisjoint(other.term(kind, value) for kind in kinds for value in (one, two))
