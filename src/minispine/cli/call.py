"""`minispine call`: ask a provider one question, and print question and answer."""

import asyncio
import json
import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter

from minispine.cli.errors import EnvironmentFailed, Exit, Mistaken
from minispine.cli.output import pairs
from minispine.cli.values import OneOperation, read_text
from minispine.client import (
    AuditIdentity,
    Busy,
    Connection,
    FaultReceived,
    FoundNumber,
    FoundPatient,
    ItkClient,
    ProviderTrouble,
    RequestInvalid,
    Sender,
    SystemAsid,
    Verification,
    parse_identity,
)
from minispine.domain.nhs_number import grouped, is_valid
from minispine.domain.operations import Operation
from minispine.domain.patient import Address, Patient
from minispine.domain.request import LocalIdentifier, PdsRequest
from minispine.wire import pds, xml

LOCAL_IDENTIFIER_ROOT: Final = "2.16.840.1.113883.2.1.3.2.4.18.24"

MEANINGS: Final[dict[str, str]] = {
    "SMSP-0001": "The request broke a rule of the interface, or did not say who asks. Spine may not have been asked.",
    "SMSP-0002": "Spine answered with something that cannot be passed on safely.",
    "SMSP-0003": "Spine could not be reached; this is what the provider kept from before.",
    "SMSP-0004": "Spine could not be reached. Ask again later.",
    "SMSP-0005": "Whoever asks was not accepted: by the provider's checks of the smartcard, or by Spine.",
    "SMSP-9999": "The provider failed in a way that it has no other code for.",
    "DEMOG-0001": "Nobody matches.",
    "DEMOG-0007": "More than one person matches; say more about the one you mean.",
    "DEMOG-0017": "The number has been replaced by another.",
    "DEMOG-0022": "The number is no longer valid, and no other replaces it.",
    "DEMOG-0040": "The number is in use, but for a person with other details.",
    "DEMOG-0042": "That is not an NHS number of ten digits.",
    "DEMOG-9999": "Spine answered with an error that the provider has no other code for.",
}
"""What a person should make of each response code but success."""

PARAMETERS: Final[dict[str, tuple[str, str]]] = {
    "Person.DateOfBirth": ("birth_date", "is YYYYMMDD; getNHSNumber takes YYYYMM and YYYY too"),
    "Person.Gender": ("gender", "is 0, 1, 2 or 9"),
    "Person.LocalIdentifier": ("local_identifier", "needs both the identifier and the OID of --local-identifier-root"),
    "Person.NHSNumber": ("nhs_number", "is ten digits"),
    "Person.Name": ("family", "and --given are plain text"),
    "Person.Postcode": ("postcode", "is plain text"),
}
"""For each parameter of the interface, by which of ours it is given, and the rule that a value keeps."""

_GENDERS: Final = {"0": "not known", "1": "male", "2": "female", "9": "not specified"}
_REFUSED: Final = "SMSP-0001"
_ISO_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ADDRESSES: Final = {"H": "address", "TMP": "temporary address", "PST": "correspondence address"}
_TELECOMS: Final = {"H": "telephone", "MC": "mobile", "WP": "at work", "HV": "on holiday", "EC": "in an emergency"}


class Demonstration(msgspec.Struct, frozen=True, kw_only=True):
    """What `minispine demo` writes about itself, as far as a caller needs it."""

    itk_url: str
    client_cert: str
    client_key: str
    ca: str
    identity: str


def call(
    operation: OneOperation,
    /,
    *,
    demo: Path | None = None,
    url: str | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    key_password_file: Path | None = None,
    ca: Path | None = None,
    identity: str | None = None,
    asid: str | None = None,
    from_: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    nhs_number: str | None = None,
    birth_date: str | None = None,
    family: str | None = None,
    given: str | None = None,
    gender: str | None = None,
    postcode: str | None = None,
    local_identifier: str | None = None,
    local_identifier_root: str = LOCAL_IDENTIFIER_ROOT,
    username: str = "minispine call",
    sender: str | None = None,
    timeout: float = 30.0,
    json_: bool = False,
    xml_: bool = False,
) -> int:
    """Ask a provider one question, and print question and answer.

    Exit code 0 when the answer is SMSP-0000, 1 when it is another response code, 3 when there was no answer but a fault
    or a broken connection. What stands on a command line can be read by everybody on the machine: for real patients
    use --from. What the provider refuses with SMSP-0001 it names in its audit trail only.

    Args:
        operation: verifyNHSNumber, getNHSNumber, getPatientDetailsByNHSNumber, getPatientDetailsBySearch or
            getPatientDetails.
        demo: The folder of a running `minispine demo --data DIR`, which says everything below down to --identity.
        url: The provider's address.
        certificate: Our certificate, PEM.
        key: Its private key, PEM, readable by its owner only.
        key_password_file: The file with the key's password.
        ca: The authorities that may have issued the provider's certificate, PEM.
        identity: Who asks, as urn:nhs-uk:identity:ods:ORG:user, or ...:ORG:SYS:function for an automated function.
        asid: Who asks, as a bare ASID, instead of --identity.
        from_: The parameters as a JSON object with the names below (birth_date, nhs_number, ...), instead of these
            options; - for standard input.
        nhs_number: NHS number, with or without blanks.
        birth_date: Date of birth, YYYYMMDD or YYYY-MM-DD; getNHSNumber takes YYYYMM and YYYY too.
        family: Family name.
        given: Given name.
        gender: 0 not known, 1 male, 2 female, 9 not specified.
        postcode: Postcode.
        local_identifier: The caller's own identifier of the patient, which comes back with the answer.
        local_identifier_root: The OID that says whose identifier that is.
        username: What the request calls the client system.
        sender: The sender's address, such as urn:nhs-uk:addressing:ods:ORG:system.
        timeout: For how many seconds to wait.
        json_: Print the answer as JSON.
        xml_: Print both messages as XML.
    """
    if json_ and xml_:
        raise Mistaken("--json and --xml exclude each other")
    if not timeout > 0:
        raise Mistaken("--timeout must be more than 0 seconds")
    given_parameters = {
        "nhs_number": nhs_number,
        "birth_date": birth_date,
        "family": family,
        "given": given,
        "gender": gender,
        "postcode": postcode,
        "local_identifier": {"root": local_identifier_root, "extension": local_identifier}
        if local_identifier
        else None,
    }
    request = _request(operation, given_parameters, from_)
    shown = _demonstration(demo) if demo else None
    where = url or (shown.itk_url if shown else None)
    if not where:
        raise Mistaken("say which provider to call: --demo DIR, or --url with --certificate, --key and --ca")
    connection = Connection(
        certificate=_needed("certificate", certificate, shown.client_cert if shown else None),
        key=_needed("key", key, shown.client_key if shown else None),
        key_password_file=key_password_file,
        ca=_needed("ca", ca, shown.ca if shown else None),
    )
    asks = _identity(identity or (shown.identity if shown and asid is None else None), asid)
    if asks is None:
        raise Mistaken("say who asks: --identity or --asid")
    client_sender = Sender(username=username, address=sender)
    answer = asyncio.run(_ask(where, connection, client_sender, request, asks, timeout))
    if xml_:
        for message in (answer.exchange.sent, answer.exchange.received):
            print(xml.to_bytes(xml.parse(message, max_bytes=len(message)), pretty=True).decode())
    elif json_:
        print(json.dumps(_plain(answer), indent=1, ensure_ascii=False))
    else:
        show(request, answer)
    return Exit.DONE if answer.code == "SMSP-0000" else Exit.FAILED


async def _ask(
    url: str,
    connection: Connection,
    sender: Sender,
    request: PdsRequest,
    identity: AuditIdentity,
    timeout_s: float,
) -> Verification | FoundNumber | FoundPatient:
    async with ItkClient(url, connection=connection, sender=sender, timeout_s=timeout_s) as client:
        try:
            return await client.ask(request, identity=identity)
        except RequestInvalid as invalid:
            raise Mistaken(_in_options(invalid, request)) from None
        except FaultReceived as received:
            fault = received.fault
            raise EnvironmentFailed(f"{url}: fault {fault.code or fault.kind}: {fault.diagnostic}") from None
        except Busy as busy:
            after = f"; ask again in {busy.retry_after_s:g} seconds" if busy.retry_after_s is not None else ""
            raise EnvironmentFailed(f"{url}: the provider is busy{after}") from None
        except ProviderTrouble as trouble:
            raise EnvironmentFailed(f"{url}: {trouble}") from None


def _request(operation: Operation, parameters: dict[str, Any], file: Path | None) -> PdsRequest:
    values = {name: value for name, value in parameters.items() if value is not None}
    if file is not None:
        if values:
            raise Mistaken(f"{_option(next(iter(values)))} and --from exclude each other; put it into {file}")
        values = _read_parameters(file)
    for name, value in values.items():
        if name != "local_identifier" and not isinstance(value, str):
            raise Mistaken(f"{file}: {name}: must be a string")
    tidied: dict[str, Any] = {
        name: " ".join(value.upper().split()) or None if isinstance(value, str) else value
        for name, value in values.items()
    }
    born = tidied.get("birth_date")
    if not born:
        raise Mistaken("a date of birth is always needed: --birth-date YYYYMMDD")
    if number := tidied.get("nhs_number"):
        tidied["nhs_number"] = number.replace(" ", "")
    if _ISO_DATE.fullmatch(born):
        tidied["birth_date"] = born.replace("-", "")
    try:
        return msgspec.convert({**tidied, "operation": operation}, PdsRequest)
    except msgspec.ValidationError:
        raise Mistaken(f"{file}: local_identifier: must be an object with the strings root and extension") from None


def _in_options(invalid: RequestInvalid, request: PdsRequest) -> str:
    """Say what is wrong with a question by the option that it was given, or should have been given, with."""
    parameter = next((part for part in invalid.field.split("/") if part in PARAMETERS), None)
    if parameter is None:
        return str(invalid)
    name, rule = PARAMETERS[parameter]
    if parameter not in pds.MESSAGES[request.operation].parameters:
        return f"{request.operation} takes no {_option(name)}"
    if getattr(request, name) is None and not (name == "family" and request.given):
        return f"{request.operation} needs {_option(name)}"
    return f"{_option(name)} {rule}"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _read_parameters(file: Path) -> dict[str, Any]:
    text, called = read_text(file)
    try:
        values = json.loads(text)
    except ValueError:
        raise Mistaken(f"{called}: is not JSON") from None
    if not isinstance(values, dict):
        raise Mistaken(f"{called}: must be a JSON object")
    known = set(PdsRequest.__struct_fields__) - {"operation"}
    if unknown := sorted(values.keys() - known):
        raise Mistaken(f"{called}: {unknown[0]}: is no parameter; there are {', '.join(sorted(known))}")
    return values


def _demonstration(folder: Path) -> Demonstration:
    file = folder / "demo.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=Demonstration)
    except FileNotFoundError:
        raise Mistaken(f"{file}: not there; start one with: minispine demo --data {shlex.quote(str(folder))}") from None
    except msgspec.MsgspecError:
        raise Mistaken(f"{file}: is not what minispine demo writes") from None


def _needed(name: str, given: Path | None, demonstrated: str | None) -> Path:
    if given is None and demonstrated is None:
        raise Mistaken(f"--{name} is needed (or --demo DIR)")
    return given or Path(demonstrated or "")


def _identity(identity: str | None, asid: str | None) -> AuditIdentity | None:
    if identity and asid:
        raise Mistaken("--identity and --asid exclude each other")
    return SystemAsid(asid) if asid else parse_identity(identity) if identity else None


def _plain(answer: Verification | FoundNumber | FoundPatient) -> dict[str, Any]:
    exchange = answer.exchange
    found: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(answer, exchange=None))
    del found["exchange"]
    return {
        **found,
        "text": answer.text,
        "message_id": exchange.message_id,
        "tracking_id": exchange.tracking_id,
        "answer_message_id": exchange.answer_message_id,
    }


def show(request: PdsRequest, answer: Verification | FoundNumber | FoundPatient) -> None:
    """Print a question and its answer for people."""
    print(f"{request.operation}\n")
    pairs([(_words(name), value) for name, value in _asked(request)])
    print()
    rows = [("answer", f"{answer.code} {answer.text}")]
    if meaning := MEANINGS.get(answer.code):
        rows.append(("", meaning))
    if answer.code == _REFUSED:
        rows.append(("", "The provider's operator can see the parameter and the rule:"))
        rows.append(("", f"minispine audit events --id {answer.exchange.message_id}"))
    if answer.replacement_nhs_number:
        rows.append(("replaced by", grouped(answer.replacement_nhs_number)))
    rows += _found(answer)
    took = answer.exchange.received_at - answer.exchange.sent_at
    rows.append(("message id", answer.exchange.message_id))
    rows.append(("took", f"{took.total_seconds() * 1000:.0f} ms"))
    pairs(rows)


def _asked(request: PdsRequest) -> list[tuple[str, str]]:
    rows = []
    for name in ("nhs_number", "birth_date", "family", "given", "gender", "postcode"):
        value = getattr(request, name)
        if value is not None:
            rows.append((name, grouped(value) if name == "nhs_number" and is_valid(value) else value))
    if request.local_identifier:
        rows.append(("local_identifier", _local(request.local_identifier)))
    return rows


def _found(answer: Verification | FoundNumber | FoundPatient) -> list[tuple[str, str]]:
    if isinstance(answer, Verification):
        words = {True: "yes", False: "no", None: "cannot be said"}
        return [("verified", words[answer.verified])]
    rows = [("NHS number", grouped(answer.nhs_number))] if answer.nhs_number else []
    if answer.local_identifier:
        rows.append(("local identifier", _local(answer.local_identifier)))
    return rows + (_details(answer.patient) if isinstance(answer, FoundPatient) and answer.patient else [])


def _details(patient: Patient) -> list[tuple[str, str]]:
    rows: list[tuple[str, str | None]] = []
    if name := patient.name:
        rows.append(("name", " ".join(part for part in (name.prefix, *name.given, name.family) if part)))
    rows.append(("gender", _GENDERS.get(patient.gender, patient.gender) if patient.gender else None))
    rows += [("born", patient.birth_date), ("died", patient.death_date)]
    rows += [(_ADDRESSES[address.use or "H"], _one_line(address)) for address in patient.addresses]
    for telecom in patient.telecoms:
        scheme, _, value = telecom.value.partition(":")
        rows.append(("e-mail" if scheme == "mailto" else _TELECOMS[telecom.use], value))
    if practice := patient.practice:
        rows.append(("GP practice", ", ".join(part for part in (practice.ods_code, practice.name) if part)))
        rows.append(("", _one_line(practice.address) if practice.address else None))
        rows.append(("", practice.telephone.removeprefix("tel:") if practice.telephone else None))
    return [(name, value) for name, value in rows if value]


def _one_line(address: Address) -> str:
    return ", ".join(part for part in (*address.lines, address.postcode) if part)


def _local(identifier: LocalIdentifier) -> str:
    return f"{identifier.extension} ({identifier.root})"


def _words(name: str) -> str:
    return name.replace("_", " ").replace("nhs", "NHS")
