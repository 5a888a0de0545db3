"""The Modulus 11 check."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.domain import nhs_number

nine_digits = st.text("0123456789", min_size=9, max_size=9)


@pytest.mark.parametrize("number", ["9449310467", "9449310440", "9434765919", "5552448715", "9000000009"])
def test_real_numbers_are_valid(number: str) -> None:
    assert nhs_number.is_valid(number)


@pytest.mark.parametrize(
    "number",
    ["9449310468", "9449310530", "123", "", "94493104670", " 9449310467", "944 931 0467", "٩٤٤٩٣١٠٤٦٧", "944931046X"],
)
def test_anything_else_is_not(number: str) -> None:
    assert not nhs_number.is_valid(number)


@given(nine_digits)
def test_exactly_one_tenth_digit_fits_or_none(first: str) -> None:
    """Invariant: of the ten numbers that begin with nine digits, one is valid, or none where no check digit exists."""
    valid = [digit for digit in "0123456789" if nhs_number.is_valid(first + digit)]
    digit = nhs_number.check_digit(first)
    assert valid == ([] if digit is None else [str(digit)])


@given(nine_digits, st.integers(0, 9), st.integers(1, 9))
def test_one_wrong_digit_is_always_noticed(first: str, place: int, change: int) -> None:
    """Invariant: changing any one digit of a valid number makes it invalid."""
    digit = nhs_number.check_digit(first)
    if digit is None:
        return
    number = f"{first}{digit}"
    wrong = str((int(number[place]) + change) % 10)
    assert not nhs_number.is_valid(number[:place] + wrong + number[place + 1 :])


def test_people_read_it_in_groups() -> None:
    assert nhs_number.grouped("9449310467") == "944 931 0467"
