"""The lanes in which requests wait for Spine: a person before a machine, and both before a batch (SMSP-PERF-007)."""

from typing import Final, Literal

Lane = Literal["attended", "unattended", "batch"]

LANES: Final[tuple[Lane, ...]] = ("attended", "unattended", "batch")
"""Every lane, the one that goes first at the front."""


def before(lane: Lane, other: Lane) -> bool:
    """Tell whether `lane` goes before `other`."""
    return LANES.index(lane) < LANES.index(other)
