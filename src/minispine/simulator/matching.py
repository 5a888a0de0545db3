"""How this Spine finds people: its own rules for cross check, simple trace and retrieval.

They are written from what is known of PDS and share nothing with the provider's rules, so that the two can disagree.
Comparison ignores case and collapses blanks; a postcode is compared without blanks. Nothing here knows of messages.
"""

from collections import defaultdict
from collections.abc import Iterable
from enum import Enum
from typing import Final

import msgspec

from minispine.simulator.record import Person


class Result(Enum):
    """What came of looking."""

    FOUND = "found"
    SUPERSEDED = "superseded"
    NO_MATCH = "no match"
    SEVERAL = "several"
    NOT_VERIFIED = "not verified"
    INVALIDATED = "invalidated"
    NOT_NEW_STYLE = "not new style"


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A result; with FOUND and SUPERSEDED the record that now stands, and the numbers that it replaced."""

    result: Result
    person: Person | None = None
    replaced: tuple[str, ...] = ()


class CrossCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Is this number this person's? The birth date is YYYYMMDD; names are optional."""

    nhs_number: str
    birth_time: str
    family: str | None = None
    given: tuple[str, ...] = ()


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Who is this person? Gender, birth date and family name are needed, the rest narrows."""

    gender: str
    birth_time: str
    family: str
    given: tuple[str, ...] = ()
    postcode: str | None = None
    paf_key: str | None = None
    deceased_time: str | None = None


class Retrieval(msgspec.Struct, frozen=True, kw_only=True):
    """What is held under this number? Without `items` only the serial change number is asked for."""

    nhs_number: str
    items: bool = True
    history: bool = False


Query = CrossCheck | Trace | Retrieval

_DATE_PARTS: Final = (slice(0, 4), slice(4, 6), slice(6, 8))
_MAX_CHAIN: Final = 50


class _Findable(msgspec.Struct, frozen=True):
    """A standing record with everything by which it can be found, its predecessors' names and addresses included."""

    person: Person
    names: tuple[tuple[str, tuple[str, ...]], ...]
    postcodes: frozenset[str]
    paf_keys: frozenset[str]
    replaced: tuple[str, ...]


class Register:
    """Everybody this Spine holds, indexed by number and by gender, birth date and family name."""

    def __init__(self, people: Iterable[Person]) -> None:
        self._records = {person.nhs_number: person for person in people}
        merged: dict[str, list[Person]] = defaultdict(list)
        for person in self._records.values():
            standing = self._standing(person)
            if standing is not None:
                merged[standing.nhs_number].append(person)
        self._findable = {number: _findable(self._records[number], all_of) for number, all_of in merged.items()}
        self._by_traits: dict[tuple[str, str, str], list[_Findable]] = defaultdict(list)
        for one in self._findable.values():
            for family in {family for family, _ in one.names}:
                self._by_traits[one.person.gender, one.person.birth_time, family].append(one)

    def __len__(self) -> int:
        return len(self._records)

    def people(self) -> Iterable[Person]:
        """Give every record, in the order given."""
        return self._records.values()

    def _standing(self, person: Person) -> Person | None:
        """Follow the chain of replacements to the record in force; None where it ends in nothing or in itself."""
        current: Person | None = person
        for _ in range(_MAX_CHAIN):
            if current is None or current.invalidated:
                return None
            if current.superseded_by is None:
                return current
            current = self._records.get(current.superseded_by)
        return None

    def cross_check(self, asked: CrossCheck) -> Match:
        """Verify a number: the whole birth date, or two of its three parts together with the whole name.

        A superseded number is verified by its own birth date or its successor's, and any name of either.
        """
        if not (len(asked.nhs_number) == 10 and asked.nhs_number.isascii() and asked.nhs_number.isdigit()):
            return Match(result=Result.NOT_NEW_STYLE)
        held = self._records.get(asked.nhs_number)
        if held is None:
            return Match(result=Result.NO_MATCH)
        standing = None if held.invalidated else self._standing(held)
        if standing is None:
            return Match(result=Result.INVALIDATED)
        one = self._findable[standing.nhs_number]
        equal = max(_equal_parts(asked.birth_time, birth) for birth in {held.birth_time, standing.birth_time})
        if equal == 3 or (equal == 2 and asked.family and asked.given and _named(one, asked.family, asked.given)):
            return _answer(held, one)
        return Match(result=Result.NOT_VERIFIED)

    def trace(self, asked: Trace) -> Match:
        """Find the one person with exactly these traits; any name and any address of theirs will do."""
        candidates = self._by_traits.get((asked.gender, asked.birth_time, _folded(asked.family)), ())
        found = [one for one in candidates if _fits(one, asked)]
        if not found:
            return Match(result=Result.NO_MATCH)
        if len(found) > 1:
            return Match(result=Result.SEVERAL)
        return _answer(found[0].person, found[0])

    def retrieve(self, asked: Retrieval) -> Match:
        """Give the record that stands for a number."""
        held = self._records.get(asked.nhs_number)
        if held is None:
            return Match(result=Result.NO_MATCH)
        standing = None if held.invalidated else self._standing(held)
        if standing is None:
            return Match(result=Result.INVALIDATED)
        return _answer(held, self._findable[standing.nhs_number])

    def look_up(self, asked: Query) -> Match:
        """Ask by the kind of the query."""
        match asked:
            case CrossCheck():
                return self.cross_check(asked)
            case Trace():
                return self.trace(asked)
            case Retrieval():
                return self.retrieve(asked)


def _findable(standing: Person, all_of: list[Person]) -> _Findable:
    addresses = [address for person in all_of for address in person.addresses]
    return _Findable(
        person=standing,
        names=tuple(
            (_folded(name.family), tuple(map(_folded, name.given))) for person in all_of for name in person.names
        ),
        postcodes=frozenset(_unspaced(address.postcode) for address in addresses if address.postcode),
        paf_keys=frozenset(address.paf_key for address in addresses if address.paf_key),
        replaced=tuple(person.nhs_number for person in all_of if person is not standing),
    )


def _answer(held: Person, one: _Findable) -> Match:
    result = Result.FOUND if held is one.person else Result.SUPERSEDED
    return Match(result=result, person=one.person, replaced=one.replaced)


def _fits(one: _Findable, asked: Trace) -> bool:
    return (
        _named(one, asked.family, asked.given)
        and (not asked.postcode or _unspaced(asked.postcode) in one.postcodes)
        and (not asked.paf_key or asked.paf_key in one.paf_keys)
        and (not asked.deceased_time or asked.deceased_time == one.person.deceased_time)
    )


def _named(one: _Findable, family: str, given: tuple[str, ...]) -> bool:
    """Tell whether one name has this family name and begins with these given names."""
    wanted, wanted_given = _folded(family), tuple(map(_folded, given))
    return any(
        held_family == wanted and held_given[: len(wanted_given)] == wanted_given
        for held_family, held_given in one.names
    )


def _equal_parts(asked: str, held: str) -> int:
    """Count which of year, month and day are held and asked alike; part of a date has only some of them."""
    return sum(1 for part in _DATE_PARTS if asked[part] and asked[part] == held[part])


def _folded(text: str) -> str:
    return " ".join(text.split()).upper()


def _unspaced(text: str) -> str:
    return "".join(text.split()).upper()
