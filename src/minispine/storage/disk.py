"""How much of a file system is free, as an account sees it that is not root."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

Statvfs = Callable[[Path], os.statvfs_result]


class Space(msgspec.Struct, frozen=True):
    """Bytes that are free to us, and bytes that would be if nothing were stored: what is reserved for root is neither.

    `free <= usable`, and `usable` is more than 0.
    """

    free: int
    usable: int

    @property
    def share(self) -> float:
        """The part that is free, 0 to 1."""
        return self.free / self.usable


def space(place: Path, statvfs: Statvfs = os.statvfs) -> Space | None:
    """The space of the file system that a path is on; None where it cannot be told. `statvfs` is the system call."""
    try:
        found = statvfs(place)
    except OSError:
        return None
    usable = found.f_blocks - found.f_bfree + found.f_bavail
    return Space(found.f_bavail * found.f_frsize, usable * found.f_frsize) if usable else None
