"""Reading X.509: the facts of a certificate, whether a key belongs to it, and revocation lists.

Nothing here decides who may call; it says who a certificate names, until when, and whether its authority has taken it
back. `describe` and `RevocationLists.revoked` run once for each connection.
"""

import datetime
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes, PrivateKeyTypes
from cryptography.x509.oid import ExtensionOID

from minispine.keys.files import KeyFileRefused, read_password, read_public, read_secret

_PEM: Final = b"-----BEGIN"
_CRL_BEGIN: Final = b"-----BEGIN X509 CRL-----"
_CRL_END: Final = b"-----END X509 CRL-----"
_SPEC: Final = serialization.PublicFormat.SubjectPublicKeyInfo

_MALFORMED: Final = (ValueError, TypeError, x509.InvalidVersion)
"""What the library raises for bytes that are not what they should be, at once or when a part is first looked at."""

_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.CRL_NUMBER,
        ExtensionOID.ISSUING_DISTRIBUTION_POINT,
    }
)
"""Extensions of a revocation list that may be critical and still be acted upon (RFC 5280, 5.2)."""


class CertificateUnreadable(Exception):
    """Bytes that should be a certificate and are not."""


class CertificateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Who a certificate names, by whom it was issued, and when it holds.

    Names are RFC 4514 strings. `fingerprint` is SHA-256 over the DER form, in lower-case hex. Times are UTC.
    """

    subject: str
    issuer: str
    fingerprint: str
    not_before: datetime.datetime
    not_after: datetime.datetime
    serial: int

    def days_left(self, now: datetime.datetime) -> float:
        """Give the days until `not_after`; negative when it is past."""
        return (self.not_after - now) / datetime.timedelta(days=1)


def describe(certificate: bytes) -> CertificateFacts:
    """Read the facts of one certificate, DER or PEM (of several in PEM, the first).

    Raises:
        CertificateUnreadable: the bytes are no X.509 certificate.
    """
    try:
        return _facts(parse(certificate))
    except _MALFORMED:
        raise CertificateUnreadable("a certificate whose names or dates cannot be read") from None


def parse(certificate: bytes) -> x509.Certificate:
    """Read one certificate, DER or PEM (of several in PEM, the first).

    Raises:
        CertificateUnreadable: the bytes are no X.509 certificate.
    """
    try:
        if certificate.lstrip().startswith(_PEM):
            return x509.load_pem_x509_certificates(certificate)[0]
        return x509.load_der_x509_certificate(certificate)
    except _MALFORMED:
        raise CertificateUnreadable("not an X.509 certificate in PEM or DER") from None


def read_certificates(file: Path) -> list[x509.Certificate]:
    """Read every certificate of a PEM file, or the one of a DER file.

    Raises:
        KeyFileRefused: the file cannot be read, or holds no certificate.
    """
    content = read_public(file)
    try:
        if _PEM in content:
            return x509.load_pem_x509_certificates(content)
        return [x509.load_der_x509_certificate(content)]
    except _MALFORMED:
        raise KeyFileRefused(file, "holds no certificate in PEM or DER") from None


def read_facts(file: Path) -> list[CertificateFacts]:
    """Read the facts of every certificate in a file, in its order.

    Raises:
        KeyFileRefused: as `read_certificates`.
    """
    try:
        return [_facts(certificate) for certificate in read_certificates(file)]
    except _MALFORMED:
        raise KeyFileRefused(file, "holds a certificate whose names or dates cannot be read") from None


def read_private_key(file: Path, password_file: Path | None = None) -> PrivateKeyTypes:
    """Read a PEM private key that only its owner can read.

    Raises:
        KeyFileRefused: as `files.read_secret`; or not a private key in PEM, encrypted and no password given, or the
            password does not open it.
    """
    content = read_secret(file)
    password = read_password(password_file).encode() if password_file else None
    if b"ENCRYPTED" in content and password is None:
        raise KeyFileRefused(file, "is encrypted and no password file is given for it")
    try:
        return serialization.load_pem_private_key(content, password)
    except TypeError:
        raise KeyFileRefused(file, "is not encrypted, yet a password file is given for it") from None
    except (ValueError, UnsupportedAlgorithm):
        reason = "is no private key in PEM" if password is None else "is no private key in PEM that the password opens"
        raise KeyFileRefused(file, reason) from None


def belong_together(certificate: x509.Certificate, key: PrivateKeyTypes) -> bool:
    """Tell whether `key` is the private half of the key that `certificate` certifies."""
    return _public_bytes(certificate.public_key()) == _public_bytes(key.public_key())


class RevocationLists:
    """What the authorities of one listener or endpoint have taken back, read from files."""

    def __init__(self, lists: Mapping[str, tuple[tuple[Path, x509.CertificateRevocationList], ...]]) -> None:
        self._lists = lists

    @classmethod
    def load(cls, paths: Iterable[Path], ca_path: Path) -> "RevocationLists":
        """Read revocation lists, PEM (one or several in a file) or DER, each signed by an authority in `ca_path`.

        Raises:
            KeyFileRefused: a file cannot be read or holds no list; its issuer is not in `ca_path` or did not sign it;
                or it is of a kind that must not be taken for a whole list (delta, indirect, unknown critical
                extension).
        """
        authorities = read_certificates(ca_path)
        lists: dict[str, tuple[tuple[Path, x509.CertificateRevocationList], ...]] = {}
        for path in paths:
            for listed in _read_lists(path):
                _accept(path, listed, authorities, ca_path)
                issuer = listed.issuer.rfc4514_string()
                lists[issuer] = (*lists.get(issuer, ()), (path, listed))
        return cls(lists)

    def revoked(self, facts: CertificateFacts) -> bool:
        """Tell whether any list of the certificate's issuer names its serial number."""
        return any(
            listed.get_revoked_certificate_by_serial_number(facts.serial) is not None
            for _, listed in self._lists.get(facts.issuer, ())
        )

    def can_tell(self, facts: CertificateFacts, now: datetime.datetime) -> bool:
        """Tell whether the lists say anything about a certificate at `now`.

        They do where its authority has a list that is in date. Where no lists are configured at all nothing is asked
        of them.
        """
        if not self._lists:
            return True
        return any(_in_date(listed, now) for _, listed in self._lists.get(facts.issuer, ()))

    def problems(self, now: datetime.datetime) -> list[str]:
        """Say which files are out of date at `now`, or promise no next issue; empty when all are current."""
        found = []
        for path, listed in (pair for pairs in self._lists.values() for pair in pairs):
            following = listed.next_update_utc
            if listed.last_update_utc > now:
                found.append(f"{path}: not in force before {listed.last_update_utc:%Y-%m-%d %H:%M} UTC")
            if following is None:
                found.append(f"{path}: does not say when the next list is due")
            elif following < now:
                found.append(
                    f"{path}: out of date since {following:%Y-%m-%d %H:%M} UTC; fetch the authority's new list"
                )
        return found


def _in_date(listed: x509.CertificateRevocationList, now: datetime.datetime) -> bool:
    return listed.last_update_utc <= now and listed.next_update_utc is not None and now <= listed.next_update_utc


def _facts(certificate: x509.Certificate) -> CertificateFacts:
    return CertificateFacts(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        serial=certificate.serial_number,
    )


def _public_bytes(key: object) -> bytes:
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, _SPEC)  # type: ignore[attr-defined]
    return encoded


def _read_lists(path: Path) -> list[x509.CertificateRevocationList]:
    content = read_public(path)
    try:
        if _PEM not in content:
            return [x509.load_der_x509_crl(content)]
        blocks = [part.partition(_CRL_BEGIN)[2] for part in content.split(_CRL_END)[:-1]]
        found = [x509.load_pem_x509_crl(_CRL_BEGIN + block + _CRL_END + b"\n") for block in blocks]
    except _MALFORMED:
        found = []
    if not found:
        raise KeyFileRefused(path, "holds no certificate revocation list in PEM or DER")
    return found


def _accept(
    path: Path, listed: x509.CertificateRevocationList, authorities: list[x509.Certificate], ca_path: Path
) -> None:
    if not any(_signed(listed, authority) for authority in authorities if authority.subject == listed.issuer):
        raise KeyFileRefused(path, f"is not signed by an authority in {ca_path}")
    try:
        extensions = list(listed.extensions)
    except _MALFORMED:
        raise KeyFileRefused(path, "has extensions that cannot be read") from None
    for extension in extensions:
        scope = extension.value
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise KeyFileRefused(path, f"has a critical extension not understood here: {extension.oid.dotted_string}")
        if isinstance(scope, x509.IssuingDistributionPoint) and (scope.indirect_crl or scope.only_some_reasons):
            raise KeyFileRefused(path, "speaks for other authorities or for some reasons only, which is not supported")


def _signed(listed: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    key: CertificateIssuerPublicKeyTypes = authority.public_key()  # type: ignore[assignment]
    try:
        return listed.is_signature_valid(key)
    except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm):
        return False
