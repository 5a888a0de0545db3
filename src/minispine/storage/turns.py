"""Advisory locks of PostgreSQL: every number that is one, so that no two can mean the same by chance.

Of other processes that use the same tables at most one has a turn. On SQLite, where a transaction that writes excludes
all others anyway, nobody needs one. How a process claims to serve is in ``claim.py``; those numbers are digests.
"""

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minispine.storage.database import Session


class Turn(IntEnum):
    """What only one may do at a time. The numbers are known to releases that run beside this one: keep them."""

    MIGRATION = 0x6D696E697370
    INDEX = 0x6D696E69_00000001
    """Folding the search index, or making it anew."""
    INDEX_WRITING = 0x6D696E69_00000002
    """One transaction that changes segments of the index."""
    CHECKPOINT = 0x6D696E69_00000003


def take(session: "Session", turn: Turn) -> None:
    """Within a transaction: wait for a turn, which ends with the transaction, also if the process was stopped.

    Raises `StorageUnavailable`.
    """
    if session.kind == "postgresql":
        session.run("SELECT pg_advisory_xact_lock(?)", (turn.value,))
