"""The identity rule: number and full date of birth, and nothing that could be doubted."""

import pytest

from minispine.domain.matching import is_certainly
from minispine.domain.patient import SpineName, SpineRecord

NUMBER, OTHER = "9000000009", "9000000017"
BORN = "19800229"


def record(number: str | None = NUMBER, birth_time: str | None = BORN) -> SpineRecord:
    return SpineRecord(nhs_number=number, birth_time=birth_time, names=(SpineName(use="L", family="SMITH"),))


def test_number_and_full_date_of_birth_are_enough() -> None:
    assert is_certainly(record(), number=NUMBER, birth_date=BORN)


@pytest.mark.parametrize(
    ("held", "number", "birth_date"),
    [
        pytest.param(record(), OTHER, BORN, id="another number"),
        pytest.param(record(), NUMBER, "19800228", id="another day"),
        pytest.param(record(), NUMBER, "198002", id="the month alone is asked"),
        pytest.param(record(birth_time="198002"), NUMBER, "198002", id="the month alone is known"),
        pytest.param(record(birth_time="1980"), NUMBER, BORN, id="less is known than asked"),
        pytest.param(record(birth_time="19800229120000"), NUMBER, BORN, id="more is known than a day"),
        pytest.param(record(birth_time="19810229"), NUMBER, "19810229", id="no day of the calendar"),
        pytest.param(record(birth_time=None), NUMBER, BORN, id="no date is known"),
        pytest.param(record(number=None), NUMBER, BORN, id="no number is known"),
        pytest.param(record(number="9000000008"), "9000000008", BORN, id="no valid number"),
        pytest.param(record(), NUMBER, "", id="no date is asked"),
    ],
)
def test_everything_doubtful_is_left_to_spine(held: SpineRecord, number: str, birth_date: str) -> None:
    assert not is_certainly(held, number=number, birth_date=birth_date)
