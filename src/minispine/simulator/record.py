"""A person as this Spine holds them, and how a record is altered before it is sent.

Values are kept as they were given, right or wrong: a Spine that only held clean records would be no test of anybody.
How people are found lives in `matching`, how records are written in `answers`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace


class HeldName(msgspec.Struct, frozen=True, kw_only=True):
    """One name; `use` is L for the usual name, PREVIOUS-MAIDEN and the like for others. Dates are YYYYMMDD."""

    use: str | None = "L"
    prefix: str | None = None
    given: tuple[str, ...] = ()
    family: str = ""
    suffix: str | None = None
    since: str | None = None
    until: str | None = None


class HeldAddress(msgspec.Struct, frozen=True, kw_only=True):
    """One address: five lines by position (1 premises, 2 number and street, 3 locality, 4 town, 5 county)."""

    use: str | None = "H"
    lines: tuple[str, ...] = ("", "", "", "", "")
    postcode: str | None = None
    paf_key: str | None = None
    since: str | None = None
    until: str | None = None


class HeldTelecom(msgspec.Struct, frozen=True, kw_only=True):
    """One way to reach a person: use H, HP, HV, WP, AS, EC, PG or MC, and a URL such as ``tel:01632960123``."""

    use: str | None
    value: str
    since: str | None = None


class HeldRegistration(msgspec.Struct, frozen=True, kw_only=True):
    """A registration with a GP practice, by its ODS code."""

    practice: str
    since: str | None = None
    until: str | None = None


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """One record. Exactly one NHS number leads to it.

    `kind` says why it is in the population. `superseded_by` is the number that took this one's place. `confidentiality`
    is Y, B or S for a record whose details are withheld. `sent` changes what is *sent* (see `altered`), never what is
    matched: it is how a record with a defect of its own is made.
    """

    nhs_number: str
    kind: str
    gender: str
    birth_time: str
    names: tuple[HeldName, ...]
    addresses: tuple[HeldAddress, ...] = ()
    telecoms: tuple[HeldTelecom, ...] = ()
    registration: HeldRegistration | None = None
    deceased_time: str | None = None
    confidentiality: str | None = None
    superseded_by: str | None = None
    invalidated: bool = False
    serial_change_number: int = 1
    sent: Mapping[str, Any] = {}

    @property
    def usual_name(self) -> HeldName:
        """The name in use."""
        return next((name for name in self.names if name.use == "L"), self.names[0])

    @property
    def is_sensitive(self) -> bool:
        """Whether details are withheld; a code that Spine does not know withholds nothing."""
        return self.confidentiality in ("Y", "B", "S")


class AlterationRefused(Exception):
    """A field cannot be altered as asked; `key` names it and `reason` says why."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


def _of_usual_name(person: Person, **changes: Any) -> Person:
    usual = person.usual_name
    return replace(person, names=tuple(replace(n, **changes) if n is usual else n for n in person.names))


def _of_home(person: Person, **changes: Any) -> Person:
    addresses = person.addresses or (HeldAddress(),)
    return replace(person, addresses=(replace(addresses[0], **changes), *addresses[1:]))


def _of_telecom(person: Person, **changes: Any) -> Person:
    telecoms = person.telecoms or (HeldTelecom(use="H", value="tel:01632960000"),)
    return replace(person, telecoms=(replace(telecoms[0], **changes), *telecoms[1:]))


def _of_registration(person: Person, **changes: Any) -> Person:
    held = person.registration or HeldRegistration(practice="H81109")
    return replace(person, registration=replace(held, **changes))


_Text = str | None
_Lines = list[str]
ALTERATIONS: Final[dict[str, tuple[Any, Callable[[Person, Any], Person]]]] = {
    "nhs_number": (str, lambda p, v: replace(p, nhs_number=v)),
    "gender": (_Text, lambda p, v: replace(p, gender=v or "")),
    "birth_time": (_Text, lambda p, v: replace(p, birth_time=v or "")),
    "deceased_time": (_Text, lambda p, v: replace(p, deceased_time=v)),
    "confidentiality": (_Text, lambda p, v: replace(p, confidentiality=v)),
    "prefix": (_Text, lambda p, v: _of_usual_name(p, prefix=v)),
    "given": (_Lines, lambda p, v: _of_usual_name(p, given=tuple(v))),
    "family": (str, lambda p, v: _of_usual_name(p, family=v)),
    "name_use": (_Text, lambda p, v: _of_usual_name(p, use=v)),
    "address_use": (_Text, lambda p, v: _of_home(p, use=v)),
    "address_lines": (_Lines, lambda p, v: _of_home(p, lines=tuple(v))),
    "postcode": (_Text, lambda p, v: _of_home(p, postcode=v)),
    "telecom_use": (_Text, lambda p, v: _of_telecom(p, use=v)),
    "telecom_value": (str, lambda p, v: _of_telecom(p, value=v)),
    "practice": (_Text, lambda p, v: _of_registration(p, practice=v) if v else replace(p, registration=None)),
    "registration_since": (_Text, lambda p, v: _of_registration(p, since=v)),
    "registration_until": (_Text, lambda p, v: _of_registration(p, until=v)),
}
"""What may be altered: field -> (its type, the change), of the usual name and the first address and telecom."""


def altered(person: Person, changes: Mapping[str, Any]) -> Person:
    """Give the record with `changes` made (see `ALTERATIONS`), in the order of that table.

    Raises:
        AlterationRefused: a field that cannot be altered, a value of another type, a character XML cannot carry.
    """
    for key in changes:
        if key not in ALTERATIONS:
            raise AlterationRefused(key, f"not a field; the fields are {', '.join(ALTERATIONS)}")
    for key, (kind, change) in ALTERATIONS.items():
        if key in changes:
            try:
                value = msgspec.convert(changes[key], kind)
            except msgspec.ValidationError as problem:
                raise AlterationRefused(key, str(problem)) from None
            texts = value if isinstance(value, list) else [value or ""]
            if not all(fits_xml(text) for text in texts):
                raise AlterationRefused(key, "holds a character that XML cannot carry")
            person = change(person, value)
    return person


def fits_xml(text: str) -> bool:
    """Tell whether every character may stand in an XML document."""
    return all(c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff") for c in text)
