import pytest
from hypothesis import given as assuming
from hypothesis import strategies as st

from minispine.simulator.matching import CrossCheck, Register, Result, Retrieval, Trace
from minispine.simulator.record import HeldAddress, HeldName

from .messages import person

ANNE = person(
    names=(
        HeldName(given=("ANNE", "JOY"), family="SMITH JONES"),
        HeldName(use="PREVIOUS-MAIDEN", given=("ANNE",), family="O'BRIEN"),
    ),
    addresses=(HeldAddress(postcode="LS6 4AB"), HeldAddress(use="TMP", postcode="YO21 1AA", paf_key="77")),
    deceased_time="20200101",
)
OLDEST = person("9990000026", family="FORMER", birth_time="19800228", superseded_by="9990000034", postcode="N1 1AA")
OLDER = person("9990000034", superseded_by="9990000042")
STANDING = person("9990000042", birth_time="19900101", family="STANDING", postcode="NR2 2BB")
GONE = person("9990000050", birth_time="19910101", invalidated=True)
DOUBLE = person("9990000069", birth_time="19920101", family="DOUBLE", given=("PAT",), postcode="EX4 1AA")
OTHER = person("9990000077", birth_time="19920101", family="DOUBLE", given=("SAM",), postcode="EX4 2BB")
PARTIAL = person("9990000085", birth_time="195703")
TIMED = person("9990000093", birth_time="2014051200")
REGISTER = Register([ANNE, OLDEST, OLDER, STANDING, GONE, DOUBLE, OTHER, PARTIAL, TIMED])


@pytest.mark.parametrize(
    ("number", "birth", "family", "given", "result"),
    [
        ("9990000018", "19800229", None, (), Result.FOUND),
        ("9990000018", "19800229", "WRONG", ("NAME",), Result.FOUND),  # number and whole birth date suffice
        ("9990000018", "19800228", None, (), Result.NOT_VERIFIED),
        ("9990000018", "19800228", "smith  jones", ("anne",), Result.FOUND),  # two parts and the name
        ("9990000018", "19810229", "O'Brien", ("Anne",), Result.FOUND),  # a name of before
        ("9990000018", "19800228", "O'BRIEN", ("JOY",), Result.NOT_VERIFIED),
        ("9990000018", "19800228", "O'BRIEN", (), Result.NOT_VERIFIED),  # half a name is no name
        ("9990000018", "19810228", "O'BRIEN", ("ANNE",), Result.NOT_VERIFIED),  # one part only
        ("9990000085", "19570311", "SMITH", ("ANNE",), Result.FOUND),
        ("9990000085", "19570311", None, (), Result.NOT_VERIFIED),
        ("9990000085", "195703", None, (), Result.NOT_VERIFIED),  # two empty days are not a day alike
        ("9990000093", "20140512", None, (), Result.FOUND),
        ("9990000107", "19800229", None, (), Result.NO_MATCH),
        ("9990000050", "19910101", None, (), Result.INVALIDATED),
        ("999000001", "19800229", None, (), Result.NOT_NEW_STYLE),
        ("999000001X", "19800229", None, (), Result.NOT_NEW_STYLE),
        ("٩٩٩٠٠٠٠٠١٨", "19800229", None, (), Result.NOT_NEW_STYLE),
    ],
)
def test_cross_check(number: str, birth: str, family: str | None, given: tuple[str, ...], result: Result) -> None:
    asked = CrossCheck(nhs_number=number, birth_time=birth, family=family, given=given)
    assert REGISTER.cross_check(asked).result is result


@pytest.mark.parametrize("birth", ["19800228", "19900101"])
def test_a_superseded_number_is_verified_by_its_own_birth_date_or_its_successors(birth: str) -> None:
    match = REGISTER.cross_check(CrossCheck(nhs_number="9990000026", birth_time=birth))
    assert (match.result, match.person) == (Result.SUPERSEDED, STANDING)
    wrong = REGISTER.cross_check(CrossCheck(nhs_number="9990000026", birth_time="19850505"))
    assert (wrong.result, wrong.person) == (Result.NOT_VERIFIED, None)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, True),
        ({"family": " smith   JONES "}, True),
        ({"family": "O'BRIEN"}, True),
        ({"family": "SMITH"}, False),
        ({"gender": "1"}, False),
        ({"birth_time": "19800228"}, False),
        ({"given": ("ANNE",)}, True),
        ({"given": ("anne", "joy")}, True),
        ({"given": ("JOY",)}, False),
        ({"given": ("ANNE", "JOY", "MAY")}, False),
        ({"family": "O'BRIEN", "given": ("ANNE", "JOY")}, False),  # of one name, not of two
        ({"postcode": "ls64ab"}, True),
        ({"postcode": "YO21 1AA"}, True),  # of any address
        ({"postcode": "LS6"}, False),
        ({"paf_key": "77"}, True),
        ({"paf_key": "78"}, False),
        ({"deceased_time": "20200101"}, True),
        ({"deceased_time": "20200102"}, False),
    ],
)
def test_simple_trace(changes: dict[str, object], found: bool) -> None:
    asked = {"gender": "2", "birth_time": "19800229", "family": "SMITH JONES"} | changes
    match = REGISTER.trace(Trace(**asked))  # type: ignore[arg-type]
    assert (match.result, match.person) == ((Result.FOUND, ANNE) if found else (Result.NO_MATCH, None))


def test_a_trace_that_fits_several_people_gives_none_of_them() -> None:
    several = REGISTER.trace(Trace(gender="2", birth_time="19920101", family="DOUBLE"))
    assert (several.result, several.person) == (Result.SEVERAL, None)
    assert REGISTER.trace(Trace(gender="2", birth_time="19920101", family="DOUBLE", given=("SAM",))).person is OTHER
    one = REGISTER.trace(Trace(gender="2", birth_time="19920101", family="DOUBLE", postcode="EX4 1AA"))
    assert one.person is DOUBLE


@pytest.mark.parametrize(("family", "postcode"), [("STANDING", None), ("FORMER", None), ("FORMER", "N11AA")])
def test_what_a_superseded_record_held_finds_its_successor(family: str, postcode: str | None) -> None:
    match = REGISTER.trace(Trace(gender="2", birth_time="19900101", family=family, postcode=postcode))
    assert (match.result, match.person) == (Result.FOUND, STANDING)


def test_an_invalidated_record_cannot_be_traced() -> None:
    assert REGISTER.trace(Trace(gender="2", birth_time="19910101", family="SMITH")).result is Result.NO_MATCH


@pytest.mark.parametrize(
    ("number", "result", "found"),
    [
        ("9990000018", Result.FOUND, ANNE),
        ("9990000026", Result.SUPERSEDED, STANDING),
        ("9990000034", Result.SUPERSEDED, STANDING),
        ("9990000050", Result.INVALIDATED, None),
        ("9990000107", Result.NO_MATCH, None),
    ],
)
def test_retrieval(number: str, result: Result, found: object) -> None:
    match = REGISTER.retrieve(Retrieval(nhs_number=number))
    assert (match.result, match.person) == (result, found)
    assert match.replaced == (("9990000026", "9990000034") if found is STANDING else ())


def test_a_chain_that_leads_nowhere_or_round_is_an_invalidated_number() -> None:
    register = Register(
        [
            person("9990000018", superseded_by="9990000026"),
            person("9990000026", superseded_by="9990000018"),
            person("9990000034", superseded_by="9990000042"),
        ]
    )
    for number in ("9990000018", "9990000034"):
        assert register.retrieve(Retrieval(nhs_number=number)).result is Result.INVALIDATED


@assuming(st.text(max_size=12), st.text(max_size=10), st.text(max_size=5), st.lists(st.text(max_size=4), max_size=2))
def test_nothing_asked_can_break_the_register(number: str, birth: str, family: str, given: list[str]) -> None:
    """Whatever is asked, exactly the results FOUND and SUPERSEDED come with a person."""
    for asked in (
        CrossCheck(nhs_number=number, birth_time=birth, family=family, given=tuple(given)),
        Trace(gender="2", birth_time=birth, family=family, given=tuple(given)),
        Retrieval(nhs_number=number),
    ):
        match = REGISTER.look_up(asked)
        assert (match.person is not None) == (match.result in (Result.FOUND, Result.SUPERSEDED))
