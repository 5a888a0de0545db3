"""Who asks: the audit identity that every request carries in its ITK header (MSCA-AUD-04).

One value for each way in: a person without a smartcard, an automated function, a bare ASID, a person with a smartcard.
A value that exists is complete and well formed; nothing else can be made.
"""

import re
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from minispine.client.errors import IdentityIncomplete
from minispine.domain.identity import AuditId
from minispine.domain.organisation import is_ods_code
from minispine.vocabulary import oids

_TOOLKIT: Final = "urn:nhs-uk:identity:ods:"
_TOKENS: Final = re.compile(r"[!-9;-~]{1,64}(:[!-9;-~]{1,64}){0,4}")
_TWELVE_DIGITS: Final = re.compile(r"[0-9]{12}")
_ROLE: Final = re.compile(r"[A-Za-z0-9:]{1,64}")
_SYSTEM: Final = "SYS"


class AuditIdentity(Protocol):
    """Anything that can say who asks, in the form the ITK header carries."""

    def audit_ids(self) -> tuple[AuditId, ...]:
        """Give the `itk:id` elements, at least one."""


class LocalUser(msgspec.Struct, frozen=True):
    """A person known to an organisation by a local code, unique there and never given to another (MSCA-AUD-04 f)."""

    organisation: str
    code: str

    def __post_init__(self) -> None:
        _need(is_ods_code, self.organisation, "the organisation of the audit identity must be an ODS code")
        _need(_TOKENS.fullmatch, self.code, "the user's code must be printable characters without blanks")
        if self.code.split(":")[0] == _SYSTEM:
            raise IdentityIncomplete("a user's code cannot begin with SYS, which is for automated functions")

    def audit_ids(self) -> tuple[AuditId, ...]:
        """Give one toolkit identity (MSCA-AUD-04 b)."""
        return (AuditId(oids.LOCAL_IDENTITY, f"{_TOOLKIT}{self.organisation}:{self.code}"),)


class AutomatedFunction(msgspec.Struct, frozen=True):
    """A function of the client system that no person started (ACCESS-1 a)."""

    organisation: str
    function: str

    def __post_init__(self) -> None:
        _need(is_ods_code, self.organisation, "the organisation of the audit identity must be an ODS code")
        _need(_TOKENS.fullmatch, self.function, "the function's name must be printable characters without blanks")

    def audit_ids(self) -> tuple[AuditId, ...]:
        """Give one toolkit identity with the token SYS before the function."""
        return (AuditId(oids.LOCAL_IDENTITY, f"{_TOOLKIT}{self.organisation}:{_SYSTEM}:{self.function}"),)


class SystemAsid(msgspec.Struct, frozen=True):
    """A system known by its accredited system id alone, as NHS Digital's own provider wanted it."""

    asid: str

    def __post_init__(self) -> None:
        _need(_TWELVE_DIGITS.fullmatch, self.asid, "an ASID has 12 digits")

    def audit_ids(self) -> tuple[AuditId, ...]:
        """Give one identity under the OID of ASIDs."""
        return (AuditId(oids.ASID, self.asid),)


class Smartcard(msgspec.Struct, frozen=True):
    """A person with a smartcard: role profile and user id, always both (MSCA-AUD-04 d), and perhaps the role (e)."""

    role_profile_id: str
    user_id: str
    role_id: str | None = None

    def __post_init__(self) -> None:
        _need(
            _TWELVE_DIGITS.fullmatch,
            self.role_profile_id,
            "a smartcard's role profile id has 12 digits, and must be given",
        )
        _need(_TWELVE_DIGITS.fullmatch, self.user_id, "a smartcard's user id has 12 digits, and must be given")
        if self.role_id is not None:
            _need(_ROLE.fullmatch, self.role_id, "a smartcard's role id is letters, digits and colons")

    def audit_ids(self) -> tuple[AuditId, ...]:
        """Give one identity for each id of the smartcard."""
        ids = (AuditId(oids.ROLE_PROFILE, self.role_profile_id), AuditId(oids.USER_ID, self.user_id))
        return ids if self.role_id is None else (*ids, AuditId(oids.ROLE, self.role_id))


def parse_identity(text: str) -> LocalUser | AutomatedFunction:
    """Read a toolkit identity, ``urn:nhs-uk:identity:ods:ORG:user`` or ``…:ORG:SYS:function``.

    Raises:
        IdentityIncomplete: it has another form, or names nobody in its organisation.
    """
    organisation, _, name = text.removeprefix(_TOOLKIT).partition(":")
    if not text.startswith(_TOOLKIT) or not name:
        raise IdentityIncomplete(f"an audit identity has the form {_TOOLKIT}ORG:user or {_TOOLKIT}ORG:SYS:function")
    if name.startswith(f"{_SYSTEM}:"):
        return AutomatedFunction(organisation, name.removeprefix(f"{_SYSTEM}:"))
    return LocalUser(organisation, name)


def _need(fits: Callable[[str], object], value: str, reason: str) -> None:
    if not isinstance(value, str) or not fits(value):
        raise IdentityIncomplete(reason)
