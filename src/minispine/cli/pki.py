"""`minispine pki`: certificates for development. Not for production, because every key lies in one folder."""

import datetime
import json
from pathlib import Path

from minispine.cli.errors import Exit
from minispine.cli.output import pairs
from minispine.keys import pki
from minispine.keys.certificates import CertificateFacts, read_facts
from minispine.keys.pki import Kind


def init(folder: Path, /, *, days: int = pki.AUTHORITY_DAYS) -> None:
    """Make authorities for clients, for the provider and for Spine, each with a revocation list.

    Args:
        folder: Where; it is made when it does not exist.
        days: For how many days the authorities hold.
    """
    pki.create(folder, now=_now(), days=days)
    for realm in pki.Realm:
        print(f"{folder / realm / 'ca.pem'}")
        print(f"{folder / realm / 'crl.pem'}")


def issue(
    folder: Path,
    name: str,
    /,
    *,
    kind: Kind = Kind.CLIENT,
    days: int = pki.LEAF_DAYS,
    common_name: str | None = None,
    organisation: str | None = None,
    host: tuple[str, ...] = (),
    replace: bool = False,
) -> None:
    """Issue a certificate with a new key, and print where both are.

    Args:
        folder: The folder of `pki init`.
        name: What to call the files, and the subject's common name unless --common-name says otherwise.
        kind: client and server are the two ends of the way into the provider, spine-client and spine-server those of
            the way out of it.
        days: For how many days it holds.
        common_name: The subject's common name.
        organisation: The subject's organisation.
        host: A name or address of the server, those of this machine when left out; may be given several times. Clients
            have none.
        replace: Issue another one though there is one of that name; the older stays valid until it is revoked.
    """
    issued = pki.issue(
        folder,
        name,
        kind,
        now=_now(),
        days=days,
        common_name=common_name,
        organisation=organisation,
        hosts=host or None,
        replace=replace,
    )
    print(issued.certificate)
    print(issued.key)


def revoke(folder: Path, name: str, /, *, crl_days: int = pki.CRL_DAYS) -> None:
    """Take back every certificate of that name, and print the revocation lists that now say so.

    Args:
        folder: The folder of `pki init`.
        name: The name given to `pki issue`.
        crl_days: In how many days the next list is due.
    """
    for changed in pki.revoke(folder, name, now=_now(), crl_days=crl_days):
        print(changed)


def renew(folder: Path, /, *, crl_days: int = pki.CRL_DAYS) -> None:
    """Issue the revocation lists anew, before they are out of date.

    Args:
        folder: The folder of `pki init`.
        crl_days: In how many days the next lists are due.
    """
    for renewed in pki.renew_lists(folder, now=_now(), crl_days=crl_days):
        print(renewed)


def show(file: Path, /, *, json_: bool = False) -> int:
    """Show whom each certificate of a file names, who issued it, and how many days are left.

    Exit code 1 when the first one is not valid today.

    Args:
        file: Certificates, PEM or DER.
        json_: Print JSON.
    """
    now = _now()
    found = read_facts(file)
    if json_:
        print(json.dumps([_plain(facts, now) for facts in found], indent=1, ensure_ascii=False))
    for facts in [] if json_ else found:
        pairs([(name.replace("_", " "), str(value)) for name, value in _plain(facts, now).items()])
        print()
    return Exit.DONE if found[0].not_before <= now <= found[0].not_after else Exit.FAILED


def _plain(facts: CertificateFacts, now: datetime.datetime) -> dict[str, str | int]:
    return {
        "subject": facts.subject,
        "issuer": facts.issuer,
        "fingerprint": facts.fingerprint,
        "serial": f"{facts.serial:x}",
        "not_before": facts.not_before.isoformat(),
        "not_after": facts.not_after.isoformat(),
        "days_left": int(facts.days_left(now)),
    }


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
