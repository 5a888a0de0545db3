"""Registered clients: who they are, and what each may do.

A `Registration` is a document of the registry, versioned: what it says is taken by every worker within a second, and
every change is audited. Decisions here are pure; reading and writing the registry is `storage/registry.py`'s work.
"""

import datetime
import ipaddress
from typing import Literal

import msgspec

from minispine.domain.identity import AccessMethod, Identified
from minispine.domain.lanes import Lane
from minispine.domain.operations import NationalService, Operation


class ClientCertificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A certificate by which the client may come. Names are RFC 4514 strings, as `minispine client add` reads them.

    `fingerprint` pins one certificate (SHA-256, lower-case hex) where a name is not enough. `not_before` and
    `not_after` bound when we accept it, beside its own dates, so that an old and a new one can overlap.
    """

    subject: str
    issuer: str
    fingerprint: str | None = None
    not_before: datetime.datetime | None = None
    not_after: datetime.datetime | None = None


class Compatibility(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Switches for existing clients, each named after the decision in docs/compatibility.md."""

    not_verified_component: bool = False
    """D6: DEMOG-0040 of verifyNHSNumber carries a component with value false instead of no component."""
    superseded_bare: bool = False
    """D5: DEMOG-0017 without the replacement number."""
    only_first_codes: bool = False
    """D7: SMSP-0004 becomes DEMOG-9999 and SMSP-0005 becomes SMSP-9999, for clients that throw on codes they lack."""
    relates_to: bool = True
    """D16: the answer names the request in wsa:RelatesTo."""
    security_in_response: bool = False
    """D16: the answer carries a wsse:Security timestamp."""
    audit_identity_in_response: bool = False
    """D16: the answer's envelope carries our own audit identity."""
    first_given_name_only: bool = False
    """D18: only the first given name and no prefix, as NHS Digital's own provider answered."""
    lenient_ids: bool = False
    """D12: accept lower-case tracking and payload ids."""
    security_optional: bool = False
    """D11: accept a request without wsse:Security."""
    audit_identity_fault: bool = False
    """D9: a missing audit identity is fault 1000 instead of SMSP-0001."""


class Registration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One client system.

    `organisations` are the ODS codes it may act for. `methods` are the access methods it may use of each national
    service (ACCESS-1 c). `networks` are CIDR blocks it may come from, empty for anywhere. `user_codes` says whether the
    user codes of method 2 are issued by us (`registered`) or vouched for by the organisation (`asserted`).
    """

    name: str
    certificates: tuple[ClientCertificate, ...]
    organisations: tuple[str, ...]
    services: tuple[Operation, ...]
    methods: dict[NationalService, tuple[AccessMethod, ...]]
    networks: tuple[str, ...] = ()
    lane: Lane = "attended"
    timeout_s: float = 25.0
    user_codes: Literal["registered", "asserted"] = "registered"
    user_code_list: tuple[str, ...] = ()
    """The codes issued, as ``ORG:code``, when `user_codes` is registered."""
    compatibility: Compatibility = Compatibility()
    enabled: bool = True
    note: str = ""


class CertificateNames(msgspec.Struct, frozen=True):
    """What of a certificate a registration is found by."""

    subject: str
    issuer: str
    fingerprint: str


def accepts(registration: Registration, certificate: CertificateNames, now: datetime.datetime) -> bool:
    """Tell whether the registration names this certificate for this moment."""
    return any(
        known.subject == certificate.subject
        and known.issuer == certificate.issuer
        and (known.fingerprint is None or known.fingerprint == certificate.fingerprint)
        and (known.not_before is None or known.not_before <= now)
        and (known.not_after is None or now < known.not_after)
        for known in registration.certificates
    )


def in_networks(registration: Registration, address: str) -> bool:
    """Tell whether an address lies in one of the registration's networks; none registered means anywhere."""
    if not registration.networks:
        return True
    try:
        came_from = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(came_from in ipaddress.ip_network(network) for network in registration.networks)


Denial = Literal["network", "service", "organisation", "method", "asid"]
"""What of a request the registration does not cover: answered with fault 3000, audited, no Spine call."""


def denial(registration: Registration, operation: Operation, identified: Identified, asid: str | None) -> Denial | None:
    """Say what the registration does not allow of this request, or None when it is allowed (ACCESS-1 c, SMSP-IG-003).

    `asid` is the initiating organisation's, None where the table has none: then nothing may be sent for it.
    """
    if operation not in registration.services:
        return "service"
    if identified.organisation not in registration.organisations:
        return "organisation"
    if identified.method not in registration.methods.get(operation.national_service, ()):
        return "method"
    return "asid" if asid is None else None
