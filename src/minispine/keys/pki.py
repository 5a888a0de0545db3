"""A public key infrastructure for development: authorities, certificates and revocation lists in one folder.

Three realms that trust nothing of each other, as in a real installation: `clients` (who may call the provider),
`provider` (the provider's own server) and `spine` (both ends of the way to Spine). Each has a root and an issuing
authority of its own, because a common root would let a certificate of one realm pass for one of another wherever the
root is trusted. Each realm's folder holds::

    root.pem root.key issuing.pem issuing.key
    ca.pem         issuing authority and root: what a listener or client is told to trust
    crl.pem        the revocation list of the issuing authority
    ledger.json    what was issued, and what was taken back

and ``issued/NAME.pem`` (with its issuing authority) and ``issued/NAME.key`` are the certificates given out.
Private keys are EC P-256 without a password. Not for production: every key lies in one place.
"""

import datetime
import ipaddress
import re
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from minispine.keys.certificates import CertificateFacts, describe, read_certificates, read_private_key
from minispine.keys.files import KeyFileRefused, reason_of, write_public, write_secret

LEAF_DAYS: Final = 397
AUTHORITY_DAYS: Final = 3650
CRL_DAYS: Final = 30
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")

_BACKDATED: Final = datetime.timedelta(minutes=5)
"""How far certificates and lists reach back, so that a peer whose clock is a little slow takes them."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST: Final = re.compile(r"(\*\.)?([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?)+")


class PkiRefused(Exception):
    """What was asked of the development PKI cannot be done; the text says why and what would work."""


class Realm(StrEnum):
    """A part of the PKI with authorities of its own."""

    CLIENTS = "clients"
    PROVIDER = "provider"
    SPINE = "spine"


class Kind(StrEnum):
    """What a certificate is for."""

    CLIENT = "client"
    """A client system that calls the provider."""
    SERVER = "server"
    """The provider's own listener."""
    SPINE_SERVER = "spine-server"
    """A (simulated) Spine endpoint."""
    SPINE_CLIENT = "spine-client"
    """The provider as Spine sees it."""


class _Use(msgspec.Struct, frozen=True):
    realm: Realm
    usage: x509.ObjectIdentifier
    named_hosts: bool


_USES: Final[dict[Kind, _Use]] = {
    Kind.CLIENT: _Use(Realm.CLIENTS, ExtendedKeyUsageOID.CLIENT_AUTH, False),
    Kind.SERVER: _Use(Realm.PROVIDER, ExtendedKeyUsageOID.SERVER_AUTH, True),
    Kind.SPINE_SERVER: _Use(Realm.SPINE, ExtendedKeyUsageOID.SERVER_AUTH, True),
    Kind.SPINE_CLIENT: _Use(Realm.SPINE, ExtendedKeyUsageOID.CLIENT_AUTH, False),
}


class _Line(msgspec.Struct, kw_only=True):
    """One certificate in a realm's ledger."""

    name: str
    kind: Kind
    serial: str
    subject: str
    not_after: datetime.datetime
    revoked_at: datetime.datetime | None = None


class _Ledger(msgspec.Struct, kw_only=True):
    """Everything a realm's issuing authority did; `crl_number` counts its lists."""

    crl_number: int = 0
    issued: list[_Line] = []


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate given out, and where its files are."""

    certificate: Path
    key: Path
    ca: Path
    """What the other side must trust."""
    facts: CertificateFacts


def create(folder: Path, *, now: datetime.datetime, days: int = AUTHORITY_DAYS) -> None:
    """Make the authorities of the three realms in `folder`, each with an empty revocation list.

    Raises:
        PkiRefused: the folder already holds a PKI.
        KeyFileRefused: the folder cannot be written.
    """
    if any((folder / realm).exists() for realm in Realm):
        raise PkiRefused(f"{folder} already holds a PKI; choose an empty folder")
    try:
        (folder / "issued").mkdir(parents=True, exist_ok=True)
        for realm in Realm:
            (folder / realm).mkdir(mode=0o700)
            _create_realm(folder / realm, realm, now, days)
    except OSError as error:
        raise KeyFileRefused(folder, reason_of(error)) from None


def issue(
    folder: Path,
    name: str,
    kind: Kind,
    *,
    now: datetime.datetime,
    days: int = LEAF_DAYS,
    common_name: str | None = None,
    organisation: str | None = None,
    hosts: tuple[str, ...] | None = None,
    replace: bool = False,
) -> Issued:
    """Issue a certificate with a new key, as ``issued/NAME.pem`` and ``issued/NAME.key``.

    `common_name` is `name` when left out; `hosts` (names and addresses) go into a server's certificate, `LOOPBACK` when
    left out, and into no client's. With `replace`, a certificate of that name is followed by a new one with the same
    subject if so asked; the old one stays valid until it is revoked or runs out.

    Raises:
        PkiRefused: no PKI there, the name or a host is malformed, a client is given hosts, the days are out of range,
            or the name is taken.
        KeyFileRefused: a file of the PKI cannot be read or written.
    """
    if not _NAME.fullmatch(name):
        raise PkiRefused(f"{name!r} cannot be a file's name: use letters, digits, dots, hyphens and underscores")
    if not 1 <= days <= AUTHORITY_DAYS:
        raise PkiRefused(f"a certificate can hold for 1 to {AUTHORITY_DAYS} days, not {days}")
    use = _USES[kind]
    if hosts is not None and not use.named_hosts:
        raise PkiRefused(f"a {kind} has no hosts in its certificate; leave them out, or ask for another kind")
    realm = _realm(folder, use.realm)
    certificate_file, key_file = folder / "issued" / f"{name}.pem", folder / "issued" / f"{name}.key"
    if certificate_file.exists() and not replace:
        raise PkiRefused(f"{certificate_file} exists; choose another name, or ask for a replacement")

    authority = read_certificates(realm / "issuing.pem")[0]
    signer = _signer(realm)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _certificate(_name(common_name or name, organisation), authority.subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use.usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if use.named_hosts:
        builder = builder.add_extension(_alternative_names(LOOPBACK if hosts is None else hosts), critical=False)
    certificate = builder.sign(signer, hashes.SHA256())
    facts = describe(certificate.public_bytes(serialization.Encoding.DER))

    ledger = _read_ledger(realm)
    ledger.issued.append(
        _Line(name=name, kind=kind, serial=f"{facts.serial:x}", subject=facts.subject, not_after=facts.not_after)
    )
    try:
        _write_ledger(realm, ledger)
        write_secret(key_file, _key_pem(key))
        write_public(certificate_file, _pem(certificate) + _pem(authority))
    except OSError as error:
        raise KeyFileRefused(certificate_file, reason_of(error)) from None
    return Issued(certificate=certificate_file, key=key_file, ca=realm / "ca.pem", facts=facts)


def revoke(folder: Path, name: str, *, now: datetime.datetime, crl_days: int = CRL_DAYS) -> list[Path]:
    """Take back every certificate issued under `name`, and issue new revocation lists; give those lists.

    Raises:
        PkiRefused: no PKI there, or nothing that still counts was issued under that name.
        KeyFileRefused: a file of the PKI cannot be read or written.
    """
    changed = []
    for realm in Realm:
        place = _realm(folder, realm)
        ledger = _read_ledger(place)
        lines = [line for line in ledger.issued if line.name == name and line.revoked_at is None]
        for line in lines:
            line.revoked_at = now
        if lines:
            _write_list(place, ledger, now, crl_days)
            changed.append(place / "crl.pem")
    if not changed:
        raise PkiRefused(f"no certificate named {name!r} in {folder} is left to revoke")
    return changed


def renew_lists(folder: Path, *, now: datetime.datetime, crl_days: int = CRL_DAYS) -> list[Path]:
    """Issue the revocation lists of all realms anew, before they are out of date; give them.

    Raises:
        PkiRefused: no PKI there.
        KeyFileRefused: a file of the PKI cannot be read or written.
    """
    for realm in Realm:
        place = _realm(folder, realm)
        _write_list(place, _read_ledger(place), now, crl_days)
    return [folder / realm / "crl.pem" for realm in Realm]


def _create_realm(place: Path, realm: Realm, now: datetime.datetime, days: int) -> None:
    root_key = ec.generate_private_key(ec.SECP256R1())
    issuing_key = ec.generate_private_key(ec.SECP256R1())
    root_name = _name(f"minispine development {realm} root", "minispine development")
    issuing_name = _name(f"minispine development {realm}", "minispine development")
    root = _authority(root_name, root_name, root_key.public_key(), root_key, now, days, path_length=1)
    issuing = _authority(issuing_name, root_name, issuing_key.public_key(), root_key, now, days, path_length=0)
    write_secret(place / "root.key", _key_pem(root_key))
    write_secret(place / "issuing.key", _key_pem(issuing_key))
    write_public(place / "root.pem", _pem(root))
    write_public(place / "issuing.pem", _pem(issuing))
    write_public(place / "ca.pem", _pem(issuing) + _pem(root))
    _write_list(place, _Ledger(), now, CRL_DAYS)


def _authority(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    days: int,
    *,
    path_length: int,
) -> x509.Certificate:
    return (
        _certificate(subject, issuer, public, now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _certificate(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str, organisation: str | None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)] if organisation else []
    try:
        return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    except ValueError:
        raise PkiRefused(f"{common_name!r} is too long for the common name of a certificate (64 characters)") from None


def _alternative_names(hosts: tuple[str, ...]) -> x509.SubjectAlternativeName:
    if not hosts:
        raise PkiRefused("a server's certificate needs at least one host name or address")
    return x509.SubjectAlternativeName([_alternative_name(host) for host in hosts])


def _alternative_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not _HOST.fullmatch(host):
            raise PkiRefused(f"{host!r} is neither a host name nor an IP address") from None
        return x509.DNSName(host)


def _realm(folder: Path, realm: Realm) -> Path:
    place = folder / realm
    if not (place / "issuing.pem").is_file():
        raise PkiRefused(f"{folder} holds no PKI; make one with: minispine pki init {shlex.quote(str(folder))}")
    return place


def _signer(place: Path) -> ec.EllipticCurvePrivateKey:
    key = read_private_key(place / "issuing.key")
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyFileRefused(place / "issuing.key", "is not the EC key this PKI was made with")
    return key


def _read_ledger(place: Path) -> _Ledger:
    file = place / "ledger.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Ledger)
    except OSError as error:
        raise KeyFileRefused(file, reason_of(error)) from None
    except msgspec.MsgspecError:
        raise KeyFileRefused(file, "is not the ledger of a development PKI") from None


def _write_ledger(place: Path, ledger: _Ledger) -> None:
    write_public(place / "ledger.json", msgspec.json.format(msgspec.json.encode(ledger), indent=1) + b"\n")


def _write_list(place: Path, ledger: _Ledger, now: datetime.datetime, days: int) -> None:
    ledger.crl_number += 1
    signer = _signer(place)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(read_certificates(place / "issuing.pem")[0].subject)
        .last_update(now - _BACKDATED)
        .next_update(now + datetime.timedelta(days=days))
        .add_extension(x509.CRLNumber(ledger.crl_number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    for line in ledger.issued:
        if line.revoked_at is not None:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(int(line.serial, 16))
                .revocation_date(line.revoked_at)
                .build()
            )
    content = builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    try:
        _write_ledger(place, ledger)
        write_public(place / "crl.pem", content)
    except OSError as error:
        raise KeyFileRefused(place / "crl.pem", reason_of(error)) from None


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
