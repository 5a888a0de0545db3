"""Checking that a log is what was written: nothing left out, put in, moved or changed. Offline, from any copy of it.

A log by itself shows that it is consistent, not that it was not made anew as a whole: for that, somebody outside has to
have a checkpoint of it. What the registry knows is a small part of such knowledge: a log that lacks the record of a
change that the registry holds is not the log it was.

Where the records are followed one by one is ``chunk.py``; what is true of more than a chunk, ``assembly.py``; how a
database is read, ``stored.py``. Nothing here writes.
"""

from collections.abc import Callable, Collection, Sequence

from msgspec import structs

from minispine.audit.note import Verifier
from minispine.audit.vault import Vault
from minispine.audit.verification.archives import NO_ARCHIVES, Archives
from minispine.audit.verification.assembly import Assembly
from minispine.audit.verification.findings import (
    UNVERIFIED,
    Broken,
    Check,
    Observation,
    Proof,
    Result,
    Unrecorded,
    Verified,
)
from minispine.audit.verification.processes import followed
from minispine.audit.verification.published import PublishedLog
from minispine.audit.verification.recorded import changes_told, left_open, unrecorded
from minispine.audit.verification.sources import Source
from minispine.audit.verification.stored import StoredLog
from minispine.audit.verification.trusted import NoCheckpoint, Trusted
from minispine.storage import Database

__all__ = [
    "UNVERIFIED",
    "Archives",
    "Broken",
    "Check",
    "NoCheckpoint",
    "Observation",
    "Proof",
    "PublishedLog",
    "Result",
    "Trusted",
    "Unrecorded",
    "Verified",
    "verify",
    "verify_source",
]

Progress = Callable[[int, int], None]
"""Told now and then how many records are followed, and how many there are."""


def verify(
    database: Database,
    *,
    trusted: Sequence[Trusted] = (),
    known_key: Verifier | None = None,
    known_origin: str | None = None,
    known_restorations: Collection[int] = (),
    payloads: bool = True,
    archives: Archives = NO_ARCHIVES,
    vault: Vault | None = None,
    processes: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Check every record up to the last one at the time of the call, and that each change of the registry has one.

    `trusted` are checkpoints that were kept elsewhere, without which nothing is proven; `known_key` is the log's public
    key as it is known from elsewhere, `known_origin` its origin, `known_restorations` the records by which it went on
    from a backup. Without `payloads` only what the records say is checked, which is quicker. `archives` are files of
    payloads that were moved away. With `vault` it is checked, too, that the key of each payload is the right one.
    `processes` is how many share the work, by default as many as there are processors if the log is long; more than one
    need a main module that can be imported.

    Raises `StorageUnavailable`.
    """
    changes = changes_told(database)
    source = StoredLog.open(database, archives, vault)
    if isinstance(source, Broken):
        return source
    result = verify_source(
        source,
        trusted=trusted,
        known_key=known_key,
        known_origin=known_origin,
        known_restorations=known_restorations,
        payloads=payloads,
        archives=archives,
        processes=processes,
        progress=progress,
    )
    if isinstance(result, Broken):
        return result
    opened = left_open(database, result.records)
    if opened is not None:
        result = structs.replace(result, observations=(*result.observations, opened))
    return unrecorded(database, changes) or result


def verify_source(
    source: Source,
    *,
    trusted: Sequence[Trusted] = (),
    known_key: Verifier | None = None,
    known_origin: str | None = None,
    known_restorations: Collection[int] = (),
    payloads: bool = True,
    archives: Archives = NO_ARCHIVES,
    processes: int | None = None,
    progress: Progress | None = None,
) -> Broken | Verified:
    """The same of a log wherever it is kept, its registry left aside. Raises what the source raises."""
    payloads = payloads and source.has_payloads
    assembly = Assembly(
        source,
        trusted=trusted,
        known_key=known_key,
        known_origin=known_origin,
        known_restorations=known_restorations,
        archives=archives,
        payloads=payloads,
    )
    for chunk in followed(source, assembly.checkpoints.sizes_within, payloads=payloads, processes=processes):
        broken = assembly.take(chunk)
        if broken is not None:
            return broken
        if progress is not None:
            progress(chunk.last, source.records)
    return source.end() or assembly.finish(source.head)
