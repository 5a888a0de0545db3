"""Dates as the messages write them: YYYY, YYYYMM or YYYYMMDD in the Gregorian calendar.

They stay strings: a date of death of "2010" is a fact that a ``datetime.date`` cannot hold.
"""

import datetime
from typing import Literal

Precision = Literal["year", "month", "day"]

_DIGITS = frozenset("0123456789")
_PRECISION: dict[int, Precision] = {4: "year", 6: "month", 8: "day"}


def precision(text: str) -> Precision | None:
    """Give the precision of a date that exists in the calendar, or None for anything else (SMSP-VAL-004 b).

    >>> precision("20240229"), precision("20230229"), precision("201405")
    ('day', None, 'month')
    """
    kind = _PRECISION.get(len(text))
    if kind is None or not _DIGITS.issuperset(text):
        return None
    try:
        datetime.date(int(text[:4]), int(text[4:6] or 1), int(text[6:8] or 1))
    except ValueError:
        return None
    return kind
