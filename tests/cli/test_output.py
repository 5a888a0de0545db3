"""What others wrote is shown by commands, and does nothing to the terminal or the files of whoever runs them."""

from pathlib import Path

import pytest

from minispine.audit import keyfiles
from minispine.audit.declaration import begin
from minispine.audit.events import Body, Entry, Event, EventType
from minispine.audit.log import AuditLog
from minispine.audit.note import Signer
from minispine.cli.output import pairs, plain, table
from minispine.storage import Database
from tests.audit.conftest import ORIGIN, START
from tests.audit.samples import ACTOR
from tests.cli.conftest import Command

ESCAPES = "\x1b]0;x\x07\x9b2J\u202e\u2028\x7f"
"""What sets a title, clears the screen, turns the writing round, ends a line and deletes."""
SPOOF = f"jo\nproven up to record 2 by /mnt/witness{ESCAPES}"


@pytest.fixture
def place(database: Database, database_url: str, tmp_path: Path) -> list[str]:
    """A log in which a caller, and whoever archived something, wrote more than a name."""
    keys, _ = keyfiles.make(tmp_path / "audit-keys")
    log = AuditLog(database, system_id="SMSP-1", instance="provider", vault=keys.vault(), now=lambda: START)
    begin(log, origin=ORIGIN, signer=Signer(ORIGIN, keys.log_key), authorities=(), actor=ACTOR.as_data())
    came = {"peer": "10.0.0.7", "path": "/smsp/pds", "lane": "batch", "audit_identity": [{"type": "1.2", "uri": SPOOF}]}
    events = (Event(type=EventType.EXCHANGE_RECEIVED, at=START, data=came),)
    request = Body("request", f"<a>\n\t{ESCAPES}</a>".encode())
    log.append_now(Entry(events=events, exchange="e2", client="ward", client_message_id="m2", bodies=(request,)))
    moved = {"actor": ACTOR.as_data(), "first": 1, "last": 2, "name": SPOOF, "sha256": ""}
    log.append_now(Entry(events=(Event(type=EventType.AUDIT_ARCHIVED, at=START, data=moved),)))
    log.close_now()
    return ["--storage", database_url, "--audit-keys", str(tmp_path / "audit-keys")]


def is_plain(out: str) -> bool:
    return all(c.isprintable() for line in out.split("\n") for c in line.replace("\t", ""))


def test_plain_text_stays_as_it_is() -> None:
    assert plain("Zoë O'Neil, 東京 – 100 %") == "Zoë O'Neil, 東京 – 100 %"
    assert plain("a\nb\tc", keep="\n\t") == "a\nb\tc"


@pytest.mark.parametrize("character", "\x1b\x07\x9b\u202e\u2028\x7f\r\n\x00\udc80")
def test_any_other_character_is_escaped(character: str) -> None:
    shown = plain(f"a{character}b")
    assert shown.isprintable()
    assert shown.startswith("a\\")


def test_tables_show_it_and_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    table(["Who"], [[SPOOF]])
    pairs([("who", SPOOF)])
    assert is_plain(capsys.readouterr().out)


def test_trace_shows_who_asked_and_what_as_text(place: list[str], minispine: Command) -> None:
    out = minispine("audit", "trace", "m2", "--bodies", "-", *place).out
    assert is_plain(out)
    assert "jo\\nproven up to record 2" in out
    assert "<a>\n\t\\x1b" in out


def test_verify_adds_no_line_that_a_record_made_up(place: list[str], minispine: Command) -> None:
    ended = minispine("audit", "verify", *place)
    assert is_plain(ended.out)
    assert not any(line.startswith("proven") for line in ended.out.splitlines())
    assert "jo\\nproven up to record 2" in ended.out


def test_messages_are_written_beside_what_somebody_put_in_their_place(
    place: list[str], tmp_path: Path, minispine: Command
) -> None:
    folder, theirs = tmp_path / "bodies", tmp_path / "theirs"
    folder.mkdir()
    theirs.write_text("")
    file = folder / "000000002-request.xml"
    file.symlink_to(theirs)
    assert minispine("audit", "trace", "m2", "--bodies", str(folder), *place).code == 0
    assert theirs.read_text() == ""
    assert not file.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o600
