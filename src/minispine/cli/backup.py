"""`minispine backup` and `minispine restore`: a copy of all records, and going on from one."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from minispine.audit import archive as archives
from minispine.audit import backup as backups
from minispine.audit import keyfiles, redaction, restoration
from minispine.audit.archive import Archive
from minispine.audit.backup import BackupRefused
from minispine.audit.log import AuditLog
from minispine.audit.opening import open_database, open_log
from minispine.audit.redaction import Removed
from minispine.audit.restoration import RestoreRefused
from minispine.cli.account import actor
from minispine.cli.errors import Exit, Failed, Mistaken
from minispine.cli.notes import read_note
from minispine.cli.trail import CONFIG, now_us, opened
from minispine.config import Settings, load
from minispine.config.settings import Storage
from minispine.keys.files import read_password
from minispine.storage import Database, role

_INSTANCE: Final = "restore"


def backup(folder: Path, *, config: Path = CONFIG) -> int:
    """Copy the audit log and the registry into a folder, while the provider goes on serving.

    The copy can be verified by itself, with `minispine audit verify --storage sqlite:FOLDER`. Keep it on another
    machine, and the audit key folder in yet another place: whoever has both can read what is recorded of patients.

    Parameters
    ----------
    folder
        A folder that is not there yet, or empty.
    config
        The configuration file of the installation.
    """
    with opened(config) as trail, trail.log() as log:
        try:
            manifest = backups.make(trail.database, folder, now=now_us())
        except BackupRefused as refusal:
            raise Failed(str(refusal)) from None
        receipt = backups.record(log, folder.absolute(), manifest, actor=actor())
    print(f"{folder} holds the first {manifest.size} records; record {receipt.sequence} says that it was made")
    return Exit.DONE


def restore(
    folder: Path,
    *,
    approved_by: str,
    reason: str,
    config: Path = CONFIG,
    witnessed: Path | None = None,
    no_witness: bool = False,
    redactions: Path | None = None,
    archive: tuple[Path, ...] = (),
    owner_url: str | None = None,
    owner_password_file: Path | None = None,
) -> int:
    """Go on from a backup, in an empty database of either kind.

    The records after the backup are lost, and the log says so for ever: it goes on in a new epoch, whose first record
    names the last checkpoint that a witness has, what is lost, and who approved it. The backup is verified before. The
    audit key folder has to be the one of the log. Orders to destroy payloads that were carried out after the backup are
    carried out again.

    Parameters
    ----------
    folder
        The folder that `minispine backup` made.
    approved_by
        Who decided that the log goes on from this backup: a person's name and office. It is kept in the open.
    reason
        Why.
    config
        The configuration file of the installation; its database has to be empty or not there.
    witnessed
        The last checkpoint of the lost log that a witness has: a file with a signed note.
    no_witness
        Say that nobody outside has any checkpoint of the lost log.
    redactions
        The folder of the orders that were carried out; that of `audit.directory` when it is not given.
    archive
        An archive with payloads of such orders, or a folder of archives; to be given several times.
    owner_url
        On PostgreSQL, the address of the database as the account that is to own the tables.
    owner_password_file
        The file of the owner's password.
    """
    if (witnessed is None) is not no_witness:
        raise Mistaken("give --witnessed the last checkpoint that a witness has, or --no-witness if nobody has one")
    if not approved_by.strip() or not reason.strip():
        raise Mistaken("--approved-by and --reason have to say something")
    settings = load(config)
    held = archives.at(archive)
    note = read_note(witnessed) if witnessed else None
    place = Storage(url=owner_url, password_file=owner_password_file) if owner_url else settings.storage
    keys = keyfiles.load(settings.audit.keys)
    with open_database(place) as database:
        database.check_durable()
        database.migrate()
        if owner_url is not None:
            _let_serve(settings, database)
        log = open_log(database, keys, settings=settings, instance=_INSTANCE, now=now_us)
        try:
            done = restoration.restore(
                folder, database, log, keys, witnessed=note, approved_by=approved_by, reason=reason, actor=actor()
            )
            print(f"the log goes on from {done.size} records; record {done.record} begins epoch {done.epoch}")
            if done.first_lost is not None:
                print(f"lost are the records from {done.first_lost} to {done.last_lost or 'an unknown one'}")
            return _remove_again(database, log, redactions or _published(settings), held)
        except (RestoreRefused, BackupRefused) as refusal:
            raise Failed(str(refusal)) from None
        finally:
            log.close_now()


def _remove_again(database: Database, log: AuditLog, folder: Path | None, held: Sequence[Archive]) -> int:
    if folder is None:
        print("No orders to destroy payloads were looked for: give --redactions if there are any.", file=sys.stderr)
        return Exit.DONE
    code = Exit.DONE
    if not folder.is_dir():
        print(
            f"There is no {folder}, so no order to destroy payloads is known here. If one was carried out after the"
            " backup, what it destroyed can be read again until you run minispine audit redact with it.",
            file=sys.stderr,
        )
    else:
        for file, done in restoration.remove_again(database, log, folder, actor=actor(), archives=held):
            if isinstance(done, Removed):
                print(f"{file.name}: the payloads of {len(done.sequences)} records are destroyed again")
            else:
                print(f"minispine: {file}: {done}", file=sys.stderr)
                code = Exit.FAILED
    return code


def _published(settings: Settings) -> Path | None:
    return settings.audit.directory / redaction.FOLDER if settings.audit.directory else None


def _let_serve(settings: Settings, owner: Database) -> None:
    name = role.user_of(settings.storage.url)
    if name is None:
        raise Mistaken("storage.url has to name the account that serves")
    password = read_password(settings.storage.password_file) if settings.storage.password_file else None
    role.let_serve(owner, name, password)
