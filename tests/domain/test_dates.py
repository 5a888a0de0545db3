"""Dates of the calendar, whole or partial."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.domain import dates


@pytest.mark.parametrize(
    ("text", "precision"),
    [
        ("20240229", "day"),
        ("20230229", None),
        ("20100931", None),
        ("201405", "month"),
        ("201413", None),
        ("2010", "year"),
        ("0000", None),
        ("2014051200", None),
        ("2014-05-1", None),
        ("", None),
        ("２０１０", None),
    ],
)
def test_precision(text: str, precision: str | None) -> None:
    assert dates.precision(text) == precision


@given(st.dates())
def test_every_day_of_the_calendar_exists(day: datetime.date) -> None:
    """Invariant: any day of the calendar, cut to month or year, is known by the precision it was cut to."""
    text = f"{day:%Y%m%d}".rjust(8, "0")
    assert [dates.precision(text[:length]) for length in (4, 6, 8)] == ["year", "month", "day"]
