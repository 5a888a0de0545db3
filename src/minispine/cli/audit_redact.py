"""`minispine audit redaction-request`, `audit sign` and `audit redact`: how a court's order is carried out.

The first makes the text that both authorities have to sign, the second is run by each authority on a machine of their
own, the third destroys the payloads. Nothing else in the product can.
"""

import getpass
import os
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from minispine.audit import archive as archives
from minispine.audit import declaration, redaction
from minispine.audit.declaration import Declaration, DeclarationInvalid
from minispine.audit.note import Signer
from minispine.audit.reading import last_sequence
from minispine.audit.redaction import AlreadyRemoved, ArchiveNeeded
from minispine.audit.removal_request import RemovalRequest, RequestInvalid, parse_ranges
from minispine.cli.account import actor
from minispine.cli.errors import Exit, Failed, Mistaken
from minispine.cli.notes import authority_key, read_note
from minispine.cli.trail import CONFIG, opened
from minispine.keys.files import KeyFileRefused, read_password, read_secret, write_public


def redaction_request(*, reference: str, records: str, config: Path = CONFIG) -> int:
    """Print the text by which both authorities order that payloads be destroyed.

    Both sign it with `minispine audit sign`; `minispine audit redact` then carries it out.

    Parameters
    ----------
    reference
        The reference of the court's order. It is kept in the open for ever: no patient's name or number.
    records
        The records by their sequence numbers: 12,15-17.
    config
        The configuration file of the installation.
    """
    with opened(config) as trail:
        declared = declaration.in_force(trail.database)
        if declared is None or not declared.authorities:
            raise Failed("the log was begun without authorities: nothing of it can ever be destroyed")
        try:
            request = RemovalRequest.of(
                declared, reference=reference, ranges=parse_ranges(records), random_bytes=os.urandom
            )
        except RequestInvalid as problem:
            raise Mistaken(str(problem)) from None
        have = last_sequence(trail.database)
        if any(last > have for _, last in request.ranges):
            raise Mistaken(f"the log has {have} records; not all of {records} are among them")
    print(request.encode(), end="")
    return Exit.DONE


def sign(file: Path, *, key: Path, passphrase_file: Path | None = None) -> int:
    """Sign an order to destroy payloads, or a change of the log's keys, as one of the two authorities.

    What is signed is shown first; giving the passphrase is signing it. The signature is added to the file, and the
    other authority signs the same file. Nothing but these two kinds of text is signed.

    Parameters
    ----------
    file
        The text, or the text with the signature of the other.
    key
        The private key that `minispine audit authority` made; its public key is beside it.
    passphrase_file
        The file of its passphrase, instead of asking for it.
    """
    text, signatures = _text_and_signatures(file)
    print(text, end="")
    signer = _signer(key, passphrase_file)
    verifier = signer.verifier
    line = str(signer.sign(text.encode()))
    if any(known.startswith(f"— {verifier.name} ") for known in signatures):
        raise Failed(f"{verifier.name} has signed {file} before")
    write_public(file, "".join((text, "\n", *signatures, line)).encode())
    print(f"{verifier.name} has signed {file}", file=sys.stderr)
    return Exit.DONE


def redact(
    request: Path,
    *,
    config: Path = CONFIG,
    archive: tuple[Path, ...] = (),
    owner_url: str | None = None,
    owner_password_file: Path | None = None,
) -> int:
    """Destroy the payloads that an order names, if both authorities have signed it.

    The records stay, and one that says what was destroyed on which order is added. What backups hold of them is
    not touched: see docs/retention.md for what to do about those. An attempt that is refused is recorded too.

    Parameters
    ----------
    request
        The text of `minispine audit redaction-request`, with both signatures.
    config
        The configuration file of the installation.
    archive
        An archive that holds payloads of the order, or a folder of archives; to be given several times. Their keys are
        destroyed, so that no copy of the archive tells them any more.
    owner_url
        On PostgreSQL, the address of the database as the owner of its tables, because the provider's own account must
        not be able to destroy anything.
    owner_password_file
        The file of the owner's password.
    """
    note = read_note(request)
    with opened(config, owner_url=owner_url, owner_password_file=owner_password_file) as trail, trail.log() as log:
        try:
            done = redaction.redact(trail.database, log, note, actor=actor(), archives=archives.at(archive))
        except ArchiveNeeded as needed:
            raise Mistaken(str(needed)) from None
        except RequestInvalid as problem:
            redaction.refused(log, problem, note, actor=actor())
            hint = "; it is signed with: minispine audit sign FILE --key KEY" if problem.cause == "not-signed" else ""
            raise Failed(f"{request}: {problem}{hint}") from None
        except AlreadyRemoved as already:
            _publish(trail.settings.audit.directory if trail.settings else None, note)
            print(already)
            return Exit.DONE
        _publish(trail.settings.audit.directory if trail.settings else None, note)
    print(f"the payloads of {len(done.sequences)} records are destroyed; record {done.record} says so")
    if not done.cleared:
        print(
            "The database's own files may still hold the old bytes, because others were using it; they go when the"
            " provider is stopped and started.",
            file=sys.stderr,
        )
    print("Backups made before still hold them: see docs/retention.md.", file=sys.stderr)
    return Exit.DONE


def _publish(directory: Path | None, note: str) -> None:
    """Keep the order where a restored log finds it; what is done is done, so a failure is only said."""
    if directory is None:
        print("Keep the signed request: after a restore from a backup it has to be carried out again.", file=sys.stderr)
        return
    request = RemovalRequest.decode(note[: note.index("\n\n") + 1])
    try:
        redaction.publish(directory, note, request)
    except OSError as error:
        print(f"The order could not be put into {directory}: {error.strerror}; keep it yourself.", file=sys.stderr)


def _text_and_signatures(file: Path) -> tuple[str, list[str]]:
    text, blank, block = read_note(file).partition("\n\n")
    text = f"{text}\n" if blank else text
    try:
        RemovalRequest.decode(text)
    except RequestInvalid as problem:
        try:
            Declaration.decode(text)
        except DeclarationInvalid:
            raise Mistaken(f"{file}: {problem}, nor a change of a log's keys; nothing else is signed") from None
    return text, block.splitlines(keepends=True)


def _signer(key: Path, passphrase_file: Path | None) -> Signer:
    public = key.with_name(f"{key.name}.pub")
    named = authority_key(public)
    content = read_secret(key)
    passphrase = read_password(passphrase_file) if passphrase_file else getpass.getpass("Passphrase: ")
    try:
        private = serialization.load_pem_private_key(content, passphrase.encode())
    except (ValueError, TypeError):
        raise KeyFileRefused(key, "cannot be opened with this passphrase") from None
    if not isinstance(private, Ed25519PrivateKey) or (signer := Signer(named.name, private)).verifier != named:
        raise KeyFileRefused(key, f"is not the private key of {public}")
    return signer
