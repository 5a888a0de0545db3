"""`minispine audit rotate-master-key` and `audit change-keys`: other keys for a trail that goes on."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from minispine.audit import declaration, keyfiles, rotation
from minispine.audit.declaration import Declaration, DeclarationInvalid
from minispine.audit.keyfiles import LOG_KEY, MASTER_KEYS, MASTER_KEYS_VARIABLE, NEXT_LOG_KEY
from minispine.audit.note import Signer, Verifier
from minispine.audit.note import sign as sign_note
from minispine.audit.opening import signer_for
from minispine.audit.reading import last_sequence
from minispine.cli.account import actor
from minispine.cli.errors import Exit, Failed, Mistaken
from minispine.cli.notes import authority_key, read_note
from minispine.cli.progress import Progress, of_records
from minispine.cli.trail import CONFIG, OpenTrail, opened
from minispine.keys.ring import KeyRing
from minispine.storage import Database

_PAUSE_S: Final = 0.02
"""Between two transactions, so that those who serve get the database too."""


def rotate_master_key(
    *,
    config: Path = CONFIG,
    resume: bool = False,
    forget_old: bool = False,
    owner_url: str | None = None,
    owner_password_file: Path | None = None,
) -> int:
    """Make a new master key for the payloads of the trail, and wrap the key of each by it.

    The provider can go on serving. It writes under the old key until it is started again; afterwards --forget-old wraps
    what came meanwhile and takes the old keys out of the ring. Payloads are not encrypted anew: a copy of the database
    that was made before can be read by whoever has the old master key too.

    Where MINISPINE_AUDIT_MASTER_KEYS holds the ring, the new one is printed: put it there, then run --resume.

    Parameters
    ----------
    config
        The configuration file of the installation.
    resume
        Make no new key, and go on where the command was broken off.
    forget_old
        Make no new key, and take those out of the ring that nothing is under any more.
    owner_url
        On PostgreSQL, the address of the database as the owner of its tables, because the provider's own account must
        not be able to put anything in the place of a key.
    owner_password_file
        The file of the owner's password.
    """
    if resume and forget_old:
        raise Mistaken("--forget-old goes on where it was broken off by itself; give one of the two")
    with opened(config, owner_url=owner_url, owner_password_file=owner_password_file) as trail:
        assert trail.settings is not None, "the trail was found by the configuration"
        rotation.check_may_rewrap(trail.database)
        folder = trail.settings.audit.keys
        if forget_old:
            return _forget(trail, folder)
        vault = trail.keys.vault()
        if not resume:
            fresh = trail.keys.ring.with_new(os.urandom)
            with trail.log() as log:
                record = rotation.record_new(log, trail.keys.ring, fresh, actor=actor())
            print(f"master key {fresh.newest.id.hex()} is new; record {record} says so", file=sys.stderr)
            if not _put_ring(folder, fresh):
                print("then run: minispine audit rotate-master-key --resume", file=sys.stderr)
                return Exit.DONE
            vault = keyfiles.load(folder).vault()
        with _beside_others(trail.database) as between:
            done = rotation.rewrap(trail.database, vault, between=between)
    print(f"{done.count} data keys are wrapped by master key {vault.master_key.hex()} now")
    if done.unreadable:
        raise Failed(
            f"{done.unreadable} payloads cannot be opened with the keys in the ring, that of record"
            f" {done.first_unreadable} first"
        )
    print(
        f"Keep a copy of {folder} again, where the database is not. Start the provider again: until then it writes"
        " under the old key. Then run: minispine audit rotate-master-key --forget-old",
        file=sys.stderr,
    )
    return Exit.DONE


def change_keys(
    signed: Path | None = None,
    *,
    config: Path = CONFIG,
    print_: bool = False,
    new_log_key: bool = False,
    authority: tuple[Path, ...] = (),
) -> int:
    """Put another key of the log in force, or other redaction authorities.

    First --print writes the text that says which keys are to be, signed with the key of the log. Where authorities
    change, both that there have been until now sign it with `minispine audit sign`. The command with the signed file
    then puts the keys in force, by a record; the provider has to be started again, and until it is it signs no
    checkpoint.

    Parameters
    ----------
    signed
        The file of the signed text.
    config
        The configuration file of the installation.
    print_
        Print the text to be signed.
    new_log_key
        With --print: make a new key for the log, beside the one in use.
    authority
        With --print: the public key file of a redaction authority; to be given twice.
    """
    if print_ == (signed is not None):
        raise Mistaken("give either --print or the file of a signed text")
    if signed is not None and (new_log_key or authority):
        raise Mistaken("which keys are to be is said with --print; the signed file says it already")
    with opened(config) as trail:
        assert trail.settings is not None, "the trail was found by the configuration"
        folder = trail.settings.audit.keys
        if signed is None:
            print(_proposal(trail, folder, new_log_key=new_log_key, authorities=authority), end="")
        else:
            _put_in_force(trail, folder, read_note(signed))
    return Exit.DONE


def _forget(trail: OpenTrail, folder: Path) -> int:
    ring = trail.keys.ring
    if len(ring.keys) == 1:
        print(f"{ring.newest.id.hex()} is the only master key in the ring; there is nothing to forget")
        return Exit.DONE
    with trail.log() as log, _beside_others(trail.database) as between:
        done = rotation.forget_old(trail.database, log, ring, actor=actor(), between=between)
    if done.unreadable:
        raise Failed(
            f"{done.unreadable} payloads cannot be opened, that of record {done.first_unreadable} first; the old keys"
            " stay in the ring"
        )
    _put_ring(folder, ring.newest_alone())
    print(
        f"nothing is under {', '.join(key.id.hex() for key in ring.keys[1:])} any more; whoever still has such a key in"
        " front cannot write"
    )
    print(
        f"Keep a copy of {folder} again. Backups of the database from before need a copy of the old keys to be read.",
        file=sys.stderr,
    )
    return Exit.DONE


def _put_ring(folder: Path, ring: KeyRing) -> bool:
    """Put a ring where the old one was; False where only the operator can, who is told it."""
    if os.environ.get(MASTER_KEYS_VARIABLE):
        print(f"set {MASTER_KEYS_VARIABLE} to these lines, wherever it is set:", file=sys.stderr)
        print(ring.encode().decode("ascii"), end="")
        return False
    keyfiles.replace_ring(folder, ring)
    print(f"{folder / MASTER_KEYS} is written", file=sys.stderr)
    return True


def _proposal(trail: OpenTrail, folder: Path, *, new_log_key: bool, authorities: tuple[Path, ...]) -> str:
    """The declaration of the keys that are to be, signed with the log's key as it is, and as it is to be."""
    signer = signer_for(trail.database, trail.keys)
    before = _in_force(trail)
    named = _authorities(before, authorities)
    if not new_log_key and named == before.authorities:
        raise Mistaken("nothing would change; give --new-log-key, or --authority twice")
    signers = [signer]
    if new_log_key:
        signers.append(Signer(before.name, keyfiles.make_next_log_key(folder)))
        print(f"the log's next key is {folder / NEXT_LOG_KEY}", file=sys.stderr)
    wanted = msgspec.structs.replace(before, log_key=signers[-1].verifier, authorities=named)
    if named != before.authorities:
        names = " and ".join(key.name for key in before.authorities)
        print(f"to be signed by {names} too: minispine audit sign FILE --key ...", file=sys.stderr)
    return sign_note(wanted.encode(), signers)


def _authorities(before: Declaration, files: tuple[Path, ...]) -> tuple[Verifier, ...]:
    if not files:
        return before.authorities
    if not before.authorities:
        raise Failed("the log was begun without authorities, and never gets any")
    named = tuple(authority_key(file) for file in files)
    if len(named) != len(before.authorities):
        raise Mistaken("there are two redaction authorities: give --authority twice")
    if len({key.public_key for key in named}) != len(named):
        raise Mistaken("the two authorities have the same key; each has to have one that the other does not know")
    return named


def _put_in_force(trail: OpenTrail, folder: Path, note: str) -> None:
    try:
        wanted = Declaration.decode(note.partition("\n\n")[0] + "\n")
    except DeclarationInvalid as problem:
        raise Mistaken(str(problem)) from None
    install = _has_to_be_installed(wanted, trail.keys.log_key, folder)
    if _in_force(trail) == wanted:  # it was broken off between its record and the key's file
        print("these keys are in force already")
    else:
        try:
            with trail.log() as log:
                record = declaration.change(log, note, actor=actor()).sequence
        except DeclarationInvalid as problem:
            raise Failed(str(problem)) from None
        print(f"other keys are in force; record {record} says so. The log's public key is")
    if install:
        keyfiles.take_next_log_key(folder)
    print(wanted.log_key)
    print(
        f"Keep this line where this machine's administrators cannot change it, and a copy of {folder} again. Start the"
        " provider again: until then it signs no checkpoint.",
        file=sys.stderr,
    )


def _has_to_be_installed(wanted: Declaration, at_hand: Ed25519PrivateKey, folder: Path) -> bool:
    """Whether the log's key to be is the next one, rather than the one in use. Raises `Failed` if it is neither."""
    if Signer(wanted.name, at_hand).verifier == wanted.log_key:
        return False
    file = folder / NEXT_LOG_KEY
    if not file.exists() or Signer(wanted.name, keyfiles.read_log_key(file)).verifier != wanted.log_key:
        raise Failed(
            f"the text names {wanted.log_key.key_id.hex()} as the log's key, and neither {folder / LOG_KEY} nor {file}"
            " is it"
        )
    return True


def _in_force(trail: OpenTrail) -> Declaration:
    declared = declaration.in_force(trail.database)
    if declared is None:
        raise Failed("the audit log has not been begun; run: minispine audit init")
    return declared


@contextmanager
def _beside_others(database: Database) -> Iterator[Callable[[int], None]]:
    """What to call between two transactions: others get the database, and somebody is told how far it is."""
    progress = Progress(of_records)
    last = last_sequence(database)

    def between(reached: int) -> None:
        progress.at(reached, last)
        time.sleep(_PAUSE_S)

    try:
        yield between
    finally:
        progress.end()
