"""Encrypting what may only be known by those entitled, and the keyed terms by which it is found. No I/O.

Each record has a **data key** of its own: 32 random bytes, under which its private parts and its messages are
encrypted with AES-256-GCM after zstd; the nonce is the part's number, which cannot repeat under a key used once for
each. The data key is kept **wrapped** by a master key: the master key's id, then AES-SIV (RFC 5297), which unlike
AES-GCM has no nonces that could run out or repeat. The **salt** of the record's commitments is a digest of the data
key. So the commitments, which are over the encrypted bytes and can be checked by somebody who must not read them, also
bind the key: no other key can be put in its place to make another plaintext of the same bytes. Whoever destroys the
payload's row destroys the salt and the key with it.

A **term** is what a search looks for, as the index knows it: 8 bytes. Of a patient it is an HMAC-SHA-256, because an
NHS number could be guessed; of what stands in the leaf anyway it is a keyed BLAKE2b, which only has to spread them.
"""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final

import msgspec
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from minispine.keys.ring import ID_BYTES, KEY_BYTES, KeyRing

TERM_BYTES: Final = 8
WRAPPED_BYTES: Final = ID_BYTES + 16 + KEY_BYTES
"""A wrapped data key: the id of the master key, the synthetic IV, and the key encrypted."""
PATIENT: Final = "patient"
_MOST_BYTES: Final = 64 * 1024 * 1024
"""No part of a record comes near this; a frame that says it holds more was not made here."""
_ZSTD_LEVEL: Final = 1
_SELDOM_REPEATED: Final = frozenset({"id", PATIENT})
_MOST_KNOWN: Final = 10_000
"""How many terms are remembered: those of clients, users, organisations and the like."""


class Part(IntEnum):
    """What is encrypted apart from the rest of a record."""

    PRIVATE = 0
    BODIES = 1


class PayloadUnreadable(Exception):
    """A payload cannot be decrypted, and why: another master key, or it was changed. Never quotes it."""


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """An encrypted payload, as it is kept."""

    salt: bytes
    wrapped: bytes
    private: bytes | None
    bodies: bytes | None


class Vault:
    """Seals and opens payloads, under the master keys of one log. Safe to use from any thread."""

    def __init__(
        self, ring: KeyRing, index_key: bytes, random_bytes: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._ring: Final = ring
        self._wrapping: Final = {key.id: AESSIV(_wrapping_key(key.secret)) for key in ring.keys}
        self.master_key: Final = ring.newest.id
        """The id of the master key by which new data keys are wrapped."""
        self._index_key: Final = index_key
        self._random_bytes = random_bytes
        self._of_thread = threading.local()
        self._known: dict[tuple[str, str], bytes] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process of the same verification; it goes through a pipe, never to a file."""
        return Vault, (self._ring, self._index_key)

    def seal(self, private: bytes | None, bodies: bytes | None) -> Sealed:
        """Encrypt the parts of one record under a new data key."""
        key = self._random_bytes(KEY_BYTES)
        cipher = AESGCM(key)
        compress = self._compressor().compress
        return Sealed(
            salt_of(key),
            self.master_key + self._wrapping[self.master_key].encrypt(key, None),
            None if private is None else cipher.encrypt(_nonce(Part.PRIVATE), compress(private), None),
            None if bodies is None else cipher.encrypt(_nonce(Part.BODIES), compress(bodies), None),
        )

    def open(self, part: Part, content: bytes, *, salt: bytes, wrapped: bytes) -> bytes:
        """Decrypt one part: `open(p, seal(...).p, ...)` gives what was sealed. Raises `PayloadUnreadable`."""
        return unlock(part, content, salt=salt, data_key=self.data_key(wrapped))

    def data_key(self, wrapped: bytes) -> bytes:
        """The key of one record, with which its payload can be read without any other. Raises `PayloadUnreadable`."""
        cipher = self._wrapping.get(wrapped[:ID_BYTES])
        if cipher is None:
            raise PayloadUnreadable(f"the master key {wrapped[:ID_BYTES].hex()} is not here")
        try:
            return cipher.decrypt(wrapped[ID_BYTES:], None)
        except (InvalidTag, ValueError):
            raise PayloadUnreadable("its wrapped key is not as it was written") from None

    def rewrap(self, wrapped: bytes) -> bytes | None:
        """The data key wrapped by the newest master key; None if it already is. Raises `PayloadUnreadable`."""
        if wrapped[:ID_BYTES] == self.master_key:
            return None
        return self.master_key + self._wrapping[self.master_key].encrypt(self.data_key(wrapped), None)

    def term(self, kind: str, value: str) -> bytes:
        """The term of a value of some kind, 8 bytes."""
        if (known := self._known.get((kind, value))) is not None:
            return known
        named = b"%b\x00%b" % (kind.encode(), value.encode("utf-8", "surrogatepass"))
        if kind == PATIENT:
            return hmac.digest(self._index_key, named, "sha256")[:TERM_BYTES]
        term = hashlib.blake2b(named, key=self._index_key, digest_size=TERM_BYTES).digest()
        if kind not in _SELDOM_REPEATED and len(self._known) < _MOST_KNOWN:
            self._known[kind, value] = term
        return term

    def _compressor(self) -> zstandard.ZstdCompressor:
        """This thread's own: making one costs more than using it, and two threads cannot share it."""
        made: zstandard.ZstdCompressor | None = getattr(self._of_thread, "compressor", None)
        if made is None:
            made = self._of_thread.compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
        return made


def unlock(part: Part, content: bytes, *, salt: bytes, data_key: bytes) -> bytes:
    """Decrypt one part with the record's own key, which has to be that of its salt. Raises `PayloadUnreadable`."""
    if salt_of(data_key) != salt:
        raise PayloadUnreadable("its data key is not the one that it was written with")
    try:
        compressed = AESGCM(data_key).decrypt(_nonce(part), content, None)
        size = zstandard.frame_content_size(compressed)
        if not 0 <= size <= _MOST_BYTES:
            raise PayloadUnreadable("it says of itself that it is larger than anything written here")
        return zstandard.ZstdDecompressor().decompress(compressed, max_output_size=_MOST_BYTES)
    except (InvalidTag, zstandard.ZstdError):
        raise PayloadUnreadable("it is not as it was written") from None


def salt_of(data_key: bytes) -> bytes:
    """The salt of a record's commitments, 32 bytes, which binds its data key."""
    return hashlib.sha256(b"minispine audit salt" + data_key).digest()


def _wrapping_key(secret: bytes) -> bytes:
    return HKDF(algorithm=SHA512(), length=64, salt=None, info=b"minispine audit wrap").derive(secret)


def _nonce(part: Part) -> bytes:
    return part.to_bytes(12)
