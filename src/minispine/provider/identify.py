"""From the audit identity of an envelope to who is asking, and by which access method (ACCESS-1..4, SMSP-AUDIT-002).

The method is derived from the kinds of identifier, never claimed. Pure: the registration and the table of ASIDs are
handed in. Methods 3 and 4 need the directory and the broker; until those are built their callers are refused with the
author-credentials code.
"""

import re
from collections.abc import Callable
from typing import Final

from minispine.domain.identity import AccessMethod, AuditId, Identified, IdentityRefused
from minispine.domain.organisation import is_ods_code
from minispine.provider.clients import Registration
from minispine.vocabulary import oids

_TOKEN: Final = re.compile(r"[!-9;-~]{1,64}")
"""One colon-delimited token of a toolkit identity: printable ASCII without blanks."""
_ASID: Final = re.compile(r"[0-9]{12}")
_PREFIX: Final = "urn:nhs-uk:identity:ods:"
_SYSTEM: Final = "SYS"
"""The token by which a local identity says that an automated function asks, not a person."""

_SMARTCARD: Final = frozenset({oids.ROLE_PROFILE, oids.USER_ID, oids.ROLE, oids.ROLE_ALTERNATIVE})
_KNOWN: Final = _SMARTCARD | {oids.LOCAL_IDENTITY, oids.ASID}


def identify(
    audit_ids: tuple[AuditId, ...] | None, registration: Registration, organisation_of: Callable[[str], str | None]
) -> Identified | IdentityRefused:
    """Say who asks.

    `audit_ids` is None where the envelope has no audit identity. `organisation_of` gives the ODS code that an ASID maps
    to, or None where it is not exactly one.
    """
    if audit_ids is None:
        return IdentityRefused("absent")
    if not audit_ids or any(not audit_id.uri for audit_id in audit_ids):
        return IdentityRefused("blank")
    kinds = {audit_id.type for audit_id in audit_ids}
    if not kinds <= _KNOWN:
        return IdentityRefused("unknown-type")
    if kinds & _SMARTCARD:
        complete = {oids.ROLE_PROFILE, oids.USER_ID} <= kinds
        return IdentityRefused("smartcard-unsupported" if complete else "smartcard-incomplete")
    if kinds == {oids.ASID}:
        return _by_asid(audit_ids, organisation_of)
    if kinds == {oids.LOCAL_IDENTITY}:
        return _by_local_identity(audit_ids, registration)
    return IdentityRefused("malformed")


def _by_asid(
    audit_ids: tuple[AuditId, ...], organisation_of: Callable[[str], str | None]
) -> Identified | IdentityRefused:
    """Take a bare ASID as an automated function of the one organisation that it belongs to."""
    if len(audit_ids) != 1:
        return IdentityRefused("too-many")
    asid = audit_ids[0].uri
    if not _ASID.fullmatch(asid):
        return IdentityRefused("malformed")
    organisation = organisation_of(asid)
    if organisation is None:
        return IdentityRefused("asid-unknown")
    return Identified(organisation=organisation, method=AccessMethod.UNATTENDED, function=f"asid:{asid}")


def _by_local_identity(audit_ids: tuple[AuditId, ...], registration: Registration) -> Identified | IdentityRefused:
    """Take toolkit identities: levels of one identity in one organisation, of which one names a user or a function."""
    named: set[tuple[str, ...]] = set()
    organisations: set[str] = set()
    for audit_id in audit_ids:
        tokens = _tokens(audit_id.uri)
        if tokens is None:
            return IdentityRefused("malformed")
        organisations.add(tokens[0])
        if len(tokens) > 1:
            named.add(tokens[1:])
    if len(organisations) != 1:
        return IdentityRefused("malformed")
    if not named:
        return IdentityRefused("organisation-alone")
    if len(named) > 1:
        return IdentityRefused("too-many")
    (organisation,), (name,) = organisations, named
    if name[0] == _SYSTEM:
        if len(name) == 1:
            return IdentityRefused("malformed")
        return Identified(organisation=organisation, method=AccessMethod.UNATTENDED, function=":".join(name[1:]))
    code = ":".join(name)
    if registration.user_codes == "registered" and f"{organisation}:{code}" not in registration.user_code_list:
        return IdentityRefused("code-unregistered")
    return Identified(organisation=organisation, method=AccessMethod.ATTENDED, user_code=code)


def _tokens(uri: str) -> tuple[str, ...] | None:
    """Split a toolkit identity into ODS code (upper case) and further tokens; None where it is not one."""
    if not uri.startswith(_PREFIX):
        return None
    organisation, *rest = uri[len(_PREFIX) :].split(":")
    organisation = organisation.upper()
    if not is_ods_code(organisation) or not all(_TOKEN.fullmatch(token) for token in rest):
        return None
    return (organisation, *rest)
