"""The one normal form of telephones and e-mail addresses, the same whichever way Spine was asked.

A telephone is ``tel:`` and an e-mail address ``mailto:``, under one of five uses: H home, MC mobile, WP work, HV
temporary, EC emergency. E-mail is always under H (D20). Fax, textphone, pagers and answering machines have no place.
"""

import re
from typing import Final, Literal

import msgspec

from minispine.domain.patient import TelecomUse

Unfit = Literal["scheme", "use", "empty"]
"""Why a telecom has no normal form: not a telephone or e-mail address, a use that has no place, nothing in it."""

_USES: Final[dict[str, TelecomUse]] = {"H": "H", "HP": "H", "MC": "MC", "WP": "WP", "HV": "HV", "EC": "EC"}
_SCHEMES: Final = frozenset({"tel", "mailto"})
_WRITTEN: Final = re.compile(r"\s*([A-Za-z0-9+-]+):(.*)", re.DOTALL)


class NormalTelecom(msgspec.Struct, frozen=True):
    """A telecom in its normal form."""

    use: TelecomUse
    value: str


def normal_telecom(use: str | None, value: str | None) -> NormalTelecom | Unfit:
    """Give the normal form of a telecom as Spine sent it, or say why it has none.

    >>> normal_telecom("HP", "tel:01133973555"), normal_telecom("MC", "fax:05555555555")
    (NormalTelecom(use='H', value='tel:01133973555'), 'scheme')
    """
    written = _WRITTEN.fullmatch(value or "")
    if written is None:
        return "scheme" if (value or "").strip() else "empty"
    scheme, rest = written[1].lower(), " ".join(written[2].split())
    if scheme not in _SCHEMES:
        return "scheme"
    if not rest:
        return "empty"
    if scheme == "mailto":
        return NormalTelecom("H", f"mailto:{rest}")
    known = next((_USES[one] for one in (use or "").split() if one in _USES), None)
    return "use" if known is None else NormalTelecom(known, f"tel:{rest}")
