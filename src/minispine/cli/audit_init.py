"""`minispine audit init` and `minispine audit authority`: the keys of the trail, and its first record."""

import getpass
import sys
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from minispine.audit import declaration, keyfiles
from minispine.audit.note import Signer, check_key_name
from minispine.audit.opening import open_database, open_log, origin_of, signer_for
from minispine.cli.account import actor
from minispine.cli.errors import Exit, Failed, Mistaken
from minispine.cli.notes import authority_key
from minispine.cli.trail import CONFIG, now_us
from minispine.config import load
from minispine.config.settings import Storage
from minispine.keys.files import read_password, write_public, write_secret
from minispine.storage import Database, Store, role

_INSTANCE: Final = "audit-init"
_LEAST_PASSPHRASE: Final = 12


def init(
    *,
    config: Path = CONFIG,
    authority: tuple[Path, ...] = (),
    without_redaction: bool = False,
    owner_url: str | None = None,
    owner_password_file: Path | None = None,
) -> int:
    """Make the audit log: its tables, its keys, and the first record, which states its public keys.

    Nothing can be served, registered or recorded before this. A court may order that what is recorded of somebody be
    destroyed; that takes the signatures of two authorities, say the Caldicott Guardian and the chief executive, whose
    public keys have to be named now (`minispine audit authority` makes them) because nobody can add them later. What is
    there already is left as it is, so that the command can be repeated.

    Parameters
    ----------
    config
        The configuration file of the installation.
    authority
        The public key file of a redaction authority; to be given twice.
    without_redaction
        Begin a log of which nothing can ever be destroyed, instead of naming authorities.
    owner_url
        On PostgreSQL, the address of the database as the account that is to own the tables. The account that
        `storage.url` names is made if it is not there, with the password in `storage.password_file`, and may add
        records and never change one.
    owner_password_file
        The file of the owner's password.
    """
    settings = load(config)
    if len(authority) not in (0, 2):
        raise Mistaken("there are two redaction authorities: give --authority twice")
    if bool(authority) == without_redaction:
        raise Mistaken("either give --authority twice, or --without-redaction; it cannot be changed later")
    authorities = tuple(authority_key(file) for file in authority)
    if len({key.public_key for key in authorities}) != len(authorities):
        raise Mistaken("the two authorities have the same key; each has to have one that the other does not know")
    origin = origin_of(settings)
    try:
        declaration.check_origin(origin)
    except ValueError as error:
        raise Mistaken(f"{config}: audit.origin: {error}") from None
    if owner_url is not None:
        _let_serve(settings.storage, Storage(url=owner_url, password_file=owner_password_file))
    with open_database(settings.storage) as database:
        database.check_durable()
        database.migrate()
        if declaration.in_force(database) is None:
            keys, made = keyfiles.make(settings.audit.keys)
            for file in made:
                print(f"made {file}")
            log = open_log(database, keys, settings=settings, instance=_INSTANCE, now=now_us)
            try:
                declaration.begin(
                    log, origin=origin, signer=Signer(origin, keys.log_key), authorities=authorities, actor=actor()
                )
            except declaration.AlreadyBegun:
                raise Failed("somebody else has begun the audit log at the same moment; look at it again") from None
            finally:
                log.close_now()
            print(f"the audit log {origin} has begun; its public key is")
        else:
            keys = keyfiles.load(settings.audit.keys)
            print("the audit log has begun before; its public key is")
        print(signer_for(database, keys).verifier)
        _warn_of_owner(database)
    print(
        "Keep this line where this machine's administrators cannot change it, and a copy of"
        f" {settings.audit.keys} where the database is not: without its master keys no payload can be read again.",
        file=sys.stderr,
    )
    return Exit.DONE


def authority(name: str, *, key: Path, passphrase_file: Path | None = None) -> int:
    """Make the key pair of a redaction authority, who runs this on a machine of their own.

    The private key is encrypted with a passphrase that is asked for, or read from a file; the public one is written
    beside it, with .pub at the end of its name, for `minispine audit init`.

    Parameters
    ----------
    name
        Who it is, without blanks: caldicott-guardian, for example.
    key
        The file for the private key; it must not be there.
    passphrase_file
        The file of the passphrase, instead of asking for it.
    """
    try:
        check_key_name(name)
    except ValueError as error:
        raise Mistaken(f"{name!r} cannot be a name: {error}") from None
    public = key.with_name(f"{key.name}.pub")
    for file in (key, public):
        if file.exists():
            raise Failed(f"{file} is there already; it is not written over")
    passphrase = read_password(passphrase_file) if passphrase_file else _asked_for()
    if len(passphrase) < _LEAST_PASSPHRASE:
        raise Mistaken(f"a passphrase has at least {_LEAST_PASSPHRASE} characters")
    private = Ed25519PrivateKey.generate()
    try:
        write_secret(
            key,
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(passphrase.encode()),
            ),
        )
        write_public(public, f"{Signer(name, private).verifier}\n".encode())
    except OSError as error:
        raise Failed(f"{key}: {error.strerror}") from None
    print(f"made {key} and {public}")
    return Exit.DONE


def _let_serve(storage: Storage, owner: Storage) -> None:
    """Make the tables as their owner, and the account that serves."""
    name = role.user_of(storage.url) if storage.url.startswith("postgres") else None
    if name is None:
        raise Mistaken("--owner-url is for PostgreSQL, and storage.url has to name the account that serves")
    with open_database(owner) as database:
        database.check_durable()
        database.migrate()
        password = read_password(storage.password_file) if storage.password_file else None
        if role.let_serve(database, name, password):
            print(f"made the account {name} of the database")


def _warn_of_owner(database: Database) -> None:
    if database.kind == "postgresql":
        with database.session(Store.AUDIT) as session:
            if role.owns(session):
                print(
                    "The account in storage.url owns the tables, so that it could take away what keeps records as they"
                    " are: make another one serve, with --owner-url.",
                    file=sys.stderr,
                )


def _asked_for() -> str:
    passphrase = getpass.getpass("Passphrase: ")
    if getpass.getpass("The same again: ") != passphrase:
        raise Mistaken("the two passphrases differ")
    return passphrase
