"""The messages of the five PDS mini services: payloads to domain values and back.

Requests are checked here in full: first against our schema, then for what a schema cannot say (SMSP-VAL-001 to 003).
Responses are built and checked against the schema before anybody sees them (SMSP-VAL-004). The envelope around a
payload is `itk`'s, and what to answer is decided elsewhere.
"""

import re
from collections.abc import Callable
from typing import Final, cast

import msgspec

from minispine.domain import dates, nhs_number
from minispine.domain.operations import Operation
from minispine.domain.patient import Address, AddressUse, Name, Patient, Practice, Telecom, TelecomUse
from minispine.domain.request import InvalidInput, LocalIdentifier, PdsRequest, Reply
from minispine.vocabulary import oids
from minispine.vocabulary.codes import Vocabulary
from minispine.wire import xml
from minispine.wire.soap import AnswerUnreadable

HL7: Final = "urn:hl7-org:v3"
_NSMAP: Final[dict[str | None, str]] = {None: HL7}
_NIL: Final = xml.name("http://www.w3.org/2001/XMLSchema-instance", "nil")


class Unrepresentable(Exception):
    """A value that the interface cannot carry; names the field and the reason, never the value (SMSP-VAL-004 c)."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


# Names


class MessageNames(msgspec.Struct, frozen=True, kw_only=True):
    """The names that one operation has in the messages; `parameters` are in the order of the schema."""

    operation: Operation
    service: str
    request_root: str
    request_code: str
    request_profile: str
    response_root: str
    response_profile: str
    parameters: tuple[str, ...]

    @property
    def response_service(self) -> str:
        """The service, and action, of the answer."""
        return self.service + "Response"


def _names(operation: Operation, response: str, parameters: str, *, request_root: str | None = None) -> MessageNames:
    request, response = f"{operation}Request-v1-0", f"{response}Response-v1-0"
    return MessageNames(
        operation=operation,
        service=f"urn:nhs-itk:services:201005:{operation}-v1-0",
        request_root=request_root or request,
        request_code=request,
        request_profile=f"urn:nhs-en:profile:{request}",
        response_root=response,
        response_profile=f"urn:nhs-en:profile:{response}",
        parameters=tuple(f"Person.{parameter}" for parameter in parameters.split()),
    )


_VERIFY: Final = "DateOfBirth NHSNumber Name"
_SEARCH: Final = "DateOfBirth Gender LocalIdentifier Name Postcode"
_BY_NUMBER: Final = "DateOfBirth LocalIdentifier NHSNumber Name"
_EITHER: Final = "DateOfBirth Gender LocalIdentifier NHSNumber Name Postcode"

MESSAGES: Final[dict[Operation, MessageNames]] = {
    names.operation: names
    for names in (
        _names(Operation.VERIFY_NHS_NUMBER, "verifyNHSNumber", _VERIFY),
        _names(Operation.GET_NHS_NUMBER, "getNHSNumber", _SEARCH),
        _names(Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER, "getPatientDetails", _BY_NUMBER),
        _names(Operation.GET_PATIENT_DETAILS_BY_SEARCH, "getPatientDetails", _SEARCH),
        # The published root of this one request lacks "Request"; its code and profile do not.
        _names(Operation.GET_PATIENT_DETAILS, "getPatientDetails", _EITHER, request_root="getPatientDetails-v1-0"),
    )
}
"""The names of each operation's messages (SERVICE-PDS a)."""

BY_SERVICE: Final[dict[str, MessageNames]] = {names.service: names for names in MESSAGES.values()}


# Requests in


class _Refused(Exception):
    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.invalid = InvalidInput(field=field, reason=reason)


_NUMBERED: Final = frozenset({Operation.VERIFY_NHS_NUMBER, Operation.GET_PATIENT_DETAILS_BY_NHS_NUMBER})
_SEARCHES: Final = frozenset({Operation.GET_NHS_NUMBER, Operation.GET_PATIENT_DETAILS_BY_SEARCH})

_MAX_NAME_CHARS: Final = 35
_MAX_POSTCODE_CHARS: Final = 8
_POSTCODE: Final = re.compile(r"[A-Z0-9]+( [A-Z0-9]+)?")
_WILDCARD_AFTER_CHARS: Final = 2


def read_request(operation: Operation, payload: xml.Element, *, partial_birth_dates: bool) -> PdsRequest | InvalidInput:
    """Read and check the request of an operation, in the order schema, vocabulary, calendar, check digit, lengths.

    `partial_birth_dates` permits YYYYMM and YYYY in getNHSNumber (D1). Names and postcode come back in upper case,
    trimmed, with single blanks; a nil parameter counts as absent. What is wrong is named by parameter and fixed phrase
    (SMSP-VAL-001, SMSP-VAL-002, SMSP-VAL-003).
    """
    names = MESSAGES[operation]
    if payload.tag != xml.name(HL7, names.request_root):
        return InvalidInput(field="message", reason="is not the request of the operation")
    invalid = xml.schema("pds-request").first_error(payload)
    if invalid is not None:
        known = [name for name in invalid.path if name in names.parameters]
        return InvalidInput(field=known[-1] if known else "message", reason=f"not valid: {invalid.rule}")
    try:
        return _checked_request(operation, payload, partial_birth_dates=partial_birth_dates)
    except _Refused as refused:
        return refused.invalid


def _checked_request(operation: Operation, payload: xml.Element, *, partial_birth_dates: bool) -> PdsRequest:
    values = _values(payload)
    number = _read_number(values.get("Person.NHSNumber"))
    searching = operation in _SEARCHES or (operation not in _NUMBERED and number is None)
    family, given = _read_name(values.get("Person.Name"), wildcards=searching)
    gender = values.get("Person.Gender")
    if searching and family is None:
        raise _Refused("Person.Name", "a search needs a family name")
    if searching and gender is None:
        raise _Refused("Person.Gender", "a search needs a gender")
    return PdsRequest(
        operation=operation,
        birth_date=_read_birth_date(
            values["Person.DateOfBirth"], partial=partial_birth_dates and operation is Operation.GET_NHS_NUMBER
        ),
        nhs_number=number,
        family=family,
        given=given,
        gender=None if gender is None else xml.attribute(gender, "code"),
        postcode=_read_postcode(values.get("Person.Postcode"), wildcards=searching),
        local_identifier=_read_local_identifier(values.get("Person.LocalIdentifier")),
    )


def _values(payload: xml.Element) -> dict[str, xml.Element]:
    """Give each parameter's value element by the parameter's name, in a payload that its schema accepts."""
    values = {}
    for parameter in payload[-1]:
        value = xml.child(parameter, xml.name(HL7, "value"))
        if value is not None and xml.attribute(parameter, _NIL) not in ("1", "true"):
            values[xml.local_name(parameter)] = value
    return values


def _read_birth_date(value: xml.Element, *, partial: bool) -> str:
    text = value.get("value", "")
    precision = dates.precision(text)
    if precision is None:
        raise _Refused("Person.DateOfBirth", "is not a date of the calendar written YYYYMMDD")
    if precision != "day" and not partial:
        raise _Refused("Person.DateOfBirth", "must be a full date")
    return text


def _read_number(value: xml.Element | None) -> str | None:
    if value is None:
        return None
    number = value.get("extension", "")
    if not nhs_number.is_valid(number):
        raise _Refused("Person.NHSNumber", "is not ten digits with a correct check digit")
    return number


def _read_name(value: xml.Element | None, *, wildcards: bool) -> tuple[str | None, str | None]:
    if value is None:
        return None, None
    if xml.text(value) or any((part.tail or "").strip() for part in value):
        raise _Refused("Person.Name", "holds text outside given and family")
    parts = {xml.local_name(part): _plain_text("Person.Name", part) for part in value}
    for text in parts.values():
        if len(text) > _MAX_NAME_CHARS:
            raise _Refused("Person.Name", f"is longer than {_MAX_NAME_CHARS} characters")
        _check_wildcard("Person.Name", text, permitted=wildcards)
    return parts.get("family") or None, parts.get("given") or None


def _read_postcode(value: xml.Element | None, *, wildcards: bool) -> str | None:
    if value is None:
        return None
    text = _plain_text("Person.Postcode", value[0])
    if len(text) > _MAX_POSTCODE_CHARS:
        raise _Refused("Person.Postcode", f"is longer than {_MAX_POSTCODE_CHARS} characters")
    _check_wildcard("Person.Postcode", text, permitted=wildcards)
    if not _POSTCODE.fullmatch(text.removesuffix("*").rstrip()):
        raise _Refused("Person.Postcode", "must be letters and digits with at most one blank")
    return text


def _read_local_identifier(value: xml.Element | None) -> LocalIdentifier | None:
    return None if value is None else LocalIdentifier(root=value.get("root", ""), extension=value.get("extension", ""))


def _plain_text(field: str, element: xml.Element) -> str:
    """Give the text in upper case with single blanks; the type would also allow encoded and structured text."""
    if len(element) or element.get("representation", "TXT").strip() != "TXT" or element.get("compression"):
        raise _Refused(field, "must be plain text")
    return " ".join((element.text or "").upper().split())


def _check_wildcard(field: str, text: str, *, permitted: bool) -> None:
    """Permit one ``*``, at the end, after two characters (TRCPDS-6), and only in a search."""
    if "*" not in text:
        return
    if not permitted:
        raise _Refused(field, "a wildcard is only for searches")
    stem = text.removesuffix("*").rstrip()
    if "*" in stem or len(stem) < _WILDCARD_AFTER_CHARS:
        raise _Refused(field, "a wildcard may only end a text of two or more characters")


# Requests out


def write_request(request: PdsRequest, *, id: str) -> xml.Element:
    """Write the request of `request.operation`; `id` is a new upper-case UUID.

    Raises:
        Unrepresentable: a parameter that the operation does not take is there, one that it needs is missing, or a
            value cannot be carried.
    """
    names = MESSAGES[request.operation]
    payload = _root(names.request_root, names.request_code, id, class_code="CACT")
    event = xml.add(payload, xml.name(HL7, "queryEvent"))
    for parameter, (present, write) in _PARAMETERS.items():
        if not present(request):
            continue
        if parameter not in names.parameters:
            raise Unrepresentable(parameter, f"is not a parameter of {request.operation}")
        element = xml.add(event, xml.name(HL7, parameter))
        value = xml.add(element, xml.name(HL7, "value"))
        try:
            write(value, request)
        except ValueError:
            raise Unrepresentable(parameter, "holds a character that XML cannot carry") from None
        xml.add(element, xml.name(HL7, "semanticsText"), text=parameter)
    _check(payload, "pds-request")
    return payload


def _write_birth_date(value: xml.Element, request: PdsRequest) -> None:
    value.set("value", request.birth_date)


def _write_gender(value: xml.Element, request: PdsRequest) -> None:
    value.set("code", request.gender or "")
    value.set("codeSystem", oids.GENDER)


def _write_local_identifier(value: xml.Element, request: PdsRequest) -> None:
    if request.local_identifier is not None:
        value.set("root", request.local_identifier.root)
        value.set("extension", request.local_identifier.extension)


def _write_number(value: xml.Element, request: PdsRequest) -> None:
    value.set("root", oids.NHS_NUMBER)
    value.set("extension", request.nhs_number or "")


def _write_name(value: xml.Element, request: PdsRequest) -> None:
    for tag, text in (("given", request.given), ("family", request.family)):
        if text:
            xml.add(value, xml.name(HL7, tag), text=text)


def _write_postcode(value: xml.Element, request: PdsRequest) -> None:
    xml.add(value, xml.name(HL7, "postalCode"), text=request.postcode)


_PARAMETERS: Final[dict[str, tuple[Callable[[PdsRequest], object], Callable[[xml.Element, PdsRequest], None]]]] = {
    "Person.DateOfBirth": (lambda request: True, _write_birth_date),
    "Person.Gender": (lambda request: request.gender is not None, _write_gender),
    "Person.LocalIdentifier": (lambda request: request.local_identifier is not None, _write_local_identifier),
    "Person.NHSNumber": (lambda request: request.nhs_number is not None, _write_number),
    "Person.Name": (lambda request: request.family or request.given, _write_name),
    "Person.Postcode": (lambda request: request.postcode is not None, _write_postcode),
}
"""In the order of every request's schema."""


# Responses out


_DETAILS_ROOT: Final = MESSAGES[Operation.GET_PATIENT_DETAILS].response_root
_ADDRESS_ORDER: Final[dict[AddressUse | None, int]] = {"H": 0, "TMP": 1, "PST": 2, None: 3}


def write_response(operation: Operation, reply: Reply, *, id: str, vocabulary: Vocabulary) -> xml.Element:
    """Write the answer of an operation and check it against its schema (SMSP-VAL-004); `id` is a new upper-case UUID.

    A verification goes out when `reply.verified` is not None. Elsewhere a number or a patient makes a subject, whose
    second id echoes the caller's own identifier (D26). Addresses go out in the order H, TMP, PST (D19).

    Raises:
        UnknownCode: the vocabulary does not hold the response code.
        Unrepresentable: no valid message can be made of the reply.
    """
    vocabulary.text(reply.code)
    names = MESSAGES[operation]
    if reply.patient is not None and names.response_root != _DETAILS_ROOT:
        raise Unrepresentable("patient", f"has no place in the answer of {operation}")
    number = reply.patient.nhs_number if reply.patient is not None else reply.nhs_number
    if number is not None and not nhs_number.is_valid(number):
        raise Unrepresentable("nhs_number", "is not ten digits with a correct check digit")
    payload = _root(names.response_root, names.response_root, id, class_code="OBS")
    xml.add(payload, xml.name(HL7, "value"), {"code": reply.code, "codeSystem": vocabulary.code_system})
    try:
        if operation is Operation.VERIFY_NHS_NUMBER:
            _add_verification(payload, reply, number)
        elif number is not None:
            patient = _add_subject(payload, number)
            if reply.local_identifier is not None:
                _add_id(patient, reply.local_identifier.root, reply.local_identifier.extension)
            if reply.patient is not None:
                _add_details(patient, reply.patient)
    except ValueError:
        raise Unrepresentable("message", "holds a character that XML cannot carry") from None
    _check(payload, "pds-response")
    return payload


def _root(tag: str, code: str, id: str, *, class_code: str) -> xml.Element:
    payload = xml.root(xml.name(HL7, tag), _NSMAP, {"classCode": class_code, "moodCode": "EVN"})
    xml.add(payload, xml.name(HL7, "id"), {"root": id})
    xml.add(payload, xml.name(HL7, "code"), {"code": code, "codeSystem": oids.MESSAGE_TYPE})
    return payload


def _check(payload: xml.Element, schema: str) -> None:
    invalid = xml.schema(schema).first_error(payload)
    if invalid is not None:
        # Every name in the path is one that this module wrote.
        raise Unrepresentable("/".join(invalid.path[1:]) or "message", f"not valid: {invalid.rule}")


def _add_verification(payload: xml.Element, reply: Reply, number: str | None) -> None:
    if reply.verified is None:
        return
    if number is None:
        raise Unrepresentable("nhs_number", "a verification needs the number")
    component = xml.add(payload, xml.name(HL7, "component"), {"typeCode": "COMP"})
    identifier = xml.add(component, xml.name(HL7, "validIdentifier"), {"classCode": "OBS", "moodCode": "EVN"})
    xml.add(identifier, xml.name(HL7, "code"), {"code": "VI", "codeSystem": oids.VERIFIED_IDENTIFIER})
    xml.add(identifier, xml.name(HL7, "value"), {"value": "true" if reply.verified else "false"})
    _add_subject(identifier, number)


def _add_subject(parent: xml.Element, number: str) -> xml.Element:
    subject = xml.add(parent, xml.name(HL7, "subject"), {"typeCode": "SBJ"})
    patient = xml.add(subject, xml.name(HL7, "patient"), {"classCode": "PAT"})
    _add_id(patient, oids.NHS_NUMBER, number)
    return patient


def _add_id(parent: xml.Element, root: str, extension: str) -> None:
    xml.add(parent, xml.name(HL7, "id"), {"root": root, "extension": extension})


def _add_details(parent: xml.Element, patient: Patient) -> None:
    if patient.name is not None:
        _add_name(parent, patient.name)
    for address in sorted(patient.addresses, key=lambda address: _ADDRESS_ORDER[address.use]):
        _add_address(parent, address)
    for telecom in patient.telecoms:
        element = xml.add(parent, xml.name(HL7, "telecom"), {"use": telecom.use, "value": telecom.value})
        if telecom.since is not None:
            period = xml.add(element, xml.name(HL7, "useablePeriod"))
            xml.add(period, xml.name(HL7, "low"), {"value": telecom.since})
    if not (patient.gender or patient.birth_date or patient.death_date or patient.practice):
        return
    person = xml.add(parent, xml.name(HL7, "patientPerson"), {"classCode": "PSN", "determinerCode": "INSTANCE"})
    if patient.gender is not None:
        gender = {"code": patient.gender, "codeSystem": oids.GENDER}
        xml.add(person, xml.name(HL7, "administrativeGenderCode"), gender)
    for tag, date in (("birthTime", patient.birth_date), ("deceasedTime", patient.death_date)):
        if date is not None:
            if dates.precision(date) is None:
                raise Unrepresentable(tag, "is not a date of the calendar")
            xml.add(person, xml.name(HL7, tag), {"value": date})
    if patient.practice is not None:
        _add_practice(person, patient.practice)


def _add_name(parent: xml.Element, name: Name) -> None:
    element = xml.add(parent, xml.name(HL7, "name"), {"use": "L"})
    if name.prefix is not None:
        xml.add(element, xml.name(HL7, "prefix"), text=name.prefix)
    for given in name.given:
        xml.add(element, xml.name(HL7, "given"), text=given)
    if name.family is not None:
        xml.add(element, xml.name(HL7, "family"), text=name.family)


def _add_address(parent: xml.Element, address: Address) -> None:
    element = xml.add(parent, xml.name(HL7, "addr"), {"use": address.use} if address.use else None)
    if address.postcode is not None:
        xml.add(element, xml.name(HL7, "postalCode"), text=address.postcode)
    for line in address.lines:
        xml.add(element, xml.name(HL7, "streetAddressLine"), text=line or None)


def _add_practice(parent: xml.Element, practice: Practice) -> None:
    element = xml.add(parent, xml.name(HL7, "gPPractice"), {"classCode": "SDLOC"})
    if practice.address is not None:
        _add_address(element, practice.address)
    if practice.telephone is not None:
        value = "tel:" + practice.telephone.removeprefix("tel:")
        xml.add(element, xml.name(HL7, "telecom"), {"use": "WP", "value": value})
    organisation = xml.add(
        element, xml.name(HL7, "locationOrganization"), {"classCode": "ORG", "determinerCode": "INSTANCE"}
    )
    _add_id(organisation, oids.ODS_SITE, practice.ods_code)
    if practice.name is not None:
        xml.add(organisation, xml.name(HL7, "name"), text=practice.name)


# Responses in


def read_response(operation: Operation, payload: xml.Element) -> Reply:
    """Read a provider's answer as a client should: by local names, taking what is there.

    An unknown response code is kept, a subject may be absent on any code and present on any (section 6 of the
    interface's client rules). Nothing is checked but that there is a response code.

    Raises:
        AnswerUnreadable: the payload is no answer of the operation, or holds no response code.
    """
    if xml.local_name(payload) != MESSAGES[operation].response_root:
        raise AnswerUnreadable("the payload is not an answer of the operation")
    value = _first(payload, "value")
    code = _attribute(value, "code")
    if not code:
        raise AnswerUnreadable("the answer holds no response code")
    if operation is Operation.VERIFY_NHS_NUMBER:
        number, _ = _read_ids(_first(payload, "component", "validIdentifier", "subject", "patient"))
        verified = _first(payload, "component", "validIdentifier", "value")
        flag = None if verified is None else xml.attribute(verified, "value") in ("true", "1")
        return Reply(code=code, nhs_number=number, verified=flag)
    patient = _first(payload, "subject", "patient")
    number, local_identifier = _read_ids(patient)
    details = None
    if patient is not None and number is not None and any(xml.local_name(part) in _DETAILS for part in patient):
        details = _read_details(patient, number)
    return Reply(code=code, nhs_number=number, patient=details, local_identifier=local_identifier)


_DETAILS: Final = frozenset({"name", "addr", "telecom", "patientPerson"})
_ADDRESS_USES: Final[dict[str, AddressUse]] = {"H": "H", "HP": "H", "TMP": "TMP", "PST": "PST"}
_TELECOM_USES: Final[dict[str, TelecomUse]] = {
    "": "H",
    "H": "H",
    "HP": "H",
    "MC": "MC",
    "WP": "WP",
    "HV": "HV",
    "EC": "EC",
}


def _all(element: xml.Element | None, local: str) -> list[xml.Element]:
    return [] if element is None else [part for part in element if xml.local_name(part) == local]


def _first(element: xml.Element | None, *path: str) -> xml.Element | None:
    for local in path:
        found = _all(element, local)
        element = found[0] if found else None
    return element


def _text(element: xml.Element | None) -> str | None:
    return xml.text(element) or None


def _attribute(element: xml.Element | None, name: str) -> str | None:
    return (xml.attribute(element, name) or None) if element is not None else None


def _read_ids(patient: xml.Element | None) -> tuple[str | None, LocalIdentifier | None]:
    number, local_identifier = None, None
    for element in _all(patient, "id"):
        root, extension = _attribute(element, "root"), _attribute(element, "extension")
        if root == oids.NHS_NUMBER:
            number = number or extension
        elif root and extension:
            local_identifier = LocalIdentifier(root=root, extension=extension)
    return number, local_identifier


def _read_details(patient: xml.Element, number: str) -> Patient:
    name, person = _first(patient, "name"), _first(patient, "patientPerson")
    return Patient(
        nhs_number=number,
        name=None
        if name is None
        else Name(
            prefix=_text(_first(name, "prefix")),
            given=tuple(text for part in _all(name, "given") if (text := xml.text(part))),
            family=_text(_first(name, "family")),
        ),
        gender=_attribute(_first(person, "administrativeGenderCode"), "code"),
        birth_date=_attribute(_first(person, "birthTime"), "value"),
        death_date=_attribute(_first(person, "deceasedTime"), "value"),
        addresses=tuple(_read_address(element) for element in _all(patient, "addr")),
        telecoms=tuple(telecom for element in _all(patient, "telecom") if (telecom := _read_telecom(element))),
        practice=_read_practice(_first(person, "gPPractice")),
    )


def _read_address(element: xml.Element) -> Address:
    lines = [xml.text(line) for line in _all(element, "streetAddressLine")]
    if len(lines) > 5:
        lines[4:] = [" ".join(line for line in lines[4:] if line)]
    five = cast("tuple[str, str, str, str, str]", tuple(lines + [""] * (5 - len(lines))))
    uses = (_attribute(element, "use") or "").split()
    use = next((known for use in uses if (known := _ADDRESS_USES.get(use))), None)
    return Address(use=use, lines=five, postcode=_text(_first(element, "postalCode")))


def _read_telecom(element: xml.Element) -> Telecom | None:
    value = _attribute(element, "value")
    uses = (_attribute(element, "use") or "").split() or [""]
    use = next((known for use in uses if (known := _TELECOM_USES.get(use))), None)
    if value is None or use is None:
        return None
    return Telecom(use=use, value=value, since=_attribute(_first(element, "useablePeriod", "low"), "value"))


def _read_practice(element: xml.Element | None) -> Practice | None:
    ods_code = _attribute(_first(element, "locationOrganization", "id"), "extension")
    if ods_code is None:
        return None
    address, telephone = _first(element, "addr"), _attribute(_first(element, "telecom"), "value")
    return Practice(
        ods_code=ods_code,
        name=_text(_first(element, "locationOrganization", "name")),
        address=None if address is None else _read_address(address),
        telephone=telephone.removeprefix("tel:") if telephone is not None else None,
    )
