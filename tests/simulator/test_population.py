from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minispine.domain import nhs_number
from minispine.simulator.matching import Register, Result, Trace
from minispine.simulator.population import KINDS, MAX_SIZE, NEVER_ISSUED, populate
from minispine.simulator.record import Person

PEOPLE = populate()
BY_KIND: dict[str, list[Person]] = {}
for one in PEOPLE:
    BY_KIND.setdefault(one.kind, []).append(one)


def test_the_same_seed_and_size_make_the_same_people() -> None:
    assert populate() == PEOPLE
    assert populate(seed=2) != PEOPLE


def test_every_number_is_valid_synthetic_and_used_once() -> None:
    numbers = [person.nhs_number for person in PEOPLE]
    assert len(set(numbers)) == len(numbers) == 2000
    assert all(nhs_number.is_valid(number) and number.startswith("999") for number in numbers)
    assert NEVER_ISSUED not in numbers


def test_numbers_that_are_taken_are_passed_over() -> None:
    taken = {person.nhs_number for person in PEOPLE[:100]}
    assert taken.isdisjoint(person.nhs_number for person in populate(taken=taken))


def test_each_oddity_has_its_stated_share() -> None:
    counted = Counter(person.kind for person in PEOPLE)
    counted["superseded"] += counted.pop("successor")
    for name, kind in KINDS.items():
        assert counted[name] == pytest.approx(kind.share * 2000, abs=kind.records), name
    assert counted["plain"] > 1000


@settings(max_examples=25, deadline=None)
@given(size=st.integers(0, 400), seed=st.integers(0, 2**32))
def test_any_size_is_met_exactly(size: int, seed: int) -> None:
    """For every seed a population has the size asked for."""
    assert len(populate(size=size, seed=seed)) == size


def test_a_small_population_has_one_of_each_kind() -> None:
    assert {person.kind for person in populate(size=60)} >= KINDS.keys()


@pytest.mark.parametrize("size", [-1, MAX_SIZE + 1])
def test_a_size_beyond_the_numbers_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="population"):
        populate(size=size)


def test_addresses_have_five_lines_with_empty_ones_among_them() -> None:
    homes = [person.addresses[0] for person in PEOPLE if person.kind == "plain"]
    assert all(len(home.lines) == 5 for home in homes)
    assert all(home.lines[1] and home.lines[3] for home in homes)
    assert any(home.lines[0] == "" and home.lines[2] == "" for home in homes)
    assert any(home.lines[0] for home in homes)


def test_a_superseded_chain_ends_in_a_standing_record() -> None:
    held = {person.nhs_number: person for person in PEOPLE}
    firsts = [p for p in BY_KIND["superseded"] if held[p.superseded_by or ""].kind == "superseded"]
    assert len(firsts) == len(BY_KIND["successor"])
    for first in firsts:
        last = held[held[first.superseded_by or ""].superseded_by or ""]
        assert (last.kind, last.superseded_by, last.birth_time) == ("successor", None, first.birth_time)


def test_twins_doubles_and_neighbours_are_alike_in_what_their_kind_says() -> None:
    def pairs(kind: str) -> list[tuple[Person, Person]]:
        people = BY_KIND[kind]
        return list(zip(people[::2], people[1::2], strict=True))

    for one, other in pairs("twin"):
        assert (one.gender, one.birth_time, one.addresses) == (other.gender, other.birth_time, other.addresses)
        assert one.usual_name.family == other.usual_name.family
        assert one.usual_name.given[0] != other.usual_name.given[0]
    for one, other in pairs("double"):
        assert (one.gender, one.birth_time) == (other.gender, other.birth_time)
        assert one.usual_name.given[0] == other.usual_name.given[0]
        assert one.addresses[0].postcode != other.addresses[0].postcode
    for one, other in pairs("neighbour"):
        assert one.birth_time != other.birth_time
        assert one.addresses[0].postcode == other.addresses[0].postcode
        assert one.addresses[0].lines[1] != other.addresses[0].lines[1]


def test_everybody_else_is_found_by_name_gender_and_birth_date() -> None:
    register = Register(PEOPLE)
    several = {"twin", "double"}
    for person in PEOPLE:
        asked = Trace(gender=person.gender, birth_time=person.birth_time, family=person.usual_name.family)
        expected = Result.NO_MATCH if person.invalidated else Result.SEVERAL if person.kind in several else Result.FOUND
        assert register.trace(asked).result is expected, person.kind


def test_oddities_are_what_they_are_called() -> None:
    assert {p.confidentiality for p in BY_KIND["sensitive"]} == set("SYB")
    assert {len(p.birth_time) for p in BY_KIND["partial-birth"]} == {4, 6}
    assert {len(p.deceased_time or "") for p in BY_KIND["partial-death"]} == {4, 6}
    assert all("'" in p.usual_name.family or "’" in p.usual_name.family for p in BY_KIND["apostrophe"])
    assert all(not (p.usual_name.family + p.usual_name.given[0]).isascii() for p in BY_KIND["diacritics"])
    assert all(len(p.names) == 2 for p in BY_KIND["former-name"])
    assert {t.value.partition(":")[0] for p in BY_KIND["every-telecom"] for t in p.telecoms} == {
        "tel",
        "fax",
        "textphone",
        "mailto",
    }
    assert all(p.registration is None for kind in ("deceased", "no-practice") for p in BY_KIND[kind])
