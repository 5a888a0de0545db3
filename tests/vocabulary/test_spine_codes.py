"""The table of Spine codes: what is shipped, what an operator may change, and what is refused."""

import copy
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.domain.identity import IdentityFault
from minispine.domain.outcome import KINDS, Found, NoMatch, Superseded, Unusable, kind_of
from minispine.vocabulary.codes import shipped_vocabulary
from minispine.vocabulary.spine_codes import (
    REQUIRED,
    WITH_A_PERSON,
    EventRow,
    SpineCodes,
    load_spine_codes,
    shipped_document,
    shipped_spine_codes,
)
from minispine.vocabulary.tables import TableInvalid

VOCABULARY = {
    *("SMSP-0000", "SMSP-0001", "SMSP-0002", "SMSP-0003", "SMSP-0004", "SMSP-0005", "SMSP-9999"),
    *("DEMOG-0001", "DEMOG-0007", "DEMOG-0017", "DEMOG-0022", "DEMOG-0040", "DEMOG-0042", "DEMOG-9999"),
}


def with_row(event: str, /, **changes: Any) -> dict[str, Any]:
    """The shipped table with one row changed; a change to None takes the key away."""
    document = copy.deepcopy(shipped_document())
    row = next(row for row in document["event"] if row["name"] == event)
    row.update(changes)
    for key in [key for key, value in row.items() if value is None]:
        del row[key]
    return document


def loaded(document: dict[str, Any]) -> SpineCodes:
    return load_spine_codes(document, VOCABULARY)


def test_the_shipped_table_uses_only_codes_of_the_shipped_pds_vocabulary() -> None:
    vocabulary = shipped_vocabulary("pds")
    codes = {row.response for row in shipped_spine_codes().rows}
    for code in codes:
        assert vocabulary.text(code)


@pytest.mark.parametrize(
    ("code", "kind", "response"),
    [
        ("1", "no-match", "DEMOG-0001"),
        ("2", "several-matches", "DEMOG-0007"),
        ("7", "several-matches", "DEMOG-0007"),
        ("17", "superseded", "DEMOG-0017"),
        ("24", "superseded", "DEMOG-0017"),
        ("44", "superseded", "DEMOG-0017"),
        ("22", "invalidated", "DEMOG-0022"),
        ("40", "not-verified", "DEMOG-0040"),
        ("42", "input-refused", "DEMOG-0042"),
        ("AT002", "input-refused", "SMSP-0001"),
        ("no such code", "unusable", "DEMOG-9999"),
    ],
)
def test_a_reason_of_pds_has_a_response_code(code: str, kind: str, response: str) -> None:
    row = shipped_spine_codes().event_for("pds", code)
    assert (row.outcome, row.response) == (kind, response)


@pytest.mark.parametrize(
    ("system", "code", "text", "name"),
    [
        ("pds", "XX001", "Missing mandatory search field - birthTime", "pds.missing"),
        ("pds", "XX001", " invalid searchParameter value", "pds.invalid"),
        ("pds", "XX001", "Illegal date format", "pds.illegal"),
        ("pds", "XX001", "Duplicate search fields provided", "pds.duplicate-search"),
        ("pds", "1", "Invalid, but the code has a row of its own", "pds.1"),
        ("pds", "XX001", "The search was invalid", "pds.other"),
        ("pds", None, None, "pds.other"),
        ("tms", "599", "ACL violation", "tms.access-control"),
        ("tms", "202", "Duplicate HL7 ID Error", "tms.202"),
        ("tms", "599", "Invalid", "tms.other"),
        ("soap", "200", None, "soap.200"),
        ("soap", "300", None, "soap.other"),
    ],
)
def test_a_code_without_a_row_is_taken_by_its_text(system: Any, code: str | None, text: str | None, name: str) -> None:
    assert shipped_spine_codes().event_for(system, code, text).name == name


def test_an_operator_may_point_an_event_at_another_response() -> None:
    assert loaded(shipped_document()).response_code("pds.1") == "DEMOG-0001"
    changed = loaded(with_row("pds.1", response="DEMOG-9999"))
    assert changed.event_for("pds", "1").response == "DEMOG-9999"
    assert changed.response_code("pds.7") == "DEMOG-0007"


def test_an_event_without_a_row_has_the_generic_code() -> None:
    assert shipped_spine_codes().response_code("no.such-event") == "SMSP-9999"
    assert shipped_spine_codes().event("no.such-event").name == "other"


def test_errors_of_our_own_have_codes_of_our_own() -> None:
    codes = shipped_spine_codes()
    assert codes.response_code("input.invalid") == "SMSP-0001"
    assert codes.response_code("answer.data") == "SMSP-0002"
    assert codes.response_code("transport.unreachable") == "SMSP-0004"
    assert codes.response_code("other") == "SMSP-9999"


def test_every_identity_fault_but_the_one_that_is_a_fault_has_a_row() -> None:
    codes = shipped_spine_codes()
    for fault in get_args(IdentityFault):
        expected = "other" if fault == "asid-unknown" else f"identity.{fault}"
        assert codes.event(f"identity.{fault}").name == expected


REFUSED = [
    ("pds.1", {"response": "DEMOG-0099"}, "not in the vocabulary"),
    ("pds.1", {"outcome": "nobody"}, "not one of"),
    ("pds.1", {"outcome": None}, "needs an outcome"),
    ("pds.1", {"outcome": "found", "response": "SMSP-0000"}, "brings no person"),
    ("pds.22", {"outcome": "found", "response": "SMSP-0000"}, "brings no person"),
    ("pds.1", {"response": "SMSP-0000"}, "goes with the outcome found"),
    ("found", {"response": "DEMOG-0001"}, "goes with the outcome found"),
    ("found", {"outcome": "no-match", "response": "DEMOG-0001"}, "must be found"),
    ("answer.wrong-ids", {"outcome": "no-match", "response": "DEMOG-0001"}, "must be unusable"),
    ("answer.superseded", {"outcome": None}, "needs an outcome"),
    ("pds.1", {"begins": "No match"}, "exactly one of"),
    ("pds.1", {"code": None}, "exactly one of"),
    ("pds.1", {"system": None}, "need a system"),
    ("pds.missing", {"begins": ""}, "may not be empty"),
    ("pds.1", {"repeat": True}, "repeat goes with the outcome unavailable"),
    ("soap.201", {"repeat": True}, "repeat goes with the outcome unavailable"),
    ("soap.206", {"outcome": "unusable"}, "repeat goes with the outcome unavailable"),
    ("transport.timeout", {"repeat": True}, "repeat goes with a code of Spine's"),
    ("cache.spine-unavailable", {"outcome": "no-match"}, "the outcome must be absent"),
    ("cache.spine-unavailable", {"response": "SMSP-0000"}, "goes with the outcome found"),
    ("pds.1", {"name": "pds.2"}, "there twice"),
    ("pds.1", {"code": "2"}, "there twice"),
    ("pds.1", {"colour": "red"}, "unknown field"),
    ("pds.1", {"meaning": 7}, "Expected `str`"),
    ("pds.1", {"system": "lrs"}, "Invalid enum value"),
]


@pytest.mark.parametrize(("name", "changes", "reason"), REFUSED)
def test_a_table_that_does_not_hold_together_is_refused(name: str, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(TableInvalid) as refused:
        loaded(with_row(name, **changes))
    assert reason in refused.value.reason
    assert refused.value.key


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_table_without_an_event_that_is_raised_here_is_refused(name: str) -> None:
    document = shipped_document()
    document["event"] = [row for row in document["event"] if row["name"] != name]
    with pytest.raises(TableInvalid, match=name):
        loaded(document)


def test_only_faults_that_say_so_are_repeated() -> None:
    repeated = {row.name for row in shipped_spine_codes().rows if row.repeat}
    assert repeated == {"soap.200", "soap.206", "soap.208"}


def test_kept_data_in_an_outage_has_a_code_that_says_so() -> None:
    event = "cache.spine-unavailable"
    assert shipped_spine_codes().response_code(event) == "SMSP-0003"
    assert loaded(with_row(event, response="SMSP-9999")).response_code(event) == "SMSP-9999"


def test_a_table_from_before_an_event_takes_its_row_as_shipped() -> None:
    document = copy.deepcopy(shipped_document())
    document["version"] = "theirs"
    document["event"] = [
        {key: value for key, value in row.items() if key != "repeat"}
        for row in document["event"]
        if row["name"] != "cache.spine-unavailable"
    ]
    table = loaded(document)
    assert table.version == "theirs"
    assert table.event("cache.spine-unavailable") == shipped_spine_codes().event("cache.spine-unavailable")
    assert len(table.rows) == len(shipped_spine_codes().rows)
    assert not any(row.repeat for row in table.rows)


def test_the_row_of_a_later_event_must_fit_the_vocabulary_too() -> None:
    document = copy.deepcopy(shipped_document())
    document["event"] = [row for row in document["event"] if row["name"] != "cache.spine-unavailable"]
    with pytest.raises(TableInvalid, match="SMSP-0003 is not in the vocabulary"):
        load_spine_codes(document, VOCABULARY - {"SMSP-0003"})


def test_an_unknown_key_at_the_top_is_refused() -> None:
    with pytest.raises(TableInvalid, match="unknown field"):
        loaded({**shipped_document(), "events": []})


@given(
    name=st.sampled_from([row["name"] for row in shipped_document()["event"]]),
    outcome=st.sampled_from([*KINDS, None]),
    response=st.sampled_from(sorted(VOCABULARY)),
)
def test_no_override_makes_a_person_of_none(name: str, outcome: str | None, response: str) -> None:
    """Invariant: a row made by whatever override is accepted, read without a person, is never a Found or a success."""
    try:
        row = loaded(with_row(name, outcome=outcome, response=response)).event(name)
    except TableInvalid:
        return
    made = row.without_person(replacement=None)
    assert not isinstance(made, Found)
    if row.outcome == "found":
        assert name in WITH_A_PERSON
        assert made == Unusable(event="answer.incomplete")
    elif row.outcome is not None:
        assert kind_of(made) == row.outcome
        assert row.response != "SMSP-0000"


def test_only_a_superseded_row_carries_the_replacement() -> None:
    row = EventRow(name="x", outcome="superseded", response="DEMOG-0017", meaning="-")
    assert row.without_person(replacement="9000000009") == Superseded(event="x", nhs_number="9000000009")
    other = EventRow(name="x", outcome="no-match", response="DEMOG-0001", meaning="-")
    assert other.without_person(replacement="9000000009") == NoMatch(event="x")
