"""Who is at the door: from a connection's certificate, or a trusted proxy's header, to a registered client.

Checked for every request, so that expiry, revocation and disabling also end connections that are already open.
"""

import datetime
import functools
import ipaddress
import urllib.parse
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from minispine.keys.certificates import CertificateFacts, CertificateUnreadable, RevocationLists, describe
from minispine.observe import metrics
from minispine.provider.clients import CertificateNames
from minispine.provider.http.protocol import Connection
from minispine.provider.in_force import Client, InForce

Reason = Literal[
    "no-certificate",
    "certificate-unreadable",
    "certificate-expired",
    "certificate-revoked",
    "certificate-unknown",
    "revocation-unknown",
]

FORWARDED_FOR: Final = b"x-forwarded-for"

Headers = Iterable[tuple[bytes, bytes]]


class Stranger(msgspec.Struct, frozen=True):
    """A caller that is no registered client: `address` it came from, and why it is not known."""

    address: str
    reason: Reason


class Caller(msgspec.Struct, frozen=True):
    """A caller that is a registered client, and the address it came from."""

    address: str
    client: Client
    certificate: CertificateNames


class Gate:
    """Decides who a caller is. `trusted_proxies` are the addresses whose certificate header is believed."""

    def __init__(self, *, trusted_proxies: tuple[str, ...], proxy_header: str, revoked: RevocationLists) -> None:
        self._proxies = tuple(ipaddress.ip_network(address) for address in trusted_proxies)
        self._header = proxy_header.lower().encode("ascii")
        self.revoked = revoked

    def who(
        self, connection: Connection, headers: Headers, peer: str, in_force: InForce, now: datetime.datetime
    ) -> Caller | Stranger:
        """Say who a request comes from.

        From a trusted proxy's address the header decides, and the last address in X-Forwarded-For, added by the proxy,
        is where the client came from. From any other address such headers mean nothing.
        """
        certificate = connection.certificate
        if self._proxies and self._is_proxy(peer):
            carried = {name: value for name, value in headers if name in (self._header, FORWARDED_FOR)}
            if self._header in carried:
                peer = carried.get(FORWARDED_FOR, peer.encode()).decode("latin-1").rpartition(",")[2].strip()
                try:
                    certificate = _from_header(carried[self._header])
                except CertificateUnreadable:
                    return Stranger(peer, "certificate-unreadable")
        if certificate is None:
            return Stranger(peer, "no-certificate")
        if not certificate.not_before <= now < certificate.not_after:
            return Stranger(peer, "certificate-expired")
        if not self.revoked.can_tell(certificate, now):
            return Stranger(peer, "revocation-unknown")  # Law 2
        if self.revoked.revoked(certificate):
            return Stranger(peer, "certificate-revoked")
        names = CertificateNames(certificate.subject, certificate.issuer, certificate.fingerprint)
        client = in_force.client_by_certificate(names, now)
        if client is None:
            return Stranger(peer, "certificate-unknown")
        metrics.client_certificate_days(client.registration.name).set(certificate.days_left(now))
        return Caller(peer, client, names)

    def _is_proxy(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)


@functools.lru_cache(maxsize=1024)
def _from_header(value: bytes) -> CertificateFacts:
    return describe(urllib.parse.unquote_to_bytes(value))
