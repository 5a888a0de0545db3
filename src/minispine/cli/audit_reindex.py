"""`minispine audit reindex`: make the search index anew from the records."""

from pathlib import Path

from minispine.audit import index
from minispine.audit.found_by import entries_of
from minispine.cli.errors import Exit
from minispine.cli.progress import Progress, of_records
from minispine.cli.trail import CONFIG, opened


def reindex(
    *,
    config: Path = CONFIG,
    storage: str | None = None,
    storage_password_file: Path | None = None,
    audit_keys: Path | None = None,
) -> int:
    """Make the search index of the audit trail anew from its records.

    Needed after an upgrade from the first release, with another index key, and when `minispine audit verify --index`
    finds a difference. A provider may go on serving; searches meanwhile find what the old index knew or the new one
    does. A patient is found by the encrypted part of a record, so that a record whose payload is in an archive is not
    found by its patient afterwards.

    Parameters
    ----------
    config
        The provider's configuration, which says where the trail is.
    storage
        Where the trail is, instead: sqlite:DIRECTORY or a PostgreSQL URL.
    storage_password_file
        The file of the password that goes with --storage.
    audit_keys
        The folder of the log's keys that goes with --storage.
    """
    with opened(config, storage=storage, storage_password_file=storage_password_file, audit_keys=audit_keys) as trail:
        progress = Progress(of_records)
        index.rebuild(trail.database, entries_of(trail.database, trail.keys.vault()), progress=progress.at)
        progress.end()
    print("the index has every record")
    return Exit.DONE
