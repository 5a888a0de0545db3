"""TLS to a witness: the authorities of its configuration alone are trusted, and its certificate has to name it."""

import ssl
from pathlib import Path
from typing import Final

from minispine.audit.witnesses.recipient import Refused, Unreachable
from minispine.keys.files import KeyFileRefused
from minispine.keys.tls import load_own_certificate

_OF_OURS: Final = frozenset({"CERTIFICATE_REQUIRED", "UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_EXPIRED"})
"""What is in OpenSSL's reason where the other side turns our certificate down, or misses one."""


def context_for(ca: Path, certificate: Path | None, key: Path | None, key_password_file: Path | None) -> ssl.SSLContext:
    """A context made of the files as they are now, so that renewed ones are taken. Raises `Refused`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=ca)
    except (OSError, ssl.SSLError):
        raise Refused(f"{ca}: is not a readable PEM file of certificates") from None
    if certificate is not None and key is not None:
        try:
            load_own_certificate(context, certificate, key, key_password_file)
        except KeyFileRefused as refused:
            raise Refused(str(refused)) from None
    return context


def in_our_words(error: OSError | UnicodeError) -> Unreachable | Refused:
    """What went wrong with a connection, without the other side's words."""
    if isinstance(error, UnicodeError):
        return Refused("its name is not one that a machine can have")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Refused("its certificate is not trusted, or is for another name")
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        if any(part in reason for part in _OF_OURS):
            return Refused("it does not accept our certificate")
        return Unreachable("the TLS connection failed")
    if isinstance(error, TimeoutError):
        return Unreachable("it did not answer in time")
    return Unreachable(f"cannot be reached: {(error.strerror or type(error).__name__).lower()}")
