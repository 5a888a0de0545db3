import importlib
import inspect
import io
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import minispine.audit
import minispine.storage
from minispine.audit.archive import ArchiveUnreadable
from minispine.audit.checkpointing import LogRewritten, WrongLogKey
from minispine.audit.declaration import DeclarationInvalid
from minispine.audit.events import AuditUnavailable
from minispine.audit.index.layout import IndexBroken
from minispine.audit.opening import LogNotReady
from minispine.audit.reading import RecordUnreadable
from minispine.audit.redaction import NotTheOwner
from minispine.audit.rotation import NotForgettable
from minispine.audit.sealing import NotBegun
from minispine.audit.tree import TreeDamaged
from minispine.audit.vault import PayloadUnreadable
from minispine.cli import errors
from minispine.cli.errors import EnvironmentFailed, Exit, Failed, Mistaken, explain, run
from minispine.client.errors import ConnectionFailed, IdentityIncomplete
from minispine.config import ConfigurationInvalid
from minispine.keys.certificates import CertificateUnreadable
from minispine.keys.files import KeyFileRefused
from minispine.keys.pki import PkiRefused
from minispine.provider.in_force import Unusable
from minispine.spine.http import EndpointInvalid
from minispine.spine.ods import OrganisationsInvalid
from minispine.storage import SchemaOutdated, StorageMisconfigured, StorageUnavailable, StoreLost, VersionConflict
from minispine.vocabulary.tables import TableInvalid

HERE = Path("here.toml")

EXPECTED: list[tuple[Exception, Exit]] = [
    (Failed("x"), Exit.FAILED),
    (Mistaken("x"), Exit.MISTAKE),
    (EnvironmentFailed("x"), Exit.ENVIRONMENT),
    (ConfigurationInvalid(HERE, "workers", "x"), Exit.MISTAKE),
    (KeyFileRefused(HERE, "x"), Exit.MISTAKE),
    (CertificateUnreadable("x"), Exit.MISTAKE),
    (PkiRefused("x"), Exit.MISTAKE),
    (TableInvalid("RXX", "x"), Exit.MISTAKE),
    (Unusable("table x", "x"), Exit.MISTAKE),
    (EndpointInvalid("key", "x"), Exit.MISTAKE),
    (OrganisationsInvalid(HERE, 3, "x"), Exit.MISTAKE),
    (StorageMisconfigured("x"), Exit.MISTAKE),
    (StorageUnavailable("x"), Exit.ENVIRONMENT),
    (SchemaOutdated("x"), Exit.ENVIRONMENT),
    (StoreLost("x"), Exit.ENVIRONMENT),
    (VersionConflict("client", "ward", 3), Exit.FAILED),
    (AuditUnavailable("x"), Exit.ENVIRONMENT),
    (LogNotReady("x"), Exit.MISTAKE),
    (DeclarationInvalid("x"), Exit.FAILED),
    (RecordUnreadable(7), Exit.FAILED),
    (TreeDamaged("x"), Exit.FAILED),
    (LogRewritten("x"), Exit.FAILED),
    (WrongLogKey("x"), Exit.MISTAKE),
    (NotForgettable("x"), Exit.FAILED),
    (ArchiveUnreadable("x"), Exit.MISTAKE),
    (NotTheOwner("x"), Exit.MISTAKE),
    (PayloadUnreadable("x"), Exit.MISTAKE),
    (IndexBroken("x"), Exit.ENVIRONMENT),
    (IdentityIncomplete("x"), Exit.MISTAKE),
    (ConnectionFailed("x"), Exit.ENVIRONMENT),
    (FileNotFoundError(2, "No such file or directory", "here.toml"), Exit.MISTAKE),
    (RuntimeError("patient SMITH"), Exit.DEFECT),
]


@pytest.mark.parametrize(("error", "code"), EXPECTED, ids=[type(error).__name__ for error, _ in EXPECTED])
def test_each_exception_ends_a_command_with_its_code_and_one_line(
    error: Exception, code: Exit, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    assert run(command) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("minispine: ")
    assert err.count("\n") == 1


def test_a_record_that_was_not_made_says_nothing_of_whether_the_change_was() -> None:
    assert explain(AuditUnavailable("away"))[1] == (
        "away; look at [storage], and whether a change was made before making it again"
    )


@pytest.mark.parametrize("error", [NotBegun(), AuditUnavailable(str(NotBegun()))])
def test_who_says_what_to_run_is_given_no_other_advice(error: Exception) -> None:
    assert explain(error) == (Exit.ENVIRONMENT, "the audit log has not been begun; run: minispine audit init")


def test_every_exception_in_the_table_is_one_that_exists() -> None:
    known = {_full_name(k) for error, _ in EXPECTED for k in type(error).__mro__}
    assert errors._KNOWN.keys() <= known


CAUGHT = {
    # by the commands, which say it in words of their own
    *("declaration.AlreadyBegun", "restoration.RestoreRefused", "backup.BackupRefused", "archiving.ArchiveRefused"),
    *("redaction.AlreadyRemoved", "redaction.ArchiveNeeded", "removal_request.RequestInvalid"),
    *("verification.trusted.NoCheckpoint", "evidence.writing.EvidenceUnavailable"),
    # within the room
    *("note.NoteMalformed", "note.NoteUnverified", "merkle.ProofInvalid", "evidence.form.Malformed"),
    *("evidence.verifying._Wrong", "index.building.Overtaken", "witnesses.recipient.NotTaken"),
    *("witnesses.recipient.Superseded", "outside.NotPlain"),
    # a guard, which no command's entry has; and entries that we make wrongly, which is a defect
    *("events.GuardFailed", "encoding.EntryInvalid", "catalogue.EventInvalid"),
}
"""Exceptions of the audit room that do not come as far as the end of a command, or are a defect if they do."""


def test_every_exception_of_the_trail_is_known_where_a_command_ends_or_caught_before() -> None:
    accounted_for = errors._KNOWN.keys() | {f"minispine.audit.{name}" for name in CAUGHT}
    assert {
        _full_name(kind) for kind in _exceptions() if accounted_for.isdisjoint(map(_full_name, kind.__mro__))
    } == set()


def _exceptions() -> Iterator[type[Exception]]:
    """Every kind of exception that the audit room and the storage room define."""
    for room in (minispine.audit, minispine.storage):
        for found in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if ".migrations" not in found.name:
                for _, kind in inspect.getmembers(importlib.import_module(found.name), inspect.isclass):
                    if issubclass(kind, Exception) and kind.__module__ == found.name:
                        yield kind


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def test_an_unforeseen_exception_is_named_by_place_but_its_text_is_kept_back(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def command() -> None:
        errors.run.__globals__["_place"](None)  # something of ours that breaks

    assert run(command) == Exit.DEFECT
    line = capsys.readouterr().err
    assert "AttributeError at cli/errors.py:" in line
    assert "MINISPINE_DEBUG=1" in line
    assert "SMITH" not in explain(RuntimeError("patient SMITH"))[1]

    monkeypatch.setenv("MINISPINE_DEBUG", "1")
    run(command)
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_and_a_reader_that_has_gone_are_quiet(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    def unread() -> None:
        raise BrokenPipeError(32, "Broken pipe")

    assert run(interrupted) == 130
    with open("/dev/null", "w") as unread_output:
        monkeypatch.setattr(sys, "stdout", unread_output)
        assert run(unread) == 141
    assert capfd.readouterr() == ("", "")


COMMAND = (sys.executable, "-m", "minispine")


@pytest.mark.parametrize("arguments", ["config example", "--help", "config check --help"])
def test_output_that_cannot_be_written_is_said_in_one_line(arguments: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments.split()], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (
        3,
        "minispine: cannot write to standard output: no space left on device\n",
    )


def test_output_that_was_closed_is_said_in_one_line() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *COMMAND, "config", "example"], stderr=subprocess.PIPE, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (3, "minispine: cannot write to standard output: it is closed\n")


@pytest.mark.parametrize(("given", "code"), [(None, 0), ("text", 1), (3, 3)])
def test_a_command_that_exits_by_itself_keeps_its_code(given: object, code: int) -> None:
    assert run(lambda: sys.exit(given)) == code  # type: ignore[arg-type]


def test_what_a_command_returns_is_its_code_and_nothing_is_success() -> None:
    assert (run(lambda: Exit.FAILED), run(lambda: None), run(lambda: io.StringIO())) == (1, 0, 0)
