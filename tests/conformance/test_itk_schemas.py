"""Our schemas and the official ones say the same: of every mutant of every message, in both directions.

The seeds are messages of our own, as rich as the types allow. A mutant is a seed spoilt in one place, or in two.
"""

import contextlib
import itertools
import random
from functools import cache
from pathlib import Path

import pytest
from lxml import etree
from mutants import mutants

from minispine.domain.request import InvalidInput, PdsRequest
from minispine.wire import pds
from minispine.wire.soap import AnswerUnreadable

OURS = Path(__file__).parents[2] / "src/minispine/wire/schemas"

INFRASTRUCTURE = (
    '<realmCode code="GB"/><realmCode codeSystem="1.2" codeSystemName="n"/><typeId root="1.2" extension="t"/>'
    '<templateId root="A000000F-AAAA-4BBB-8CCC-00000000000F"/><templateId root="x-1" displayable="true"/>'
)
NIL = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:nil="true"'
ID = '<id root="A000000F-AAAA-4BBB-8CCC-00000000000F"/>'
PERIOD = "<useablePeriod>{}</useablePeriod>"
ADDRESS = '<addr use="H TMP"><postalCode partType="ZIP">A</postalCode>' + "<streetAddressLine/>" * 5 + "</addr>"


def _parameter(name: str, value: str) -> str:
    return f"<Person.{name}>{value}<semanticsText>Person.{name}</semanticsText></Person.{name}>"


DATE = _parameter("DateOfBirth", '<value value="20090310"/>')
GENDER = _parameter("Gender", '<value code="1" codeSystem="2.16.840.1.113883.2.1.3.2.4.16.25"/>')
LOCAL = _parameter("LocalIdentifier", '<value root="1.3.5" extension="RXX:1"/>')
NUMBER = _parameter("NHSNumber", '<value root="2.16.840.1.113883.2.1.4.1" extension="9449310467"/>')
NAME = _parameter("Name", '<value>a<given qualifier="CL">B</given><family partType="FAM">C</family></value>')
USED_NAME = _parameter("Name", '<value use="L A"><given/><family representation="TXT">C</family></value>')
POSTCODE = _parameter("Postcode", "<value><postalCode>A</postalCode></value>")


def _request(root: str, code: str, parameters: str) -> str:
    return (
        f'<{root} xmlns="urn:hl7-org:v3" classCode="CACT" moodCode="EVN">{ID}'
        f'<code code="{code}" codeSystem="2.16.840.1.113883.2.1.3.2.4.17.284"/>'
        f"<queryEvent>{parameters}</queryEvent></{root}>"
    )


def _response(root: str, content: str) -> str:
    return (
        f'<{root} xmlns="urn:hl7-org:v3" classCode="OBS" moodCode="EVN">{ID}'
        f'<code code="{root}" codeSystem="2.16.840.1.113883.2.1.3.2.4.17.284"/>'
        f'<value code="SMSP-0000" codeSystem="2.16.840.1.113883.2.1.3.2.4.17.285"/>{content}</{root}>'
    )


def _verified(patient: str) -> str:
    return _response(
        "verifyNHSNumberResponse-v1-0",
        '<component typeCode="COMP"><validIdentifier classCode="OBS" moodCode="EVN">'
        '<code code="VI" codeSystem="2.16.840.1.113883.2.1.3.2.4.17.287"/><value value="true"/>'
        f'<subject typeCode="SBJ">{patient}</subject></validIdentifier></component>',
    )


def _details(patient: str) -> str:
    return _response(
        "getPatientDetailsResponse-v1-0",
        f'<subject typeCode="SBJ"><patient classCode="PAT"><id root="1.2" extension="1"/>{patient}</patient></subject>',
    )


def _person(content: str) -> str:
    return _details(f'<patientPerson classCode="PSN" determinerCode="INSTANCE">{content}</patientPerson>')


def _telecom(content: str) -> str:
    return _details(f'<telecom use="H WP" value="tel:1">{content}</telecom>')


VERIFY = ("verifyNHSNumberRequest-v1-0", "verifyNHSNumberRequest-v1-0")
GET = ("getNHSNumberRequest-v1-0", "getNHSNumberRequest-v1-0")
EITHER = ("getPatientDetails-v1-0", "getPatientDetailsRequest-v1-0")
BY_NUMBER, BY_SEARCH = "getPatientDetailsByNHSNumberRequest-v1-0", "getPatientDetailsBySearchRequest-v1-0"

SEEDS: dict[str, tuple[str, str, str]] = {
    "verify request": ("pds-request", "QUPA_MT000001GB01", _request(*VERIFY, DATE + NUMBER + USED_NAME)),
    "get number request": ("pds-request", "QUPA_MT000002GB01", _request(*GET, DATE + GENDER + LOCAL + NAME + POSTCODE)),
    "by number request": (
        "pds-request",
        "QUPA_MT000003GB01",
        _request(BY_NUMBER, BY_NUMBER, DATE + LOCAL + NUMBER + USED_NAME),
    ),
    "by search request": (
        "pds-request",
        "QUPA_MT000004GB01",
        _request(BY_SEARCH, BY_SEARCH, DATE + GENDER + LOCAL + NAME + POSTCODE),
    ),
    "either request": (
        "pds-request",
        "QUPA_MT000005GB01",
        _request(*EITHER, DATE + GENDER + LOCAL + NUMBER + USED_NAME + POSTCODE),
    ),
    "request with infrastructure": (
        "pds-request",
        "QUPA_MT000001GB01",
        _request(*VERIFY, INFRASTRUCTURE + DATE + NUMBER).replace(ID, INFRASTRUCTURE + ID),
    ),
    "request with nil": (
        "pds-request",
        "QUPA_MT000005GB01",
        _request(*EITHER, DATE + "".join(f"<Person.{name} {NIL}/>" for name in ("Gender", "NHSNumber", "Postcode"))),
    ),
    "request with structured text": (
        "pds-request",
        "QUPA_MT000002GB01",
        _request(
            *GET,
            DATE.replace(
                "<semanticsText>",
                '<semanticsText mediaType="text/plain" language="en" compression="GZ" integrityCheck="QQ=="'
                ' integrityCheckAlgorithm="SHA-1" representation="TXT" nullFlavor="NI" updateMode="added">',
            )
            + GENDER
            + NAME
            + _parameter(
                "Postcode",
                '<value><postalCode partType="ZIP" representation="B64">A<reference value="x:y"/>'
                '<thumbnail><reference value="x:y"/><o xmlns="urn:other"/></thumbnail><o xmlns="urn:other"/>'
                "</postalCode></value>",
            ),
        ),
    ),
    "verify response": (
        "pds-response",
        "COMT_MT000013GB01",
        _verified('<patient classCode="PAT"><id root="2.16.840.1.113883.2.1.4.1" extension="9449310467"/></patient>'),
    ),
    "verify response with nil": ("pds-response", "COMT_MT000013GB01", _verified(f'<patient classCode="PAT" {NIL}/>')),
    "verify response nil": (
        "pds-response",
        "COMT_MT000013GB01",
        _response("verifyNHSNumberResponse-v1-0", f'<component typeCode="COMP" {NIL}/>'),
    ),
    "get number response": (
        "pds-response",
        "COMT_MT000014GB01",
        _response(
            "getNHSNumberResponse-v1-0",
            f'<subject typeCode="SBJ"><patient classCode="PAT">{INFRASTRUCTURE}<id root="1.2" extension="1"'
            ' assigningAuthorityName="n" displayable="false"/><id nullFlavor="UNK"/></patient></subject>',
        ),
    ),
    "details of a patient": (
        "pds-response",
        "COMT_MT000016GB01",
        _details(
            '<id root="1.2" extension="2"/><name use="L">x<prefix>A</prefix><given>B</given><given>C</given>'
            f'<family>D</family></name>{ADDRESS}{ADDRESS}<telecom use="HP" value="mailto:a@b.c"/>'
        ),
    ),
    "details of a person": (
        "pds-response",
        "COMT_MT000016GB01",
        _person(
            '<administrativeGenderCode code="9" codeSystem="2.16.840.1.113883.2.1.3.2.4.16.25"/>'
            f'<birthTime value="20090310"/><deceasedTime value="2010"/><gPPractice classCode="SDLOC" {NIL}/>'
        ),
    ),
    "details of a practice": (
        "pds-response",
        "COMT_MT000016GB01",
        _person(
            f'<gPPractice classCode="SDLOC">{ADDRESS}<telecom use="WP" value="tel:1"/>'
            '<locationOrganization classCode="ORG" determinerCode="INSTANCE"><id root="1.2" extension="A"/>'
            '<name use="L" nullFlavor="NI">A<prefix>B</prefix><suffix qualifier="LS">C</suffix><delimiter>,</delimiter>'
            '<validTime operator="I" value="2009"><low value="2009" inclusive="true"/><high/></validTime></name>'
            "</locationOrganization></gPPractice>"
        ),
    ),
    "telecom from and to": (
        "pds-response",
        "COMT_MT000016GB01",
        _telecom(
            PERIOD.format('<low value="2009"/><high value="2010"/>')
            + PERIOD.format('<low/><width value="1" unit="d"/>')
        ),
    ),
    "telecom until": (
        "pds-response",
        "COMT_MT000016GB01",
        _telecom(PERIOD.format("<high/>") + PERIOD.format("<width/><high/>") + '<id root="1.2"/>'),
    ),
    "telecom around": (
        "pds-response",
        "COMT_MT000016GB01",
        _telecom(
            PERIOD.format(
                '<center value="2009"/><width value="1.5e3"><translation code="a" codeSystem="1" value="1"'
                ' displayName="d" codeSystemVersion="v"><originalText>x</originalText></translation></width>'
            )
        ),
    ),
    "envelope": (
        "itk-envelope",
        "distributionEnvelope-v2-0",
        '<DistributionEnvelope xmlns="urn:nhs-itk:ns:201005"><header service="urn:x"'
        ' trackingid="A000000F-AAAA-4BBB-8CCC-00000000000F">'
        '<addresslist><address uri="urn:a" type="1"/><address uri="urn:b"/></addresslist><auditIdentity>'
        '<id uri="urn:a"/><id uri="1" type="2"/></auditIdentity><manifest count="1"><manifestitem id="a" mimetype="m"'
        ' profileid="p" base64="false" compressed="0" encrypted="false" metadata="1"/></manifest>'
        '<senderAddress uri="u"/><handlingSpecification><spec key="k" value="v"/></handlingSpecification></header>'
        '<payloads count="2">'
        '<payload id="a" filename="f"><x xmlns="urn:y"><z/></x></payload><payload id="b">text</payload></payloads>'
        "</DistributionEnvelope>",
    ),
    "error": (
        "itk-error",
        "ITKMessageTypes-2010-05",
        '<ToolkitErrorInfo xmlns="urn:nhs-itk:ns:201005"><ErrorID>A</ErrorID><ErrorCode codeSystem="1">1000</ErrorCode>'
        '<ErrorText>t</ErrorText><ErrorDiagnosticText>d</ErrorDiagnosticText></ToolkitErrorInfo>',
    ),
}  # fmt: skip

DISAGREEMENTS = {
    # The official types forbid these elements by maxOccurs="0", which libxml2 lets pass for one that comes last.
    ("value: last child streetAddressLine", True, False),
    ("translation: last child translation", True, False),
}
"""What our schemas knowingly judge differently: the mutation, the official verdict, ours."""


@cache
def _schema(path: Path) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(path))


def _both(corpus: Path, ours: str, official: str) -> tuple[etree.XMLSchema, etree.XMLSchema]:
    return _schema(corpus / f"itk/schemas/Schemas/{official}.xsd"), _schema(OURS / f"{ours}.xsd")


@pytest.mark.parametrize("name", SEEDS)
def test_both_judge_every_mutant_alike(corpus: Path, name: str) -> None:
    ours, official, text = SEEDS[name]
    theirs, our_own = _both(corpus, ours, official)
    seed = etree.fromstring(text)
    assert theirs.validate(seed), theirs.error_log
    assert our_own.validate(seed), our_own.error_log
    differing, judged, harmless = set(), 0, []
    for word, mutant in mutants(seed):
        verdict, our_verdict = theirs.validate(mutant), our_own.validate(mutant)
        judged += 1
        if verdict != our_verdict:
            differing.add((word, verdict, our_verdict))
        elif verdict:
            harmless.append((word, mutant))
    assert judged > 1000
    assert differing <= DISAGREEMENTS
    # Were everything refused, agreement would prove nothing.
    assert len(harmless) > 10

    source = random.Random(name)
    for word, mutant in source.sample(harmless, 6):
        for again, twice in itertools.islice(mutants(mutant), source.randrange(29), None, 29):
            verdict, our_verdict = theirs.validate(twice), our_own.validate(twice)
            assert verdict == our_verdict or (again, verdict, our_verdict) in DISAGREEMENTS, f"{word}; {again}"


@pytest.mark.parametrize("name", [name for name in SEEDS if "request" in name])
def test_every_mutant_of_a_request_is_read_or_named_invalid(name: str) -> None:
    """Whatever the schema lets through, read_request gives a request or says what is invalid; it never raises."""
    seed = etree.fromstring(SEEDS[name][2])
    (operation,) = (names.operation for names in pds.MESSAGES.values() if names.request_root in seed.tag)
    answers = [
        pds.read_request(operation, mutant, partial_birth_dates=True)
        for _, mutant in itertools.islice(mutants(seed), None, None, 3)
    ]
    assert {type(answer) for answer in answers} <= {PdsRequest, InvalidInput}


@pytest.mark.parametrize("name", [name for name in SEEDS if "response" in name or "details" in name])
def test_every_mutant_of_an_answer_is_read_or_unreadable(name: str) -> None:
    """Whatever a provider sends, read_response gives a reply with a code or raises AnswerUnreadable."""
    seed = etree.fromstring(SEEDS[name][2])
    operation = next(names.operation for names in pds.MESSAGES.values() if names.response_root in seed.tag)
    for _, mutant in itertools.islice(mutants(seed), None, None, 3):
        with contextlib.suppress(AnswerUnreadable):
            assert pds.read_response(operation, mutant).code
