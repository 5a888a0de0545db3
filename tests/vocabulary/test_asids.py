from typing import Any

import pytest

from minispine.vocabulary.asids import load_asids
from minispine.vocabulary.tables import TableInvalid


def test_an_organisation_has_the_asid_of_its_row_and_an_unlisted_one_has_none() -> None:
    asids = load_asids({"RXX": "200000000999", "RYY": "200000000888"})
    assert (asids.asid("RXX"), asids.asid("RYY"), asids.asid("RZZ")) == ("200000000999", "200000000888", None)
    assert len(asids) == 2


def test_an_asid_leads_back_only_to_the_one_organisation_that_has_it() -> None:
    asids = load_asids({"RXX": "200000000999", "RYY": "200000000888", "RZZ": "200000000888"})
    assert asids.organisation("200000000999") == "RXX"
    assert asids.organisation("200000000888") is None
    assert asids.organisation("200000000777") is None


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"rxx": "200000000999"}, "rxx"),
        ({"RX": "200000000999"}, "RX"),
        ({"RXX": "20000000099"}, "RXX"),
        ({"RXX": 200000000999}, "RXX"),
        ({"RXX": "200000000999", "RYY": "20000000088A"}, "RYY"),
        ({"RXX": "２00000000999"}, "RXX"),
    ],
)
def test_a_row_that_is_no_mapping_is_refused_by_its_key(document: dict[str, Any], key: str) -> None:
    with pytest.raises(TableInvalid) as refused:
        load_asids(document)
    assert refused.value.key == key
