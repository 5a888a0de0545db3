"""The response codes and fault codes: what ships, and what an operator's own version may be."""

from collections.abc import Callable
from typing import Any

import pytest

from minispine.vocabulary.codes import (
    FAULT_TEXTS,
    UnknownCode,
    load_vocabulary,
    shipped_document,
    shipped_vocabulary,
)
from minispine.vocabulary.tables import TableInvalid

COMMON = {f"SMSP-{number}" for number in ("0000", "0001", "0002", "0003", "0004", "0005", "9999")}


@pytest.mark.requirement("SMSP-ERR-002", "b")
@pytest.mark.parametrize(
    ("service", "own"),
    [
        ("pds", {f"DEMOG-{number}" for number in ("0001", "0007", "0017", "0022", "0040", "0042", "9999")}),
        ("cpis", {"CPIS-0001", "CPIS-9999"}),
    ],
)
def test_a_vocabulary_combines_common_codes_with_the_services_own(service: str, own: set[str]) -> None:
    vocabulary = shipped_vocabulary(service)
    assert set(vocabulary.texts) == COMMON | own
    assert vocabulary.service == service
    assert vocabulary.version


def test_a_code_outside_the_vocabulary_has_no_text() -> None:
    with pytest.raises(UnknownCode) as caught:
        shipped_vocabulary("pds").text("CPIS-0001")
    assert caught.value.code == "CPIS-0001"


def test_no_vocabulary_ships_for_another_service() -> None:
    with pytest.raises(KeyError):
        shipped_document("../codes")


def test_an_operators_version_may_change_texts_and_add_codes() -> None:
    document = shipped_document("pds")
    document["version"] = "our own 2"
    document["codes"] |= {"DEMOG-0001": "Nobody like that", "DEMOG-0043": "Something new"}
    vocabulary = load_vocabulary(document)
    assert vocabulary.version == "our own 2"
    assert vocabulary.text("DEMOG-0001") == "Nobody like that"
    assert vocabulary.text("DEMOG-0043") == "Something new"
    assert shipped_vocabulary("pds").text("DEMOG-0001") == "No Match"


def _codes(**codes: object) -> Callable[[dict[str, Any]], object]:
    return lambda document: document["codes"].update({code.replace("_", "-"): text for code, text in codes.items()})


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda document: document.update(comment="x"), "comment"),
        (lambda document: document.pop("version"), "version"),
        (lambda document: document.update(version=2), "version"),
        (lambda document: document.update(version="  "), "version"),
        (lambda document: document.update(service="dentistry"), "service"),
        (lambda document: document.update(service="cpis"), "service"),
        (lambda document: document.update(code_system="285"), "code_system"),
        (lambda document: document.update(code_system="2.16.840.1.113883.2.1.3.2.4.17.500"), "code_system"),
        (lambda document: document.update(codes=["SMSP-0000"]), "codes"),
        (lambda document: document["codes"].pop("SMSP-0001"), "codes.SMSP-0001"),
        (lambda document: document["codes"].pop("DEMOG-9999"), "codes.DEMOG-9999"),
        (lambda document: document["codes"].pop("SMSP-9999"), "codes.SMSP-9999"),
        (_codes(demog_0001="x"), "codes.demog-0001"),
        (_codes(DEMOG_1="x"), "codes.DEMOG-1"),
        (_codes(DEMOG_0001=""), "codes.DEMOG-0001"),
        (_codes(DEMOG_0001=7), "codes.DEMOG-0001"),
        (_codes(DEMOG_0001="two\nlines"), "codes.DEMOG-0001"),
        (_codes(DEMOG_0001="x" * 201), "codes.DEMOG-0001"),
    ],
)
def test_a_vocabulary_that_does_not_hold_together_is_refused(
    change: Callable[[dict[str, Any]], object], key: str
) -> None:
    document = shipped_document("pds")
    change(document)
    with pytest.raises(TableInvalid) as caught:
        load_vocabulary(document)
    assert caught.value.key == key


def test_the_four_faults() -> None:
    assert set(FAULT_TEXTS) == {"1000", "2100", "2200", "3000"}
    assert FAULT_TEXTS["3000"].text == "Access Denied"
    assert {fault.code_system for fault in FAULT_TEXTS.values()} == {"2.16.840.1.113883.2.1.3.2.4.17.268"}


def test_the_shipped_codes_are_the_published_ones(corpus: Any) -> None:
    import csv

    for service, code_system in (("pds", ".285"), ("cpis", ".499")):
        vocabulary = shipped_vocabulary(service)
        assert vocabulary.code_system.endswith(code_system)
        with (corpus / "itk/response-codes.csv").open(newline="") as file:
            published = {
                row["code"]: row["text"]
                for row in csv.DictReader(file)
                if row["codeSystem"] == vocabulary.code_system or row["codeSystem"].endswith(".500")
            }
        assert vocabulary.texts == published
    with (corpus / "itk/itk-fault-codes.csv").open(newline="") as file:
        assert {row["code"]: row["text"] for row in csv.DictReader(file)} == {
            code: fault.text for code, fault in FAULT_TEXTS.items()
        }
