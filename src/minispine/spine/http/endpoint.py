"""Where a national service is and whom we trust to be it: the endpoint, its addresses and its TLS context."""

import ssl
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from minispine.keys.files import KeyFileRefused
from minispine.keys.tls import load_own_certificate

MAX_ANSWER_BYTES: Final = 1024 * 1024


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a national service is, and how both sides prove who they are.

    Files are PEM (revocation lists also DER). `key_password_file` holds the key's password alone.
    `common_name_hosts` are the hosts whose certificate may name them by CN alone. `connect_timeout_s` bounds
    connecting and the TLS handshake together, `read_timeout_s` each pause before and within an answer, `idle_s` how
    long a connection is kept that nothing is asked on.
    """

    url: str
    certificate: Path
    key: Path
    key_password_file: Path | None = None
    ca: Path
    crl: tuple[Path, ...] = ()
    common_name_hosts: tuple[str, ...] = ()
    proxy: str | None = None
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 8.0
    max_connections: int = 64
    idle_s: float = 30.0
    max_answer_bytes: int = MAX_ANSWER_BYTES


class EndpointInvalid(Exception):
    """Our own mistake: the endpoint cannot be used as configured. `item` is the file or setting at fault."""

    def __init__(self, item: str, reason: str) -> None:
        super().__init__(f"{item}: {reason}")
        self.item = item
        self.reason = reason


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """An address taken apart: where to connect, and what a request line and its Host say. `target` is ASCII."""

    host: str
    port: int
    target: str
    named: str
    """The host as HTTP names it: in brackets where it is IPv6, with the port where that is not the usual one."""
    tls: bool
    authorization: str | None
    """Credentials for a proxy, as its Proxy-Authorization wants them."""


_PORTS: Final = {"https": 443, "http": 80}


def service_address(endpoint: Endpoint) -> Address:
    """Give the address of the service itself.

    Raises:
        EndpointInvalid: it is not an https address.
    """
    address = _address(endpoint.url)
    if address is None or not address.tls or address.authorization is not None:
        raise EndpointInvalid("url", "not an https address")
    return address


def proxy_address(endpoint: Endpoint) -> Address | None:
    """Give the address of the proxy, None where there is none.

    Raises:
        EndpointInvalid: it is not an http or https address.
    """
    if endpoint.proxy is None:
        return None
    address = _address(endpoint.proxy)
    if address is None:
        raise EndpointInvalid("proxy", "not an http or https address")
    return address


def _address(url: str) -> Address | None:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        (parts.hostname or "").encode("idna")
    except (ValueError, KeyError):
        return None
    if not parts.hostname or not target.isascii() or not target.isprintable() or " " in target:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Address(
        host=parts.hostname,
        port=port,
        target=target,
        named=host if port == _PORTS[parts.scheme] else f"{host}:{port}",
        tls=parts.scheme == "https",
        authorization=_basic(parts),
    )


def _basic(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    said = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + b64encode(said.encode()).decode("ascii")


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Make a TLS context that trusts what the endpoint says and nothing else.

    Raises:
        EndpointInvalid: a file is missing, not what it should be, or does not fit another; a key or password can be
            read by others.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = urlsplit(endpoint.url).hostname in endpoint.common_name_hosts
    try:
        context.load_verify_locations(cafile=endpoint.ca)
    except (OSError, ssl.SSLError):
        raise EndpointInvalid(str(endpoint.ca), "not a readable PEM file of certificates") from None
    for file in endpoint.crl:
        _load_revocations(context, file)
    if endpoint.crl:
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    try:
        load_own_certificate(context, endpoint.certificate, endpoint.key, endpoint.key_password_file)
    except KeyFileRefused as refused:
        raise EndpointInvalid(str(refused.file), refused.reason) from None
    return context


def _load_revocations(context: ssl.SSLContext, file: Path) -> None:
    try:
        content = file.read_bytes()
        pem = b"-----BEGIN X509 CRL-----" in content
        lists = x509.load_pem_x509_crl(content) if pem else x509.load_der_x509_crl(content)
        if pem:
            context.load_verify_locations(cafile=file)
            return
        # The ssl module reads revocation lists from files only, and only in PEM.
        with tempfile.NamedTemporaryFile(suffix=".pem") as copy:
            copy.write(lists.public_bytes(Encoding.PEM))
            copy.flush()
            context.load_verify_locations(cafile=copy.name)
    except (OSError, ssl.SSLError, ValueError):
        raise EndpointInvalid(str(file), "not a readable revocation list") from None
