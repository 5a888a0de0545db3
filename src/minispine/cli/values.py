"""Values of the command line that several commands take, each with the one line that says what is wrong with it."""

import datetime
import difflib
import ipaddress
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from minispine.cli.errors import Mistaken
from minispine.domain.operations import NationalService, Operation
from minispine.domain.organisation import is_ods_code


def unknown(what: str, given: str, known: Iterable[str]) -> Mistaken:
    """Make the error for a name that is none of those known, with the nearest."""
    names = list(known)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    return Mistaken(f"{given!r} is no {what}; {f'did you mean {near[0]}?' if near else 'there is ' + ', '.join(names)}")


def read_text(file: Path) -> tuple[str, str]:
    """Give what a file holds, or standard input for ``-``, and what to call it in a message."""
    called = "standard input" if str(file) == "-" else str(file)
    try:
        return (sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")), called
    except UnicodeDecodeError:
        raise Mistaken(f"{called}: is not text in UTF-8") from None


def read_operation(text: str) -> Operation:
    """Read the name of an operation, in capitals or not."""
    for operation in Operation:
        if operation.lower() == text.lower():
            return operation
    raise unknown("operation", text, Operation)


def _operation(_: Any, tokens: Any) -> Operation:
    return read_operation(tokens[0].value)


def _operations(_: Any, tokens: Any) -> tuple[Operation, ...]:
    return tuple(read_operation(token.value) for token in tokens)


OneOperation = Annotated[Operation, Parameter(converter=_operation, n_tokens=1, show_choices=False)]
Operations = Annotated[
    tuple[Operation, ...],
    Parameter(converter=_operations, n_tokens=1, accepts_keys=False, show_choices=False, show_default=False),
]


def _reason(_: Any, tokens: Any) -> str:
    text = str(tokens[0].value).strip()
    if not text:
        raise Mistaken("--reason is empty: say why, for the audit trail")
    return text


Reason = Annotated[str, Parameter(converter=_reason, n_tokens=1)]
PerhapsReason = Annotated[str | None, Parameter(converter=_reason, n_tokens=1)]


def read_ods_code(text: str) -> str:
    """Read an organisation's ODS code."""
    code = text.strip().upper()
    if not is_ods_code(code):
        raise Mistaken(f"{text!r} is not an ODS code (3 to 10 letters and digits)")
    return code


def read_network(text: str) -> str:
    """Read a network in CIDR form; a single address is a network of one."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise Mistaken(f"{text!r} is not a network such as 10.1.2.0/24") from None
    raise Mistaken(f"{text!r} is an address within a network; the network is {network}")


def read_method(text: str) -> tuple[NationalService, int]:
    """Read a permitted access method, ``N`` for PDS or ``SERVICE:N``."""
    service, _, number = text.rpartition(":")
    if service and service not in set(NationalService):
        raise unknown("national service", service, NationalService)
    if number not in {"1", "2", "3", "4"}:
        raise Mistaken(f"{text!r} is no access method; there are 1 (unattended), 2 (attended), 3 and 4 (smartcard)")
    return NationalService(service or NationalService.PDS), int(number)


def read_time(text: str) -> datetime.datetime:
    """Read a date, or a date and time, as UTC unless it names a zone."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise Mistaken(f"{text!r} is not a date such as 2026-04-01 or 2026-04-01T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
