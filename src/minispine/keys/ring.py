"""Master keys, which encrypt the keys of single records: a file of one key a line, the newest first.

A line is the key's id, a blank, and 32 bytes in base64. The id is the beginning of the key's SHA-256, so that a
damaged line is noticed. New records use the first key; the others are kept for as long as a record needs them.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from minispine.keys.files import KeyFileRefused, read_secret

KEY_BYTES: Final = 32
ID_BYTES: Final = 4


class MasterKey(msgspec.Struct, frozen=True):
    """One master key. `repr` shows its id alone."""

    id: bytes
    secret: bytes

    @classmethod
    def of(cls, secret: bytes) -> "MasterKey":
        """The key with these 32 bytes."""
        return cls(hashlib.sha256(b"minispine master key" + secret).digest()[:ID_BYTES], secret)

    def __repr__(self) -> str:
        return f"MasterKey({self.id.hex()})"


class KeyRing(msgspec.Struct, frozen=True):
    """At least one master key, the newest first."""

    keys: tuple[MasterKey, ...]

    @property
    def newest(self) -> MasterKey:
        """The key for new records."""
        return self.keys[0]

    def with_new(self, random_bytes: Callable[[int], bytes]) -> "KeyRing":
        """The same ring with a new key in front."""
        return KeyRing((MasterKey.of(random_bytes(KEY_BYTES)), *self.keys))

    def newest_alone(self) -> "KeyRing":
        """The ring without the keys that were replaced."""
        return KeyRing(self.keys[:1])

    def encode(self) -> bytes:
        """The file's content. `parse_ring(ring.encode(), ...) == ring`."""
        return b"".join(b"%b %b\n" % (k.id.hex().encode(), base64.b64encode(k.secret)) for k in self.keys)


def new_ring(random_bytes: Callable[[int], bytes]) -> KeyRing:
    """A ring of one new key."""
    return KeyRing((MasterKey.of(random_bytes(KEY_BYTES)),))


def parse_ring(content: bytes, source: Path) -> KeyRing:
    """Read the lines of a ring; `source` is named in what is raised.

    Raises:
        KeyFileRefused: no key, a line of another form, a key that is not the one its id says, or a key twice.
    """
    keys: list[MasterKey] = []
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            name, encoded = line.decode("ascii").split()
            key = MasterKey.of(base64.b64decode(encoded, validate=True))
        except (ValueError, binascii.Error):
            raise KeyFileRefused(source, f"line {number} is not an id and a key in base64") from None
        if len(key.secret) != KEY_BYTES or key.id.hex() != name:
            raise KeyFileRefused(source, f"line {number} is damaged: its key is not the one that its id says")
        if key in keys:
            raise KeyFileRefused(source, f"line {number} repeats a key")
        keys.append(key)
    if not keys:
        raise KeyFileRefused(source, "holds no master key")
    return KeyRing(tuple(keys))


def read_ring(file: Path, environment: Mapping[str, str], variable: str) -> KeyRing:
    """Read the ring from an environment variable if it is set, otherwise from a file that only its owner can read.

    Raises:
        KeyFileRefused: as `parse_ring` and `read_secret`.
    """
    if text := environment.get(variable):
        return parse_ring(text.encode("utf-8", "replace"), Path(f"${variable}"))
    return parse_ring(read_secret(file), file)
