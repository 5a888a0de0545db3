"""The lanes in which requests wait for Spine: a person before a machine, and both before a batch (SMSP-PERF-007)."""

from typing import Final, Literal

from minispine.domain.identity import AccessMethod

Lane = Literal["attended", "unattended", "batch"]

LANES: Final[tuple[Lane, ...]] = ("attended", "unattended", "batch")
"""Every lane, the one that goes first at the front."""

ROOM_TO_WAIT: Final[dict[Lane, float]] = {"attended": 1.0, "unattended": 0.9, "batch": 0.8}
"""Which part of the room to wait each lane may fill: there is always some left for those who go first."""


def lane_of(registered: Lane, method: AccessMethod) -> Lane:
    """Give the lane of a request: the client's, but no lane of people for a function that runs by itself (method 1).

    >>> lane_of("attended", AccessMethod.UNATTENDED), lane_of("batch", AccessMethod.ATTENDED)
    ('unattended', 'batch')
    """
    return "unattended" if registered == "attended" and method is AccessMethod.UNATTENDED else registered
