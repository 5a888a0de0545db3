"""From a record as Spine sent it to demographics fit for the interface, or to the reason why that is not safe.

What is chosen: the usual name, one address of each use, the telecoms and the GP registration that are in force today.
History and other kinds of name have no place in the interface; leaving them out changes nothing that was sent for it.
What is changed or left out because it does not fit is an `Alteration`, each under a rule of `RULES`: the register of
data manipulations is made from that table (SMSP-ERR-006 j, k, l; SMSP-VAL-004 b, c, d). What is wrong about who the
person is cannot be mended: that is `NotPresentable`, under a rule of `REFUSALS`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

import msgspec

from minispine.domain import dates, nhs_number
from minispine.domain.organisation import is_ods_code
from minispine.domain.patient import (
    Address,
    AddressUse,
    Name,
    Patient,
    Practice,
    SpineAddress,
    SpineName,
    SpineRecord,
    SpineRegistration,
    SpineTelecom,
    Telecom,
)
from minispine.domain.telecom import normal_telecom


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which a record is handled: the field it looks at, when it applies, and what is done."""

    id: str
    field: str
    condition: str
    action: str


class Alteration(msgspec.Struct, frozen=True, kw_only=True):
    """A change made to what Spine sent. `before` and `after` are patient data; `after` is None for what was omitted."""

    rule: str
    field: str
    before: str
    after: str | None = None


class Presented(msgspec.Struct, frozen=True, kw_only=True):
    """Demographics that fit the interface, and everything that was changed to make them fit."""

    patient: Patient
    alterations: tuple[Alteration, ...] = ()


class NotPresentable(msgspec.Struct, frozen=True, kw_only=True):
    """The record cannot be passed on safely (SMSP-0002): the rule, its field, and why, none of it patient data."""

    rule: str
    field: str
    reason: str


NAME_LENGTH: Final = 35
SECOND_GIVEN_LENGTH: Final = 100
LINE_LENGTH: Final = 35
LINES: Final = 5
GENDERS: Final = frozenset("0129")
SENSITIVITIES: Final = frozenset("YBS")

_OMITTED: Final = "omitted"
_CUT: Final = "cut to the length"
_REFUSED: Final = "no patient data; the record cannot be retrieved safely"


def _rule(rule_id: str, condition: str, action: str) -> Rule:
    return Rule(id=rule_id, field=rule_id.partition(".")[0], condition=condition, action=action)


PREFIX_LONG = _rule("name.prefix-long", f"a title of more than {NAME_LENGTH} characters", _CUT)
FAMILY_LONG = _rule("name.family-long", f"a surname of more than {NAME_LENGTH} characters", _CUT)
GIVEN_LONG = _rule("name.given-long", f"a first given name of more than {NAME_LENGTH} characters", _CUT)
SECOND_GIVEN_LONG = _rule(
    "name.second-given-long", f"a second given name of more than {SECOND_GIVEN_LENGTH} characters", _CUT
)
GIVEN_EXTRA = _rule("name.given-extra", "more than two given names", "the third and later omitted")
NAME_SEVERAL = _rule("name.several", "several usual names in force today", "the one that began last is kept")
DEATH_TIME = _rule("death-date.time", "a date of death with a time of day", "cut to the date")
ADDRESS_USE = _rule("address.use-unknown", "an address of a use that the interface does not have", _OMITTED)
ADDRESS_USE_WRITTEN = _rule("address.use-rewritten", "a home address under the use HP", "given under the use H")
ADDRESS_SEVERAL = _rule(
    "address.several", "several addresses of one use in force today", "the one that began last is kept"
)
ADDRESS_EMPTY = _rule("address.empty", "an address with neither a line nor a postcode in it", _OMITTED)
LINE_LONG = _rule("address.line-long", f"an address line of more than {LINE_LENGTH} characters", _CUT)
LINES_EXTRA = _rule(
    "address.lines-extra", f"more than {LINES} address lines with something in them", "the rest omitted"
)
POSTCODE_INVALID = _rule("address.postcode-invalid", "a postcode that is too long or not written as one", _OMITTED)
POSTCODE_WRITTEN = _rule(
    "address.postcode-rewritten", "a postcode in lower case, or without its one blank", "written in the usual form"
)
TELECOM_SCHEME = _rule("telecom.scheme", "neither a telephone nor an e-mail address", _OMITTED)
TELECOM_USE = _rule("telecom.use", "a telephone of a use that the interface does not have, or of none", _OMITTED)
TELECOM_EMPTY = _rule("telecom.empty", "a telecom with nothing in it", _OMITTED)
TELECOM_WRITTEN = _rule("telecom.rewritten", "a telecom that is not in the normal form", "written in the normal form")
TELECOM_SINCE = _rule("telecom.since-invalid", "a start of use that is not a full date", "the start omitted")
PRACTICE_CODE = _rule("practice.code-invalid", "an ODS code that is missing or not written as one", _OMITTED)
PRACTICE_PERIOD = _rule("practice.period", "a GP registration that ends before it begins", _OMITTED)
PRACTICE_SEVERAL = _rule(
    "practice.several", "several GP registrations in force today", "the one that began last is kept"
)
CONFIDENTIALITY_UNKNOWN = _rule(
    "confidentiality.unknown", "a confidentiality code that is not known", "handled like a sensitive record"
)
WITHHELD_ADDRESS = _rule("address.withheld", "an address in a sensitive record", _OMITTED)
WITHHELD_TELECOM = _rule("telecom.withheld", "a telecom in a sensitive record", _OMITTED)
WITHHELD_PRACTICE = _rule("practice.withheld", "a GP practice in a sensitive record", _OMITTED)

RULES: Final = (
    PREFIX_LONG,
    FAMILY_LONG,
    GIVEN_LONG,
    SECOND_GIVEN_LONG,
    GIVEN_EXTRA,
    NAME_SEVERAL,
    DEATH_TIME,
    ADDRESS_USE,
    ADDRESS_USE_WRITTEN,
    ADDRESS_SEVERAL,
    ADDRESS_EMPTY,
    LINE_LONG,
    LINES_EXTRA,
    POSTCODE_INVALID,
    POSTCODE_WRITTEN,
    TELECOM_SCHEME,
    TELECOM_USE,
    TELECOM_EMPTY,
    TELECOM_WRITTEN,
    TELECOM_SINCE,
    PRACTICE_CODE,
    PRACTICE_PERIOD,
    PRACTICE_SEVERAL,
    CONFIDENTIALITY_UNKNOWN,
    WITHHELD_ADDRESS,
    WITHHELD_TELECOM,
    WITHHELD_PRACTICE,
)
"""Every alteration that can be made (SMSP-ERR-006 k)."""

NUMBER_INVALID = _rule("nhs-number.invalid", "not a valid NHS number", _REFUSED)
NUMBER_OTHER = _rule("nhs-number.other", "not the number asked about", _REFUSED)
GENDER_INVALID = _rule("gender.invalid", "not a code of the vocabulary", _REFUSED)
BIRTH_INVALID = _rule("birth-date.invalid", "not a full date of the calendar", _REFUSED)
DEATH_INVALID = _rule("death-date.invalid", "not a date of the calendar", _REFUSED)
CHARACTER = _rule("text.character", "a character that XML cannot carry", _REFUSED)

REFUSALS: Final = (NUMBER_INVALID, NUMBER_OTHER, GENDER_INVALID, BIRTH_INVALID, DEATH_INVALID, CHARACTER)
"""Every reason for which a record is not passed on at all (SMSP-VAL-004 c)."""

_ADDRESS_USES: Final[dict[str, AddressUse]] = {"H": "H", "HP": "H", "TMP": "TMP", "PST": "PST"}
_ADDRESS_ORDER: Final[tuple[AddressUse, ...]] = ("H", "TMP", "PST")
_UNFIT_TELECOMS: Final = {"scheme": TELECOM_SCHEME, "use": TELECOM_USE, "empty": TELECOM_EMPTY}
_POSTCODE: Final = re.compile(r"([A-Z]{1,2}[0-9][A-Z0-9]?|GIR|[A-Z]{4})([0-9][A-Z]{2})")
_TIME_OF_DAY: Final = re.compile(r"[0-9]{1,6}(\.[0-9]+)?([+-][0-9]{1,4})?")
_NOT_XML: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_Dated = TypeVar("_Dated", SpineName, SpineAddress, SpineTelecom, SpineRegistration)


class _Refused(Exception):
    """Ends a presentation; caught in `present` and nowhere else seen."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule.id)
        self.rule = rule


class _Alterations:
    """The changes made so far."""

    def __init__(self) -> None:
        self.made: list[Alteration] = []

    def note(self, rule: Rule, before: str, after: str | None = None) -> None:
        """Write down a change."""
        self.made.append(Alteration(rule=rule.id, field=rule.field, before=before, after=after))

    def cut(self, rule: Rule, value: str | None, length: int) -> str | None:
        """Give the value, cut to `length` characters where it is longer."""
        if value is None or len(value) <= length:
            return value or None
        shorter = value[:length].rstrip()
        self.note(rule, value, shorter)
        return shorter


def present(record: SpineRecord, *, today: str, asked_number: str | None) -> Presented | NotPresentable:
    """Make a record fit for the interface.

    `today` is YYYYMMDD; periods are closed at both ends. `asked_number` is the NHS number that was asked about, None
    for a search. The practice is given by its ODS code only. Every text comes out without surrounding blanks.
    """
    changes = _Alterations()
    try:
        number = _number(record.nhs_number, asked_number)
        sensitive = _is_sensitive(record, changes)
        patient = Patient(
            nhs_number=number,
            name=_name(record.names, today, changes),
            gender=_gender(record.gender),
            birth_date=_birth_date(record.birth_time),
            death_date=_death_date(record.deceased_time, changes),
            addresses=() if sensitive else _addresses(record.addresses, today, changes),
            telecoms=() if sensitive else tuple(_telecoms(record.telecoms, today, changes)),
            practice=None if sensitive else _practice(record.registrations, today, changes),
        )
        if sensitive:
            _withhold(record, changes)
        if _NOT_XML.search("".join(_texts(patient))):
            raise _Refused(CHARACTER)
    except _Refused as refused:
        rule = refused.rule
        return NotPresentable(rule=rule.id, field=rule.field, reason=rule.condition)
    return Presented(patient=patient, alterations=tuple(changes.made))


def normal_postcode(written: str) -> str | None:
    """Give a postcode in its usual form, upper case with one blank; None where it is not written as a postcode.

    >>> normal_postcode("ls14hy"), normal_postcode("LS1 4HYZ")
    ('LS1 4HY', None)
    """
    parts = _POSTCODE.fullmatch("".join(written.upper().split()))
    return f"{parts[1]} {parts[2]}" if parts else None


def _number(number: str | None, asked: str | None) -> str:
    if number is None or not nhs_number.is_valid(number):
        raise _Refused(NUMBER_INVALID)
    if asked is not None and number != asked:
        raise _Refused(NUMBER_OTHER)
    return number


def _is_sensitive(record: SpineRecord, changes: _Alterations) -> bool:
    """Tell whether nothing that locates the person may be shown (D8). A code that is not known counts as sensitive."""
    code = record.confidentiality
    if code is not None and code not in SENSITIVITIES:
        changes.note(CONFIDENTIALITY_UNKNOWN, code)
    return record.limited or code is not None


def _withhold(record: SpineRecord, changes: _Alterations) -> None:
    for address in record.addresses:
        changes.note(WITHHELD_ADDRESS, _written(address))
    for telecom in record.telecoms:
        changes.note(WITHHELD_TELECOM, telecom.value or "")
    for registration in record.registrations:
        changes.note(WITHHELD_PRACTICE, registration.ods_code or "")


def _gender(code: str | None) -> str | None:
    if code is not None and code not in GENDERS:
        raise _Refused(GENDER_INVALID)
    return code


def _birth_date(written: str | None) -> str | None:
    if written is not None and dates.precision(written) != "day":
        raise _Refused(BIRTH_INVALID)
    return written


def _death_date(written: str | None, changes: _Alterations) -> str | None:
    """Pass a date of any precision (D2) and cut the time of day."""
    if written is None or dates.precision(written) is not None:
        return written
    date, time = written[:8], written[8:]
    if dates.precision(date) != "day" or not _TIME_OF_DAY.fullmatch(time):
        raise _Refused(DEATH_INVALID)
    changes.note(DEATH_TIME, written, date)
    return date


def _name(names: Iterable[SpineName], today: str, changes: _Alterations) -> Name | None:
    usual = _in_force((name for name in names if "L" in (name.use or "").split()), today)
    if not usual:
        return None
    chosen = _latest(usual, lambda name: " ".join((*name.given, name.family or "")), NAME_SEVERAL, changes)
    given = [name for name in (one.strip() for one in chosen.given) if name]
    if len(given) > 2:
        changes.note(GIVEN_EXTRA, " ".join(given), " ".join(given[:2]))
    lengths = ((GIVEN_LONG, NAME_LENGTH), (SECOND_GIVEN_LONG, SECOND_GIVEN_LENGTH))
    kept = [changes.cut(rule, name, length) for name, (rule, length) in zip(given, lengths, strict=False)]
    name = Name(
        prefix=changes.cut(PREFIX_LONG, (chosen.prefix or "").strip(), NAME_LENGTH),
        given=tuple(one for one in kept if one),
        family=changes.cut(FAMILY_LONG, (chosen.family or "").strip(), NAME_LENGTH),
    )
    return None if name == Name() else name


def _addresses(addresses: Iterable[SpineAddress], today: str, changes: _Alterations) -> tuple[Address, ...]:
    by_use: dict[AddressUse, list[SpineAddress]] = {use: [] for use in _ADDRESS_ORDER}
    for address in _in_force(addresses, today):
        use = next((_ADDRESS_USES[one] for one in (address.use or "").split() if one in _ADDRESS_USES), None)
        if use is None:
            changes.note(ADDRESS_USE, _written(address))
        else:
            by_use[use].append(address)
    chosen = [(use, _latest(several, _written, ADDRESS_SEVERAL, changes)) for use, several in by_use.items() if several]
    made = [_address(use, address, changes) for use, address in chosen]
    return tuple(address for address in made if address is not None)


def _address(use: AddressUse, address: SpineAddress, changes: _Alterations) -> Address | None:
    if (address.use or "") != use:
        changes.note(ADDRESS_USE_WRITTEN, address.use or "", use)
    lines = [line.strip() for line in address.lines]
    beyond = [line for line in lines[LINES:] if line]
    if beyond:
        changes.note(LINES_EXTRA, ", ".join(beyond))
    one, two, three, four, five = (
        changes.cut(LINE_LONG, line, LINE_LENGTH) or "" for line in (lines + [""] * LINES)[:LINES]
    )
    postcode = _postcode((address.postcode or "").strip(), changes)
    if not (one or two or three or four or five or postcode):
        changes.note(ADDRESS_EMPTY, use)
        return None
    return Address(use=use, lines=(one, two, three, four, five), postcode=postcode)


def _postcode(written: str, changes: _Alterations) -> str | None:
    if not written:
        return None
    postcode = normal_postcode(written)
    if postcode is None:
        changes.note(POSTCODE_INVALID, written)
    elif postcode != written:
        changes.note(POSTCODE_WRITTEN, written, postcode)
    return postcode


def _telecoms(telecoms: Iterable[SpineTelecom], today: str, changes: _Alterations) -> Iterator[Telecom]:
    for telecom in _in_force(telecoms, today):
        written = f"{telecom.use or ''} {telecom.value or ''}".strip()
        normal = normal_telecom(telecom.use, telecom.value)
        if isinstance(normal, str):
            changes.note(_UNFIT_TELECOMS[normal], written)
            continue
        if (telecom.use, telecom.value) != (normal.use, normal.value):
            changes.note(TELECOM_WRITTEN, written, f"{normal.use} {normal.value}")
        since = telecom.valid_from
        if since is not None and dates.precision(since) != "day":
            changes.note(TELECOM_SINCE, since)
            since = None
        yield Telecom(use=normal.use, value=normal.value, since=since)


def _practice(registrations: Iterable[SpineRegistration], today: str, changes: _Alterations) -> Practice | None:
    registrations = tuple(registrations)
    for one in registrations:
        if one.valid_from and one.valid_to and one.valid_to[:8] < one.valid_from[:8]:
            changes.note(PRACTICE_PERIOD, f"{one.ods_code or ''} {one.valid_from} {one.valid_to}".strip())
    current = _in_force(registrations, today)
    if not current:
        return None
    code = _latest(current, lambda one: one.ods_code or "", PRACTICE_SEVERAL, changes).ods_code or ""
    if not is_ods_code(code):
        changes.note(PRACTICE_CODE, code)
        return None
    return Practice(ods_code=code)


def _in_force(items: Iterable[_Dated], today: str) -> list[_Dated]:
    """Keep what is in force today. An end that is no date bounds nothing: what Spine calls current is current."""
    return [item for item in items if _begun(item.valid_from, today) and not _ended(item.valid_to, today)]


def _begun(since: str | None, today: str) -> bool:
    day = (since or "")[:8]
    return dates.precision(day) is None or day <= today[: len(day)]


def _ended(until: str | None, today: str) -> bool:
    day = (until or "")[:8]
    return dates.precision(day) is not None and day < today[: len(day)]


def _latest(items: list[_Dated], written: Callable[[_Dated], str], rule: Rule, changes: _Alterations) -> _Dated:
    """Give the one that began last, the first of those sent where several did, and note the others."""
    latest = max(items, key=lambda item: (item.valid_from or "")[:8])
    for item in items:
        if item is not latest:
            changes.note(rule, written(item))
    return latest


def _written(address: SpineAddress) -> str:
    return ", ".join(part for part in (*address.lines, address.postcode) if part)


def _texts(patient: Patient) -> Iterator[str]:
    """Give every text of free form that would go out."""
    if patient.name is not None:
        yield from (patient.name.prefix or "", *patient.name.given, patient.name.family or "")
    for address in patient.addresses:
        yield from address.lines
    for telecom in patient.telecoms:
        yield telecom.value
