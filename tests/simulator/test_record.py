import pytest

from minispine.simulator.record import ALTERATIONS, AlterationRefused, altered, fits_xml

from .messages import person

NEW_VALUES = {
    "nhs_number": "1", "gender": "7", "birth_time": "20230229", "deceased_time": "2010", "confidentiality": "Z",
    "prefix": "SIR", "given": ["A", "B", "C"], "family": "B", "name_use": None, "address_use": "XXX",
    "address_lines": [], "postcode": None, "telecom_use": None, "telecom_value": "x", "practice": "?",
    "registration_since": "20200101", "registration_until": "20100101",
}  # fmt: skip


@pytest.mark.parametrize("key", ALTERATIONS)
def test_every_alteration_changes_the_record(key: str) -> None:
    assert altered(person(), {key: NEW_VALUES[key]}) != person()


@pytest.mark.parametrize("key", ALTERATIONS)
def test_a_record_that_lacks_everything_can_be_altered_too(key: str) -> None:
    bare = person(addresses=(), telecoms=(), registration=None, names=person().names)
    altered(bare, {key: NEW_VALUES[key]})


def test_nothing_else_changes() -> None:
    changed = altered(person(), {"family": "JONES"})
    assert changed.usual_name.family == "JONES"
    assert changed.usual_name.given == person().usual_name.given
    assert changed.addresses == person().addresses


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"surname": "X"}, "surname"),
        ({"family": 3}, "family"),
        ({"given": "ANNE"}, "given"),
        ({"family": "\0"}, "family"),
    ],
)
def test_what_cannot_be_altered_is_named(changes: dict[str, object], key: str) -> None:
    with pytest.raises(AlterationRefused) as refused:
        altered(person(), changes)
    assert refused.value.key == key


def test_an_unknown_confidentiality_withholds_nothing() -> None:
    assert person(confidentiality="S").is_sensitive
    assert not person(confidentiality="Z").is_sensitive


def test_which_characters_xml_can_carry() -> None:
    assert fits_xml("ZOË\t\U0001f600")
    assert not any(map(fits_xml, ("\0", "\x1f", "\ud800", "\ufffe")))
