"""The keys of what is kept: how an entry is found without naming the patient, and how it is encrypted. No I/O.

Two purposes, two families of keys, all derived (HKDF-SHA-512) from the secrets of the audit log:

- **looking up**, from the index key, which all processes of an installation share and which changes only while they
  are stopped. A process that may not be able to name an entry could not delete it either, so this key must not differ
  between two that run at the same time, as master keys do while one of them is being replaced.
- **sealing**, from each master key. An entry names the one that sealed it, and the newest seals. An entry whose key was
  forgotten is no loss: it cannot be opened, and goes.

A sealed entry is the id of the master key, 28 random bytes and AES-256-GCM's output. The first 16 random bytes choose
the key under which the other 12 are the nonce, because as a nonce 12 bytes drawn at random for every entry under one
key for years are too few.
"""

import hmac
import secrets
from collections.abc import Callable
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from minispine.audit.keyfiles import AuditKeys
from minispine.keys.ring import ID_BYTES, KEY_BYTES, KeyRing

DIGEST_BYTES: Final = 16
_CHOOSING_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_HEAD_BYTES: Final = ID_BYTES + _CHOOSING_BYTES + _NONCE_BYTES

_encode: Final = msgspec.msgpack.Encoder().encode


class EntryUnreadable(Exception):
    """An entry cannot be opened: its key is not here, or it is not the one that was sealed in its place."""


class CacheKeys:
    """The keys of one installation's cache. `repr` shows none of them. Safe to use from any thread."""

    def __init__(
        self, ring: KeyRing, index_key: bytes, random_bytes: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._sealing: Final = {key.id: _derived(key.secret, b"minispine cache seal") for key in ring.keys}
        self._newest: Final = ring.newest.id
        self._looking_up: Final = _derived(index_key, b"minispine cache look-up")
        self._random_bytes = random_bytes

    @classmethod
    def of(cls, keys: AuditKeys) -> "CacheKeys":
        """Derive them from the secret keys of the installation's log."""
        return cls(keys.ring, keys.index_key)

    def digest(self, purpose: str, *parts: str) -> bytes:
        """Give 16 bytes that stand for these words and this purpose, and from which nobody else can tell the words."""
        return hmac.digest(self._looking_up, _encode((purpose, *parts)), "sha256")[:DIGEST_BYTES]

    def seal(self, content: bytes, bound: bytes) -> bytes:
        """Encrypt an entry, bound to what stands beside it."""
        choosing, nonce = self._random_bytes(_CHOOSING_BYTES), self._random_bytes(_NONCE_BYTES)
        return self._newest + choosing + nonce + self._cipher(self._newest, choosing).encrypt(nonce, content, bound)

    def open(self, sealed: bytes, bound: bytes) -> bytes:
        """Decrypt an entry: `open(seal(content, bound), bound) == content`. Raises `EntryUnreadable`."""
        key, choosing = sealed[:ID_BYTES], sealed[ID_BYTES : ID_BYTES + _CHOOSING_BYTES]
        nonce = sealed[ID_BYTES + _CHOOSING_BYTES : _HEAD_BYTES]
        if key not in self._sealing or len(nonce) < _NONCE_BYTES:
            raise EntryUnreadable
        try:
            return self._cipher(key, choosing).decrypt(nonce, sealed[_HEAD_BYTES:], bound)
        except InvalidTag:
            raise EntryUnreadable from None

    def _cipher(self, key: bytes, choosing: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self._sealing[key], choosing, "sha256"))


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA512(), length=KEY_BYTES, salt=None, info=purpose).derive(secret)
