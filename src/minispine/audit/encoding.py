"""The bytes of a record: its leaf, its payload, and the commitments that join them. No I/O, no clock.

A **leaf** is a version byte and canonical JSON: UTF-8, keys sorted, no blanks, no floats, no escapes that JSON does not
demand. It is what the log hashes, and it never holds anything of a patient. Its keys::

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

A **commitment** is SHA-256(salt || part || content) in lower-case hex; the part is 0x00 for the private parts (a JSON
list, one object per event) and 0x01 for the messages (see `frame_bodies`). The salt is the record's own, kept with the
payload and gone with it, so a leaf lets nobody guess what it commits to.

Version 0x02, written now: content is the part encrypted (``vault.py``), the salt 32 bytes; the record's hash is that of
an RFC 6962 leaf. It has at most `MOST_LEAF_BYTES`, which is what an entry of C2SP tlog-tiles may have; see `_shorten`.

Version 0x01, the first release's: content is the part in the clear, the salt 16 bytes; the record's hash is
SHA-256(0x02 || the hash before || leaf), the first one's before being 32 zero bytes. Read and verified for ever.
"""

import datetime
import hashlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from minispine.audit import catalogue
from minispine.audit.events import Body, Cut, Entry
from minispine.audit.terms import terms_of
from minispine.audit.vault import Part, Sealed, Vault

GENESIS: Final = bytes(32)
FIRST_VERSION: Final = 0x01
LEAF_VERSION: Final = b"\x02"
MOST_LEAF_BYTES: Final = 65_535
WHOLE_BODY_BYTES: Final = 256 * 1024
"""Of a longer message only its length, its digest and its beginning are kept."""
BEGINNING_BYTES: Final = 4096
_PLACE_BYTES: Final = 512
"""More than `repeats`, `sealed_at`, `sequence` and `system_id` take."""
_LONG_MEMBER_BYTES: Final = 256
_CHAIN: Final = b"\x02"
_FRAME_VERSION: Final = b"\x02"
_FIRST_FRAME_VERSION: Final = b"\x01"
_WHOLE: Final = b"\x00"
_CUT: Final = b"\x01"

_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_PLAIN: Final = frozenset({str, bool, type(None)})
_LEAST: Final = -(2**63)
_MOST: Final = 2**63 - 1


class EntryInvalid(ValueError):
    """An entry that no record can be made of, by a mistake of ours. The message never quotes a value."""


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """An entry with everything encoded and encrypted that does not depend on its place in the log."""

    entry: Entry
    head: bytes
    """The leaf's JSON up to where `repeats` comes."""
    payload: Sealed | None
    message_key: bytes | None
    """The digest under which the message id of this client is known."""
    terms: tuple[bytes, ...]
    """By what the record can be found, as the index knows it."""


class _Head(msgspec.Struct, frozen=True, gc=False):
    """The first keys of a leaf, in their order."""

    bodies: str | None
    client: str | None
    client_message_id: str | None
    events: list[dict[str, Any]]
    exchange: str | None
    instance: str
    private: str | None


def prepare(entry: Entry, *, instance: str, vault: Vault) -> Prepared:
    """Encode an entry as far as can be done before its place in the log is known.

    Raises `EntryInvalid` for values that are not JSON, floats in the hashed part, an event that is not as the catalogue
    has it, and an entry that opens or closes without naming an exchange.
    """
    if entry.exchange is None and (entry.opens or entry.closes):
        raise EntryInvalid("an entry that opens or closes has to name its exchange")
    if not entry.events:
        raise EntryInvalid("an entry has to have an event")
    for event in entry.events:
        _check_canonical(event.data)
        try:
            catalogue.check(event)
        except ValueError as error:
            raise EntryInvalid(str(error)) from None
    try:
        return _prepare(entry, instance, vault)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, EntryInvalid):
            raise
        raise EntryInvalid(f"an event holds something that is not JSON ({type(error).__name__})") from None


def _prepare(entry: Entry, instance: str, vault: Vault) -> Prepared:
    told: list[dict[str, Any]] = [{"at": e.at, "data": e.data, "type": e.type} for e in entry.events]
    privates = [e.private for e in entry.events]
    prepared = _with(entry, instance, vault, told, privates, entry.client_message_id)
    if len(prepared.head) > MOST_LEAF_BYTES - _PLACE_BYTES:
        told, privates = _shorten(told, privates)
        message_id = entry.client_message_id and entry.client_message_id[:_LONG_MEMBER_BYTES]
        prepared = _with(entry, instance, vault, told, privates, message_id)
        if len(prepared.head) > MOST_LEAF_BYTES - _PLACE_BYTES:
            raise EntryInvalid("an entry has too many events for one record")
    return prepared


def _with(
    entry: Entry,
    instance: str,
    vault: Vault,
    told: list[dict[str, Any]],
    privates: list[dict[str, Any]],
    client_message_id: str | None,
) -> Prepared:
    private = _encode(privates) if any(privates) else None
    bodies = frame_bodies(entry.bodies) if entry.bodies else None
    payload = vault.seal(private, bodies) if private is not None or bodies is not None else None
    commitments: list[str | None] = [None, None]
    if payload is not None and payload.private is not None:
        commitments[Part.PRIVATE] = commit(payload.salt, Part.PRIVATE, payload.private)
    if payload is not None and payload.bodies is not None:
        commitments[Part.BODIES] = commit(payload.salt, Part.BODIES, payload.bodies)
    head = _encode(
        _Head(
            commitments[Part.BODIES],
            entry.client,
            client_message_id,
            told,
            entry.exchange,
            instance,
            commitments[Part.PRIVATE],
        )
    )
    message_key = None
    if entry.exchange is not None and entry.client is not None and entry.client_message_id is not None:
        message_key = message_digest(entry.client, entry.client_message_id)
    found_by = terms_of(
        exchange=entry.exchange,
        client=entry.client,
        client_message_id=client_message_id,
        events=[(event.type, each["data"]) for event, each in zip(entry.events, told, strict=True)],
        privates=privates,
    )
    return Prepared(entry, head[:-1], payload, message_key, tuple(vault.term(kind, value) for kind, value in found_by))


def _shorten(
    told: list[dict[str, Any]], privates: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Move what is long out of the leaf: each long member of `data` goes to `moved` in the private part.

    Null stands in its place. Only documents before and after a change come to this, and what a caller wrote where an
    id was expected.
    """
    shorter, longer = [], []
    for event, private in zip(told, privates, strict=True):
        long = {name: value for name, value in event["data"].items() if len(_encode(value)) > _LONG_MEMBER_BYTES}
        shorter.append(event | {"data": event["data"] | dict.fromkeys(long)})
        longer.append(private | {"moved": long} if long else private)
    return shorter, longer


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
    """The JSON of a leaf of any version. Raises `ValueError` for an unknown version or what is no JSON object."""
    if version_of(leaf) not in (FIRST_VERSION, LEAF_VERSION[0]):
        raise ValueError("the leaf is of a version that this release does not know")
    fields = msgspec.json.decode(leaf[1:])
    if not isinstance(fields, dict):
        raise ValueError("the leaf is not a JSON object")
    return fields


def version_of(leaf: bytes) -> int:
    """The version of a leaf, 0 of an empty one."""
    return leaf[0] if leaf else 0


def chain(previous: bytes, leaf: bytes) -> bytes:
    """The hash of a record, which follows the one whose hash is `previous`."""
    return hashlib.sha256(_CHAIN + previous + leaf).digest()


def commit(salt: bytes, part: Part, content: bytes) -> str:
    """The commitment to one part of a record's payload."""
    return hashlib.sha256(b"%b%c%b" % (salt, part, content)).hexdigest()


def message_digest(client: str, client_message_id: str) -> bytes:
    """The key of one message id of one client."""
    named = client.encode()
    return hashlib.sha256(len(named).to_bytes(4) + named + client_message_id.encode()).digest()


def frame_bodies(bodies: Iterable[Body]) -> bytes:
    """Messages in one string of bytes.

    0x02, then for each: its name's length in two bytes and its name; then 0x00, its length in four bytes and its
    content, or, of one longer than `WHOLE_BODY_BYTES`, 0x01, its length in eight bytes, its SHA-256, and its first
    `BEGINNING_BYTES`. `unframe_bodies(frame_bodies(b)) == tuple(b)` for all that are not longer.
    """
    parts = [_FRAME_VERSION]
    for body in bodies:
        name = body.name.encode()
        content = body.content
        parts += (len(name).to_bytes(2), name)
        if len(content) <= WHOLE_BODY_BYTES:
            parts += (_WHOLE, len(content).to_bytes(4), content)
        else:
            parts += (_CUT, len(content).to_bytes(8), hashlib.sha256(content).digest(), content[:BEGINNING_BYTES])
    return b"".join(parts)


def unframe_bodies(framed: bytes) -> tuple[Body, ...]:
    """The inverse of `frame_bodies`, also of the first release's. Raises `ValueError` for anything else."""
    version = framed[:1]
    if version not in (_FRAME_VERSION, _FIRST_FRAME_VERSION):
        raise ValueError("the messages are framed in a way that this release does not know")
    at = 1
    bodies = []
    while at < len(framed):
        name, at = _take(framed, at, 2)
        form = _WHOLE
        if version == _FRAME_VERSION:
            form, at = framed[at : at + 1], at + 1
        if form == _WHOLE:
            content, at = _take(framed, at, 4)
            bodies.append(Body(name.decode(), content))
        elif form == _CUT and at + 40 + BEGINNING_BYTES <= len(framed):
            length, digest = int.from_bytes(framed[at : at + 8]), framed[at + 8 : at + 40]
            at += 40 + BEGINNING_BYTES
            bodies.append(Body(name.decode(), framed[at - BEGINNING_BYTES : at], Cut(length, digest)))
        else:
            raise ValueError("the messages are cut short")
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
            if type(member) not in _PLAIN:  # most are, and a call costs more than the question
                _check_canonical(member)
    elif isinstance(value, list | tuple):
        for member in value:
            _check_canonical(member)
    else:
        raise EntryInvalid(f"an event holds a {type(value).__name__}, which has no canonical form")
