"""A log is written to with its own keys, under its installation's name, or not at all."""

from pathlib import Path

import msgspec
import pytest

from minispine.audit import keyfiles
from minispine.audit.declaration import DeclarationInvalid, begin, change
from minispine.audit.keyfiles import AuditKeys
from minispine.audit.note import Signer, sign
from minispine.audit.opening import LogNotReady, open_database, open_log, origin_of, signer_for
from minispine.audit.reading import events
from minispine.config import Settings, example, load
from minispine.config.settings import Audit, Storage
from minispine.keys.files import KeyFileRefused
from minispine.storage import Database, Store
from tests.audit.conftest import START, VAULT, note
from tests.audit.samples import ACTOR


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "minispine.toml"
    file.write_text(example())
    return load(file)


@pytest.fixture
def keys(tmp_path: Path) -> AuditKeys:
    return keyfiles.make(tmp_path / "audit-keys")[0]


def begun(database: Database, settings: Settings, keys: AuditKeys) -> Signer:
    """Begin the log of these settings and write something, as its installation does."""
    log = open_log(database, keys, settings=settings, instance="provider", now=lambda: START)
    signer = Signer(origin_of(settings), keys.log_key)
    begin(log, origin=signer.name, signer=signer, authorities=(), actor=ACTOR.as_data())
    log.append_now(note())
    log.close_now()
    return signer


def test_a_log_is_named_by_its_settings(settings: Settings) -> None:
    assert origin_of(settings) == f"minispine/{settings.system_id}"
    named = msgspec.structs.replace(settings, audit=Audit(origin="smsp.trust.example"))
    assert origin_of(named) == "smsp.trust.example"


def test_what_is_written_names_the_installation_and_the_process(
    database: Database, settings: Settings, keys: AuditKeys
) -> None:
    begun(database, settings, keys)
    assert {(e["system"], e["instance"]) for e in events(database)} == {(settings.system_id, "provider")}


def test_the_signer_is_the_one_that_the_log_names(database: Database, settings: Settings, keys: AuditKeys) -> None:
    with pytest.raises(LogNotReady, match="run: minispine audit init"):
        signer_for(database, keys)
    signer = begun(database, settings, keys)
    assert signer_for(database, keys).verifier == signer.verifier


def test_other_keys_than_the_log_s_are_refused_and_both_are_named(
    database: Database, settings: Settings, keys: AuditKeys, tmp_path: Path
) -> None:
    signer = begun(database, settings, keys)
    others, _ = keyfiles.make(tmp_path / "others")
    other = Signer(signer.name, others.log_key)
    with pytest.raises(LogNotReady) as refused:
        signer_for(database, others)
    assert signer.verifier.key_id.hex() in str(refused.value)
    assert other.verifier.key_id.hex() in str(refused.value)


def test_after_a_change_of_keys_the_new_ones_sign(
    database: Database, settings: Settings, keys: AuditKeys, tmp_path: Path
) -> None:
    signer = begun(database, settings, keys)
    others, _ = keyfiles.make(tmp_path / "others")
    other = Signer(signer.name, others.log_key)
    (first,) = events(database, last=1)
    text = str(first["data"]["declaration"]).partition("\n\n")[0] + "\n"
    log = open_log(database, keys, settings=settings, instance="provider", now=lambda: START)
    changed = text.replace(str(signer.verifier), str(other.verifier))
    change(log, sign(changed, [signer]), actor=ACTOR.as_data())
    log.close_now()
    assert signer_for(database, others).verifier == other.verifier
    with pytest.raises(LogNotReady):
        signer_for(database, keys)


def test_a_log_that_cannot_say_its_keys_has_no_signer(database: Database, settings: Settings, keys: AuditKeys) -> None:
    begun(database, settings, keys)
    with database.session(Store.AUDIT) as session:
        session.run("UPDATE audit_head SET declared = 2")
    with pytest.raises(DeclarationInvalid):
        signer_for(database, keys)


def test_the_password_of_the_database_comes_from_its_file(tmp_path: Path) -> None:
    with open_database(Storage(url=f"sqlite:{tmp_path}/data")) as database:
        assert database.folder == tmp_path / "data"
    missing = Storage(url="postgresql://u@localhost/d", password_file=tmp_path / "missing")
    with pytest.raises(KeyFileRefused, match="missing"):
        open_database(missing)


def test_a_log_of_other_keys_keeps_its_secrets(database: Database, settings: Settings, keys: AuditKeys) -> None:
    """Whoever opens a log with keys of another sees what happened and nothing of whom."""
    begun(database, settings, keys)
    assert [e["type"] for e in events(database)] == ["audit.begun", "peer.refused"]
    assert keys.vault().term("patient", "9434765919") != VAULT.term("patient", "9434765919")
