"""`minispine migrate`: bring the tables to this release."""

from pathlib import Path

from minispine.audit.opening import open_database
from minispine.cli.errors import Exit
from minispine.cli.trail import CONFIG
from minispine.config import load
from minispine.config.settings import Storage
from minispine.storage import Store, role


def migrate(*, config: Path = CONFIG, owner_url: str | None = None, owner_password_file: Path | None = None) -> int:
    """Bring the tables to this release. No record of the audit log is ever rewritten.

    Stop the provider first. It migrates by itself when it starts, unless its account of the database does not own the
    tables; then this has to be run with --owner-url. Make a backup before: there is no way back to an older release.

    Parameters
    ----------
    config
        The configuration file of the installation.
    owner_url
        On PostgreSQL, the address of the database as the account that owns the tables.
    owner_password_file
        The file of the owner's password.
    """
    settings = load(config)
    place = Storage(url=owner_url, password_file=owner_password_file) if owner_url else settings.storage
    with open_database(place) as database:
        database.check_durable()
        database.migrate()
        for name in role.grant_again(database):
            print(f"the account {name} may serve from them")
        with database.reading(Store.AUDIT) as session:
            [(records, declared)] = session.rows("SELECT sequence, declared FROM audit_head WHERE id = 1")
    print("the tables are those of this release")
    if records and not declared:
        print("The log is of a release without keys; run: minispine audit init, then: minispine audit reindex")
    return Exit.DONE
