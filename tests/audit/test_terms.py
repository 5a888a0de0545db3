"""By what a record is found: every id, person and place in it, and the patients of its private part only."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.audit.catalogue import CATALOGUE
from minispine.audit.events import EventType
from minispine.audit.terms import FIELDS, PATIENT_FIELDS, Term, bare, bare_number, terms_of
from tests.audit.samples import ACTOR

UUID = "3F2504E0-4F89-41D3-9A0C-0305E82C3301"
NUMBER = "9434765919"


def terms(data: dict[str, Any] | None = None, private: dict[str, Any] | None = None, **record: str | None) -> set[Term]:
    told = {"exchange": None, "client": None, "client_message_id": None} | record
    return terms_of(events=[(EventType.EXCHANGE_ASKED, data or {})], privates=[private or {}], **told)


def test_a_record_is_found_by_its_exchange_client_message_and_events() -> None:
    assert terms(exchange=UUID, client="ward", client_message_id=f"urn:uuid:{UUID.lower()}") == {
        ("event", "exchange.asked"),
        ("id", UUID),
        ("client", "ward"),
    }
    assert terms(client_message_id="m1") == {("event", "exchange.asked"), ("id", "m1")}


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_of_the_table_is_found_at_any_depth(field: str) -> None:
    expected = {(kind, "value") for kind in FIELDS[field]} | {("event", "exchange.asked")}
    for data in ({field: "value"}, {"a": {"b": [{"x": 1}, {field: "value"}]}}, {"a": [[], {field: "value"}]}):
        assert terms(data) == expected
    for nothing in ({field: ""}, {field: None}, {field: 7}, {"before": {field: "value"}, "after": {field: "value"}}):
        assert terms(nothing) == {("event", "exchange.asked")}


@pytest.mark.parametrize("name", ["before", "after"])
def test_what_a_document_held_is_not_what_happened(name: str) -> None:
    assert ("organisation", "RXX") not in terms({name: {"organisation": "RXX"}, "key": "ward"})
    assert ("item", "ward") in terms({name: {"organisation": "RXX"}, "key": "ward"})


def test_whoever_did_it_is_found_by_person_authority_organisation_and_device() -> None:
    assert terms({"actor": ACTOR.as_data()}) >= {
        ("user", "ward.clerk"),
        ("user", "S0080:G0450:R5080"),
        ("user", "clerk"),
        ("organisation", "RXX"),
        ("authority", "dr.doctor"),
        ("device", "WS-17"),
    }


def test_an_audit_identity_is_found_as_an_id_and_as_a_user() -> None:
    uri = "urn:nhs-uk:identity:ods:RXX:jo"
    assert terms({"audit_identity": [{"type": "1.2", "uri": uri}]}) >= {("id", uri), ("user", uri)}


@pytest.mark.parametrize("field", sorted(PATIENT_FIELDS))
def test_patients_are_found_by_the_private_part_alone(field: str) -> None:
    for private in ({field: NUMBER}, {"question": {field: f"{NUMBER[:3]} {NUMBER[3:6]} {NUMBER[6:]}"}}):
        assert ("patient", NUMBER) in terms(private=private)
    assert terms(private={"people": [{field: [NUMBER, "9434765870"]}]}) >= {
        ("patient", NUMBER),
        ("patient", "9434765870"),
    }
    assert not [term for term in terms({field: NUMBER}) if term[0] == "patient"], "the hashed part holds none"
    assert terms(private={field: ""}) == terms()
    assert terms(private={"family": "Markerby", "message_id": "m1"}) == terms(), "nothing else that is private"


def test_the_catalogue_names_patients_as_the_index_looks_for_them() -> None:
    privates = {name for kind in CATALOGUE.values() for name in kind.private_needs | kind.private_may}
    assert [name for name in privates if "nhs_number" in name and name not in PATIENT_FIELDS] == []
    told = {name for kind in CATALOGUE.values() for name in kind.needs | kind.may}
    assert told.isdisjoint(PATIENT_FIELDS), "no patient's id is in a hashed part"


@given(st.uuids(), st.sampled_from(["", "uuid:", "urn:uuid:", "URN:UUID:"]), st.booleans())
def test_an_id_is_compared_by_its_digits(uuid: object, prefix: str, upper: bool) -> None:
    text = str(uuid).upper() if upper else str(uuid)
    assert bare(prefix + text) == str(uuid).upper()


@given(st.text(max_size=60))
def test_what_is_compared_is_compared_with_itself(text: str) -> None:
    assert bare(bare(text)) == bare(text)
    assert bare_number(bare_number(text)) == bare_number(text)
    assert bare(f"x{UUID}") == f"x{UUID}"
