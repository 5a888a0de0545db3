"""Requests that search with wildcards."""

import pytest

from minispine.domain.operations import NationalService, Operation
from minispine.domain.request import PdsRequest


@pytest.mark.parametrize("field", ["family", "given", "postcode"])
def test_a_wildcard_in_any_searchable_text_is_seen(field: str) -> None:
    plain = {"family": "LANGAN", "given": None, "postcode": None}
    request = PdsRequest(operation=Operation.GET_NHS_NUMBER, birth_date="20090310", **{**plain, field: "LA*"})
    assert request.has_wildcard
    assert not PdsRequest(operation=Operation.GET_NHS_NUMBER, birth_date="20090310", **plain).has_wildcard


def test_every_operation_is_answered_by_pds() -> None:
    assert {operation.national_service for operation in Operation} == {NationalService.PDS}
