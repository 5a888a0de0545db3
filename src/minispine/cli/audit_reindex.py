"""`minispine audit reindex`: make the search index anew from the records."""

from pathlib import Path

from minispine.audit import index
from minispine.audit.found_by import entries_of, not_given
from minispine.audit.verification import Archives
from minispine.cli.errors import Exit, Mistaken
from minispine.cli.progress import Progress, of_records
from minispine.cli.trail import CONFIG, opened


def reindex(
    *,
    config: Path = CONFIG,
    storage: str | None = None,
    storage_password_file: Path | None = None,
    audit_keys: Path | None = None,
    archive: tuple[Path, ...] = (),
) -> int:
    """Make the search index of the audit trail anew from its records.

    Needed after an upgrade from the first release, with another index key, and when `minispine audit verify --index`
    finds a difference. A provider may go on serving; searches meanwhile find what the old index knew or the new one
    does. A patient is found by the encrypted part of a record, so that every archive of payloads is needed.

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
    archive
        A file of archived payloads, or a directory of them; can be given several times.
    """
    with opened(config, storage=storage, storage_password_file=storage_password_file, audit_keys=audit_keys) as trail:
        archives = Archives(archive)
        if lacking := [name for _, _, name in not_given(trail.database, archives)]:
            raise Mistaken(
                f"{', '.join(lacking)}: give it with --archive; without it the records whose payloads it holds would"
                " no longer be found by their patients"
            )
        progress = Progress(of_records)
        index.rebuild(trail.database, entries_of(trail.database, trail.keys.vault(), archives), progress=progress.at)
        progress.end()
    print("the index has every record")
    return Exit.DONE
