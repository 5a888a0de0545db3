"""What an answer of Spine says about what is kept: what of it may be kept, and what must go. Pure.

The rules, in the words of the documentation (docs/caching.md):

- Kept is only a person plainly found: the event ``found``, a valid NHS number, the one that was asked about where one
  was, and nothing held back: no mark of sensitivity, nothing that Spine left out.
- Of a cross check, that number and date of birth belong together, and only where the record says so in so many words.
- Any other answer about a number deletes whatever is kept of it, for everybody: it is sensitive now, or superseded,
  invalidated, unknown, not that person's, or not readable. Where the answer names another number, that one's as well.
- That Spine cannot be reached, does not let the sender ask, or finds several people, says nothing about a number.
- A search that ends in anything but a person plainly found deletes what was kept of the same search.
"""

from typing import Final, Literal

import msgspec

from minispine.domain import nhs_number
from minispine.domain.matching import is_certainly
from minispine.domain.outcome import AuthorRefused, Found, Outcome, SeveralMatches, Superseded, Unavailable
from minispine.domain.patient import SpineRecord
from minispine.domain.question import CrossCheck, Question, Retrieval, Trace

PLAINLY: Final = "found"

Kind = Literal["check", "details", "search"]
"""What an entry answers: whether number and date of birth belong together; all about a number; an identical search."""


class Lesson(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about what is kept: an entry to make, and NHS numbers and a search to forget."""

    keep: Kind | None = None
    forget: tuple[str, ...] = ()
    forget_search: bool = False

    @property
    def forgets(self) -> bool:
        """Whether anything has to be deleted."""
        return bool(self.forget) or self.forget_search


NOTHING: Final = Lesson()


def lesson(question: Question, outcome: Outcome) -> Lesson:
    """Say what an answer means for what is kept."""
    if isinstance(outcome, Unavailable | AuthorRefused):
        return NOTHING
    if isinstance(question, Trace):
        return _of_search(outcome)
    if isinstance(outcome, SeveralMatches):
        return NOTHING
    if not isinstance(outcome, Found) or not is_plain(outcome, question.nhs_number):
        return Lesson(forget=_numbers(question.nhs_number, _named(outcome)))
    if isinstance(question, Retrieval):
        return Lesson(keep="details")
    proved = is_certainly(outcome.record, number=question.nhs_number, birth_date=question.birth_date)
    return Lesson(keep="check") if proved else NOTHING


def is_plain(found: Found, asked: str | None) -> bool:
    """Tell whether a person was found of whom nothing has to be held back; `asked` is None for a search."""
    record = found.record
    return (
        found.event == PLAINLY
        and record.nhs_number is not None
        and nhs_number.is_valid(record.nhs_number)
        and asked in (None, record.nhs_number)
        and record.confidentiality is None
        and not record.limited
    )


def answers(kind: Kind, record: SpineRecord, question: Question) -> bool:
    """Tell whether an entry's record answers a question: the identity rule, applied again."""
    match question:
        case CrossCheck(nhs_number=number, birth_date=birth_date):
            return kind != "search" and is_certainly(record, number=number, birth_date=birth_date)
        case Retrieval(nhs_number=number):
            return kind == "details" and record.nhs_number == number
        case Trace():
            return kind == "search"


def without_whereabouts(record: SpineRecord) -> SpineRecord:
    """Give the record without its addresses, telephones and e-mail addresses."""
    return msgspec.structs.replace(record, addresses=(), telecoms=())


def _of_search(outcome: Outcome) -> Lesson:
    if isinstance(outcome, Found) and is_plain(outcome, None):
        return Lesson(keep="search")
    return Lesson(forget=_numbers(_named(outcome)), forget_search=True)


def _named(outcome: Outcome) -> str | None:
    """The NHS number that an answer names."""
    match outcome:
        case Found(record=record):
            return record.nhs_number
        case Superseded(nhs_number=replacement):
            return replacement
    return None


def _numbers(*numbers: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(number for number in numbers if number))
