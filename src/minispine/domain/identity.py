"""Who asks: audit identities, the four access methods, and the author that a message to Spine names.

The access method is derived from the identities in the envelope, never claimed by the caller (ACCESS-1..4).
"""

from enum import IntEnum
from typing import Literal

import msgspec


class AccessMethod(IntEnum):
    """How the caller reached us, as section 3 of the provider requirements numbers it."""

    UNATTENDED = 1
    ATTENDED = 2
    SMARTCARD = 3
    SMARTCARD_SESSION = 4


class AuditId(msgspec.Struct, frozen=True):
    """One ``itk:id`` of the envelope: the OID that says what kind it is, and the identifier, trimmed of blanks."""

    type: str
    uri: str


class SpineAuthor(msgspec.Struct, frozen=True, kw_only=True):
    """The person named in a message to Spine under methods 3 and 4 (SMSP-AUDIT-003)."""

    role_profile_id: str
    user_id: str
    role_id: str


class Identified(msgspec.Struct, frozen=True, kw_only=True):
    """A caller whose identity is known: the initiating organisation, the method, and who or what acted there."""

    organisation: str
    method: AccessMethod
    user_code: str | None = None
    function: str | None = None
    author: SpineAuthor | None = None


IdentityFault = Literal[
    "absent",
    "blank",
    "unknown-type",
    "too-many",
    "malformed",
    "organisation-alone",
    "code-unregistered",
    "smartcard-incomplete",
    "smartcard-unsupported",
    "asid-unknown",
]


class IdentityRefused(msgspec.Struct, frozen=True):
    """The audit identity names nobody we may act for; `fault` keys the Spine-code table as ``identity.<fault>``."""

    fault: IdentityFault
