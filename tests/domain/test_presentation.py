"""Fitting a record to the interface: what is kept, changed, left out, and refused."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispine.domain import dates, nhs_number
from minispine.domain.patient import (
    Address,
    Name,
    Patient,
    Practice,
    SpineAddress,
    SpineName,
    SpineRecord,
    SpineRegistration,
    SpineTelecom,
    Telecom,
)
from minispine.domain.presentation import (
    REFUSALS,
    RULES,
    Alteration,
    NotPresentable,
    Presented,
    normal_postcode,
    present,
)

TODAY = "20240501"
NUMBER = "9449310467"

LINES = ("", "10 MOLE VALLEY PLACE", "", "ASHTEAD", "SURREY")

WHOLE = SpineRecord(
    nhs_number=NUMBER,
    names=(
        SpineName(use="PREVIOUS-BIRTH", given=("LAURIE",), family="FORMER", valid_from="20090310", valid_to="20120101"),
        SpineName(use="L", prefix="MR", given=("LAURENCE", "WISDOM"), family="LANGAN", valid_from="20120102"),
    ),
    gender="1",
    birth_time="20090310",
    deceased_time=None,
    addresses=(
        SpineAddress(use="PST", lines=("PO BOX 1", "", "", "LEEDS", ""), postcode="LS2 7UE", valid_from="20150101"),
        SpineAddress(use="H", lines=LINES, postcode="KT21 2PN", valid_from="20120101"),
        SpineAddress(use="H", lines=("", "1 OLD ROAD", "", "", ""), postcode="KT1 1AA", valid_to="20111231"),
    ),
    telecoms=(
        SpineTelecom(use="H", value="tel:01133973555", valid_from="20110324"),
        SpineTelecom(use="MC", value="tel:07700900123"),
        SpineTelecom(use="H", value="mailto:laurence@example.org"),
    ),
    registrations=(
        SpineRegistration(ods_code="H81001", valid_from="20090401", valid_to="20111231"),
        SpineRegistration(ods_code="H81109", valid_from="20120101"),
    ),
)

PATIENT = Patient(
    nhs_number=NUMBER,
    name=Name(prefix="MR", given=("LAURENCE", "WISDOM"), family="LANGAN"),
    gender="1",
    birth_date="20090310",
    addresses=(
        Address(use="H", lines=LINES, postcode="KT21 2PN"),
        Address(use="PST", lines=("PO BOX 1", "", "", "LEEDS", ""), postcode="LS2 7UE"),
    ),
    telecoms=(
        Telecom(use="H", value="tel:01133973555", since="20110324"),
        Telecom(use="MC", value="tel:07700900123"),
        Telecom(use="H", value="mailto:laurence@example.org"),
    ),
    practice=Practice(ods_code="H81109"),
)


def presented(record: SpineRecord = WHOLE, asked_number: str | None = NUMBER) -> Presented:
    made = present(record, today=TODAY, asked_number=asked_number)
    assert isinstance(made, Presented)
    return made


def changed(**fields: Any) -> SpineRecord:
    return msgspec.structs.replace(WHOLE, **fields)


def usual(**fields: Any) -> SpineRecord:
    """The whole record with one usual name that is as given."""
    return changed(names=(SpineName(use="L", **fields),))


def home(**fields: Any) -> SpineRecord:
    """The whole record with one home address, changed as given."""
    address = SpineAddress(use="H", lines=LINES, postcode="KT21 2PN", valid_from="20120101")
    return changed(addresses=(msgspec.structs.replace(address, **fields),))


def telecom(**fields: Any) -> SpineRecord:
    return changed(telecoms=(SpineTelecom(**{"use": "H", "value": "tel:0113", **fields}),))


def test_a_record_that_fits_is_passed_on_unchanged() -> None:
    assert presented() == Presented(patient=PATIENT)


def test_what_is_absent_is_left_out() -> None:
    assert presented(SpineRecord(nhs_number=NUMBER)) == Presented(patient=Patient(nhs_number=NUMBER))


LONG = "X" * 40

ALTERED: list[tuple[str, SpineRecord, dict[str, Any], list[tuple[str, str | None]]]] = [
    (
        "name.prefix-long",
        usual(prefix=LONG, family="LANGAN"),
        {"name": Name(prefix=LONG[:35], family="LANGAN")},
        [(LONG, LONG[:35])],
    ),
    ("name.family-long", usual(family=LONG), {"name": Name(family=LONG[:35])}, [(LONG, LONG[:35])]),
    (
        "name.given-long",
        usual(given=(LONG, LONG), family="LANGAN"),
        {"name": Name(given=(LONG[:35], LONG), family="LANGAN")},
        [(LONG, LONG[:35])],
    ),
    (
        "name.second-given-long",
        usual(given=("ANN", "Y" * 101)),
        {"name": Name(given=("ANN", "Y" * 100))},
        [("Y" * 101, "Y" * 100)],
    ),
    (
        "name.given-extra",
        usual(given=("ANN", " ", "BEA", "CLEO", "DORA")),
        {"name": Name(given=("ANN", "BEA"))},
        [("ANN BEA CLEO DORA", "ANN BEA")],
    ),
    (
        "name.several",
        changed(
            names=(
                SpineName(use="L", family="FIRST", valid_from="20100101"),
                SpineName(use="L", family="LAST", valid_from="20200101"),
            )
        ),
        {"name": Name(family="LAST")},
        [("FIRST", None)],
    ),
    (
        "death-date.time",
        changed(deceased_time="201206011230"),
        {"death_date": "20120601"},
        [("201206011230", "20120601")],
    ),
    (
        "address.use-unknown",
        home(use="BAD"),
        {"addresses": ()},
        [("10 MOLE VALLEY PLACE, ASHTEAD, SURREY, KT21 2PN", None)],
    ),
    ("address.use-rewritten", home(use="HP"), {"addresses": (PATIENT.addresses[0],)}, [("HP", "H")]),
    (
        "address.several",
        changed(addresses=(WHOLE.addresses[1], SpineAddress(use="H", lines=("2 NEW ROAD",), valid_from="20200101"))),
        {"addresses": (Address(use="H", lines=("2 NEW ROAD", "", "", "", "")),)},
        [("10 MOLE VALLEY PLACE, ASHTEAD, SURREY, KT21 2PN", None)],
    ),
    ("address.empty", home(lines=("", " "), postcode=None), {"addresses": ()}, [("H", None)]),
    (
        "address.line-long",
        home(lines=(LONG, "", "", "", "")),
        {"addresses": (Address(use="H", lines=(LONG[:35], "", "", "", ""), postcode="KT21 2PN"),)},
        [(LONG, LONG[:35])],
    ),
    (
        "address.lines-extra",
        home(lines=(*LINES, "", "SIXTH", "SEVENTH")),
        {"addresses": (PATIENT.addresses[0],)},
        [("SIXTH, SEVENTH", None)],
    ),
    (
        "address.postcode-invalid",
        home(postcode="KT21 2PNX"),
        {"addresses": (Address(use="H", lines=LINES),)},
        [("KT21 2PNX", None)],
    ),
    (
        "address.postcode-rewritten",
        home(postcode="kt212PN"),
        {"addresses": (PATIENT.addresses[0],)},
        [("kt212PN", "KT21 2PN")],
    ),
    ("telecom.scheme", telecom(value="fax:0113"), {"telecoms": ()}, [("H fax:0113", None)]),
    ("telecom.use", telecom(use="PG"), {"telecoms": ()}, [("PG tel:0113", None)]),
    ("telecom.empty", telecom(value=None), {"telecoms": ()}, [("H", None)]),
    (
        "telecom.rewritten",
        telecom(use="HP"),
        {"telecoms": (Telecom(use="H", value="tel:0113"),)},
        [("HP tel:0113", "H tel:0113")],
    ),
    (
        "telecom.since-invalid",
        telecom(valid_from="20110231"),
        {"telecoms": (Telecom(use="H", value="tel:0113"),)},
        [("20110231", None)],
    ),
    (
        "practice.code-invalid",
        changed(registrations=(SpineRegistration(ods_code="h-1"),)),
        {"practice": None},
        [("h-1", None)],
    ),
    (
        "practice.period",
        changed(
            registrations=(
                SpineRegistration(ods_code="H81109"),
                SpineRegistration(ods_code="H81001", valid_from="20200101", valid_to="20100101"),
            )
        ),
        {},
        [("H81001 20200101 20100101", None)],
    ),
    (
        "practice.several",
        changed(
            registrations=(
                SpineRegistration(ods_code="H81109", valid_from="20120101"),
                SpineRegistration(ods_code="H81001", valid_from="20090401"),
            )
        ),
        {},
        [("H81001", None)],
    ),
]


@pytest.mark.parametrize(("rule", "record", "fields", "changes"), ALTERED, ids=[row[0] for row in ALTERED])
def test_what_does_not_fit_is_changed_and_the_rest_stays(
    rule: str, record: SpineRecord, fields: dict[str, Any], changes: list[tuple[str, str | None]]
) -> None:
    made = presented(record)
    assert made.patient == msgspec.structs.replace(PATIENT, **fields)
    field = rule.partition(".")[0]
    assert list(made.alterations) == [
        Alteration(rule=rule, field=field, before=before, after=after) for before, after in changes
    ]


@pytest.mark.parametrize("code", ["Y", "B", "S"])
def test_nothing_that_locates_a_sensitive_person_is_shown(code: str) -> None:
    made = presented(changed(confidentiality=code))
    assert made.patient == msgspec.structs.replace(PATIENT, addresses=(), telecoms=(), practice=None)
    assert {change.rule for change in made.alterations} == {"address.withheld", "telecom.withheld", "practice.withheld"}
    assert [change.before for change in made.alterations if change.rule == "telecom.withheld"] == [
        one.value for one in WHOLE.telecoms
    ]


def test_a_record_that_spine_cut_down_is_handled_like_a_sensitive_one() -> None:
    assert presented(changed(limited=True)).patient.addresses == ()
    assert presented(SpineRecord(nhs_number=NUMBER, limited=True)) == Presented(patient=Patient(nhs_number=NUMBER))


@pytest.mark.parametrize("code", ["", "N", "s"])
def test_an_unknown_confidentiality_fails_closed(code: str) -> None:
    made = presented(changed(confidentiality=code))
    assert (made.patient.addresses, made.patient.telecoms, made.patient.practice) == ((), (), None)
    assert made.alterations[0] == Alteration(rule="confidentiality.unknown", field="confidentiality", before=code)


REFUSED = [
    ("nhs-number.invalid", changed(nhs_number="9449310468")),
    ("nhs-number.invalid", changed(nhs_number=None)),
    ("nhs-number.other", changed(nhs_number="9449310440")),
    ("gender.invalid", changed(gender="3")),
    ("birth-date.invalid", changed(birth_time="20100931")),
    ("birth-date.invalid", changed(birth_time="20230229")),
    ("birth-date.invalid", changed(birth_time="201405")),
    ("birth-date.invalid", changed(birth_time="2014051200")),
    ("death-date.invalid", changed(deceased_time="20100931")),
    ("death-date.invalid", changed(deceased_time="20100931" + "1230")),
    ("death-date.invalid", changed(deceased_time="2.01206E+11")),
    ("text.character", usual(family="LAN\x00GAN")),
    ("text.character", home(lines=("\ud800",))),
    ("text.character", telecom(value="tel:\x1b0113")),
]


@pytest.mark.parametrize(("rule", "record"), REFUSED)
def test_what_cannot_be_passed_on_safely_is_refused(rule: str, record: SpineRecord) -> None:
    made = present(record, today=TODAY, asked_number=NUMBER)
    assert isinstance(made, NotPresentable)
    assert (made.rule, made.field) == (rule, rule.partition(".")[0])
    assert made.reason
    known = {one.id: one for one in REFUSALS}
    assert made.reason == known[rule].condition


def test_a_leap_day_that_exists_is_returned_unchanged() -> None:
    assert presented(changed(birth_time="20240229")).patient.birth_date == "20240229"


@pytest.mark.parametrize("date", ["2010", "201005", "20100512"])
def test_a_date_of_death_may_be_partial(date: str) -> None:
    made = presented(changed(deceased_time=date))
    assert made.patient.death_date == date
    assert made.alterations == ()


@pytest.mark.parametrize(
    ("since", "until", "in_force"),
    [
        (None, None, True),
        (TODAY, TODAY, True),
        ("20240502", None, False),
        (None, "20240430", False),
        ("2024", "2024", True),
        ("2025", None, False),
        (None, "202404", False),
        ("202405", "202405", True),
        ("20240501093000", None, True),
        ("rubbish", "rubbish", True),
    ],
)
def test_what_is_in_force_today(since: str | None, until: str | None, in_force: bool) -> None:
    made = presented(usual(family="LANGAN", valid_from=since, valid_to=until))
    assert (made.patient.name is not None) == in_force
    assert made.alterations == ()


def test_fewer_than_five_lines_are_padded_at_the_end() -> None:
    made = presented(home(lines=("1 HIGH STREET", "ASHTEAD")))
    assert made.patient.addresses[0].lines == ("1 HIGH STREET", "ASHTEAD", "", "", "")
    assert made.alterations == ()


def test_in_a_search_any_valid_number_is_the_persons() -> None:
    assert presented(changed(nhs_number="9449310440"), asked_number=None).patient.nhs_number == "9449310440"


@pytest.mark.parametrize(
    ("written", "usual_form"),
    [
        ("LS1 4HY", "LS1 4HY"),
        ("LS14HY", "LS1 4HY"),
        ("ec1a  1bb", "EC1A 1BB"),
        ("ZZ99 3VZ", "ZZ99 3VZ"),
        ("GIR 0AA", "GIR 0AA"),
        ("STHL 1ZZ", "STHL 1ZZ"),
        ("M1 1AE", "M1 1AE"),
        ("LS1 4H", None),
        ("LS1 44Y", None),
        ("1LS 4HY", None),
        ("LS1 4HY LS1 4HY", None),
        ("", None),
    ],
)
def test_postcodes(written: str, usual_form: str | None) -> None:
    assert normal_postcode(written) == usual_form


def test_every_rule_of_the_table_has_a_record_that_shows_it() -> None:
    shown = {row[0] for row in ALTERED}
    for code in ("", "S"):
        shown |= {change.rule for change in presented(changed(confidentiality=code)).alterations}
    assert shown == {rule.id for rule in RULES}
    assert {row[0] for row in REFUSED} == {rule.id for rule in REFUSALS}
    assert len({rule.id for rule in (*RULES, *REFUSALS)}) == len(RULES) + len(REFUSALS)


texts = st.text(max_size=40) | st.sampled_from(["", "X" * 120, "ANN", "LS14HY", "LS1 4HY", "\x00"])
stamps = (
    st.none() | st.sampled_from(["2010", "20100931", "20240501", "20300101", "201206011230", "x"]) | st.text(max_size=9)
)
uses = st.none() | st.sampled_from(["L", "H", "HP", "TMP", "PST", "WP", "MC", "PG", "BAD", "H TMP"])
records = st.builds(
    SpineRecord,
    nhs_number=st.none() | st.sampled_from([NUMBER, "9449310440", "123"]),
    names=st.lists(
        st.builds(
            SpineName,
            use=uses,
            prefix=st.none() | texts,
            given=st.lists(texts, max_size=4).map(tuple),
            family=st.none() | texts,
            valid_from=stamps,
            valid_to=stamps,
        ),
        max_size=3,
    ).map(tuple),
    gender=st.none() | st.sampled_from(["0", "1", "2", "9", "3", ""]),
    birth_time=st.none() | st.sampled_from(["20090310", "20100931", "2009"]),
    deceased_time=stamps,
    addresses=st.lists(
        st.builds(
            SpineAddress,
            use=uses,
            lines=st.lists(texts, max_size=7).map(tuple),
            postcode=st.none() | texts,
            valid_from=stamps,
            valid_to=stamps,
        ),
        max_size=4,
    ).map(tuple),
    telecoms=st.lists(
        st.builds(
            SpineTelecom,
            use=uses,
            value=st.none() | texts | texts.map("tel:{}".format),
            valid_from=stamps,
            valid_to=stamps,
        ),
        max_size=4,
    ).map(tuple),
    registrations=st.lists(
        st.builds(
            SpineRegistration,
            ods_code=st.none() | st.sampled_from(["H81109", "x", ""]),
            valid_from=stamps,
            valid_to=stamps,
        ),
        max_size=3,
    ).map(tuple),
    confidentiality=st.sampled_from([None, None, None, "S", "Y", "?", ""]),
    limited=st.booleans(),
)


@given(records)
def test_whatever_spine_sends_what_is_shown_fits(record: SpineRecord) -> None:
    """Invariant: what is presented is within every limit of the interface, and what was changed names a known rule."""
    made = present(record, today=TODAY, asked_number=None)
    if isinstance(made, NotPresentable):
        assert made.rule in {rule.id for rule in REFUSALS}
        return
    patient = made.patient
    assert nhs_number.is_valid(patient.nhs_number)
    assert patient.gender in (None, "0", "1", "2", "9")
    assert patient.birth_date is None or dates.precision(patient.birth_date) == "day"
    assert patient.death_date is None or dates.precision(patient.death_date)
    if patient.name is not None:
        name = patient.name
        assert name != Name()
        assert len(name.given) <= 2
        assert all(name.given)
        assert [len(text) <= limit for text, limit in zip(name.given, (35, 100), strict=False)].count(False) == 0
        assert len(name.prefix or "") <= 35
        assert len(name.family or "") <= 35
    assert [address.use for address in patient.addresses] == [
        use for use in ("H", "TMP", "PST") if use in {address.use for address in patient.addresses}
    ]
    for address in patient.addresses:
        assert any(address.lines) or address.postcode
        assert all(len(line) <= 35 for line in address.lines)
        assert address.postcode is None or normal_postcode(address.postcode) == address.postcode
    for one in patient.telecoms:
        assert one.value.startswith(("tel:", "mailto:"))
        assert one.since is None or dates.precision(one.since) == "day"
    if record.limited or record.confidentiality is not None:
        assert (patient.addresses, patient.telecoms, patient.practice) == ((), (), None)
    assert {change.rule for change in made.alterations} <= {rule.id for rule in RULES}
    assert all(change.after is None or change.before != change.after for change in made.alterations)
