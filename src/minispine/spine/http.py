"""The one HTTP client for calls to national services: one endpoint, mutual TLS, bytes out and bytes back.

What it holds to: only the authorities configured for the endpoint are trusted; a certificate on a configured
revocation list is refused; a certificate that names its host by CN alone is refused unless the host is listed; the
environment names no proxy; redirects are not followed; an answer may not be larger than allowed. What fails comes out
as one of the few exceptions below, whose texts are fixed: no address, header or body is in them, nor the library's
own exception behind them. Retries, breakers and what an answer means are not here.
"""

import asyncio
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

MAX_ANSWER_BYTES: Final = 1024 * 1024

_NO_AUTO_HEADERS: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a national service is, and how both sides prove who they are.

    Files are PEM (revocation lists also DER). `key_password_file` holds the key's password on its first line.
    `common_name_hosts` are the hosts whose certificate may name them by CN alone. `connect_timeout_s` bounds
    connecting and the TLS handshake together.
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
    max_connections: int = 64
    max_answer_bytes: int = MAX_ANSWER_BYTES


class HttpAnswer(msgspec.Struct, frozen=True):
    """A whole answer of any status, its body as it was on the wire."""

    status: int
    body: bytes


class EndpointInvalid(Exception):
    """Our own mistake: the endpoint cannot be used as configured. `item` is the file or setting at fault."""

    def __init__(self, item: str, reason: str) -> None:
        super().__init__(f"{item}: {reason}")
        self.item = item
        self.reason = reason


class TransportFailure(Exception):
    """No whole answer came. The text is a fixed phrase."""


class Unreachable(TransportFailure):
    """No connection, or it ended before an answer began: asking again is safe."""


class TimedOut(TransportFailure):
    """The time allowed was over first."""


class Interrupted(TransportFailure):
    """The connection ended in the middle of an answer."""


class TooLarge(TransportFailure):
    """The answer is larger than allowed."""


class HttpClient:
    """Calls one endpoint over connections that it keeps open. Belongs to one event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Read the endpoint's files.

        Raises:
            EndpointInvalid: a file is missing, not what it should be, or does not fit another; an address is not
                https.
        """
        self._endpoint = endpoint
        self._tls = _context(endpoint)
        self._session: aiohttp.ClientSession | None = None

    def reload(self) -> None:
        """Read certificate, key, authorities and revocation lists again.

        They hold for connections made from now on, and a connection made under the old ones serves no new call.

        Raises:
            EndpointInvalid: as at the start; then the old ones stay in force.
        """
        self._tls = _context(self._endpoint)

    async def post(self, body: bytes, *, headers: Mapping[str, str], timeout_s: float) -> HttpAnswer:
        """Send `body` and wait for the whole answer, at most `timeout_s` seconds.

        Raises:
            TransportFailure: one of its kinds.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(body, headers)
        except TransportFailure as failure:
            failed = failure
        except aiohttp.ConnectionTimeoutError:
            failed = Unreachable("no connection in the time allowed for connecting")
        except TimeoutError:
            failed = TimedOut("no whole answer in the time allowed")
        except (aiohttp.ClientConnectorCertificateError, ssl.CertificateError):
            failed = Unreachable("the certificate of the other side was not accepted")
        except (aiohttp.ClientConnectorSSLError, ssl.SSLError):
            failed = Unreachable("no agreement on a TLS connection")
        except aiohttp.ClientConnectorError:
            failed = Unreachable("no connection")
        except (aiohttp.ClientConnectionError, aiohttp.ClientHttpProxyError, OSError):
            failed = Unreachable("the connection ended before an answer began")
        except aiohttp.ClientError:
            failed = Interrupted("the answer is not HTTP")
        # Raised here, outside the handlers, so that the library's exception, which holds the address, is not behind it.
        raise failed

    async def _exchange(self, body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
        async with self._opened().post(
            self._endpoint.url,
            data=body,
            headers=headers,
            ssl=self._tls,
            proxy=self._endpoint.proxy,
            allow_redirects=False,
        ) as response:
            chunks: list[bytes] = []
            size = 0
            interrupted = False
            try:
                async for chunk in response.content.iter_any():
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > self._endpoint.max_answer_bytes:
                        break
            except (aiohttp.ClientError, OSError) as error:
                if isinstance(error, TimeoutError):
                    raise
                interrupted = True
            if interrupted:
                raise Interrupted("the connection ended in the middle of the answer")
            if size > self._endpoint.max_answer_bytes:
                response.close()
                raise TooLarge("the answer is larger than allowed")
            return HttpAnswer(response.status, b"".join(chunks))

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            endpoint = self._endpoint
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=endpoint.max_connections, keepalive_timeout=30),
                cookie_jar=aiohttp.DummyCookieJar(),
                # Rounding to whole seconds, which saves timers, would let a call outlive its deadline.
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=endpoint.connect_timeout_s, ceil_threshold=float("inf")
                ),
                skip_auto_headers=_NO_AUTO_HEADERS,
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    """Make a TLS context that trusts what the endpoint says and nothing else."""
    address = urlsplit(endpoint.url)
    if address.scheme != "https" or not address.hostname:
        raise EndpointInvalid("url", "not an https address")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = address.hostname in endpoint.common_name_hosts
    try:
        context.load_verify_locations(cafile=endpoint.ca)
    except (OSError, ssl.SSLError):
        raise EndpointInvalid(str(endpoint.ca), "not a readable PEM file of certificates") from None
    for file in endpoint.crl:
        _load_revocations(context, file)
    if endpoint.crl:
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    password = _password(endpoint.key_password_file)
    try:
        # The password is always given, empty if need be: without one OpenSSL would ask at the terminal.
        context.load_cert_chain(endpoint.certificate, endpoint.key, password=lambda: password)
    except FileNotFoundError:
        missing = endpoint.key if endpoint.certificate.exists() else endpoint.certificate
        raise EndpointInvalid(str(missing), "no such file") from None
    except (OSError, ssl.SSLError, ValueError):
        raise EndpointInvalid(
            str(endpoint.key), f"does not open with its password, or does not belong to {endpoint.certificate}"
        ) from None
    return context


def _password(file: Path | None) -> bytes:
    if file is None:
        return b""
    try:
        return next(iter(file.read_bytes().splitlines()), b"")
    except OSError:
        raise EndpointInvalid(str(file), "not readable") from None


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
