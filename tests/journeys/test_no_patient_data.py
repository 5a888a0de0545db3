"""A privacy officer plants a marker in every field about a patient and looks for it in all that servers emit (Law 8).

The answers to whoever asked may hold them, and the private parts of the audit log once they are decrypted. Nothing else
may: not the logs, the metrics, the readiness page, a fault, a command line, the hashed part of a record, or any file.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from minispine.audit import reading
from minispine.domain.nhs_number import check_digit
from minispine.domain.request import LocalIdentifier
from minispine.storage import Database
from tests.journeys.house import House, Spine, fetch
from tests.journeys.messages import (
    BY_NUMBER,
    BY_SEARCH,
    EITHER,
    FIND,
    LOCAL_ROOT,
    VERIFY,
    Answer,
    Edit,
    Message,
    at,
    saying,
    setting,
    without,
)


def _number(first_nine: str) -> str:
    return f"{first_nine}{check_digit(first_nine)}"


ASKED_NUMBER, HELD_NUMBER, UNKNOWN_NUMBER = _number("943476000"), _number("943476011"), _number("943476007")
BAD_NUMBER = "9434760591"
ASKED = {"family": "ZZQXASKEDFAMILY", "given": "ZZQXASKEDGIVEN", "postcode": "ZZQX 9ZZ", "birth_date": "19110911"}
LOCAL = "RXX:ZZQXLOCAL"
PLANTED = {
    "family": "ZZQXSENTFAMILY",
    "given": ["ZZQXSENTGIVEN", "ZZQXSECONDGIVEN" + "X" * 120, "ZZQXTHIRDGIVEN"],
    "prefix": "ZZQXPREFIX",
    "address_lines": ["ZZQXLINEA", "ZZQXLINEB" + "X" * 60, "ZZQXLINEC", "ZZQXLINED", "ZZQXLINEE"],
    "postcode": "ZZQX2 8YY TOO LONG",
    "telecom_value": "tel:ZZQX077009",
    "deceased_time": "201211210911",
    "birth_time": "19121012",
}
HELD = {
    "NHS_NUMBER": HELD_NUMBER,
    "DATE_OF_BIRTH": "19130413",
    "FAMILY_NAME": "ZZQXHELDFAMILY",
    "GIVEN_NAME": "ZZQXHELDGIVEN",
    "OTHER_GIVEN_NAME": "ZZQXHELDSECOND",
    "TITLE": "ZZQXHELDTITLE",
    "GENDER": "Female",
    **{f"ADDRESS_LINE_{n}": f"ZZQXHELDLINE{n}" for n in range(1, 6)},
    "PRIMARY_CARE_CODE": "H81109",
    "POST_CODE": "ZZQX 7XX",
}
MARKERS = [
    "ZZQX",  # begins every marker that is a word
    ASKED_NUMBER,
    HELD_NUMBER,
    UNKNOWN_NUMBER,
    BAD_NUMBER,
    "19110911",
    "19121012",
    "19130413",
    "20121121",
    "19990230",
]


@pytest.fixture(scope="module")
def planted(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, Spine, list[Answer]]]:
    """A house after everything that can be asked and everything that can go wrong."""
    folder = tmp_path_factory.mktemp("markers")
    people = folder / "people.csv"
    people.write_text(",".join(HELD) + "\n" + ",".join(HELD.values()) + "\n")
    spine = Spine(folder / "spine", keys, size=50, patients=people)
    with House(folder / "house", keys, spine.url, spine.practices) as house:
        house.configure("", log_level="debug").configure("machines", body_timeout_s=1.0)
        house.configure("spine.pds", breaker_failures=1000).write()
        house.load_organisations()
        house.register("ward", "--timeout", "1")
        house.start()
        faults = [answer for answer in _everything(house, spine) if answer.payload is None]
        yield house, spine, faults
    spine.stop()


def _questions() -> list[Message]:
    local = LocalIdentifier(root=LOCAL_ROOT, extension=LOCAL)
    named = ASKED | {"gender": "2"}
    numbered = {key: ASKED[key] for key in ("family", "given", "birth_date")} | {"nhs_number": ASKED_NUMBER}
    held = {"nhs_number": HELD_NUMBER, "birth_date": HELD["DATE_OF_BIRTH"]}
    found = {"family": HELD["FAMILY_NAME"], "gender": "2", "birth_date": HELD["DATE_OF_BIRTH"]}
    return [
        Message(VERIFY, **numbered),
        Message(FIND, local_identifier=local, **named),
        Message(BY_NUMBER, local_identifier=local, **numbered),
        Message(BY_SEARCH, local_identifier=local, **named),
        Message(EITHER, local_identifier=local, nhs_number=ASKED_NUMBER, **named),
        Message(VERIFY, **held),
        Message(FIND, **found, local_identifier=local),
        Message(BY_NUMBER, **held, local_identifier=local),
        Message(BY_SEARCH, **found),
        Message(EITHER, **held),
        Message(VERIFY, nhs_number=UNKNOWN_NUMBER, birth_date="19110911"),
        Message(VERIFY, nhs_number=BAD_NUMBER, birth_date="19110911"),
        Message(VERIFY, nhs_number=HELD_NUMBER, birth_date="19990230"),
    ]


_FAULTS = (
    {"action": "malformed"},
    {"action": "truncate"},
    {"action": "wrong-ids"},
    {"action": "reset"},
    {"action": "silence"},
    {"action": "http-status", "status": 500},
    {"action": "soap-fault"},
    {"action": "reject"},
    {"action": "reason", "code": "AT002"},
)


def _spoilt() -> Iterator[bytes]:
    """Messages with a mistake in, on or beside a marker."""

    def edited(*edits: Edit) -> bytes:
        return _questions()[1].edit(*edits).body

    event = ".//v3:queryEvent"
    family = f"{event}//v3:family"
    yield edited(setting(f"{event}//v3:Person.Gender/v3:value", "code", "ZZQXGENDER"))
    yield edited(setting(f"{event}//v3:Person.DateOfBirth/v3:value", "value", "ZZQXDATE"))
    yield edited(lambda root: setattr(at(root, family), "tag", "{urn:hl7-org:v3}ZZQXELEMENT"))
    yield edited(lambda root: setattr(at(root, family), "tag", "{urn:ZZQXNAMESPACE}family"))
    yield edited(saying(family, "ZZQXFAMILY*\u202e"))
    yield edited(setting(".//itk:header", "service", "urn:ZZQXSERVICE"))
    yield edited(setting(".//itk:manifestitem", "profileid", "urn:ZZQXPROFILE"))
    yield edited(setting(".//itk:header", "trackingid", "ZZQXTRACKING"))
    yield edited(saying(".//wsa:MessageID", "ZZQXMESSAGE"))
    yield edited(saying(".//wsa:Action", "urn:ZZQXACTION"))
    yield edited(saying(".//wsu:Created", "ZZQXCREATED"))
    yield edited(without(".//itk:manifest"))
    body = _questions()[0].body
    yield body[:-40]
    yield body.replace(b"</soap:Envelope>", b"<ZZQXTRAILING></soap:Envelope>")
    yield body.replace(b"ZZQXASKEDFAMILY", b"ZZQXASKEDFAMILY & ZZQXAMPERSAND")
    yield body.replace(b"ZZQXASKEDFAMILY", b"ZZQXASKED\xff\xfe")
    yield b"<!DOCTYPE ZZQXDOCTYPE [<!ENTITY ZZQXENTITY 'ZZQX'>]>" + body
    yield b"ZZQXNOTXML " + ASKED_NUMBER.encode()


def _everything(house: House, spine: Spine) -> Iterator[Answer]:
    for message in _questions():
        yield house.ask(message)
    spine.faults({"set": PLANTED})
    for message in _questions():
        yield house.ask(message)
    for damage in (
        {"birth_time": "19990230"},
        {"gender": "ZZQXGENDER"},
        {"nhs_number": BAD_NUMBER},
        {"postcode": "ZZQX~"},
        {"practice": "ZZQXPRACTICE"},
        {"confidentiality": "ZZQXSECRET"},
        {"name_use": "ZZQXUSE", "address_use": "ZZQXUSE", "telecom_use": "ZZQXUSE"},
        {"registration_since": "ZZQXSINCE", "registration_until": "ZZQXUNTIL"},
        {"deceased_time": "ZZQXDEAD"},
        {"family": "ZZQX\u0130\u202e\U0001f600"},
    ):
        spine.faults({"set": damage})
        yield house.ask(_questions()[7])
    for rule in _FAULTS:
        spine.faults(rule)
        yield house.ask(_questions()[7])
    spine.faults()
    for body in _spoilt():
        with house.line() as line:
            yield line.ask(body)
    with house.line() as line:
        yield line.ask(_questions()[0], soapaction="urn:ZZQXSOAPACTION")
        yield line.ask(_questions()[0], path=f"/smsp/pds?family=ZZQXQUERY&nhs={ASKED_NUMBER}")
        yield line.ask(_questions()[0], path=f"/ZZQXPATH/{ASKED_NUMBER}")
        yield line.ask(_questions()[0], content_encoding="ZZQXENCODING")
        yield line.ask(_questions()[0], x_patient=f"ZZQXHEADER {ASKED_NUMBER}")
    with house.line(None) as line:
        yield line.ask(_questions()[0], x_ssl_client_cert="ZZQXCERTIFICATE")
    with house.line() as line:
        line.send(f"ZZQXMETHOD /{ASKED_NUMBER} HTTP/ZZQX\r\nZZQXHEADER ZZQX\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            yield line.read()
    with house.line() as line:
        line.send(b"POST /smsp/pds HTTP/1.1\r\nhost: ZZQXHOST\r\ncontent-length: 9999\r\n\r\n" + _questions()[0].body)
        yield line.read()
    with contextlib.closing(sqlite3.connect(house.folder / "data/audit.db", isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        yield house.ask(_questions()[0])
        lock.execute("ROLLBACK")
    (worker,) = house.workers()
    os.kill(worker, 6)


def must_not_hold(where: str, text: str) -> None:
    for number, marker in enumerate(MARKERS):
        assert marker not in text, f"marker {number} is in {where}"


Planted = tuple[House, Spine, list[Answer]]


def test_the_markers_were_where_they_may_be(planted: Planted) -> None:
    house, _, _ = planted
    private = json.dumps([event["private"] for event in house.trail()])
    kept = b""
    with Database.open(house.settings["storage"]["url"]) as database:
        for sequence in range(1, house.last() + 1):
            kept += b"".join(body.content for body in reading.bodies(database, sequence, house.vault))
    for marker in ("ZZQXASKEDFAMILY", ASKED_NUMBER, HELD_NUMBER, "ZZQXLOCAL", "19110911", "ZZQXSECONDGIVEN"):
        assert marker in private
    for marker in ("ZZQXSENTFAMILY", "ZZQXLINEA", "ZZQXHELDLINE1", "ZZQXNOTXML", "ZZQXGENDER"):
        assert marker.encode() in kept


def test_no_log_line_holds_a_marker(planted: Planted) -> None:
    house, spine, _ = planted
    assert house.process is not None
    must_not_hold("the provider's output", house.process.output)
    must_not_hold("the simulator's output", spine.process.output)
    assert len(list(house.process.lines())) > 5


def test_no_metric_and_no_management_page_holds_a_marker(planted: Planted) -> None:
    house, _, _ = planted
    for page in ("/metrics", "/ready", "/live", f"/ZZQXPAGE/{ASKED_NUMBER}"):
        must_not_hold(page, fetch(house.management + page)[1].decode())


def test_no_fault_holds_a_marker(planted: Planted) -> None:
    _, _, faults = planted
    assert len(faults) > 15
    for fault in faults:
        must_not_hold("a fault", fault.body.decode() + repr(fault.headers))


def test_no_command_line_or_environment_holds_a_marker(planted: Planted) -> None:
    house, spine, _ = planted
    assert house.process is not None
    for pid in (house.process.pid, *house.workers(), spine.process.pid):
        must_not_hold("a command line", Path(f"/proc/{pid}/cmdline").read_bytes().decode())
        must_not_hold("an environment", Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace"))


def test_no_hashed_part_of_the_log_holds_a_marker(planted: Planted) -> None:
    house, _, _ = planted
    for event in house.trail():
        event.pop("private")
        must_not_hold(f"the hashed part of a {event['type']}", json.dumps(event, ensure_ascii=False))
    with contextlib.closing(sqlite3.connect(house.folder / "data/audit.db")) as log:
        for leaf in log.execute("SELECT leaf FROM audit_record"):
            must_not_hold("a leaf", bytes(leaf[0]).decode())


def test_no_file_of_the_provider_holds_a_marker(planted: Planted) -> None:
    """Not the database of the audit log either: what it keeps of patients is encrypted."""
    house, _, _ = planted
    looked_at = set()
    for file in house.folder.rglob("*"):
        if file.is_file() and house.keys not in file.parents:
            must_not_hold(file.name, file.read_bytes().decode("latin-1"))
            looked_at.add(file.name)
    assert {"audit.db", "registry.db", "log.key", "provider.log"} <= looked_at
