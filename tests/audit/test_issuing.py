# ruff: noqa: F811
"""Issuing: a checkpoint on demand goes everywhere it should, and is not held up by who is away."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from minispine.audit.checkpoint import open_checkpoint
from minispine.audit.issuing import Issuer
from minispine.audit.log import AuditLog
from minispine.audit.witnesses import recipient_of
from minispine.audit.witnesses.directory import DirectoryRecipient
from minispine.audit.witnesses.https import HttpsRecipient
from minispine.audit.witnesses.recipient import Taken
from minispine.audit.witnesses.syslog import SyslogRecipient
from minispine.config.settings import Audit, DirectoryWitness, HttpsWitness, SyslogWitness, Witness
from minispine.storage import Database
from tests.audit.checkpoints import grow
from tests.audit.conftest import SIGNER, Clock
from tests.audit.witnesses.conftest import authority, closing, until  # noqa: F401
from tests.audit.witnesses.doubles import Authority, WitnessServer


@pytest.fixture
def server(authority: Authority, closing: ExitStack) -> WitnessServer:
    server = WitnessServer(authority.server(), SIGNER.verifier)
    closing.callback(server.close)
    return server


@pytest.fixture
def issuer(
    database: Database,
    log: AuditLog,
    clock: Clock,
    tmp_path: Path,
    authority: Authority,
    server: WitnessServer,
    closing: ExitStack,
) -> Iterator[Issuer]:
    (tmp_path / "disk").mkdir()
    issuer = Issuer(
        database,
        SIGNER.private_key,
        Audit(
            directory=tmp_path / "published",
            witnesses=(
                DirectoryWitness(name="disk", directory=tmp_path / "disk"),
                HttpsWitness(
                    name="region",
                    url=f"https://localhost:{server.port}/smsp",
                    vkey=str(server.cosigner.verifier),
                    ca=authority.ca,
                ),
            ),
        ),
        now=clock,
    )
    yield issuer
    issuer.close()


ALL = ("witness disk", "witness region", "the published log")


def test_a_checkpoint_on_demand_is_taken_everywhere(
    issuer: Issuer, log: AuditLog, tmp_path: Path, server: WitnessServer
) -> None:
    for records in (3, 0):
        grow(log, records)
        issued = issuer.issue(wait_s=30)
        assert (issued.taken, issued.not_taken) == (ALL, {})
        assert (tmp_path / "disk" / "checkpoint").read_text() == issued.stored.note
        assert (tmp_path / "published" / "checkpoint").read_text() == issued.stored.note
        assert server.seen == open_checkpoint(issued.stored.note, SIGNER.verifier)
    state = issuer.state()
    assert state.last == issued.stored
    assert set(state.recipients) == set(ALL)
    assert {known.taken for known in state.recipients.values()} == {Taken(2, 1, 4)}
    note = state.recipients["witness region"].note
    assert note is not None
    assert "witness.example/w1" in note


def test_who_takes_too_long_is_not_waited_for_and_holds_up_nobody(
    issuer: Issuer,
    tmp_path: Path,
    server: WitnessServer,
    closing: ExitStack,
) -> None:
    server.paused.clear()
    closing.callback(server.paused.set)
    (tmp_path / "disk").rmdir()
    issued = issuer.issue(wait_s=1)
    assert issued.not_taken == {"witness disk": "its directory is not there", "witness region": "it takes too long"}
    assert issued.taken == ("the published log",)
    server.paused.set()
    until(lambda: issuer.state().recipients["witness region"].taken.number == issued.stored.number)


def test_what_is_due_is_taken_everywhere_in_the_background(issuer: Issuer, log: AuditLog, clock: Clock) -> None:
    made = issuer.issue_if_due()
    assert made is not None
    until(lambda: all(known.taken.number == made.number for known in issuer.state().recipients.values()))
    grow(log, 1)
    clock.us += 59_999_999
    assert issuer.issue_if_due() is None


def test_each_kind_of_witness_has_its_recipient() -> None:
    ca = Path("ca.pem")
    several: list[Witness] = [
        DirectoryWitness(name="disk", directory=Path("disk")),
        SyslogWitness(name="siem", host="localhost", ca=ca),
        HttpsWitness(name="region", url="https://localhost", ca=ca),
    ]
    recipients = [recipient_of(each) for each in several]
    assert [type(each) for each in recipients] == [DirectoryRecipient, SyslogRecipient, HttpsRecipient]
    assert [each.name for each in recipients] == ["disk", "siem", "region"]
