"""What the simulator sends about anybody is valid against the official schemas, save the defects it is to have."""

from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
from lxml import etree

from minispine.simulator import answers
from minispine.simulator.answers import INTERACTIONS, REASONS, Answers, Envelope
from minispine.simulator.matching import CrossCheck, Query, Register, Retrieval, Trace
from minispine.simulator.opentest import load
from minispine.simulator.population import populate
from minispine.simulator.record import Person
from minispine.simulator.requests import RULES

ENVELOPE = Envelope(
    id="A0000000-0000-4000-8000-000000000001",
    created="20260101120000",
    sender="928942012545",
    receiver="200000000999",
    related="B0000000-0000-4000-8000-000000000002",
    referred="C0000000-0000-4000-8000-000000000003",
)
HL7 = "{urn:hl7-org:v3}"

NOT_REPRESENTABLE = {
    "QUICK-ADDRESSTYPEINV",
    "QUICK-TELTYPEMISSING",
    "QUICK-TELSUBTYPEMISSING",
    "QUICK-INVALID-GEN",
    "QUICK-INVALID-SFLAG",
}
"""OpenTest rows whose named defect the schema itself forbids; the other QUICK-* defects are of a valid message."""


class Schemas:
    def __init__(self, folder: Path) -> None:
        self._compiled = cache(lambda name: etree.XMLSchema(etree.parse(str(folder / f"{name}.xsd"))))

    def complaint(self, answer: bytes) -> str | None:
        """Say what is wrong with the message in an answer; None when it is valid."""
        body = etree.fromstring(answer)[-1]
        message = next(e for e in body.iter() if "_IN0" in str(e.tag))
        schema = self._compiled(etree.QName(message).localname)
        alone = etree.fromstring(etree.tostring(message))
        return None if schema.validate(alone) else f"{message.tag}: {schema.error_log[0].type_name}"


@pytest.fixture(scope="module")
def schemas(corpus: Path) -> Schemas:
    return Schemas(corpus / "spine" / "schema" / "omvt" / "Schemas")


def queries_about(person: Person) -> list[tuple[str, Query]]:
    number, name = person.nhs_number, person.usual_name
    return [
        ("QUPA_IN000008UK02", Retrieval(nhs_number=number)),
        ("QUPA_IN000008UK02", Retrieval(nhs_number=number, items=False)),
        ("QUPA_IN000014UK01", CrossCheck(nhs_number=number, birth_time=person.birth_time)),
        ("QUPA_IN000014UK01", CrossCheck(nhs_number=number, birth_time="18000101")),
        ("QUPA_IN000005UK01", Trace(gender=person.gender, birth_time=person.birth_time, family=name.family)),
        ("QUPA_IN000005UK01", Trace(gender=person.gender, birth_time="18000101", family=name.family)),
    ]


def test_every_answer_about_the_whole_population_is_valid(schemas: Schemas) -> None:
    people = populate()
    register, written = Register(people), Answers()
    complaints = {
        (person.kind, complaint)
        for person in people
        for interaction, query in queries_about(person)
        if (complaint := schemas.complaint(written.looked_up(interaction, query, register.look_up(query), ENVELOPE)))
    }
    assert complaints == set()


def test_every_answer_about_opentest_is_valid_but_for_the_defects_a_schema_forbids(
    schemas: Schemas, corpus: Path
) -> None:
    people = load(corpus / "itk" / "spine-smsp" / "open_test_data.csv").people
    register, written = Register(people), Answers()
    complained: dict[str, int] = defaultdict(int)
    for person in people:
        for interaction, query in queries_about(person):
            answer = written.looked_up(interaction, query, register.look_up(query), ENVELOPE)
            complained[person.kind] += schemas.complaint(answer) is not None
    assert {kind for kind, count in complained.items() if count} == NOT_REPRESENTABLE


@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_business_answers_are_valid(schemas: Schemas, interaction: str) -> None:
    for reason in REASONS.values():
        assert schemas.complaint(Answers().refused(interaction, [reason], ENVELOPE)) is None
    for rule in RULES.values():
        if rule.layer == "query":
            refused = Answers().refused(interaction, answers.broken_query(rule), ENVELOPE)
            assert schemas.complaint(refused) is None


def test_acknowledgements_are_valid(schemas: Schemas) -> None:
    for rule in RULES.values():
        if rule.layer == "reject":
            assert schemas.complaint(answers.rejected(rule, ENVELOPE)) is None


def test_a_soap_fault_has_the_shape_of_the_official_one(corpus: Path) -> None:
    def shape(document: etree._Element) -> list[tuple[str, int]]:
        return [(str(e.tag), len(e)) for e in document.iter() if isinstance(e.tag, str)]

    official = etree.parse(str(corpus / "spine" / "mhs" / "soapfault_response_single_error.xml")).getroot()
    assert shape(etree.fromstring(answers.fault("200"))) == shape(official)
