"""The five PDS mini services: what each asks Spine, and what its answer says of the outcome (SERVICE-PDS).

A service is pure: `questions` yields one question after another and is sent the outcome of each; what it returns is the
outcome that decides (SMSP-ERR-005 b). Nothing is ever retrieved on a number alone, and a number that fails is followed
by a search only where that is configured (D23).
"""

from collections.abc import Callable, Generator
from typing import Final

from msgspec import structs

from minispine.domain import nhs_number
from minispine.domain.operations import Operation
from minispine.domain.outcome import Found, NoMatch, NotVerified, Outcome, Superseded
from minispine.domain.question import CrossCheck, Question, Retrieval, Trace
from minispine.domain.request import PdsRequest

Questions = Generator[Question, Outcome, Outcome]


def _cross_check(request: PdsRequest) -> CrossCheck:
    assert request.nhs_number is not None
    return CrossCheck(
        nhs_number=request.nhs_number, birth_date=request.birth_date, family=request.family, given=request.given
    )


def _trace(request: PdsRequest) -> Trace:
    assert request.family is not None
    assert request.gender is not None
    return Trace(
        family=request.family,
        given=request.given,
        gender=request.gender,
        birth_date=request.birth_date,
        postcode=request.postcode,
    )


def _verify(request: PdsRequest) -> Questions:
    """Cross check: is this number this person's?"""
    return (yield _cross_check(request))


def _find_number(request: PdsRequest) -> Questions:
    """Trace: whose number is this?"""
    return (yield _trace(request))


def _details_by_number(request: PdsRequest) -> Questions:
    """Prove the number by a cross check, then retrieve it."""
    checked = yield _cross_check(request)
    if not isinstance(checked, Found):
        return checked
    assert request.nhs_number is not None
    return (yield from _retrieve(request.nhs_number, checked))


def _details_by_search(request: PdsRequest) -> Questions:
    """Trace, then retrieve the one person found; a number that cannot be right is not asked about (SMSP-VAL-002)."""
    traced = yield _trace(request)
    if not isinstance(traced, Found):
        return traced
    number = traced.record.nhs_number
    if number is None or not nhs_number.is_valid(number):
        return traced
    return (yield from _retrieve(number, traced))


def _retrieve(number: str, known: Found) -> Questions:
    """Retrieve a number that is proved; `known` is the answer that proved it.

    PDS retrieves a sensitive record empty. Who the person is, as D8 has it answered, is then what the first answer
    said; nothing in it that locates the person gets out, because the record stays marked as limited.
    """
    retrieved = yield Retrieval(nhs_number=number)
    if not isinstance(retrieved, Found):
        return retrieved
    record = retrieved.record
    emptied = (record.limited or record.confidentiality is not None) and not record.names
    if not emptied:
        return retrieved
    person = structs.replace(known.record, confidentiality=record.confidentiality, limited=True)
    return structs.replace(retrieved, record=person)


def _details(request: PdsRequest) -> Questions:
    """By number where there is one, else by search (D23, D24)."""
    return _details_by_number(request) if request.nhs_number else _details_by_search(request)


def _details_or_search(request: PdsRequest) -> Questions:
    """By number; a number that is unknown or not the person's is followed by a search (D23, off unless configured)."""
    outcome = yield from _details(request)
    searchable = request.nhs_number and request.family and request.gender
    if searchable and isinstance(outcome, NoMatch | NotVerified):
        return (yield from _details_by_search(request))
    return outcome


_QUESTIONS: Final[dict[Operation, Callable[[PdsRequest], Questions]]] = {
    Operation.VERIFY_NHS_NUMBER: _verify,
    Operation.GET_NHS_NUMBER: _find_number,
    Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER: _details_by_number,
    Operation.GET_PATIENT_DETAILS_BY_SEARCH: _details_by_search,
    Operation.GET_PATIENT_DETAILS: _details,
}

_MOST_QUESTIONS: Final[dict[Operation, int]] = {
    Operation.VERIFY_NHS_NUMBER: 1,
    Operation.GET_NHS_NUMBER: 1,
    Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER: 2,
    Operation.GET_PATIENT_DETAILS_BY_SEARCH: 2,
    Operation.GET_PATIENT_DETAILS: 2,
}


def most_questions(operation: Operation, *, search_after_number: bool = False) -> int:
    """How many questions an operation may ask: so many sets of ids are reserved before the first leaves (Law 1)."""
    most = _MOST_QUESTIONS[operation]
    return most + 1 if search_after_number and operation is Operation.GET_PATIENT_DETAILS else most


def questions(request: PdsRequest, *, search_after_number: bool = False) -> Questions:
    """Begin the questions of a request."""
    if search_after_number and request.operation is Operation.GET_PATIENT_DETAILS:
        return _details_or_search(request)
    return _QUESTIONS[request.operation](request)


def discloses_details(operation: Operation) -> bool:
    """Whether the operation's answer holds demographics when it succeeds."""
    return operation not in (Operation.VERIFY_NHS_NUMBER, Operation.GET_NHS_NUMBER)


def subject_number(
    request: PdsRequest, outcome: Outcome, *, superseded_bare: bool, not_verified_component: bool
) -> str | None:
    """Give the NHS number that an answer without demographics names, or None where it names nobody.

    A superseded number is answered with its replacement (D5) unless the client wants the bare form; a number that was
    not verified is named only for clients that expect the component (D6).
    """
    match outcome:
        case Found(record=record):
            return request.nhs_number if request.operation is Operation.VERIFY_NHS_NUMBER else record.nhs_number
        case Superseded(nhs_number=replacement):
            return None if superseded_bare else replacement
        case NotVerified() if not_verified_component and request.operation is Operation.VERIFY_NHS_NUMBER:
            return request.nhs_number
    return None
