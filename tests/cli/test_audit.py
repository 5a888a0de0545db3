"""`minispine audit` as a person or a script runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minispine import cli
from minispine.audit import keyfiles
from minispine.audit.declaration import begin
from minispine.audit.log import AuditLog
from minispine.audit.note import Signer
from minispine.audit.reading import events, last_sequence
from minispine.audit.vault import Vault
from minispine.cli import app
from minispine.storage import Database, Store
from tests.audit.conftest import FIRST, ORIGIN, START, received, replied
from tests.audit.samples import ACTOR

pytestmark = pytest.mark.usefixtures("written")
NHS_NUMBER = "9434765919"


@pytest.fixture
def audit_keys(tmp_path: Path) -> Path:
    """The folder of the log's keys."""
    folder = tmp_path / "audit-keys"
    keyfiles.make(folder)
    return folder


@pytest.fixture
def vault(audit_keys: Path) -> Vault:
    return keyfiles.load(audit_keys).vault()


@pytest.fixture
def place(database_url: str, audit_keys: Path) -> list[str]:
    """The options that say which trail."""
    return ["--storage", database_url, "--audit-keys", str(audit_keys)]


@pytest.fixture
def written(database: Database, audit_keys: Path, vault: Vault) -> None:
    """A log of two exchanges."""
    log = AuditLog(database, system_id="SMSP-1", instance="provider", vault=vault, now=lambda: START)
    signer = Signer(ORIGIN, keyfiles.load(audit_keys).log_key)
    begin(log, origin=ORIGIN, signer=signer, authorities=(), actor=ACTOR.as_data())
    for n in (1, 2):
        log.append_now(received(f"e{n}", f"m{n}"))
        log.append_now(replied(f"e{n}", f"m{n}"))
    log.close_now()


def run(capsysbinary: pytest.CaptureFixture[bytes], *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    """Run a command: its exit code, its JSON lines, and what it says on standard error."""
    code = app.run(["audit", *arguments])
    out, err = capsysbinary.readouterr()
    return code, [json.loads(line) for line in out.splitlines()], err.decode()


def test_events_are_printed_as_json_lines_in_order(
    place: list[str], database: Database, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    before = list(events(database))
    code, lines, err = run(capsysbinary, "events", *place)
    assert (code, err) == (0, "")
    assert lines == before
    assert list(lines[0]) == list(before[0])


def test_reading_is_recorded_before_anything_is_shown_with_what_was_typed_kept_private(
    place: list[str], vault: Vault, database: Database, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    last = last_sequence(database)
    _, lines, _ = run(capsysbinary, "events", *place, "--private", "--id", "m1", "--first", "1")
    assert {line["exchange"] for line in lines} == {"e1"}
    assert lines[1]["private"] == {"question": {"nhs_number": NHS_NUMBER}}
    reading = list(events(database, first=last + 1, vault=vault))
    assert [e["type"] for e in reading] == ["audit.read"]
    assert reading[0]["private"] == {"identifier": "m1"}
    assert reading[0]["system"] == "SMSP-1"
    assert reading[0]["data"]["actor"]["uid"] == os.getuid()
    assert reading[0]["data"] | {"actor": None} == {
        "actor": None,
        "command": "audit events",
        "criteria": ["identifier"],
        "first": 1,
        "last": None,
        "private_shown": True,
    }


def test_nothing_is_shown_when_the_reading_cannot_be_recorded(
    place: list[str], database: Database, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    with database.session(Store.AUDIT) as session:
        session.run("DELETE FROM audit_head")
    code, lines, err = run(capsysbinary, "events", *place)
    assert (code, lines) == (3, [])
    assert err.startswith("minispine: ")
    assert err.count("\n") == 1


def test_a_patient_is_searched_for_by_a_number_in_a_file(
    place: list[str], tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    file = tmp_path / "number"
    file.write_text(f"{NHS_NUMBER[:3]} {NHS_NUMBER[3:6]} {NHS_NUMBER[6:]}\n")
    code, lines, _ = run(capsysbinary, "events", *place, "--nhs-number-file", str(file))
    assert code == 0
    assert {line["exchange"] for line in lines} == {"e1", "e2"}
    file.write_text("9434765918\n")
    code, lines, err = run(capsysbinary, "events", *place, "--nhs-number-file", str(file))
    assert (code, lines) == (2, [])
    assert "9434765918" not in err


def test_conditions_narrow_what_is_printed(place: list[str], capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    _, lines, _ = run(capsysbinary, "events", *place, "--exchange", "e2", "--first", str(FIRST + 3), "--last", "9")
    assert [line["sequence"] for line in lines] == [FIRST + 3]


@pytest.mark.parametrize("option", ["--id", "--exchange"])
def test_a_search_for_nothing_is_a_mistake_and_one_that_finds_nothing_says_so(
    option: str, place: list[str], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    for empty in ("", " "):
        code, lines, err = run(capsysbinary, "events", *place, option, empty)
        assert (code, lines) == (2, [])
        assert err == f"minispine: {option} is empty; leave it out to have every event\n"
    code, lines, err = run(capsysbinary, "events", *place, option, "nowhere")
    assert (code, lines, err) == (0, [], "minispine: no event meets that\n")


def test_a_change_without_its_record_is_said(
    place: list[str], database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.session(Store.REGISTRY) as session:
        session.run(
            "INSERT INTO registry_document (kind, key, version, body, changed_at, changed_by)"
            " VALUES ('client', 'ward', 7, '{}', 1, '{}')"
        )
    assert app.run(["audit", "verify", *place]) == 1
    assert capsys.readouterr().out == "the registry holds version 7 of client ward, and no record says so\n"


def test_verify_says_whether_the_trail_is_intact(
    place: list[str], database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["audit", "verify", *place]) == 3
    out = capsys.readouterr().out
    assert out.startswith("5 records are consistent; the root of their tree is ")
    assert "consistent, not proven" in out
    with database.session(Store.AUDIT) as session:
        session.run("UPDATE audit_head SET sealed_at = 0")
    assert app.run(["audit", "verify", *place]) == 1
    assert capsys.readouterr().out.startswith("record 5 is not as it was written: ")


def test_a_provider_that_serves_is_not_in_the_way(
    place: list[str], database: Database, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    claim = database.claim_for_serving("provider")
    code, lines, _ = run(capsysbinary, "events", *place, "--last", str(FIRST))
    claim.release()
    assert (code, len(lines)) == (0, 3)


@pytest.mark.parametrize("command", ["events", "verify"])
def test_a_trail_that_is_not_there_is_one_line_and_nothing_is_made(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "nowhere"
    assert app.run(["audit", command, "--storage", f"sqlite:{folder}"]) == 3
    assert capsys.readouterr().err == (
        f"minispine: there is no database {folder}/audit.db; look at [storage] in the configuration\n"
    )
    assert not folder.exists()


def test_whoever_reads_the_output_may_leave_early(place: list[str], vault: Vault, database: Database) -> None:
    log = AuditLog(database, system_id="SMSP-1", instance="provider", vault=vault, now=lambda: START)
    with log.holding() as hold:
        for n in range(2000):
            log.append_in(hold, received(f"f{n}"))
    log.close_now()
    command = [sys.executable, "-c", f"import sys; from {cli.__name__} import main; sys.exit(main())"]
    with subprocess.Popen(
        [*command, "audit", "events", *place], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["sequence"] == 1
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141
