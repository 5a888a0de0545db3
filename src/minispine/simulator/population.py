"""A synthetic population: the same people for the same seed and size, with the oddities of a national register.

`KINDS` is the one table of what oddities there are and how many records in a hundred carry each. Everybody has an NHS
number in the 999 range, which is kept for tests and never given to a patient; 9434765919 can therefore never be issued.
"""

import datetime
import random
from collections.abc import Callable, Container, Iterator
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from minispine.domain import nhs_number
from minispine.simulator import lexicon
from minispine.simulator.practices import REGISTERING
from minispine.simulator.record import HeldAddress, HeldName, HeldRegistration, HeldTelecom, Person

MAX_SIZE: Final = 500_000
NEVER_ISSUED: Final = "9434765919"
"""A number that must not lead to anybody, in this population or in any file loaded beside it."""

_FIRST_BIRTH: Final = datetime.date(1922, 1, 1)
_BIRTH_DAYS: Final = (datetime.date(2024, 12, 31) - _FIRST_BIRTH).days
_SERIALS: Final = 1_000_000
_STRIDE: Final = 610_501  # shares no factor with _SERIALS, so stepping by it visits every serial once


def _date(day: datetime.date) -> str:
    return day.strftime("%Y%m%d")


class _Maker:
    """Draws people; holds what must not be drawn twice."""

    def __init__(self, seed: int, taken: Container[str]) -> None:
        self.rng = random.Random(seed)  # noqa: S311  # repeatable on purpose
        self._numbers = self._free_numbers(taken)
        self._drawn: set[tuple[str, str, str]] = set()
        self.turn = 0
        """Which case of its kind is being made, for kinds that come in several forms."""

    def _free_numbers(self, taken: Container[str]) -> Iterator[str]:
        start = self.rng.randrange(_SERIALS)
        for step in range(_SERIALS):
            first_nine = f"999{(start + step * _STRIDE) % _SERIALS:06}"
            digit = nhs_number.check_digit(first_nine)
            number = f"{first_nine}{digit}"
            if digit is not None and number not in taken:
                yield number

    def birth(self) -> datetime.date:
        return _FIRST_BIRTH + datetime.timedelta(days=self.rng.randrange(_BIRTH_DAYS))

    def gender(self) -> str:
        return self.rng.choices("1209", (49, 49, 1, 1))[0]

    def given(self, gender: str) -> str:
        return self.rng.choice(lexicon.GIVENS.get(gender) or lexicon.GIVENS["1"] + lexicon.GIVENS["2"])

    def family(self) -> str:
        return self.rng.choice(lexicon.FAMILIES)

    def postcode(self, outward: str) -> str:
        letters = "ABDEFGHJLNPQRSTUWXYZ"
        return f"{outward} {self.rng.randrange(1, 10)}{self.rng.choice(letters)}{self.rng.choice(letters)}"

    def address(self, use: str = "H", since: str | None = None) -> HeldAddress:
        """Draw five lines, of which any but the second and fourth may be empty."""
        town, county, outward = self.rng.choice(lexicon.TOWNS)
        return HeldAddress(
            use=use,
            lines=(
                self.rng.choice(lexicon.PREMISES) if self.rng.random() < 0.2 else "",
                f"{self.rng.randrange(1, 200)} {self.rng.choice(lexicon.STREETS)}",
                self.rng.choice(lexicon.LOCALITIES) if self.rng.random() < 0.25 else "",
                town,
                county if self.rng.random() < 0.7 else "",
            ),
            postcode=self.postcode(outward),
            paf_key=str(self.rng.randrange(10_000_000, 99_999_999)),
            since=since,
        )

    def telephone(self) -> str:
        """Draw a number from those set aside for drama."""
        return f"tel:01632960{self.rng.randrange(1000):03}"

    def mobile(self) -> str:
        return f"tel:07700900{self.rng.randrange(1000):03}"

    def telecoms(self, family: str, since: str) -> tuple[HeldTelecom, ...]:
        drawn: list[HeldTelecom] = []
        if self.rng.random() < 0.7:
            drawn.append(HeldTelecom(use=self.rng.choice(("H", "HP")), value=self.telephone(), since=since))
        if self.rng.random() < 0.6:
            drawn.append(HeldTelecom(use="MC", value=self.mobile(), since=since))
        if self.rng.random() < 0.25:
            local = "".join(letter for letter in family.lower() if "a" <= letter <= "z")
            drawn.append(
                HeldTelecom(use="H", value=f"mailto:{local}{self.rng.randrange(100)}@example.org", since=since)
            )
        return tuple(drawn)

    def person(self, kind: str, **fixed: Any) -> Person:
        """Draw somebody of `kind`; `fixed` sets `family`, `given`, `gender`, `birth` or any field of `Person`."""
        gender: str = fixed.pop("gender", None) or self.gender()
        family: str = fixed.pop("family", None) or self.family()
        birth: datetime.date | None = fixed.pop("birth", None)
        if birth is None:  # nobody shares family name, birth date and gender but those made to
            birth = self.birth()
            while (family, _date(birth), gender) in self._drawn:
                birth = self.birth()
        self._drawn.add((family, _date(birth), gender))
        given: str = fixed.pop("given", None) or self.given(gender)
        givens = (given, self.given(gender)) if self.rng.random() < 0.55 else (given,)
        titles = lexicon.TITLES.get(gender, (None,))
        grown = _date(birth + datetime.timedelta(days=self.rng.randrange(30, 365)))
        name = HeldName(prefix=self.rng.choice(titles), given=givens, family=family, since=_date(birth))
        drawn: dict[str, Any] = {
            "nhs_number": next(self._numbers),
            "kind": kind,
            "gender": gender,
            "birth_time": _date(birth),
            "names": (name,),
            "addresses": (self.address(since=grown),),
            "telecoms": self.telecoms(family, grown),
            "registration": HeldRegistration(practice=self.rng.choice(REGISTERING), since=grown),
            "serial_change_number": self.rng.randrange(1, 60),
        }
        return Person(**(drawn | fixed))


def _plain(m: _Maker) -> list[Person]:
    return [m.person("plain")]


def _temporary_address(m: _Maker) -> list[Person]:
    person = m.person("temporary-address")
    temporary = replace(m.address("TMP", since="20240101"), until="20991231")
    return [replace(person, addresses=(*person.addresses, temporary))]


def _correspondence_address(m: _Maker) -> list[Person]:
    person = m.person("correspondence-address")
    town, _, outward = m.rng.choice(lexicon.TOWNS)
    box = HeldAddress(
        use="PST",
        lines=(f"PO BOX {m.rng.randrange(1, 999)}", "", "", town, ""),
        postcode=m.postcode(outward),
        since="20200101",
    )
    return [replace(person, addresses=(*person.addresses, box))]


def _every_telecom(m: _Maker) -> list[Person]:
    tel = m.telephone
    values = (
        ("H", tel()), ("HP", tel()), ("MC", m.mobile()), ("WP", tel()), ("HV", tel()), ("EC", m.mobile()),
        ("PG", tel()), ("AS", tel()), ("HP", tel().replace("tel:", "fax:")), ("H", tel().replace("tel:", "textphone:")),
        ("H", "mailto:first@example.org"), ("WP", "mailto:second@example.org"),
    )  # fmt: skip
    return [m.person("every-telecom", telecoms=tuple(HeldTelecom(use=u, value=v, since="20210401") for u, v in values))]


def _no_telecom(m: _Maker) -> list[Person]:
    return [m.person("no-telecom", telecoms=())]


def _partial_birth(m: _Maker) -> list[Person]:
    return [m.person("partial-birth", birth_time=_date(m.birth())[: (4, 6)[m.turn % 2]])]


def _wrong_birth(m: _Maker) -> list[Person]:
    year = f"{m.birth():%Y}"
    return [m.person("wrong-birth", birth_time=(year + "0230", year + "1301", year + "05120000")[m.turn % 3])]


def _deceased_on(m: _Maker, kind: str, shape: Callable[[datetime.date], str]) -> list[Person]:
    birth = m.birth()
    death = birth + datetime.timedelta(days=m.rng.randrange((datetime.date(2025, 6, 1) - birth).days))
    return [m.person(kind, birth=birth, deceased_time=shape(death), registration=None)]


def _deceased(m: _Maker) -> list[Person]:
    return _deceased_on(m, "deceased", _date)


def _partial_death(m: _Maker) -> list[Person]:
    return _deceased_on(m, "partial-death", lambda day: _date(day)[: (4, 6)[m.turn % 2]])


def _death_with_time(m: _Maker) -> list[Person]:
    return _deceased_on(m, "death-with-time", lambda day: f"{_date(day)}{m.rng.randrange(24):02}30")


def _wrong_death(m: _Maker) -> list[Person]:
    return _deceased_on(m, "wrong-death", lambda day: f"{day:%Y}0231")


def _superseded(m: _Maker) -> list[Person]:
    last = m.person("successor")
    usual = last.usual_name
    middle = m.person("superseded", gender=last.gender, family=usual.family, birth=_birth_of(last))
    first = m.person("superseded", gender=last.gender, birth=_birth_of(last))
    middle = replace(middle, names=last.names, superseded_by=last.nhs_number, registration=None)
    former = replace(usual, family=first.usual_name.family)
    first = replace(first, names=(former,), superseded_by=middle.nhs_number, registration=None)
    return [first, middle, last]


def _birth_of(person: Person) -> datetime.date:
    return datetime.datetime.strptime(person.birth_time, "%Y%m%d").replace(tzinfo=datetime.UTC).date()


def _invalidated(m: _Maker) -> list[Person]:
    return [m.person("invalidated", invalidated=True)]


def _sensitive(m: _Maker) -> list[Person]:
    return [m.person("sensitive", confidentiality="SYB"[m.turn % 3])]


def _no_practice(m: _Maker) -> list[Person]:
    return [m.person("no-practice", registration=None)]


def _over_long(m: _Maker) -> list[Person]:
    person = m.person("over-long")
    usual, home = person.usual_name, person.addresses[0]
    forms: tuple[dict[str, Any], ...] = (
        {"names": (replace(usual, family="-".join((usual.family, *("FEATHERSTONEHAUGH",) * 3))),)},
        {"names": (replace(usual, given=("MAXIMILIANALEXANDERBARTHOLOMEWSEBASTIAN", *usual.given[1:])),)},
        {"names": (replace(usual, given=(usual.given[0], "ANNE MARIE " * 11 + "ROSE")),)},
        {"names": (replace(usual, given=(usual.given[0], "PHILIP", "ARTHUR", "GEORGE")),)},
        {"addresses": (replace(home, lines=("", f"{home.lines[1]} BEHIND THE OLD MARKET HALL", *home.lines[2:])),)},
        {"addresses": (replace(home, postcode=f"{home.postcode} ENGLAND"),)},
    )  # fmt: skip
    return [replace(person, **forms[m.turn % len(forms)])]


def _diacritics(m: _Maker) -> list[Person]:
    given, family = lexicon.DIACRITIC_NAMES[m.turn % len(lexicon.DIACRITIC_NAMES)]
    return [m.person("diacritics", given=given, family=family)]


def _apostrophe(m: _Maker) -> list[Person]:
    families = lexicon.APOSTROPHE_FAMILIES
    return [m.person("apostrophe", family=families[m.turn % len(families)])]


def _hyphenated(m: _Maker) -> list[Person]:
    return [m.person("hyphenated", family=f"{m.family()}-{m.family()}")]


def _former_name(m: _Maker) -> list[Person]:
    person = m.person("former-name")
    use = ("PREVIOUS-MAIDEN", "PREVIOUS-BIRTH", "PREVIOUS", "A", "PREFERRED")[m.turn % 5]
    usual = person.usual_name
    until = "20150630" if use.startswith("PREVIOUS") else None
    other = replace(usual, use=use, family=m.family(), until=until)
    return [replace(person, names=(replace(usual, since=until or usual.since), other))]


def _twins(m: _Maker) -> list[Person]:
    first = m.person("twin", gender=m.rng.choice("12"))
    usual = first.usual_name
    other = m.given(first.gender)
    while other == usual.given[0]:
        other = m.given(first.gender)
    twin = m.person("twin", gender=first.gender, family=usual.family, given=other, birth=_birth_of(first))
    return [first, replace(twin, addresses=first.addresses, registration=first.registration)]


def _neighbours(m: _Maker) -> list[Person]:
    first = m.person("neighbour")
    usual, home = first.usual_name, first.addresses[0]
    number, _, street = home.lines[1].partition(" ")
    next_door = replace(home, lines=(home.lines[0], f"{int(number) + 2} {street}", *home.lines[2:]))
    next_day = _birth_of(first) + datetime.timedelta(days=1)
    second = m.person("neighbour", gender=first.gender, family=usual.family, given=usual.given[0], birth=next_day)
    return [first, replace(second, addresses=(next_door,))]


def _doubles(m: _Maker) -> list[Person]:
    first = m.person("double")
    usual = first.usual_name
    second = m.person("double", gender=first.gender, family=usual.family, given=usual.given[0], birth=_birth_of(first))
    while second.addresses[0].postcode == first.addresses[0].postcode:
        second = replace(second, addresses=(m.address(),))
    return [first, second]


class Kind(NamedTuple):
    """One oddity: the share of all records that carry it, how many records one case takes, and what it is."""

    share: float
    records: int
    make: Callable[[_Maker], list[Person]]
    meaning: str


KINDS: Final[dict[str, Kind]] = {
    "temporary-address": Kind(0.03, 1, _temporary_address, "a home and a temporary address"),
    "correspondence-address": Kind(0.03, 1, _correspondence_address, "a home and a correspondence address (PO box)"),
    "every-telecom": Kind(0.02, 1, _every_telecom, "every use and scheme: fax, textphone, pager, answering, e-mail"),
    "no-telecom": Kind(0.03, 1, _no_telecom, "no telephone or e-mail"),
    "partial-birth": Kind(0.005, 1, _partial_birth, "a birth date of YYYY or YYYYMM"),
    "wrong-birth": Kind(0.005, 1, _wrong_birth, "a birth date that the calendar does not have, or with a time"),
    "deceased": Kind(0.04, 1, _deceased, "a date of death, and so no practice"),
    "partial-death": Kind(0.01, 1, _partial_death, "a date of death of YYYY or YYYYMM"),
    "death-with-time": Kind(0.005, 1, _death_with_time, "a date of death with hours and minutes"),
    "wrong-death": Kind(0.005, 1, _wrong_death, "a date of death that the calendar does not have"),
    "superseded": Kind(0.015, 3, _superseded, "a chain A to B to C; C is of kind successor; A has another family name"),
    "invalidated": Kind(0.01, 1, _invalidated, "a number without a replacement"),
    "sensitive": Kind(0.02, 1, _sensitive, "confidentiality S, Y or B"),
    "no-practice": Kind(0.03, 1, _no_practice, "not registered with a practice"),
    "over-long": Kind(0.01, 1, _over_long, "a name, address line or postcode beyond the limits; four given names"),
    "diacritics": Kind(0.02, 1, _diacritics, "letters beyond A to Z"),
    "apostrophe": Kind(0.02, 1, _apostrophe, "an apostrophe in the family name"),
    "hyphenated": Kind(0.03, 1, _hyphenated, "a double-barrelled family name"),
    "former-name": Kind(0.06, 1, _former_name, "a previous, alias or preferred name beside the usual one"),
    "twin": Kind(0.02, 2, _twins, "two with one family name, gender, birth date and address"),
    "neighbour": Kind(0.01, 2, _neighbours, "two of one name next door to each other, born a day apart"),
    "double": Kind(0.01, 2, _doubles, "two of one name, gender and birth date in different places"),
}
"""What oddities there are; everybody else is plain. At least one case of each, where the size allows it."""


def populate(*, size: int = 2000, seed: int = 1, taken: Container[str] = frozenset()) -> list[Person]:
    """Make `size` records, the same for the same arguments, none with a number in `taken`.

    Raises:
        ValueError: `size` is below nought or above `MAX_SIZE`.
    """
    if not 0 <= size <= MAX_SIZE:
        raise ValueError(f"the population may hold 0 to {MAX_SIZE} records")
    maker = _Maker(seed, taken)
    people: list[Person] = []
    for kind in KINDS.values():
        for turn in range(max(1, round(kind.share * size / kind.records))):
            if len(people) + kind.records > size:
                break
            maker.turn = turn
            people += kind.make(maker)
    while len(people) < size:
        people += _plain(maker)
    return people
