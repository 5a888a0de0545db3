"""The tree of RFC 6962, section 2.1, written as its definitions read and in no other way.

Shares nothing with ``minispine.audit.merkle``, which is compared to it. A list of leaves is a list of bytes.
"""

import hashlib
from collections.abc import Sequence


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def largest_power_below(n: int) -> int:
    """The largest power of two smaller than n: k < n <= 2k."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def mth(leaves: Sequence[bytes]) -> bytes:
    """MTH(D[n])."""
    n = len(leaves)
    if n == 0:
        return sha256(b"")
    if n == 1:
        return sha256(b"\x00" + leaves[0])
    k = largest_power_below(n)
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:]))


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n]), section 2.1.1."""
    n = len(leaves)
    if n == 1:
        return []
    k = largest_power_below(n)
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def proof(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PROOF(m, D[n]) for 0 < m <= n, section 2.1.2."""
    return subproof(m, leaves, True)


def subproof(m: int, leaves: Sequence[bytes], complete: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b)."""
    n = len(leaves)
    if m == n:
        return [] if complete else [mth(leaves)]
    k = largest_power_below(n)
    if m <= k:
        return [*subproof(m, leaves[:k], complete), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


class NaiveHashes:
    """A reader of hashes that computes each from the leaves, and refuses what the tree does not have."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = leaves

    def read(self, level: int, index: int) -> bytes:
        end = (index + 1) << level
        if index < 0 or end > len(self.leaves):
            raise LookupError("the tree has no such node")
        return mth(self.leaves[index << level : end])
