"""TLS to a witness: the authorities of its configuration alone are trusted, and its certificate has to name it."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from minispine.audit.witnesses.recipient import Refused, Unreachable
from minispine.keys.files import KeyFileRefused
from minispine.keys.tls import load_own_certificate

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

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


class Punctual(ssl.SSLSocket):
    """A connection that ends at some time, however often something is read from it or written to it before.

    A time-out of its own has each call: one for which the other side has something to say again and again would never
    come to it. The handshake is one call.
    """

    _ends_at: float
    _monotonic: Callable[[], float]

    def end_at(self, seconds: float, monotonic: Callable[[], float]) -> None:
        """Have every call from now on raise `TimeoutError` once the clock has come to `seconds`."""
        self._ends_at = seconds
        self._monotonic = monotonic

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int | None = None, flags: int = 0) -> int:
        """See `ssl.SSLSocket`."""
        self._be_in_time()
        return super().recv_into(buffer, nbytes, flags)

    def send(self, data: "ReadableBuffer", flags: int = 0) -> int:
        """See `ssl.SSLSocket`; `sendall` calls it."""
        self._be_in_time()
        return super().send(data, flags)

    def _be_in_time(self) -> None:
        left_s = self._ends_at - self._monotonic()
        if left_s <= 0:
            raise TimeoutError
        self.settimeout(left_s)


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
