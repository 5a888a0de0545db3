"""`minispine audit search`, `trace`, `export`, `report` and `as-answered`, as a privacy officer types them."""

import csv
import io
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minispine.audit import keyfiles
from minispine.audit.declaration import begin
from minispine.audit.events import AuditUnavailable, EventType
from minispine.audit.log import AuditLog
from minispine.audit.note import Signer
from minispine.audit.reading import events
from minispine.audit.vault import Vault
from minispine.cli import audit_criteria, audit_export
from minispine.cli.errors import Mistaken
from minispine.storage import Database, Store
from tests.audit.conftest import ORIGIN, Clock
from tests.audit.samples import ACTOR
from tests.audit.stories import BY_SEARCH, Call, act, person
from tests.audit.test_subject_access import PATIENT, day, details
from tests.cli.conftest import Command, Ended

pytestmark = pytest.mark.usefixtures("written")
ANSWERED = Call(name="answered", operation=BY_SEARCH, patient=None, found=PATIENT, shown=details("MARKERBY"), at=day(1))
SILENT = Call(name="silent", user="mjones", client="lab", found=None, code="SMSP-0004", spine=("unavailable",))
READING = 7
"""The number of the record by which the first command of a test says that it reads."""


@pytest.fixture
def audit_keys(tmp_path: Path) -> Path:
    folder = tmp_path / "audit-keys"
    keyfiles.make(folder)
    return folder


@pytest.fixture
def vault(audit_keys: Path) -> Vault:
    return keyfiles.load(audit_keys).vault()


@pytest.fixture
def written(database: Database, audit_keys: Path, vault: Vault) -> None:
    """A log of two calls and an act."""
    clock = Clock()
    log = AuditLog(database, system_id="SMSP-1", instance="provider", vault=vault, now=clock)
    begin(
        log,
        origin=ORIGIN,
        signer=Signer(ORIGIN, keyfiles.load(audit_keys).log_key),
        authorities=(),
        actor=ACTOR.as_data(),
    )
    entries = [*ANSWERED.entries, *SILENT.entries]
    shown = act(EventType.RECORD_DISPLAYED, person("a.nurse", "Ann Nurse"), PATIENT, at=day(1))
    for entry in (*entries, shown):
        clock.us = day(1)
        log.append_now(entry)
    log.close_now()


Audit = Callable[..., Ended]


@pytest.fixture
def audit(minispine: Command, database_url: str, audit_keys: Path) -> Audit:
    """Run an audit command on the log."""

    def run(command: str, *arguments: object) -> Ended:
        return minispine("audit", command, *arguments, "--storage", database_url, "--audit-keys", audit_keys)

    return run


@pytest.fixture
def number_file(tmp_path: Path) -> Path:
    file = tmp_path / "number"
    file.write_text(f"{PATIENT[:3]} {PATIENT[3:6]} {PATIENT[6:]}\n")
    return file


def lines(ended: Ended) -> list[dict[str, Any]]:
    assert ended.code == 0, ended.err
    return [json.loads(line) for line in ended.out.splitlines()]


def readings(database: Database, vault: Vault) -> list[dict[str, Any]]:
    return list(events(database, first=READING, vault=vault))


# ── search ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_search_gives_a_page_of_what_meets_every_criterion(audit: Audit, number_file: Path) -> None:
    assert [line["sequence"] for line in lines(audit("search", "--client", "lab"))] == [4, 4, 5, 5]
    assert [line["sequence"] for line in lines(audit("search", "--client", "lab", "--outcome", "SMSP-0004"))] == [5, 5]
    assert {line["sequence"] for line in lines(audit("search", "--id", ANSWERED.spine_id()))} == {2, 3}
    assert {line["sequence"] for line in lines(audit("search", "--user", "a.nurse", "--device", "WS-17"))} == {6}
    assert {x["sequence"] for x in lines(audit("search", "--nhs-number-file", number_file))} == {3, 6}
    assert [x["type"] for x in lines(audit("search", "--event", "exchange.replied"))] == ["exchange.replied"] * 2
    assert [x["sequence"] for x in lines(audit("search", "--first", "6", "--last", "6"))] == [6]
    assert lines(audit("search", "--from", "2026-09-22", "--to", "2026-09-22", "--client", "lab"))
    ended = audit("search", "--to", "2026-09-20")
    assert (ended.out, ended.err) == ("", "minispine: no record meets that\n")


def test_conditions_that_only_an_exchange_meets_are_pointed_out(audit: Audit, number_file: Path) -> None:
    """The organisation stands in the record of the question, the patient in that of the answer."""
    both = ["--organisation", "RXX", "--nhs-number-file", number_file, "--client", "ward"]
    ended = audit("search", *both)
    assert ended.err == (
        "minispine: no record meets that; the records of an exchange may together, with --whole-exchanges\n"
    )
    assert [x["sequence"] for x in lines(audit("search", *both, "--whole-exchanges"))] == [2, 2, 3, 3]


def test_pages_follow_one_another(audit: Audit) -> None:
    seen: list[int] = []
    more: list[object] = []
    for _ in range(10):
        ended = audit("search", "--last", "6", "--limit", "2", *more)
        seen += dict.fromkeys(line["sequence"] for line in lines(ended))
        if not ended.err:
            break
        more = ["--after", re.fullmatch(r"minispine: there is more; go on with --after (\d+)\n", ended.err)[1]]  # type: ignore[index]
    assert seen == [1, 2, 3, 4, 5, 6]
    newest = audit("search", "--last", "6", "--limit", "2", "--newest-first")
    assert list(dict.fromkeys(line["sequence"] for line in lines(newest))) == [6, 5]


def test_patients_are_shown_only_when_asked_for(audit: Audit, number_file: Path) -> None:
    assert PATIENT not in audit("search", "--nhs-number-file", number_file).out
    assert PATIENT not in audit("search", "--nhs-number-file", number_file, "--format", "table").out
    assert PATIENT in audit("search", "--nhs-number-file", number_file, "--private").out
    assert PATIENT in audit("search", "--nhs-number-file", number_file, "--private", "--format", "table").out


def test_a_table_says_when_who_and_what_in_words(audit: Audit) -> None:
    out = audit("search", "--client", "lab", "--format", "table").out
    header, received, _, silent, replied = out.splitlines()
    assert header.split() == ["Record", "When", "Event", "Who", "Organisation", "Client", "Result", "Exchange"]
    assert received.split()[:6] == ["4", "2026-09-21", "15:13:20.000", "+01:00", "exchange.received", "mjones"]
    assert "unavailable" in silent
    assert replied.split()[-2:] == ["SMSP-0004", SILENT.exchange]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--user", ""], "the user searched for is blank"),
        (["--id", "  "], "the identifier searched for is blank"),
        (["--event", "exchange.replyed"], "'exchange.replyed' is no type of event; did you mean exchange.replied?"),
        (["--from", "yesterday"], "'yesterday' is not a day such as"),
        (["--from", "2026-10-25T01:30:00"], "needs its offset"),
        (["--to", "9999-12-31"], "is further away than times go"),
        (["--last", "9223372036854775808"], "is beyond every record and time"),
        (["--user", "a\udcff"], "is not text in UTF-8"),
        (["--limit", "0"], "--limit has to be 1 or more"),
    ],
)
def test_a_criterion_that_cannot_be_is_a_mistake_and_nothing_is_read(
    audit: Audit, database: Database, vault: Vault, arguments: list[str], said: str
) -> None:
    ended = audit("search", *arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert said in ended.err
    assert readings(database, vault) == []


@pytest.mark.parametrize("number", ["9449310467", "944 931 0467", "944-931-0467"])
@pytest.mark.parametrize(
    "command",
    [["search", "--id", "m", "--id"], ["events", "--id"], ["export", "--format", "csv", "--output", "-", "--id"]],
)
def test_an_nhs_number_is_not_taken_from_the_command_line_as_an_id(
    audit: Audit, database: Database, vault: Vault, command: list[str], number: str
) -> None:
    ended = audit(*command, number)
    assert (ended.code, ended.out) == (2, "")
    assert "--nhs-number-file" in ended.err
    assert number not in ended.err
    assert readings(database, vault) == []


def test_an_nhs_number_that_is_none_is_not_quoted(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "number").write_text("9449310468")
    for command in ("search", "trace", "report"):
        ended = audit(command, "--nhs-number-file", tmp_path / "number")
        assert ended.code == 2
        assert "9449310468" not in ended.err


def test_moments_are_days_of_the_united_kingdom_or_times_with_their_offset() -> None:
    hour = 3_600_000_000
    midnight = audit_criteria.read_moment("2026-10-25T00:00:00+01:00")
    assert audit_criteria.read_moment("2026-10-25") == midnight
    assert audit_criteria.read_moment("2026-10-25", end_of_day=True) == midnight + 25 * hour
    assert audit_criteria.read_moment("2026-03-01T09:00:00Z", end_of_day=True) == 1_772_355_600_000_000
    with pytest.raises(Mistaken):
        audit_criteria.read_moment("2026-10-25T01:30")


# ── that reading is recorded ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("IG-3.9.3", "c")
@pytest.mark.parametrize(
    ("command", "options", "form"),
    [
        ("search", ["--user", "jsmith"], None),
        ("trace", [], None),
        ("export", ["--format", "csv", "--output", "-"], "csv"),
        ("report", [], "report"),
        ("as-answered", ["--on", "2026-09-30"], None),
    ],
)
def test_a_query_a_report_and_an_export_each_leave_a_record_with_user_time_and_criteria(
    audit: Audit,
    database: Database,
    vault: Vault,
    number_file: Path,
    command: str,
    options: list[str],
    form: str | None,
) -> None:
    audit(command, *options, "--nhs-number-file", number_file)
    (reading,) = readings(database, vault)
    assert reading["type"] == ("audit.read" if form is None else "audit.exported")
    assert reading["data"]["command"] == f"audit {command}"
    assert reading["data"]["actor"]["uid"] == os.getuid()
    assert reading["data"].get("form") == form
    assert reading["private"]["nhs_number"] == PATIENT
    assert "nhs_number" in reading["data"]["criteria"]
    assert PATIENT not in json.dumps(reading["data"])
    if command == "search":
        assert reading["private"]["user"] == "jsmith"
        assert reading["data"]["criteria"] == ["nhs_number", "user"]
    if command == "as-answered":
        assert reading["private"]["as_at"] == audit_criteria.read_moment("2026-10-01") - 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["search"],
        ["trace", ANSWERED.message_id],
        ["export", "--format", "jsonl", "--output", "-"],
        ["report", "--nhs-number-file", "FILE"],
        ["as-answered", "--on", "2026-09-30", "--nhs-number-file", "FILE"],
    ],
)
def test_nothing_is_shown_when_the_reading_cannot_be_recorded(
    audit: Audit, number_file: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AuditUnavailable("the disk is full")

    monkeypatch.setattr(AuditLog, "append_now", fail)
    ended = audit(*(number_file if argument == "FILE" else argument for argument in arguments))
    assert (ended.code, ended.out) == (3, "")
    assert "the disk is full" in ended.err


# ── trace ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SMSP-AUDIT-004", "a", "b", "c", "d")
@pytest.mark.requirement("IG-3.9.15", "a")
@pytest.mark.parametrize(
    "identifier", [ANSWERED.message_id, ANSWERED.spine_id(), ANSWERED.tracking_id, ANSWERED.exchange]
)
def test_a_trace_tells_the_whole_exchange_in_order(audit: Audit, identifier: str) -> None:
    ended = audit("trace", identifier)
    assert (ended.code, ended.err) == (0, "")
    header, message, *steps = ended.out.splitlines()
    assert header == f"exchange {ANSWERED.exchange}, client ward"
    assert message == f"message of the client {ANSWERED.message_id}"
    assert [re.split(r" {2,}", step.strip())[1:3] for step in steps] == [
        ["record 2", "received"],
        ["record 2", "asked"],
        ["record 3", "answered"],
        ["record 3", "replied"],
    ]
    assert steps[0].strip().startswith("2026-09-22 15:13:20.000000 +01:00")
    assert PATIENT not in ended.out


def test_a_trace_of_a_patient_tells_every_exchange_and_writes_the_messages_out(
    audit: Audit, number_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "messages"
    ended = audit("trace", "--nhs-number-file", number_file, "--bodies", folder)
    assert ended.code == 0
    assert "record 6, of no exchange" in ended.out
    names = ["000000002-request", "000000003-reply", "000000003-spine-answer-1", "000000003-spine-request-1"]
    assert sorted(file.name for file in folder.iterdir()) == [f"{name}.xml" for name in names]
    assert (folder / "000000003-reply.xml").read_bytes() == ANSWERED.reply
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in folder.iterdir())
    here = audit("trace", ANSWERED.message_id, "--bodies", "-")
    assert "── record 2, request: 27 bytes\n<request>answered</request>\n" in here.out
    assert "<family>MARKERBY</family>" in here.out


def test_a_trace_of_nothing_fails_and_an_nhs_number_is_not_taken_from_the_command_line(
    audit: Audit, database: Database, vault: Vault
) -> None:
    ended = audit("trace", "no-such-id")
    assert (ended.code, ended.out) == (1, "nothing has that id\n")
    ended = audit("trace", "944 931 0467")
    assert (ended.code, ended.out) == (2, "")
    assert "--nhs-number-file" in ended.err
    assert audit("trace").code == 2
    assert len(readings(database, vault)) == 1


# ── export ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", ["csv", "jsonl", "fhir"])
def test_an_export_is_a_new_file_for_its_owner(audit: Audit, tmp_path: Path, form: str) -> None:
    file = tmp_path / "export"
    ended = audit("export", "--format", form, "--output", file, "--client", "lab")
    assert (ended.code, ended.out, ended.err) == (0, f"4 events are in {file}\n", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    if form == "csv":
        assert [row["sequence"] for row in csv.DictReader(io.StringIO(file.read_text()))] == ["4", "4", "5", "5"]
    else:
        assert len([json.loads(line) for line in file.read_text().splitlines()]) == 4
    assert PATIENT not in file.read_text()
    written = file.read_bytes()
    again = audit("export", "--format", form, "--output", file)
    assert (again.code, file.read_bytes()) == (2, written)


def test_an_export_of_whole_exchanges_holds_all_of_each(audit: Audit, number_file: Path) -> None:
    options = ["--nhs-number-file", number_file, "--client", "ward", "--event", "exchange.replied", "--whole-exchanges"]
    found = lines(audit("export", "--format", "jsonl", "--output", "-", *options, "--private"))
    assert [line["sequence"] for line in found] == [2, 2, 3, 3]
    assert all(len(line["leaf_hash"]) == 64 for line in found)


def test_an_export_that_fails_leaves_no_file(audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(found: Any, query: Any) -> Any:
        yield b"first\n"
        raise OSError(28, "No space left on device", "export")

    monkeypatch.setitem(audit_export._FORMS, "csv", broken)
    file = tmp_path / "export.csv"
    assert audit("export", "--format", "csv", "--output", file).code != 0
    assert not file.exists()


# ── what a patient may ask ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("IG-3.9.2", "b")
def test_a_report_says_in_plain_words_who_looked(audit: Audit, number_file: Path) -> None:
    ended = audit("report", "--nhs-number-file", number_file)
    assert (ended.code, ended.err) == (0, "")
    assert "2026-09-22 15:13:20 +01:00  jsmith traced you to find out your details." in ended.out
    assert "    name family: MARKERBY" in ended.out
    assert "2026-09-22 15:13:20 +01:00  Ann Nurse (a.nurse) displayed your data on a screen." in ended.out
    assert ended.out.splitlines()[-1] == "2 entries."
    again = audit("report", "--nhs-number-file", number_file)
    assert "took a copy of the audit trail about you." in again.out
    before = audit("report", "--nhs-number-file", number_file, "--to", "2026-09-21")
    assert "Nothing is recorded." in before.out


@pytest.mark.requirement("IG-3.9.2", "h")
def test_a_record_is_shown_as_it_was_answered(audit: Audit, number_file: Path) -> None:
    ended = audit("as-answered", "--nhs-number-file", number_file, "--on", "2026-09-22")
    assert (ended.code, ended.err) == (0, "")
    assert re.search(r"name family +MARKERBY", ended.out)
    as_json = audit("as-answered", "--nhs-number-file", number_file, "--on", "2026-09-22", "--format", "json").json()
    assert (as_json["sequence"], as_json["details"]["nhs_number"]) == (3, PATIENT)
    before = audit("as-answered", "--nhs-number-file", number_file, "--on", "2026-09-21")
    assert (before.code, before.out) == (1, "")


def test_a_broken_index_says_how_to_mend_it(audit: Audit, database: Database) -> None:
    with database.session(Store.AUDIT) as session:
        session.run("DELETE FROM audit_index_pending WHERE first = 3")
    ended = audit("search", "--client", "ward")
    assert (ended.code, ended.out) == (3, "")
    assert "minispine audit reindex" in ended.err


def test_whoever_reads_the_output_may_leave_early(database_url: str, audit_keys: Path) -> None:
    command = [sys.executable, "-m", "minispine", "audit", "export", "--format", "csv", "--output", "-"]
    command += ["--storage", database_url, "--audit-keys", str(audit_keys)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141
