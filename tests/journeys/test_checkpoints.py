"""A provider with witnesses, as an operator and whoever keeps the witness see it."""

import json
from pathlib import Path

import pytest

from minispine.audit import keyfiles
from minispine.audit.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint, signed_at_s
from minispine.audit.note import Signer, Verifier
from minispine.audit.outside import notes_in
from tests.journeys.conftest import HouseMaker
from tests.journeys.house import House, Spine, until
from tests.journeys.messages import VERIFY, Message


class Watched(House):
    """A house whose audit log is shown to a directory and published in another."""

    @property
    def witness(self) -> Path:
        return self.folder / "other-disk"

    @property
    def published(self) -> Path:
        return self.folder / "published"

    def write(self) -> None:
        """Write minispine.toml, with the witness."""
        self.configure("audit", directory=str(self.published), checkpoint_interval_s=1.0)
        super().write()
        directory = json.dumps(str(self.witness))
        table = f'[[audit.witnesses]]\nkind = "directory"\nname = "disk"\ndirectory = {directory}\n'
        self.config.write_text(f"{self.config.read_text()}\n{table}")
        self.witness.mkdir(exist_ok=True)

    @property
    def key(self) -> Verifier:
        """The log's public key, as `audit init` prints it."""
        return Verifier.parse(self.must_run("audit", "init", "--without-redaction").splitlines()[-1])

    def seen(self, key: Verifier) -> Checkpoint:
        """What the witness saw last."""
        return open_checkpoint((self.witness / "checkpoint").read_bytes(), key)


@pytest.fixture
def watched(tmp_path: Path, keys: Path, spine: Spine) -> Watched:
    return Watched(tmp_path, keys, spine.url, spine.practices)


def settle(house: House) -> None:
    house.write()
    house.load_organisations()
    house.register()


@pytest.mark.requirement("SMSP-AUDIT-001", "a")
def test_the_witness_sees_the_log_grow_and_its_end_and_that_it_is_another(watched: Watched) -> None:
    settle(watched)
    with watched.start():
        key = watched.key
        until(lambda: (watched.witness / "checkpoint").exists(), what="a first checkpoint")
        before = watched.seen(key).size
        assert watched.ask(Message(VERIFY, nhs_number="9434765919", birth_date="19390522")).status == 200
        until(lambda: watched.seen(key).size >= before + 2, what="the exchange to be witnessed")
        assert watched.ready()[1]["reasons"] == []
        assert not [warning for warning in watched.ready()[1]["warnings"] if "witness" in warning]
        assert watched.metric("minispine_audit_witness_waiting_seconds", recipient="witness disk") < 60

        # On demand, beside a provider that serves.
        done = watched.run("audit", "checkpoint")
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines() == ["witness disk has taken it", "the published log has taken it"]
        assert done.stdout in {note.read_text() for note in notes_in(watched.witness)}
        away = watched.witness.rename(watched.folder / "away")
        done = watched.run("audit", "checkpoint")
        assert done.returncode == 1
        assert done.stderr == (
            "the published log has taken it\nminispine: witness disk has not taken it: its directory is not there\n"
        )
        assert open_checkpoint(done.stdout, key).size > before
        away.rename(watched.witness)
    # The last one is of every record, that of the end included.
    assert [event["type"] for event in watched.trail()][-1] == "provider.stopped"
    assert watched.seen(key).size == watched.last()
    assert open_checkpoint((watched.published / "checkpoint").read_bytes(), key) == watched.seen(key)
    notes = [note.read_bytes() for note in notes_in(watched.witness)]
    assert len({open_checkpoint(note, key).size for note in notes}) > 2
    assert all(signed_at_s(note, key) for note in notes)

    # The witness has seen something else: no provider of this log is ready any more.
    signer = Signer(key.name, keyfiles.load(watched.audit_keys).log_key)
    forged = sign_checkpoint(Checkpoint(signer.name, 2, bytes(32)), signer)
    (watched.witness / "checkpoint").write_text(forged)
    watched.launch()
    until(lambda: watched.ready()[0] == 503 and "witness" in str(watched.ready()[1]["reasons"]), what="not ready")
    (reason,) = watched.ready()[1]["reasons"]
    assert reason.startswith("witness disk says that the audit log was rewritten: the first 2 records")
    watched.stop()
    assert (watched.witness / "checkpoint").read_text() == forged


@pytest.mark.parametrize("why", [None, "the hub comes in May"])
def test_a_production_profile_has_a_witness_or_says_why_not(make_house: HouseMaker, why: str | None) -> None:
    house = make_house().configure("", profile="production")
    house.begin()
    house.configure("audit", no_witness_reason=why).write()
    checked = house.run("config", "check", str(house.config), config=False)
    if why is None:
        assert checked.returncode == 2
        assert "audit.witnesses: must name a witness" in checked.stderr
        refused = house.run("serve")
        assert refused.returncode == 2
        assert "audit.witnesses: must name a witness" in refused.stderr
        return
    assert checked.returncode == 0
    assert "audit.no_witness_reason: says that nobody outside can tell" in checked.stderr
    with house.start():
        assert f"the audit log has no witness outside: {why}" in house.ready()[1]["warnings"]


@pytest.mark.requirement("IG-3.9.7", "a")
@pytest.mark.parametrize("profile", ["production", "demonstration"])
def test_the_trail_is_kept_from_start_to_end_in_every_profile(watched: Watched, profile: str) -> None:
    watched.configure("", profile=profile)
    settle(watched)
    with watched.start():
        answer = watched.ask(Message(VERIFY, nhs_number="9434765919", birth_date="19390522"))
        assert answer.status == 200
        watched.must_run("client", "disable", "ward", "--reason", "journey")
    types = [event["type"] for event in watched.trail()]
    expected = [
        *("audit.begun", "table.changed", "client.added", "provider.started", "configuration.read", "worker.started"),
        *("exchange.received", "exchange.asked", "exchange.spine-answered", "exchange.replied"),
        *("client.disabled", "worker.stopped", "provider.stopped"),
    ]
    assert [each for each in types if each in expected] == expected
