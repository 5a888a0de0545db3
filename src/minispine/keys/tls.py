"""Handing our own private key to a TLS context, which takes it from its file only.

Whom a context trusts is its maker's: ``provider/http/tls.py`` for the listener, ``spine/http/endpoint.py`` for Spine.
"""

import ssl
from pathlib import Path

from minispine.keys.files import KeyFileRefused, read_password, read_public, read_secret


def load_own_certificate(context: ssl.SSLContext, certificate: Path, key: Path, password_file: Path | None) -> None:
    """Have a context prove who we are by a certificate chain and its private key, PEM.

    Raises:
        KeyFileRefused: a file cannot be read, the key or its password can be read by others than their owner, the
            password does not open the key, or the key is not that of the certificate.
    """
    read_public(certificate)
    read_secret(key)
    password = read_password(password_file) if password_file else ""
    try:
        # The password is always given, empty if need be: without one OpenSSL would ask at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: password)
    except (OSError, ssl.SSLError, ValueError):
        raise KeyFileRefused(key, f"does not open with its password, or does not belong to {certificate}") from None
