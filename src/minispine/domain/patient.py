"""A patient's demographics twice: as Spine sent them, and as the interface may show them.

`SpineRecord` keeps what came, valid or not, on whichever Spine side. `domain/presentation.py` turns it into a
`Patient`, or says why that cannot be done safely.
"""

from typing import Literal

import msgspec

AddressUse = Literal["H", "TMP", "PST"]
TelecomUse = Literal["H", "MC", "WP", "HV", "EC"]


class SpineName(msgspec.Struct, frozen=True, kw_only=True):
    """One name as received; `use` is Spine's code, L for the usual name."""

    use: str | None
    prefix: str | None = None
    given: tuple[str, ...] = ()
    family: str | None = None
    valid_from: str | None = None
    valid_to: str | None = None


class SpineAddress(msgspec.Struct, frozen=True, kw_only=True):
    """One address as received; `lines` in the order received, empty ones kept."""

    use: str | None
    lines: tuple[str, ...] = ()
    postcode: str | None = None
    valid_from: str | None = None
    valid_to: str | None = None


class SpineTelecom(msgspec.Struct, frozen=True, kw_only=True):
    """One telephone, fax or e-mail as received, for example use HP and value ``tel:01133973555``."""

    use: str | None
    value: str | None
    valid_from: str | None = None
    valid_to: str | None = None


class SpineRegistration(msgspec.Struct, frozen=True, kw_only=True):
    """One GP practice registration as received."""

    ods_code: str | None
    valid_from: str | None = None
    valid_to: str | None = None


class SpineRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A person's record as a national service returned it, unchecked. Dates are HL7 timestamps of any precision.

    `confidentiality` is Spine's code (Y, B, S; anything else is unknown) and `limited` says that Spine itself
    withheld data (reasons 5 and 9).
    """

    nhs_number: str | None
    names: tuple[SpineName, ...] = ()
    gender: str | None = None
    birth_time: str | None = None
    deceased_time: str | None = None
    addresses: tuple[SpineAddress, ...] = ()
    telecoms: tuple[SpineTelecom, ...] = ()
    registrations: tuple[SpineRegistration, ...] = ()
    confidentiality: str | None = None
    limited: bool = False


class Name(msgspec.Struct, frozen=True, kw_only=True):
    """A name fit for the interface: at most two given names."""

    prefix: str | None = None
    given: tuple[str, ...] = ()
    family: str | None = None


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """An address fit for the interface: exactly five lines, empty where PDS has an empty line."""

    use: AddressUse | None
    lines: tuple[str, str, str, str, str]
    postcode: str | None = None


class Telecom(msgspec.Struct, frozen=True, kw_only=True):
    """A telephone (``tel:``) or e-mail (``mailto:``) fit for the interface; `since` is YYYYMMDD or None."""

    use: TelecomUse
    value: str
    since: str | None = None


class Practice(msgspec.Struct, frozen=True, kw_only=True):
    """A GP practice; only the ODS code is certain (D21)."""

    ods_code: str
    name: str | None = None
    address: Address | None = None
    telephone: str | None = None


class Patient(msgspec.Struct, frozen=True, kw_only=True):
    """Demographics fit for the interface: every field valid, nothing that locates a sensitive person."""

    nhs_number: str
    name: Name | None = None
    gender: str | None = None
    birth_date: str | None = None
    death_date: str | None = None
    addresses: tuple[Address, ...] = ()
    telecoms: tuple[Telecom, ...] = ()
    practice: Practice | None = None
