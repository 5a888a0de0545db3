"""When a record is certainly that of the person asked about: the identity rule, where Spine does not judge it for us.

Spine has rules of its own for a cross check. Ours is the part of them about which there can be no doubt, so that what
it lets through Spine would let through as well; whatever else there is, Spine has to be asked.
"""

from minispine.domain import dates, nhs_number
from minispine.domain.patient import SpineRecord


def is_certainly(record: SpineRecord, *, number: str, birth_date: str) -> bool:
    """Tell whether a record has exactly this NHS number and this date of birth, both in full.

    The number has to be a valid one, and the date, YYYYMMDD, a day of the calendar. A name that differs refuses nobody
    (D4): number and date of birth together are enough, and people change their names.

    >>> is_certainly(SpineRecord(nhs_number="9000000009", birth_time="19800229"),
    ...              number="9000000009", birth_date="19800229")
    True
    """
    return (
        dates.precision(birth_date) == "day"
        and record.birth_time == birth_date
        and record.nhs_number == number
        and nhs_number.is_valid(number)
    )
