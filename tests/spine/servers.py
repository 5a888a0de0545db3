"""Servers on loopback with mutual TLS, which answer, stay silent, or break off; and an authority for both sides."""

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from minispine.keys.files import write_secret

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
SECRET = "marker-in-the-address"


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


Pair = tuple[Path, Path, x509.Certificate]
"""A certificate's file, its key's, and the certificate itself."""


class Authority:
    """An authority of our own: issues certificates and revokes them."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        self.certificate = (
            self._builder(named(name), self.key, NOW + 30 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, not_after: datetime.datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(named(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 2 * DAY)
            .not_valid_after(not_after)
        )

    def issue(
        self,
        name: str,
        *,
        hosts: bool = True,
        not_after: datetime.datetime = NOW + DAY,
        password: bytes | None = None,
    ) -> tuple[Path, Path, x509.Certificate]:
        """Write a certificate and its key; without `hosts` only its CN says for what it is."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(named(name), key, not_after)
        if hosts:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        serial = f"{self.name}-{certificate.serial_number:x}"
        certificate_file, key_file = self.folder / f"{serial}.crt", self.folder / f"{serial}.key"
        certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
        hidden = BestAvailableEncryption(password) if password else NoEncryption()
        write_secret(key_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
        return certificate_file, key_file, certificate

    def revocations(self, *revoked: x509.Certificate, encoding: Encoding = Encoding.PEM) -> Path:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(named(self.name))
            .last_update(NOW - DAY)
            .next_update(NOW + DAY)
        )
        for certificate in revoked:
            one = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(NOW - DAY)
            builder = builder.add_revoked_certificate(one.build())
        file = self.folder / f"{self.name}-{len(revoked)}-{encoding is Encoding.PEM}.crl"
        file.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(encoding))
        return file


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Served:
    """A server that counts its connections and keeps the requests and the peers' names."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.requests: list[bytes] = []
        self.peers: list[str] = []

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/{SECRET}"


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection and see it closed, so that nothing of it outlives its event loop."""
    writer.close()
    with contextlib.suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


def answering(response: bytes, *, served: Served | None = None, keep: bool = True) -> Handler:
    """A handler that answers every request on a connection with the same bytes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            if served is not None:
                served.requests.append(request)
            writer.write(response)
            await writer.drain()
            if not keep:
                return

    return handle


def http(body: bytes, *, status: str = "200 OK", length: int | None = None, headers: str = "") -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {size}\r\n\r\n".encode() + body


@asynccontextmanager
async def listening(handler: Handler, context: ssl.SSLContext | None = None, *, port: int = 0) -> AsyncIterator[int]:
    """Serve on a port of loopback, any one unless it is said; at the end no connection is left open."""
    running: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            running.discard(task)
            await closed(writer)

    server = await asyncio.start_server(connected, "127.0.0.1", port, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        tasks = tuple(running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def serving(
    handler: Handler,
    pair: Pair,
    client_authority: Authority,
    served: Served | None = None,
) -> AsyncIterator[Served]:
    """Serve with mutual TLS."""
    seen = served or Served()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair[0], pair[1])
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile=client_authority.file)

    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        peer = writer.get_extra_info("peercert")["subject"]
        seen.peers.append(dict(part for (part,) in peer)["commonName"])
        await handler(reader, writer)

    async with listening(noted, context) as seen.port:
        yield seen


async def closes_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.transport.abort()


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await asyncio.Event().wait()


async def hangs_in_the_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(http(b"<ans", length=100))
    await asyncio.Event().wait()
