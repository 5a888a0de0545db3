"""Each operation as a transcript: it asks this, is told that, asks this, and this decides."""

import pytest

from minispine.domain.operations import Operation
from minispine.domain.outcome import Found, Invalidated, NoMatch, NotVerified, Outcome, Superseded
from minispine.domain.patient import SpineAddress, SpineName, SpineRecord
from minispine.domain.presentation import Presented, present
from minispine.domain.question import CrossCheck, Question, Retrieval, Trace
from minispine.domain.request import PdsRequest
from minispine.provider.services import pds

BY_SEARCH = Operation.GET_PATIENT_DETAILS_BY_SEARCH
NUMBER = "9449310467"
FOUND = Found(event="found", record=SpineRecord(nhs_number=NUMBER))
WITH_NUMBER = {"nhs_number": NUMBER, "birth_date": "20090310"}
WITH_NAME = {"family": "LANGAN", "given": "LAURENCE", "gender": "1", "birth_date": "20090310", "postcode": "KT21 2PN"}
CHECK = CrossCheck(nhs_number=NUMBER, birth_date="20090310")
TRACE = Trace(**WITH_NAME)
RETRIEVAL = Retrieval(nhs_number=NUMBER)


def transcript(operation: Operation, told: list[Outcome], **parameters: str) -> tuple[list[Question], Outcome]:
    steps = pds.questions(PdsRequest(operation=operation, **parameters))
    asked = [next(steps)]
    for outcome in told:
        try:
            asked.append(steps.send(outcome))
        except StopIteration as decided:
            return asked, decided.value
    raise AssertionError("the service still asks")


@pytest.mark.parametrize("decisive", [FOUND, NotVerified(event="pds.40"), NoMatch(event="pds.1")])
def test_verify_is_one_cross_check(decisive: Outcome) -> None:
    asked, decided = transcript(Operation.VERIFY_NHS_NUMBER, [decisive], **WITH_NUMBER)
    assert asked == [CHECK]
    assert decided is decisive


def test_a_number_is_found_by_one_trace() -> None:
    assert transcript(Operation.GET_NHS_NUMBER, [FOUND], **WITH_NAME) == ([TRACE], FOUND)


@pytest.mark.parametrize("operation", [Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER, Operation.GET_PATIENT_DETAILS])
def test_details_by_number_are_retrieved_only_after_the_number_is_proved(operation: Operation) -> None:
    assert transcript(operation, [FOUND, FOUND], **WITH_NUMBER) == ([CHECK, RETRIEVAL], FOUND)
    for refused in (NotVerified(event="pds.40"), Superseded(event="pds.44", nhs_number="9449310416")):
        assert transcript(operation, [refused], **WITH_NUMBER) == ([CHECK], refused)


def test_a_failed_number_is_never_followed_by_a_search() -> None:
    refused = NotVerified(event="pds.40")
    asked, decided = transcript(Operation.GET_PATIENT_DETAILS, [refused], **(WITH_NAME | WITH_NUMBER))
    assert [type(question) for question in asked] == [CrossCheck]
    assert decided is refused


@pytest.mark.requirement("SMSP-ERR-005", "b")
@pytest.mark.parametrize("operation", [Operation.GET_PATIENT_DETAILS_BY_SEARCH, Operation.GET_PATIENT_DETAILS])
def test_the_last_outcome_decides(operation: Operation) -> None:
    gone = Invalidated(event="pds.22")
    assert transcript(operation, [FOUND, gone], **WITH_NAME) == ([TRACE, RETRIEVAL], gone)


def test_who_a_sensitive_person_is_comes_from_the_first_answer_because_pds_empties_the_second() -> None:
    name, address = SpineName(use="L", family="LANGAN"), SpineAddress(use="H", postcode="KT21 2PN")
    known = Found(event="found", record=SpineRecord(nhs_number=NUMBER, names=(name,), addresses=(address,)))
    emptied = Found(event="found", record=SpineRecord(nhs_number=NUMBER, confidentiality="S"))
    for operation, parameters in ((Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER, WITH_NUMBER), (BY_SEARCH, WITH_NAME)):
        _, decided = transcript(operation, [known, emptied], **parameters)
        assert isinstance(decided, Found)
        assert decided.record.names == (name,)
        shown = present(decided.record, today="20240501", asked_number=None)
        assert isinstance(shown, Presented)
        assert shown.patient.addresses == ()


def test_a_whole_record_is_shown_as_it_was_retrieved() -> None:
    known = Found(event="found", record=SpineRecord(nhs_number=NUMBER, names=(SpineName(use="L", family="FORMER"),)))
    whole = Found(event="found", record=SpineRecord(nhs_number=NUMBER, names=(SpineName(use="L", family="LANGAN"),)))
    for retrieved in (whole, FOUND):
        assert transcript(BY_SEARCH, [known, retrieved], **WITH_NAME)[1] is retrieved


@pytest.mark.parametrize("number", [None, "9449310468"])
def test_a_traced_number_that_cannot_be_right_is_not_retrieved(number: str | None) -> None:
    traced = Found(event="found", record=SpineRecord(nhs_number=number))
    assert transcript(Operation.GET_PATIENT_DETAILS_BY_SEARCH, [traced], **WITH_NAME) == ([TRACE], traced)


@pytest.mark.parametrize("operation", list(Operation))
def test_no_operation_asks_more_than_it_declares(operation: Operation) -> None:
    told: list[Outcome] = [FOUND] * pds.most_questions(operation)
    asked, _ = transcript(
        operation, told, **(WITH_NAME if "Search" in operation or operation == "getNHSNumber" else WITH_NUMBER)
    )
    assert len(asked) == pds.most_questions(operation)
