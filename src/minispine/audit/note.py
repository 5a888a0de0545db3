"""Signed notes: text with signatures that anybody who holds the public keys can check (C2SP signed-note).

A note is its text, a blank line, and a line for each signature::

    <text, which ends with a newline>

    — <key name> <base64 of key id (4 bytes) || signature>

Two kinds of key are known: Ed25519 over the text (type 0x01), which logs sign with, and the time-stamped cosignature
(type 0x04, C2SP tlog-cosignature), by which witnesses, and a log of its own checkpoints, say when they saw the text.
What a log says in a note is in ``checkpoint.py``. Where private keys come from is not known here.
"""

import base64
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import ClassVar, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_SIGNATURES: Final = 100
"""A note with more is refused unread: each costs a verification. The format asks for at least 16."""
MAX_NOTE_BYTES: Final = 1_000_000

_KEY_ID_BYTES: Final = 4
_TIME_BYTES: Final = 8
_LATEST_S: Final = 2**63 - 1
_SIGNATURE_MARK: Final = "— "
_FORBIDDEN: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")


class NoteMalformed(ValueError):
    """What is not a signed note. The message quotes nothing of it."""


class NoteUnverified(ValueError):
    """A note that no known key has signed."""


class SignatureInvalid(NoteUnverified):
    """A note on which the signature of a known key is wrong: it, or its text, is not as that key signed it."""

    def __init__(self, name: str, key_id: bytes) -> None:
        super().__init__(f"the signature of {name}+{key_id.hex()} is wrong")
        self.name = name
        self.key_id = key_id


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature on a note: the name and the id of the key it says to be of, and what that key made."""

    name: str
    key_id: bytes
    content: bytes

    def __str__(self) -> str:
        """The line of this signature, with its newline."""
        return f"{_SIGNATURE_MARK}{self.name} {base64.b64encode(self.key_id + self.content).decode()}\n"


@dataclass(frozen=True, slots=True)
class VerifierKey(ABC):
    """A public key under a name: what both kinds of verifier share.

    Raises `ValueError` for a name that is empty or has a plus, a Unicode space or a control character, and for a key
    that is not 32 bytes.

    `K.parse(str(k)) == k` and `str(K.parse(s)) == s`, where K is the class of the key's type.
    """

    name: str
    public_key: bytes

    TYPE: ClassVar[bytes]

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if len(self.public_key) != 32:
            raise ValueError("an Ed25519 public key has 32 bytes")

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || newline || type || key)[:4]: a handle, not a fingerprint to trust a key by."""
        return sha256(self.name.encode() + b"\n" + self.TYPE + self.public_key).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        """The vkey: name, key id in hex, and base64 of type and key, joined by pluses."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(self.TYPE + self.public_key).decode()}"

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """The verifier that a vkey names. Raises `ValueError` for other text, and for a key of another type."""
        parts = vkey.split("+", 2)
        if len(parts) != 3:
            raise ValueError("a verifier key has three parts, joined by pluses")
        material = decode_base64(parts[2])
        if material[:1] != cls.TYPE:
            raise ValueError("the verifier key is of another type")
        verifier = cls(parts[0], material[1:])
        if parts[1] != verifier.key_id.hex():
            raise ValueError("the id in the verifier key is not that of its name and key")
        return verifier

    @abstractmethod
    def verify(self, text: bytes, content: bytes) -> bool:
        """Whether `content` is what this key makes of `text`."""

    def _signed(self, message: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Verifier(VerifierKey):
    """The public key of a log, which signs the text as it stands."""

    TYPE: ClassVar[bytes] = b"\x01"

    def verify(self, text: bytes, content: bytes) -> bool:
        """Whether `content` is this key's signature of `text`."""
        return self._signed(text, content)


@dataclass(frozen=True, slots=True)
class CosignatureVerifier(VerifierKey):
    """The public key of a witness, or of a log, that signs that it saw the text at a time (cosignature/v1).

    The signed message does not hold the name: one key under two names is one witness.
    """

    TYPE: ClassVar[bytes] = b"\x04"

    def verify(self, text: bytes, content: bytes) -> bool:
        """Whether `content` is a time and this key's signature of it and `text`. The time is not compared to any."""
        time_s = int.from_bytes(content[:_TIME_BYTES])
        if time_s > _LATEST_S:
            return False
        return self._signed(_timed(text, time_s), content[_TIME_BYTES:])


def cosigned_at_s(signature: Signature) -> int:
    """When its key saw the text, in seconds since 1970 UTC. Of a verified cosignature only."""
    return int.from_bytes(signature.content[:_TIME_BYTES])


def _timed(text: bytes, time_s: int) -> bytes:
    return b"cosignature/v1\ntime %d\n%b" % (time_s, text)


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key under a name. Raises `ValueError` for what is no key name (see `VerifierKey`)."""

    name: str
    private_key: Ed25519PrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        check_key_name(self.name)

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.name, self.private_key.public_key().public_bytes_raw())

    def sign(self, text: bytes) -> Signature:
        """This key's signature of a text."""
        return Signature(self.name, self.verifier.key_id, self.private_key.sign(text))


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A private key under a name that says when it saw a text. Raises `ValueError` for what is no key name."""

    name: str
    private_key: Ed25519PrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        check_key_name(self.name)

    @property
    def verifier(self) -> CosignatureVerifier:
        """The public half."""
        return CosignatureVerifier(self.name, self.private_key.public_key().public_bytes_raw())

    def cosign(self, text: bytes, at_s: int) -> Signature:
        """This key's cosignature of a text, seen at a time in seconds since 1970 UTC."""
        signature = self.private_key.sign(_timed(text, at_s))
        return Signature(self.name, self.verifier.key_id, at_s.to_bytes(_TIME_BYTES) + signature)


@dataclass(frozen=True, slots=True)
class Opened:
    """A note at least one signature of which is by a known key.

    `verified` names each key once, `unverified` holds the signatures by keys that are not known; both are in the order
    of the note. Only `text` and `verified` are to be trusted.
    """

    text: str
    verified: tuple[Signature, ...]
    unverified: tuple[Signature, ...]


def sign(text: str, signers: Iterable[Signer]) -> str:
    """The text as a note with a signature by each signer.

    Raises `NoteMalformed` for a text that no note can hold (see `write_note`).

    `open_note(sign(t, [s]), [s.verifier]).text == t`
    """
    message = _encoded(text)
    return write_note(text, [signer.sign(message) for signer in signers])


def write_note(text: str, signatures: Iterable[Signature]) -> str:
    """The text as a note with these signatures, which were made or verified before.

    Raises `NoteMalformed` when the text does not end with a newline or holds another control character or what is not
    Unicode, or when there is no signature.
    """
    _encoded(text)
    lines = [str(signature) for signature in signatures]
    if not lines:
        raise NoteMalformed("a note has a signature")
    return "".join((text, "\n", *lines))


def open_note(note: str | bytes, verifiers: Iterable[VerifierKey]) -> Opened:
    """The text of a note that a known key has signed.

    Every signature that names a known key has to be right. Signatures by unknown keys are not looked at.

    Raises `NoteMalformed` for what is not a note, `SignatureInvalid` when a known key's signature is wrong,
    `NoteUnverified` when there is none by a known key, and `ValueError` when two different verifiers have one name and
    key id, so that it cannot be said which of them a signature is by.
    """
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.name, verifier.key_id), verifier) != verifier:
            raise ValueError("two verifiers have the same name and key id")
    text, signatures = _parsed(note)
    message = text.encode()
    verified: dict[tuple[str, bytes], Signature] = {}
    unverified: dict[Signature, None] = {}
    for signature in signatures:
        key = (signature.name, signature.key_id)
        if key not in known:
            unverified[signature] = None
        elif known[key].verify(message, signature.content):
            verified.setdefault(key, signature)
        else:
            raise SignatureInvalid(*key)
    if not verified:
        raise NoteUnverified("no known key has signed the note")
    return Opened(text, tuple(verified.values()), tuple(unverified))


def _parsed(note: str | bytes) -> tuple[str, list[Signature]]:
    if isinstance(note, bytes):
        try:
            note = note.decode()
        except UnicodeDecodeError:
            raise NoteMalformed("a note is UTF-8") from None
    if len(_encoded(note)) > MAX_NOTE_BYTES:
        raise NoteMalformed("the note is too long")
    text, blank, block = note.rpartition("\n\n")
    if not blank:
        raise NoteMalformed("a note has signatures after a blank line")
    lines = block[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteMalformed("the note has too many signatures")
    return text + "\n", [_parsed_signature(line) for line in lines]


def _parsed_signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_SIGNATURE_MARK).partition(" ")
    if not line.startswith(_SIGNATURE_MARK):
        raise NoteMalformed("a signature is a dash, a key name and base64")
    try:
        check_key_name(name)
        blob = decode_base64(encoded)
    except ValueError as error:
        raise NoteMalformed(str(error)) from None
    if len(blob) <= _KEY_ID_BYTES:
        raise NoteMalformed("a signature is longer than the id of its key")
    return Signature(name, blob[:_KEY_ID_BYTES], blob[_KEY_ID_BYTES:])


def _encoded(text: str) -> bytes:
    """The bytes of a note or its text, if it is of characters that a note may hold and ends as both do."""
    if not text.endswith("\n"):
        raise NoteMalformed("a note ends with a newline")
    if _FORBIDDEN.search(text):
        raise NoteMalformed("a note has no control characters")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise NoteMalformed("a note is Unicode") from None


def check_key_name(name: str) -> None:
    """Raise `ValueError` for what cannot be the name of a key: no text, a plus, a space or a control character."""
    if not name or "+" in name or _FORBIDDEN.search(name) or any(map(str.isspace, name)):
        raise ValueError("a key name is text without pluses, spaces and control characters")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError("a key name is Unicode") from None


def decode_base64(text: str) -> bytes:
    """The bytes of base64 with padding and nothing else (RFC 4648, section 4). Raises `ValueError`.

    Only the one encoding of each is taken, so that no two notes differ and say the same.
    """
    try:
        blob = base64.b64decode(text, validate=True)
    except ValueError:
        blob = b""
    if base64.b64encode(blob).decode() != text:
        raise ValueError("this is not base64")
    return blob
