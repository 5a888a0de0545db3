"""What a caller may be told: the response codes of each mini service, and the codes of technical faults.

A vocabulary is configuration (SMSP-CONF-001 a): the shipped ones are the TOML files beside this module, and an
operator's own version is a document of the same shape. Which event leads to which code is another table
(``spine-codes.toml``), and what a message looks like is `wire`'s business.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

import msgspec

from minispine.domain.operations import NationalService
from minispine.vocabulary.tables import TableInvalid

_CODE: Final = re.compile(r"[A-Z]{2,10}-[0-9]{4}")
_MAX_TEXT: Final = 200
_SHIPPED: Final = frozenset({NationalService.PDS, NationalService.CPIS})
_TARGETS: Final = {NationalService.PDS: ("DEMOG-9999", "SMSP-9999")}
"""Codes that a client's compatibility switch (D7) puts in the place of others, by service."""


class UnknownCode(Exception):
    """A response code that the vocabulary does not hold; it cannot be emitted (SMSP-ERR-002 a)."""

    def __init__(self, code: str) -> None:
        super().__init__(f"{code} is not in the vocabulary")
        self.code = code


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """The response codes of one mini service with their texts; `code_system` is the OID they travel under."""

    version: str
    service: NationalService
    code_system: str
    texts: dict[str, str]

    def text(self, code: str) -> str:
        """Give the text of a response code.

        Raises:
            UnknownCode: the vocabulary does not hold it (SMSP-ERR-002 a, SMSP-CONF-001 a).
        """
        try:
            return self.texts[code]
        except KeyError:
            raise UnknownCode(code) from None


class FaultText(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of technical error: its code, the text that goes with it, and the OID of the code."""

    code: str
    text: str
    code_system: str


def load_vocabulary(document: Mapping[str, Any], expected: NationalService = NationalService.PDS) -> Vocabulary:
    """Read a vocabulary from the shape of `shipped_document`: version, service, code_system and a table of codes.

    It must be of the `expected` service, and its code system the one that ships, because the service's messages fix
    that. It always holds the codes common to all mini services (SMSP-ERR-002 b), because the provider itself answers
    with them, and those that a compatibility switch leads to; their texts may be changed.

    Raises:
        TableInvalid: `key` names the place in the document, `reason` what is wrong there.
    """
    for key in document:
        if key not in {"version", "service", "code_system", "codes"}:
            raise TableInvalid(str(key), "is not a key of a vocabulary")
    version = _line(document, "version")
    if _line(document, "service") != expected:
        raise TableInvalid("service", f"must be {expected}")
    code_system = _line(document, "code_system")
    if code_system != (fixed := _shipped_file(f"codes-{expected}")["code_system"]):
        raise TableInvalid("code_system", f"must be {fixed}, which the messages of {expected} fix")
    codes = document.get("codes")
    if not isinstance(codes, Mapping):
        raise TableInvalid("codes", "must be a table of codes and texts")
    for code in codes:
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise TableInvalid(f"codes.{code}", "must be capitals, a hyphen and four digits, such as DEMOG-0001")
    texts = {code: _line(codes, code, within="codes.") for code in codes}
    for code in _shipped_file("codes-common")["codes"]:
        if code not in texts:
            raise TableInvalid(f"codes.{code}", "is common to all mini services and may not be left out")
    for code in _TARGETS.get(expected, ()):
        if code not in texts:
            raise TableInvalid(f"codes.{code}", "is what some clients get for other codes and may not be left out")
    return Vocabulary(version=version, service=expected, code_system=code_system, texts=texts)


def _line(table: Mapping[str, Any], key: str, *, within: str = "") -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise TableInvalid(within + key, "must be a text that is not blank")
    if len(value) > _MAX_TEXT or not value.isprintable():
        raise TableInvalid(within + key, f"must be one line of at most {_MAX_TEXT} printable characters")
    return value


def shipped_document(service: str) -> dict[str, Any]:
    """Give the document of a service's vocabulary as it ships: common codes and the service's own (SMSP-ERR-002 b).

    Raises:
        KeyError: no vocabulary ships for `service`.
    """
    if service not in _SHIPPED:
        raise KeyError(service)
    common, own = _shipped_file("codes-common"), _shipped_file(f"codes-{service}")
    return {
        "version": common["version"],
        "service": own["service"],
        "code_system": own["code_system"],
        "codes": common["codes"] | own["codes"],
    }


@cache
def shipped_vocabulary(service: str) -> Vocabulary:
    """Give the vocabulary that ships for ``pds`` or ``cpis``.

    Raises:
        KeyError: no vocabulary ships for `service`.
    """
    return load_vocabulary(shipped_document(service), NationalService(service))


@cache
def _shipped_file(name: str) -> dict[str, Any]:
    return tomllib.loads((files("minispine.vocabulary") / f"{name}.toml").read_text("utf-8"))


def _shipped_faults() -> Mapping[str, FaultText]:
    document = _shipped_file("faults")
    return MappingProxyType(
        {
            code: FaultText(code=code, text=text, code_system=document["code_system"])
            for code, text in document["codes"].items()
        }
    )


FAULT_TEXTS: Final[Mapping[str, FaultText]] = _shipped_faults()
"""The four technical errors, by code."""
