"""The trail remembers the configuration: what changed is told by key, with both values, also while nothing ran."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from minispine.audit.declaration import begin
from minispine.audit.events import Entry, Event, EventType
from minispine.audit.log import AuditLog
from minispine.config import Settings
from minispine.config.settings import Machines, Organisations, Spine, SpinePds
from minispine.provider.configuration_trail import changes, last_told, told
from minispine.storage import Database
from tests.audit.conftest import ACTOR, ORIGIN, SIGNER, START, VAULT


def settings(folder: Path, **options: Any) -> Settings:
    certificate, key = folder / "smsp.pem", folder / "smsp.key"
    common = {"certificate": certificate, "key": key}
    return Settings(
        system_id="RXX-SMSP-1",
        machines=Machines(client_ca=folder / "ca.pem", crl=(folder / "a.crl", folder / "b.crl"), **common),
        spine=Spine(pds=SpinePds(url="https://spine.example/", to_asid="1", ca=folder / "ca.pem", **common)),
        **options,
    )


@pytest.fixture
def log(database: Database) -> Iterator[AuditLog]:
    log = AuditLog(database, system_id="S", instance="i", vault=VAULT, now=lambda: START)
    begin(log, origin=ORIGIN, signer=SIGNER, authorities=(), actor=ACTOR.as_data())
    yield log
    log.close_now()


def read(private: dict[str, Any]) -> Entry:
    data = {"file": "minispine.toml", "sha256": "00"}
    return Entry(events=(Event(type=EventType.CONFIGURATION_READ, at=START, data=data, private=private),))


def test_settings_are_told_flat_with_the_digests_of_files_that_are_no_secret(tmp_path: Path) -> None:
    for name in ("smsp.pem", "smsp.key", "ca.pem", "b.crl"):
        (tmp_path / name).write_text(name)
    flat = told(settings(tmp_path, workers=3))
    assert flat["system_id"] == "RXX-SMSP-1"
    assert flat["workers"] == 3
    assert flat["drain_s"] == "20.0"
    assert flat["machines.certificate"] == str(tmp_path / "smsp.pem")
    assert len(flat["machines.certificate (SHA-256)"]) == 64
    assert flat["machines.crl (SHA-256) 2"] != flat["machines.certificate (SHA-256)"]
    assert "machines.crl (SHA-256)" not in flat
    assert not [key for key in flat if key.startswith("machines.key (")]
    assert msgspec.json.decode(msgspec.json.encode(flat)) == flat


def test_what_differs_is_told_with_both_values(tmp_path: Path) -> None:
    practices = tmp_path / "practices.csv"
    practices.write_text("one")
    before = told(settings(tmp_path, organisations=Organisations(file=practices)))
    practices.write_text("two")
    after = told(settings(tmp_path, organisations=Organisations(file=practices), log_level="debug"))
    assert changes(before, before) == []
    assert changes(before, after) == [
        {"key": "log_level", "before": "info", "after": "debug"},
        {
            "key": "organisations.file (SHA-256)",
            "before": before["organisations.file (SHA-256)"],
            "after": after["organisations.file (SHA-256)"],
        },
    ]
    assert changes({"gone": 1}, {}) == [{"key": "gone", "before": 1, "after": None}]


def test_the_newest_record_that_holds_settings_is_the_memory(database: Database, log: AuditLog) -> None:
    assert last_told(database, VAULT) is None
    log.append_now(read({"settings": {"workers": 1}}))
    log.append_now(read({"settings": {"workers": 2}}))
    log.append_now(read({}))
    assert last_told(database, VAULT) == {"workers": 2}
