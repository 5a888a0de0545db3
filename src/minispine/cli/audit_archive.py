"""`minispine audit archive`: move the payloads of an old month from the database to a file."""

from pathlib import Path

from minispine.audit import archiving
from minispine.audit.archiving import ArchiveRefused
from minispine.cli.account import actor
from minispine.cli.errors import Exit, Failed, Mistaken
from minispine.cli.trail import CONFIG, opened


def archive(
    *,
    month: str,
    to: Path,
    config: Path = CONFIG,
    owner_url: str | None = None,
    owner_password_file: Path | None = None,
) -> int:
    """Move the payloads of a month out of the database into a file, when they are older than audit.keep_days.

    The records stay, and say where their payloads are. Keep the file and a copy of it for as long as the records have
    to be kept (docs/retention.md): without it nobody can tell what was asked and answered. `minispine audit verify
    --archive FOLDER` checks it.

    Parameters
    ----------
    month
        Which month, by the time at which records were sealed, UTC: 2026-09.
    to
        The folder for the file.
    config
        The configuration file of the installation.
    owner_url
        On PostgreSQL, the address of the database as the owner of its tables.
    owner_password_file
        The file of the owner's password.
    """
    try:
        archiving.month(month)
    except ValueError:
        raise Mistaken(f"{month!r} is no month; one is given as 2026-09") from None
    with opened(config, owner_url=owner_url, owner_password_file=owner_password_file) as trail, trail.log() as log:
        assert trail.settings is not None
        try:
            done = archiving.archive_month(
                trail.database, log, month, to, keep_days=trail.settings.audit.keep_days, actor=actor()
            )
        except ArchiveRefused as refusal:
            raise Failed(str(refusal)) from None
    print(
        f"the payloads of {done.payloads} records, from {done.first} to {done.last}, are in {done.file};"
        f" record {done.record} says so"
    )
    return Exit.DONE
