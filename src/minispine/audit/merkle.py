"""The Merkle tree of RFC 6962 over SHA-256: hashes, roots, the frontier from which a tree grows, and proofs.

Nothing here knows what a leaf says or where a hash is kept. Hashes are read through `HashReader`; how they are laid out
in tiles is in ``tiles.py``, and what is signed about a root in ``checkpoint.py``.

A node is named by its level and its index: the node (level, index) is the root of the perfect subtree over the leaves
[index * 2**level, (index + 1) * 2**level), and level 0 holds the leaf hashes. Leaves are counted from 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar, Final, Protocol

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of the tree without leaves (RFC 6962, section 2.1)."""


class ProofInvalid(ValueError):
    """A proof that does not show what it was given for."""


class HashReader(Protocol):
    """Where the hashes of the perfect subtrees of a log can be had."""

    def read(self, level: int, index: int) -> bytes:
        """The hash of the node (level, index). Only complete subtrees are asked for."""


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf: SHA-256(0x00 || leaf)."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """The root of a perfect subtree over `hashes`. Raises `ValueError` unless their number is a power of two."""
    if not hashes or len(hashes) & (len(hashes) - 1):
        raise ValueError("a perfect subtree has a power of two of leaves")
    row = hashes
    while len(row) > 1:
        row = _parents(row)
    return row[0]


def _parents(row: Sequence[bytes]) -> list[bytes]:
    # `node_hash` written out: the call would cost as much as the hash. Both sides are even, or the last is left out.
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(row[::2], row[1::2], strict=False)]


def _fold(roots: Sequence[bytes]) -> bytes:
    """The root over perfect subtrees of falling size, side by side."""
    if not roots:
        return EMPTY_ROOT
    root = roots[-1]
    for left in reversed(roots[:-1]):
        root = node_hash(left, root)
    return root


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that has to be kept of a tree for it to grow: the roots of its perfect subtrees, the largest first.

    There is one for each bit of `size`. Raises `ValueError` for another number of hashes.

    `Frontier.decode(f.size, f.encode()) == f`
    """

    size: int
    hashes: tuple[bytes, ...]

    EMPTY: ClassVar["Frontier"]

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.hashes) != self.size.bit_count():
            raise ValueError("a frontier has one hash for each bit of its size")

    def extend(self, hashes: Sequence[bytes], level: int = 0) -> "Frontier":
        """The tree with more leaves: those whose hashes are given or, at a higher level, under the nodes given.

        With level k each hash is the root of a perfect subtree of 2**k leaves, and the size so far has to be a
        multiple of 2**k (`ValueError`): so the chunks of a long log can be hashed apart and put together.

        `f.extend(a).extend(b) == f.extend(a + b)`
        """
        if self.size & ((1 << level) - 1):
            raise ValueError("a subtree has to begin at a multiple of its size")
        kept = list(self.hashes)
        ends = []
        row = list(hashes)
        before = self.size >> level
        while row:
            if before & 1:
                row.insert(0, kept.pop())
            if len(row) & 1:
                ends.append(row.pop())
            row = _parents(row)
            before >>= 1
        ends.reverse()
        return Frontier(self.size + (len(hashes) << level), (*kept, *ends))

    def append_perfect(self, root: bytes, level: int) -> "Frontier":
        """The tree with 2**level more leaves, which have this root. See `extend`."""
        return self.extend((root,), level)

    def join(self, right: "Frontier") -> "Frontier":
        """The tree with the leaves of another after its own, whose frontier was built apart.

        Raises `ValueError` unless this size is a multiple of the largest power of two in the other's.

        `EMPTY.extend(a).join(EMPTY.extend(b)) == EMPTY.extend(a + b)`
        """
        joined = self
        size = right.size
        for root in right.hashes:
            level = size.bit_length() - 1
            joined = joined.append_perfect(root, level)
            size -= 1 << level
        return joined

    def root(self) -> bytes:
        """The root of the tree; `EMPTY_ROOT` when it has no leaves."""
        return _fold(self.hashes)

    def encode(self) -> bytes:
        """The hashes, one after the other. The size has to be kept beside them."""
        return b"".join(self.hashes)

    @classmethod
    def decode(cls, size: int, blob: bytes) -> "Frontier":
        """The frontier of a tree of this size. Raises `ValueError` when the bytes are not as many as it has."""
        if len(blob) % HASH_BYTES:
            raise ValueError("a frontier consists of whole hashes")
        return cls(size, tuple(blob[at : at + HASH_BYTES] for at in range(0, len(blob), HASH_BYTES)))


Frontier.EMPTY = Frontier(0, ())


def root_at(reader: HashReader, size: int) -> bytes:
    """The root that the log had when it was of this size."""
    if size < 0:
        raise ValueError("a tree has no negative size")
    return _root_between(reader, 0, size)


def _root_between(reader: HashReader, start: int, end: int) -> bytes:
    """The root over the leaves [start, end), where start is a multiple of a power of two no less than end - start.

    RFC 6962 splits a tree only into such ranges. Those that are perfect take one read.
    """
    roots = []
    while start < end:
        level = (end - start).bit_length() - 1
        roots.append(reader.read(level, start >> level))
        start += 1 << level
    return _fold(roots)


def _split(start: int, end: int) -> int:
    """Where RFC 6962 parts the leaves [start, end): after the largest power of two of them that is not all."""
    return start + (1 << ((end - start - 1).bit_length() - 1))


def inclusion_proof(reader: HashReader, index: int, size: int) -> list[bytes]:
    """The audit path of a leaf in the tree of this size, its sibling first (RFC 6962, section 2.1.1).

    Raises `ValueError` when the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError("the tree has no such leaf")
    proof = []
    start, end = 0, size
    while end - start > 1:
        split = _split(start, end)
        if index < split:
            proof.append(_root_between(reader, split, end))
            end = split
        else:
            proof.append(_root_between(reader, start, split))
            start = split
    proof.reverse()
    return proof


def consistency_proof(reader: HashReader, old_size: int, new_size: int) -> list[bytes]:
    """The proof that the newer tree begins with the leaves of the older (RFC 6962, section 2.1.2).

    It is empty for an older tree that is empty, which every tree begins with, and for one of the same size. Raises
    `ValueError` when the older tree is the larger.
    """
    if not 0 <= old_size <= new_size:
        raise ValueError("the older tree is the larger")
    if old_size == 0:
        return []
    proof = []
    start, end = 0, new_size
    while end != old_size:
        split = _split(start, end)
        if old_size <= split:
            proof.append(_root_between(reader, split, end))
            end = split
        else:
            proof.append(_root_between(reader, start, split))
            start = split
    if start:
        # Otherwise what is left is the older tree itself, whose root the reader of the proof has.
        proof.append(_root_between(reader, start, old_size))
    proof.reverse()
    return proof


def check_inclusion(proof: Sequence[bytes], index: int, size: int, leaf_hash: bytes, root: bytes) -> None:
    """Return if the tree of this size and root has this leaf at this index; otherwise raise `ProofInvalid`.

    The algorithm is that of RFC 9162, section 2.1.3.2. It fixes the length of the proof.
    """
    if not 0 <= index < size:
        raise ProofInvalid("the tree has no such leaf")
    _check_lengths((*proof, leaf_hash, root))
    at, last = index, size - 1
    reached = leaf_hash
    for sibling in proof:
        if last == 0:
            raise ProofInvalid("the proof is too long")
        if at & 1 or at == last:
            reached = node_hash(sibling, reached)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            reached = node_hash(reached, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofInvalid("the proof is too short")
    if reached != root:
        raise ProofInvalid("the proof leads to another root")


def check_consistency(proof: Sequence[bytes], old_size: int, old_root: bytes, new_size: int, new_root: bytes) -> None:
    """Return if the newer tree begins with the leaves of the older one; otherwise raise `ProofInvalid`.

    The algorithm is that of RFC 9162, section 2.1.4.2. An empty older tree proves nothing of the newer one.
    """
    if not 0 <= old_size <= new_size:
        raise ProofInvalid("the older tree is the larger")
    _check_lengths((*proof, old_root, new_root))
    if old_size == 0 and old_root != EMPTY_ROOT:
        raise ProofInvalid("the empty tree has another root")
    if old_size in (0, new_size):
        if proof:
            raise ProofInvalid("the proof is too long")
        if old_size == new_size and old_root != new_root:
            raise ProofInvalid("two trees of one size have different roots")
        return
    # An older tree that is perfect is a node of the newer one, and its root is where the proof begins.
    path = proof if old_size & (old_size - 1) else (old_root, *proof)
    if not path:
        raise ProofInvalid("the proof is too short")
    at, last = old_size - 1, new_size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofInvalid("the proof is too long")
        if at & 1 or at == last:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofInvalid("the proof is too short")
    if old != old_root:
        raise ProofInvalid("the proof leads to another older root")
    if new != new_root:
        raise ProofInvalid("the proof leads to another newer root")


def _check_lengths(hashes: Sequence[bytes]) -> None:
    # Two hashes of other lengths could be joined to the same 64 bytes as two others.
    if any(len(hash_) != HASH_BYTES for hash_ in hashes):
        raise ProofInvalid("a hash has 32 bytes")
