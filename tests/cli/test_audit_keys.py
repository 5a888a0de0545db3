"""Other keys for a log that goes on: the master key replaced and forgotten, the log's and the authorities' changed."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from minispine.audit import keyfiles, reading
from minispine.audit.events import Entry, Event, EventType
from minispine.audit.keyfiles import MASTER_KEYS, MASTER_KEYS_VARIABLE
from minispine.audit.log import AuditLog
from minispine.audit.note import Verifier
from minispine.audit.opening import open_database, open_log
from minispine.config import load as load_settings
from minispine.keys.ring import KeyRing, parse_ring
from tests.audit.conftest import START, received
from tests.audit.samples import ACTOR
from tests.cli.conftest import Command

AUTHORITIES = ("caldicott-guardian", "chief-executive")
OTHERS = ("next-guardian", "next-executive")
STARTED = {"actor": ACTOR.as_data(), "version": "1", "workers": 1, "pid": 1}


class Installation:
    """A log that was begun, and what an operator does with its keys."""

    def __init__(self, minispine: Command, config: Path) -> None:
        self.minispine = minispine
        self.config = config
        self.settings = load_settings(config)
        self.folder = self.settings.audit.keys

    def must(self, *arguments: object) -> str:
        done = self.minispine(*arguments, "--config", self.config)
        assert done.code == 0, done.err
        return done.out

    def authority(self, name: str) -> Path:
        key = self.config.parent / name
        passphrase = self.config.parent / f"{name}.pass"
        passphrase.write_text(f"correct horse of {name}\n")
        passphrase.chmod(0o600)
        made = self.minispine("audit", "authority", name, "--key", key, "--passphrase-file", passphrase)
        assert made.code == 0, made.err
        return key

    def sign(self, file: Path, name: str) -> None:
        key = self.config.parent / name
        done = self.minispine("audit", "sign", file, "--key", key, "--passphrase-file", f"{key}.pass")
        assert done.code == 0, done.err

    def write(self, write: Callable[[AuditLog], object]) -> None:
        with open_database(self.settings.storage) as database:
            log = open_log(
                database, keyfiles.load(self.folder), settings=self.settings, instance="test", now=lambda: START
            )
            write(log)
            log.close_now()

    def exchange(self, name: str) -> None:
        self.write(lambda log: log.append_now(received(name, name)))

    def started(self) -> None:
        event = Event(type=EventType.PROVIDER_STARTED, at=START, data=STARTED)
        self.write(lambda log: log.append_now(Entry(events=(event,))))

    def ring(self) -> KeyRing:
        return keyfiles.load(self.folder).ring

    def families(self) -> list[str]:
        """What is kept of patients, as far as it can be read with the keys at hand."""
        with open_database(self.settings.storage) as database:
            told = reading.events(database, vault=keyfiles.load(self.folder).vault())
            return [event["private"]["family"] for event in told if "family" in (event.get("private") or {})]

    def types(self) -> list[str]:
        with open_database(self.settings.storage) as database:
            return [event["type"] for event in reading.events(database)]

    def checkpoint(self, name: str) -> Path:
        """A checkpoint as a witness would have it; there is none to take it."""
        made = self.minispine("audit", "checkpoint", "--config", self.config)
        assert made.out, made.err
        file = self.config.parent / name
        file.write_text(made.out)
        return file


@pytest.fixture
def house(minispine: Command, config: Path) -> Installation:
    """A log with two authorities and one exchange."""
    house = Installation(minispine, config)
    named = [part for name in AUTHORITIES for part in ("--authority", f"{house.authority(name)}.pub")]
    house.must("audit", "init", *named)
    house.exchange("e")
    return house


# ── the master key ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_master_key_is_in_front_and_opens_everything_by_itself(house: Installation) -> None:
    before = house.ring()
    assert house.must("audit", "rotate-master-key").startswith("1 data keys are wrapped by master key ")
    after = house.ring()
    assert after.keys[1:] == before.keys
    assert stat.S_IMODE((house.folder / MASTER_KEYS).stat().st_mode) == 0o600
    keyfiles.replace_ring(house.folder, after.newest_alone())
    assert house.families() == ["Markerby"]
    assert house.types()[-1] == "key.changed"


def test_what_was_broken_off_goes_on_without_another_key(house: Installation) -> None:
    before = house.ring()
    house.must("audit", "rotate-master-key")
    keys = house.ring()
    keyfiles.replace_ring(house.folder, before)
    house.exchange("of a provider that was not started again")
    keyfiles.replace_ring(house.folder, keys)
    assert house.must("audit", "rotate-master-key", "--resume").startswith("1 data keys")
    assert house.ring() == keys
    assert house.types().count("key.changed") == 1


def test_old_keys_are_forgotten_after_the_provider_was_started_again_and_not_before(house: Installation) -> None:
    house.must("audit", "rotate-master-key")
    keys = house.ring()
    early = house.minispine("audit", "rotate-master-key", "--forget-old", "--config", house.config)
    assert (early.code, house.ring()) == (1, keys)
    assert "stop it and start it again" in early.err
    house.started()
    done = house.must("audit", "rotate-master-key", "--forget-old")
    assert done == (
        f"nothing is under {keys.keys[1].id.hex()} any more; whoever still has such a key in front cannot write\n"
    )
    assert house.ring() == keys.newest_alone()
    assert house.families() == ["Markerby"]
    assert house.must("audit", "rotate-master-key", "--forget-old").endswith("there is nothing to forget\n")


def test_a_ring_in_the_environment_is_printed_and_never_relied_on_before_it_is_there(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = house.folder / MASTER_KEYS
    monkeypatch.setenv(MASTER_KEYS_VARIABLE, file.read_text())
    file.unlink()
    before = house.ring()
    printed = house.must("audit", "rotate-master-key")
    fresh = parse_ring(printed.encode(), Path("printed"))
    assert fresh.keys[1:] == before.keys
    assert not file.exists()
    assert house.families() == ["Markerby"], "payloads stay under the old key while the new one is nowhere but here"
    monkeypatch.setenv(MASTER_KEYS_VARIABLE, printed)
    assert house.must("audit", "rotate-master-key", "--resume").startswith("1 data keys")
    house.started()
    left = house.must("audit", "rotate-master-key", "--forget-old").splitlines(keepends=True)[0]
    monkeypatch.setenv(MASTER_KEYS_VARIABLE, left)
    assert house.ring() == fresh.newest_alone()
    assert house.families() == ["Markerby"]


def test_a_payload_that_cannot_be_opened_is_told(house: Installation) -> None:
    keyfiles.replace_ring(house.folder, keyfiles.new_ring(lambda size: b"\x05" * size))
    done = house.minispine("audit", "rotate-master-key", "--config", house.config)
    assert done.code == 1
    assert "1 payloads cannot be opened with the keys in the ring, that of record 2 first" in done.err


def test_resuming_and_forgetting_are_two_things(house: Installation) -> None:
    done = house.minispine("audit", "rotate-master-key", "--resume", "--forget-old", "--config", house.config)
    assert done.code == 2


# ── the log's key and the authorities ───────────────────────────────────────────────────────────────────────────────


def proposed(house: Installation, *options: object) -> Path:
    file = house.config.parent / "change"
    file.write_text(house.must("audit", "change-keys", "--print", *options))
    return file


def test_checkpoints_are_signed_by_the_new_key_and_verification_proves_both_sides_of_the_change(
    house: Installation,
) -> None:
    begun = keyfiles.load(house.folder).log_key.public_key()
    before = house.checkpoint("before")
    file = proposed(house, "--new-log-key")
    assert keyfiles.load(house.folder).log_key.public_key() == begun, "until the record is written"
    said = house.must("audit", "change-keys", file)
    key = Verifier.parse(said.splitlines()[-1])
    assert keyfiles.load(house.folder).log_key.public_key() != begun
    assert not (house.folder / keyfiles.NEXT_LOG_KEY).exists()
    house.exchange("after")
    after = house.checkpoint("after")
    assert f"— {key.name} " in after.read_text()
    for checkpoint, record in ((before, 2), (after, 4)):
        assert f"proven up to record {record} by " in house.must("audit", "verify", "--checkpoint", checkpoint)
    assert "proven up to record 4" in house.must("audit", "verify", "--checkpoint", after, "--key", str(key))
    assert "audit.keys-changed" in house.types()


def test_other_authorities_need_the_signatures_of_both_there_have_been(house: Installation) -> None:
    named = [part for name in OTHERS for part in ("--authority", f"{house.authority(name)}.pub")]
    file = proposed(house, *named)
    house.sign(file, AUTHORITIES[0])
    early = house.minispine("audit", "change-keys", file, "--config", house.config)
    assert early.code == 1
    assert "lacks the signature" in early.err
    house.sign(file, AUTHORITIES[1])
    house.must("audit", "change-keys", file)
    assert house.types()[-1] == "audit.keys-changed"
    order = house.config.parent / "order"
    order.write_text(house.must("audit", "redaction-request", "--reference", "Case 17", "--records", "2"))
    for name in AUTHORITIES:
        house.sign(order, name)
    refused = house.minispine("audit", "redact", order, "--config", house.config)
    assert (refused.code, house.families()) == (1, ["Markerby"]), "the word of those before counts no more"
    order.write_text(house.must("audit", "redaction-request", "--reference", "Case 17", "--records", "2"))
    for name in OTHERS:
        house.sign(order, name)
    house.must("audit", "redact", order)
    assert house.families() == []
    assert house.minispine("audit", "verify", "--config", house.config).code == 3


def test_a_change_that_was_broken_off_before_the_key_was_in_its_place_is_finished(house: Installation) -> None:
    file = proposed(house, "--new-log-key")
    old, fresh = house.folder / keyfiles.LOG_KEY, house.folder / keyfiles.NEXT_LOG_KEY
    kept = {each: each.read_bytes() for each in (old, fresh)}
    house.must("audit", "change-keys", file)
    for each, content in kept.items():
        each.write_bytes(content)
        each.chmod(0o600)
    assert house.must("audit", "change-keys", file).startswith("these keys are in force already\n")
    assert old.read_bytes() == kept[fresh]
    assert house.types().count("audit.keys-changed") == 1
    house.checkpoint("after")


def test_keys_that_are_not_here_are_not_put_in_force(house: Installation) -> None:
    file = proposed(house, "--new-log-key")
    (house.folder / keyfiles.NEXT_LOG_KEY).unlink()
    done = house.minispine("audit", "change-keys", file, "--config", house.config)
    assert done.code == 1
    assert "neither" in done.err
    assert "audit.keys-changed" not in house.types()


def test_the_next_key_is_made_once(house: Installation) -> None:
    assert proposed(house, "--new-log-key").read_text() == proposed(house, "--new-log-key").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--print",),
        ("--print", "change"),
        ("change", "--new-log-key"),
        ("letter",),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line(house: Installation, arguments: tuple[str, ...]) -> None:
    folder = house.config.parent
    (folder / "letter").write_text("I agree to everything.\n")
    given = [folder / each if each in ("change", "letter") else each for each in arguments]
    done = house.minispine("audit", "change-keys", *given, "--config", house.config)
    assert done.code == 2
    assert done.err.count("\n") == 1


def test_two_authorities_with_one_key_are_refused(house: Installation) -> None:
    one = f"{house.authority(OTHERS[0])}.pub"
    for named in (["--authority", one], ["--authority", one, "--authority", one]):
        done = house.minispine("audit", "change-keys", "--print", *named, "--config", house.config)
        assert done.code == 2


def test_a_log_without_authorities_gets_none(minispine: Command, config: Path) -> None:
    house = Installation(minispine, config)
    house.must("audit", "init", "--without-redaction")
    named = [part for name in OTHERS for part in ("--authority", f"{house.authority(name)}.pub")]
    done = minispine("audit", "change-keys", "--print", *named, "--config", config)
    assert done.code == 1
    assert "never gets any" in done.err
