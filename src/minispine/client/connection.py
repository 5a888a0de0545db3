"""One provider over HTTPS with mutual TLS: bytes out, bytes back, and this library's own errors.

Only the authorities named for the provider are trusted; the environment names neither proxies nor authorities, and
redirects are not followed.
"""

import asyncio
import ssl
from pathlib import Path
from typing import Final, Self

import aiohttp
import msgspec

from minispine.client.errors import AnswerUnusable, Busy, ClientError, ConnectionFailed, RequestInvalid, TimedOut
from minispine.keys.certificates import read_private_key
from minispine.keys.files import KeyFileRefused, read_password, read_public

MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
_BUSY: Final = 503
_UNTRUSTED: Final = "if it always does, the provider may not trust our certificate"


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """How we prove who we are, and whom we believe. All files are PEM; the key is readable by its owner only."""

    certificate: Path
    key: Path
    key_password_file: Path | None = None
    ca: Path
    connect_timeout_s: float = 5.0


class Received(msgspec.Struct, frozen=True):
    """An HTTP answer other than the busy tone."""

    status: int
    body: bytes


class Channel:
    """Connections to one provider, kept open between calls. Belongs to one event loop."""

    def __init__(self, url: str, connection: Connection) -> None:
        """Read the connection's files.

        Raises:
            RequestInvalid: `url` is not https.
            KeyFileRefused: one of the files cannot be used.
        """
        if not url.lower().startswith("https://"):
            raise RequestInvalid("the provider's address", "must begin with https://")
        self._url = url
        self._connection = connection
        self._context = _context(connection)
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes, *, soap_action: str, timeout_s: float) -> Received:
        """Send a message and give the answer.

        Raises:
            Busy: HTTP 503.
            TimedOut: no whole answer within `timeout_s` seconds.
            ConnectionFailed: the connection could not be made or broke.
            AnswerUnusable: the answer is larger than `MAX_ANSWER_BYTES` or not HTTP.
        """
        headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{soap_action}"'}
        failure: ClientError
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._opened().post(self._url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                if response.status == _BUSY:
                    raise Busy(_seconds(response.headers.get("Retry-After")))
                return Received(response.status, await _whole(response))
        except ClientError:
            raise
        except aiohttp.ConnectionTimeoutError:
            failure = ConnectionFailed("no connection in the time allowed for it")
        except TimeoutError:
            failure = TimedOut(f"no answer within {timeout_s:g} seconds")
        except (aiohttp.ClientConnectorCertificateError, ssl.CertificateError):
            failure = ConnectionFailed("the provider's certificate is not from an authority trusted here")
        except (aiohttp.ClientSSLError, ssl.SSLError):
            failure = ConnectionFailed("no agreement on TLS; perhaps our certificate is not accepted")
        except aiohttp.ClientConnectorDNSError:
            failure = ConnectionFailed("there is no host of that name")
        except aiohttp.ClientConnectorError as error:
            in_handshake = isinstance(error.os_error, ConnectionResetError)
            failure = ConnectionFailed(
                f"the connection ended; {_UNTRUSTED}" if in_handshake else "nothing answers there"
            )
        except (aiohttp.ClientConnectionError, OSError):
            # In TLS 1.3 our certificate is looked at after the handshake is done as we see it.
            failure = ConnectionFailed(f"the connection ended before the answer did; {_UNTRUSTED}")
        except (aiohttp.ClientError, ValueError):
            failure = AnswerUnusable("the answer is not HTTP, or the address is not one")
        raise failure  # outside the handlers, so that the library's exception is not behind it

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, connect=self._connection.connect_timeout_s)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._context),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=timeout,
            )
        return self._session


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise AnswerUnusable("the answer is larger than allowed")
    return bytes(body)


def _context(connection: Connection) -> ssl.SSLContext:
    read_private_key(connection.key, connection.key_password_file)
    password = read_password(connection.key_password_file) if connection.key_password_file else ""
    for file in (connection.certificate, connection.ca):
        read_public(file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(connection.ca)
    except ssl.SSLError:
        raise KeyFileRefused(connection.ca, "holds no certificate in PEM") from None
    try:
        context.load_cert_chain(connection.certificate, connection.key, password)
    except ssl.SSLError:
        raise KeyFileRefused(
            connection.certificate, f"is not a certificate in PEM that {connection.key} belongs to"
        ) from None
    return context


def _seconds(retry_after: str | None) -> float | None:
    """Read the delay form of Retry-After; a date is left to the caller's own judgement."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
