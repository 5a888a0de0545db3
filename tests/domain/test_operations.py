from minispine.domain.operations import NationalService, Operation


def test_every_operation_is_answered_by_pds() -> None:
    assert {operation.national_service for operation in Operation} == {NationalService.PDS}
