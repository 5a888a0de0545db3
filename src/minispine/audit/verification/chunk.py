"""Following one chunk of the log, record by record. This is where the time goes, so it has a plain loop.

A chunk begins at a multiple of `CHUNK_RECORDS`, so that its tree can be put beside those of the chunks before it, and
chunks can be followed in any order and by several processes. What needs more than the chunk and the record before it is
checked in ``assembly.py``.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

from minispine.audit.declaration import DECLARING
from minispine.audit.encoding import FIRST_VERSION, GENESIS, LEAF_VERSION, chain, commit, read_leaf, version_of
from minispine.audit.events import EventType
from minispine.audit.merkle import HASH_BYTES, Frontier, perfect_root
from minispine.audit.tiles import TILE_HEIGHT, TILE_WIDTH
from minispine.audit.vault import Part, Vault
from minispine.audit.verification.data_keys import wrong_with_key
from minispine.audit.verification.findings import Broken, Check

CHUNK_LEVEL: Final = 12
CHUNK_RECORDS: Final = 1 << CHUNK_LEVEL
CLOCK_STEP_US: Final = 60_000_000
"""An event this much older than the sealed time of its record, which it stood still for, was by a clock set back."""

Row = tuple[int, bytes | None, bytes, bytes]
"""A record as it is kept: sequence, exchange in UTF-8, hash, leaf."""
PayloadRow = tuple[bytes, bytes | None, bytes | None]
"""A payload as it is kept: salt, private parts, messages."""

KeyRows = Mapping[int, bytes | None]
"""The wrapped data keys as they are kept, by the record whose payload they open."""

_NOTED: Final = frozenset(
    (
        *DECLARING,
        EventType.AUDIT_PAYLOAD_REMOVED,
        EventType.AUDIT_ARCHIVED,
        EventType.PROVIDER_STARTED,
        EventType.PROVIDER_STOPPED,
    )
)
"""Events that bear on the log as a whole."""
_SALT_BYTES: Final = {FIRST_VERSION: 16, LEAF_VERSION[0]: 32}


class _Event(msgspec.Struct, gc=False):
    type: str
    at: int


class _Leaf(msgspec.Struct, gc=False):
    """What verification needs of a leaf; all else in it is passed over."""

    bodies: str | None
    events: list[_Event]
    exchange: str | None
    private: str | None
    sealed_at: int
    sequence: int


_decode: Final = msgspec.json.Decoder(_Leaf).decode


class Before(msgspec.Struct, frozen=True):
    """What a record has to follow: of the one before it, the hash, the sealed time and the version of the leaf."""

    hash: bytes = GENESIS
    sealed_at: int = 0
    version: int = FIRST_VERSION

    @classmethod
    def of(cls, hash_: bytes, leaf: bytes) -> "Before":
        """As it is kept, which is not yet believed: the chunk in which it is tells whether it is right."""
        try:
            return cls(hash_, _decode(leaf[1:]).sealed_at, version_of(leaf))
        except (msgspec.MsgspecError, ValueError):
            return cls(hash_, 0, version_of(leaf))


class Noted(msgspec.Struct, frozen=True):
    """A record with an event that bears on the log as a whole."""

    sequence: int
    sealed_at: int
    events: list[dict[str, Any]]
    """Those events only."""


class ClockStep(msgspec.Struct, frozen=True):
    """The clock was behind the sealed time, which stood still: from this record on, by so much."""

    sequence: int
    sealed_at: int
    back_us: int


class Followed(msgspec.Struct):
    """What came of following a chunk: the good records from its beginning, and the first bad one if there is one."""

    first: int
    last: int
    """The last good record; `first - 1` when there is none."""
    frontier: Frontier
    """The tree over the good records of the chunk alone."""
    at_sizes: dict[int, Frontier]
    """The same at sizes that were asked for; the sizes are those of the whole log."""
    blocks: list[bytes]
    """The root over each 256 of them, which are the hashes in tiles of level 1."""
    before: Before
    """The last good record, as the next chunk has to follow it."""
    noted: list[Noted]
    missing: list[int]
    """Records that commit to a payload that is not there."""
    keyless: list[int]
    """Records that commit to an encrypted payload, of which the key is not there."""
    steps: list[ClockStep]
    tiles: int
    """How many tiles of level 0 it was compared with."""
    turned: int | None
    """The first record whose leaf is of a newer version than the one before."""
    broken: Broken | None = None


def follow(
    rows: Iterable[Row],
    *,
    first: int,
    last: int,
    before: Before,
    kept: bool = True,
    payloads: Mapping[int, PayloadRow] | None = None,
    keys: KeyRows | None = None,
    vault: Vault | None = None,
    tiles: Mapping[int, bytes] | None = None,
    sizes: Sequence[int] = (),
) -> Followed:
    """Follow the records `first` to `last`, which `rows` gives in order.

    `kept` says that each row has the hash and the exchange beside the leaf, which is not so of published entries.
    `payloads` are those of the chunk by sequence, None to leave them unchecked; `keys` are
    their keys in the same way, which `vault` opens if there is one. `tiles` are the chunk's tiles of level
    0 by their index in the log. `sizes` are sizes of the log, in order, at which its root will be asked for.
    """
    loop = Follower(first, before, kept, payloads, keys, vault)
    broken = loop.run(rows, last)
    hashes = loop.hashes
    wrong = _tile_difference(hashes, first, last, tiles or {})
    if wrong is not None:
        broken = Broken(wrong, "tile", "the hash of the leaf is not the one in the tile")
        del hashes[wrong - first :]
    end = first + len(hashes) - 1
    frontier, at_sizes, blocks = _trees(hashes, first, sizes)
    return Followed(
        first=first,
        last=end,
        frontier=frontier,
        at_sizes=at_sizes,
        blocks=blocks,
        before=loop.before(),
        noted=[noted for noted in loop.noted if noted.sequence <= end],
        missing=[sequence for sequence in loop.missing if sequence <= end],
        keyless=[sequence for sequence in loop.keyless if sequence <= end],
        steps=[step for step in loop.steps if step.sequence <= end],
        tiles=len(tiles or ()),
        turned=loop.turned,
        broken=broken,
    )


class Follower:
    """Follows records one after another: what it has noticed of those that are good.

    The arguments are as in `follow`; the mappings of payloads and keys may be filled as it goes on.
    """

    def __init__(
        self,
        first: int,
        before: Before,
        kept: bool,
        payloads: Mapping[int, PayloadRow] | None,
        keys: KeyRows | None = None,
        vault: Vault | None = None,
    ) -> None:
        self.hashes: list[bytes] = []
        """Of the leaves."""
        self.noted: list[Noted] = []
        self.missing: list[int] = []
        self.keyless: list[int] = []
        self.steps: list[ClockStep] = []
        self._next = first
        self._hash, self._sealed_at, self._version = before.hash, before.sealed_at, before.version
        self._kept = kept
        self._payloads = payloads
        self._keys = keys
        self._vault = vault
        self._stepped = False
        self.turned: int | None = None

    def before(self) -> Before:
        """The last good record."""
        return Before(self._hash, self._sealed_at, self._version)

    def run(self, rows: Iterable[Row], last: int) -> Broken | None:
        """Follow the next rows up to the record `last`: the first that is bad, or None."""
        for sequence, exchange, kept_hash, leaf in rows:
            if sequence != self._next:
                break
            found = self._record(sequence, exchange, kept_hash, leaf)
            if found is not None:
                return Broken(sequence, *found)
            self._next += 1
        if self._next <= last:
            return Broken(self._next, "sequence", "there is no record of this number")
        return None

    def _record(self, sequence: int, exchange: bytes | None, kept_hash: bytes, leaf: bytes) -> tuple[Check, str] | None:
        if leaf is None:  # where somebody has taken the column's rule away
            return "leaf", "the leaf cannot be read"
        leaf_hash = digest = sha256(b"\x00" + leaf).digest()
        version = leaf[0] if leaf else 0
        if version == FIRST_VERSION:
            digest = chain(self._hash, leaf)
        if self._kept and digest != kept_hash:
            if version == FIRST_VERSION:
                return "chain", "the hash beside the leaf does not chain it to the record before"
            return "hash", "the hash beside the leaf is not the leaf's"
        try:
            fields = _decode(leaf[1:])
        except (msgspec.MsgspecError, ValueError):
            return "leaf", "the leaf cannot be read"
        if version not in _SALT_BYTES:
            return "leaf", "the leaf is of a version that this release does not know"
        if version < self._version:
            return "leaf", "the leaf is of a version that was no longer written"
        if fields.sequence != sequence:
            return "leaf", "the leaf names another number"
        sealed_at = fields.sealed_at
        if sealed_at < self._sealed_at:
            return "sealed-time", "the sealed time is before that of the record before"
        named = fields.exchange
        if self._kept and exchange != (None if named is None else named.encode(errors="surrogatepass")):
            return "exchange", "the exchange beside the leaf is not the leaf's"
        if self._payloads is not None:
            wrong = self._payload(sequence, version, fields)
            if wrong is not None:
                return "payload", wrong
        if not self._look(sequence, sealed_at, leaf, fields):
            return "leaf", "the leaf cannot be read"
        if version > self._version:
            self.turned = sequence
        self.hashes.append(leaf_hash)
        self._hash, self._sealed_at, self._version = digest, sealed_at, version
        return None

    def _payload(self, sequence: int, version: int, fields: _Leaf) -> str | None:
        assert self._payloads is not None
        payload = self._payloads.get(sequence)
        if payload is None:
            if fields.private is None and fields.bodies is None:
                return None
            self.missing.append(sequence)
            return self._key(sequence, version, None)
        salt, private, bodies = payload
        if len(salt) != _SALT_BYTES[version]:
            # Of a longer one a part could be content: the commitment would be to less than was written.
            return "the salt of the payload is of another length"
        if fields.private != (None if private is None else commit(salt, Part.PRIVATE, private)):
            return "the private part is not what the leaf commits to"
        if fields.bodies != (None if bodies is None else commit(salt, Part.BODIES, bodies)):
            return "the messages are not what the leaf commits to"
        if private is None and bodies is None:
            return "there is a payload where the leaf commits to none"
        return self._key(sequence, version, salt)

    def _key(self, sequence: int, version: int, salt: bytes | None) -> str | None:
        if self._keys is None:
            return None
        wrapped = self._keys.get(sequence)
        if version == FIRST_VERSION:
            return None if wrapped is None else "there is a key of a payload that is in the clear"
        if wrapped is None:
            self.keyless.append(sequence)
            return None
        return wrong_with_key(wrapped, salt, self._vault)

    def _look(self, sequence: int, sealed_at: int, leaf: bytes, fields: _Leaf) -> bool:
        """See what is worth noting of a record. False if it cannot be read."""
        for event in fields.events:
            if event.type in _NOTED:
                try:
                    events = [event for event in read_leaf(leaf)["events"] if event["type"] in _NOTED]
                except (ValueError, RecursionError):
                    return False
                self.noted.append(Noted(sequence, sealed_at, events))
                break
        if sealed_at != self._sealed_at:
            self._stepped = False
        elif not self._stepped and fields.events:
            # It stood still: either this is the same commit, or the clock was behind.
            back_us = sealed_at - max(event.at for event in fields.events)
            if back_us > CLOCK_STEP_US:
                self._stepped = True
                self.steps.append(ClockStep(sequence, sealed_at, back_us))
        return True


def _tile_difference(hashes: Sequence[bytes], first: int, last: int, tiles: Mapping[int, bytes]) -> int | None:
    """The first record whose hash is not the one in its tile; only the last tile of a log may be less than full."""
    for index in sorted(tiles):
        start = index * TILE_WIDTH - (first - 1)
        ours = b"".join(hashes[start : start + TILE_WIDTH])
        tile = tiles[index]
        for at in range(0, len(ours), HASH_BYTES) if not tile.startswith(ours) else ():
            if tile[at : at + HASH_BYTES] != ours[at : at + HASH_BYTES]:
                return first + start + at // HASH_BYTES
        if len(tile) != HASH_BYTES * min(TILE_WIDTH, last - first + 1 - start):
            return first + start
    return None


def _trees(
    hashes: Sequence[bytes], first: int, sizes: Sequence[int]
) -> tuple[Frontier, dict[int, Frontier], list[bytes]]:
    """The tree over a chunk, the smaller ones at the sizes asked for, and the roots over each 256."""
    wanted = [size - (first - 1) for size in sizes if first <= size < first + len(hashes)]
    frontier = Frontier.EMPTY
    at_sizes: dict[int, Frontier] = {}
    blocks: list[bytes] = []
    for start in range(0, len(hashes), TILE_WIDTH):
        block = hashes[start : start + TILE_WIDTH]
        within, done = frontier, 0
        for size in (size - start for size in wanted if start < size <= start + len(block)):
            within = within.extend(block[done:size])
            done = size
            at_sizes[first - 1 + start + size] = within
        if len(block) < TILE_WIDTH:
            frontier = within.extend(block[done:])
            break
        blocks.append(perfect_root(block))
        frontier = frontier.extend(blocks[-1:], TILE_HEIGHT)
    return frontier, at_sizes, blocks
