"""The bytes of a record: its leaf, its payload, the commitment that joins them, and the chain. No I/O, no clock.

A **leaf** is the version byte 0x01 and canonical JSON: UTF-8, keys sorted, no blanks, no floats, no escapes that JSON
does not demand. It is what the log hashes, and it never holds anything of a patient. Its keys::

    bodies             commitment to the messages kept with the record, or null
    client             the registration's key, or null
    client_message_id  the id the client gave its message, or null
    events             a list of {at, data, type}; `at` in UTC microseconds since 1970
    exchange           the id that joins the records of one exchange, or null
    instance           the process that wrote it, a UUID
    private            commitment to the private parts of the events, or null
    repeats            the first exchange with the same client and message id, or null
    sealed_at          UTC microseconds; never less than the record's before
    sequence           1, 2, 3 ... without a gap
    system_id          the installation

A **commitment** is SHA-256(salt || part || content) in lower-case hex: the salt is 16 random bytes of this record,
kept with the payload and gone with it; the part is 0x00 for the private parts (a JSON list, one object per event) and
0x01 for the messages (see `frame_bodies`). So a leaf lets nobody guess what it commits to.

The **chain**: hash(n) = SHA-256(0x02 || hash(n - 1) || leaf(n)), and hash(0) is 32 zero bytes.
"""

import datetime
import hashlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from minispine.audit.events import Body, Entry

GENESIS: Final = bytes(32)
LEAF_VERSION: Final = b"\x01"
SALT_BYTES: Final = 16
_CHAIN: Final = b"\x02"
_PRIVATE: Final = b"\x00"
_BODIES: Final = b"\x01"
_FRAME_VERSION: Final = b"\x01"

_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_LEAST: Final = -(2**63)
_MOST: Final = 2**63 - 1


class EntryInvalid(ValueError):
    """An entry that no record can be made of, by a mistake of ours. The message never quotes a value."""


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """An entry with everything encoded that does not depend on its place in the log."""

    entry: Entry
    head: bytes
    """The leaf's JSON up to where `repeats` comes."""
    salt: bytes
    private: bytes | None
    bodies: bytes | None
    message_key: bytes | None
    """The digest under which the message id of this client is known."""


class _Head(msgspec.Struct, frozen=True, gc=False):
    """The first keys of a leaf, in their order."""

    bodies: str | None
    client: str | None
    client_message_id: str | None
    events: list[dict[str, Any]]
    exchange: str | None
    instance: str
    private: str | None


def prepare(entry: Entry, *, instance: str, salt: bytes) -> Prepared:
    """Encode an entry as far as can be done before its place in the log is known.

    Raises `EntryInvalid` for values that are not JSON, floats in the hashed part, and an entry that opens or closes
    without naming an exchange.
    """
    if entry.exchange is None and (entry.opens or entry.closes):
        raise EntryInvalid("an entry that opens or closes has to name its exchange")
    if not entry.events:
        raise EntryInvalid("an entry has to have an event")
    for event in entry.events:
        _check_canonical(event.data)
    try:
        private = _encode([e.private for e in entry.events]) if any(e.private for e in entry.events) else None
        bodies = frame_bodies(entry.bodies) if entry.bodies else None
        head = _encode(
            _Head(
                commit_bodies(salt, bodies) if bodies is not None else None,
                entry.client,
                entry.client_message_id,
                [{"at": e.at, "data": e.data, "type": e.type} for e in entry.events],
                entry.exchange,
                instance,
                commit_private(salt, private) if private is not None else None,
            )
        )
        message_key = None
        if entry.exchange is not None and entry.client is not None and entry.client_message_id is not None:
            message_key = message_digest(entry.client, entry.client_message_id)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EntryInvalid(f"an event holds something that is not JSON ({type(error).__name__})") from None
    return Prepared(entry, head[:-1], salt, private, bodies, message_key)


def leaf_of(prepared: Prepared, *, repeats: str | None, sealed_at: int, sequence: int, system_id: bytes) -> bytes:
    """The leaf of a record. `system_id` is already JSON (see `encode_text`)."""
    return b'%b%b,"repeats":%b,"sealed_at":%d,"sequence":%d,"system_id":%b}' % (
        LEAF_VERSION,
        prepared.head,
        b"null" if repeats is None else encode_text(repeats),
        sealed_at,
        sequence,
        system_id,
    )


def encode_text(text: str) -> bytes:
    """A string as it stands in a leaf, with its quotes."""
    return _encode(text)


def encode_json(value: Any) -> bytes:
    """Canonical JSON, as in a leaf."""
    return _encode(value)


def iso_time(us: int) -> str:
    """UTC microseconds since 1970 as ISO 8601, always with six decimals and ``Z``: such texts sort by time."""
    moment = datetime.datetime.fromtimestamp(us // 1_000_000, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{us % 1_000_000:06d}Z"


def read_leaf(leaf: bytes) -> dict[str, Any]:
    """The JSON of a leaf. Raises `ValueError` for another version or what is no JSON object."""
    if leaf[:1] != LEAF_VERSION:
        raise ValueError("the leaf is of a version that this release does not know")
    fields = msgspec.json.decode(leaf[1:])
    if not isinstance(fields, dict):
        raise ValueError("the leaf is not a JSON object")
    return fields


def chain(previous: bytes, leaf: bytes) -> bytes:
    """The hash of a record, which follows the one whose hash is `previous`."""
    return hashlib.sha256(_CHAIN + previous + leaf).digest()


def commit_private(salt: bytes, private: bytes) -> str:
    """The commitment to the private parts of a record's events."""
    return hashlib.sha256(salt + _PRIVATE + private).hexdigest()


def commit_bodies(salt: bytes, bodies: bytes) -> str:
    """The commitment to a record's messages, framed."""
    return hashlib.sha256(salt + _BODIES + bodies).hexdigest()


def message_digest(client: str, client_message_id: str) -> bytes:
    """The key of one message id of one client."""
    named = client.encode()
    return hashlib.sha256(len(named).to_bytes(4) + named + client_message_id.encode()).digest()


def frame_bodies(bodies: Iterable[Body]) -> bytes:
    """Messages in one string of bytes: 0x01, then for each its name's length in two bytes, its name, its content's

    length in four bytes, its content. `unframe_bodies(frame_bodies(b)) == tuple(b)`.
    """
    parts = [_FRAME_VERSION]
    for body in bodies:
        name = body.name.encode()
        parts += (len(name).to_bytes(2), name, len(body.content).to_bytes(4), body.content)
    return b"".join(parts)


def unframe_bodies(framed: bytes) -> tuple[Body, ...]:
    """The inverse of `frame_bodies`. Raises `ValueError` for anything that it does not make."""
    if framed[:1] != _FRAME_VERSION:
        raise ValueError("the messages are framed in a way that this release does not know")
    at = 1
    bodies = []
    while at < len(framed):
        name, at = _take(framed, at, 2)
        content, at = _take(framed, at, 4)
        bodies.append(Body(name.decode(), content))
    return tuple(bodies)


def _take(framed: bytes, at: int, width: int) -> tuple[bytes, int]:
    start = at + width
    end = start + int.from_bytes(framed[at:start])
    if end > len(framed):
        raise ValueError("the messages are cut short")
    return framed[start:end], end


def _check_canonical(value: Any) -> None:
    """Refuse what has no single JSON form. Enums of strings or numbers stand for their value."""
    if value is None or isinstance(value, str):
        return
    if isinstance(value, int):
        if not _LEAST <= value <= _MOST:
            raise EntryInvalid("an event holds a number of more than 64 bits")
    elif isinstance(value, dict):
        for key, member in value.items():
            if type(key) is not str:
                raise EntryInvalid("an event has a key that is not a string")
            _check_canonical(member)
    elif isinstance(value, list | tuple):
        for member in value:
            _check_canonical(member)
    else:
        raise EntryInvalid(f"an event holds a {type(value).__name__}, which has no canonical form")
