"""`minispine audit verify` and `audit evidence` as a person or a script runs them: what is said, and the exit code."""

from pathlib import Path

import pytest

from minispine.audit import keyfiles
from minispine.audit.checkpoint import Checkpoint, sign_checkpoint
from minispine.audit.checkpointing import Checkpointer, last_checkpoint
from minispine.audit.declaration import begin
from minispine.audit.index import fold
from minispine.audit.log import AuditLog
from minispine.audit.merkle import Frontier
from minispine.audit.note import Signer
from minispine.audit.publishing import Publication
from minispine.audit.witnesses.recipient import Offer, Taken
from minispine.config import load
from minispine.storage import Database, Store
from tests.audit.conftest import ORIGIN
from tests.audit.long_log import Steady, disarm, exchanges
from tests.audit.samples import ACTOR
from tests.cli.conftest import Command

RECORDS = 41
EMPTY_ROOT = Frontier.EMPTY.root()


@pytest.fixture
def audit_keys(tmp_path: Path) -> Path:
    """The folder of the log's keys."""
    keyfiles.make(tmp_path / "audit-keys")
    return tmp_path / "audit-keys"


@pytest.fixture
def place(database_url: str, audit_keys: Path) -> list[str]:
    """The options that say which trail."""
    return ["--storage", database_url, "--audit-keys", str(audit_keys)]


@pytest.fixture
def vkey(database: Database, audit_keys: Path) -> str:
    """A log of 41 records, of which a witness has seen the first 21: its public key."""
    keys = keyfiles.load(audit_keys)
    signer = Signer(ORIGIN, keys.log_key)
    log = AuditLog(database, system_id="SMSP-1", instance="provider", vault=keys.vault(), now=Steady())
    begin(log, origin=ORIGIN, signer=signer, authorities=(), actor=ACTOR.as_data())
    checkpointer = Checkpointer(database, keys.log_key, now=Steady())
    exchanges(log, range(10))
    checkpointer.make()
    exchanges(log, range(10, 20))
    checkpointer.make()
    log.close_now()
    return str(signer.verifier)


@pytest.fixture
def witness(database: Database, vkey: str, tmp_path: Path) -> Path:
    """The directory of a witness that saw the first checkpoint, and had other things there too."""
    folder = tmp_path / "witness"
    (folder / "2026-09").mkdir(parents=True)
    with database.reading(Store.AUDIT) as session:
        note = session.rows("SELECT note FROM audit_checkpoint WHERE number = 1")[0][0]
    (folder / "2026-09" / "1-21-1790000000").write_text(note)
    (folder / "2026-09" / "README").write_text("What is this?\n")
    (folder / "photograph").write_bytes(bytes(range(256)))
    return folder


@pytest.mark.requirement("SMSP-AUDIT-001", "a")
@pytest.mark.requirement("MSCA-AUD-01", "a")
def test_an_untouched_trail_that_a_witness_saw_exits_0_and_a_changed_one_names_its_record(
    minispine: Command, place: list[str], vkey: str, witness: Path, database: Database
) -> None:
    asked = ("audit", "verify", *place, "--checkpoint", witness, "--key", vkey)
    ended = minispine(*asked)
    assert ended.code == 0, ended
    first, *_, last = ended.out.splitlines()
    assert first.startswith(f"{RECORDS} records are consistent; the root of their tree is ")
    assert last == (
        f"proven up to record 21 by {witness}/2026-09/1-21-1790000000; records 22 to 41 are consistent with it"
    )
    disarm(database)
    with database.session(Store.AUDIT) as session:
        session.run("UPDATE audit_record SET leaf = hash WHERE sequence = 30")
    ended = minispine(*asked)
    assert ended.code == 1
    assert ended.out.startswith("record 30 is not as it was written: hash: ")


@pytest.mark.usefixtures("vkey")
def test_a_trail_that_nobody_outside_vouches_for_is_consistent_and_not_proven(
    minispine: Command, place: list[str], vkey: str, tmp_path: Path
) -> None:
    (tmp_path / "log.pub").write_text(f"{vkey}\n")
    for key in ((), ("--key", vkey), ("--key", tmp_path / "log.pub")):
        ended = minispine("audit", "verify", *place, *key, "--without-payloads")
        assert ended.code == 3
        assert ended.out.splitlines()[-1].startswith("consistent, not proven: ")
        assert ("signatures are by the key stated here" in ended.out) == (not key)


def test_a_key_that_is_not_the_logs_is_the_first_thing_wrong(
    minispine: Command, place: list[str], vkey: str, tmp_path: Path
) -> None:
    other = keyfiles.make(tmp_path / "other")[0].log_key
    ended = minispine("audit", "verify", *place, "--key", Signer(ORIGIN, other).verifier)
    assert ended.code == 1
    assert ended.out.startswith("record 1 is not as it was written: key: ")


def test_the_keys_of_the_payloads_are_looked_at_where_they_are_at_hand(
    minispine: Command, place: list[str], witness: Path, database: Database
) -> None:
    aside = "the keys of the payloads were not looked at (give --audit-keys)"
    disarm(database)
    with database.session(Store.AUDIT) as session:
        [(other,)] = session.rows("SELECT wrapped FROM audit_payload WHERE sequence = 8")
        session.run("UPDATE audit_payload SET wrapped = ? WHERE sequence = 6", (other,))
    ended = minispine("audit", "verify", *place, "--checkpoint", witness)
    assert ended.code == 1
    assert ended.out.startswith("record 6 is not as it was written: payload: the key of the payload is not the one")
    ended = minispine("audit", "verify", *place[:2], "--checkpoint", witness)
    assert (ended.code, aside in ended.out) == (0, True)
    ended = minispine("audit", "verify", *place, "--checkpoint", witness, "--without-payloads")
    assert ended.code == 0
    assert "the payloads were not looked at (--without-payloads)" in ended.out
    assert aside not in ended.out
    ended = minispine("audit", "verify", *place[:2], "--audit-keys", witness, "--checkpoint", witness)
    assert ended.code not in (0, 1, 3)


def test_nothing_is_proven_while_a_checkpoint_given_is_of_another_log(
    minispine: Command, place: list[str], witness: Path, audit_keys: Path, tmp_path: Path
) -> None:
    other = Signer("minispine/SMSP-2", keyfiles.load(audit_keys).log_key)
    for size in (0, 21, 500):
        (tmp_path / "other").write_text(sign_checkpoint(Checkpoint(other.name, size, EMPTY_ROOT), other))
        ended = minispine("audit", "verify", *place, "--checkpoint", witness, "--checkpoint", tmp_path / "other")
        assert ended.code == 3
        assert ended.out.splitlines()[-2:] == [
            f"records 1 to 21 agree with {witness}/2026-09/1-21-1790000000",
            "consistent, not proven: a checkpoint given is of another log, minispine/SMSP-2",
        ]
    file = tmp_path / "evidence"
    asked = ("audit", "evidence", "--first", 5, "--last", 20, "--output", file, *place)
    assert minispine(*asked, "--checkpoint", witness / "2026-09" / "1-21-1790000000").code == 0
    ended = minispine(
        *("audit", "verify", "--export", file, "--checkpoint", witness, "--checkpoint", tmp_path / "other")
    )
    assert ended.code == 3
    assert "of another log, minispine/SMSP-2" in ended.out


def test_the_log_is_the_one_of_the_configuration(minispine: Command, config: Path) -> None:
    assert minispine("audit", "init", "--config", config, "--without-redaction").code == 0
    asked = ("audit", "verify", "--config", config)
    ended = minispine(*asked)
    assert ended.code == 3
    assert "not looked at" not in ended.out
    keys = load(config).audit.keys
    keys.rename(keys.with_name("elsewhere"))
    ended = minispine(*asked)
    assert ended.code == 3
    assert f"the keys of the payloads were not looked at (give --audit-keys): {keys}" in ended.out
    config.write_text(config.read_text().replace("[clock]", '[audit]\norigin = "another/log"\n[clock]'))
    ended = minispine(*asked)
    assert ended.code == 1
    assert ended.out.startswith("record 1 is not as it was written: key: ")


@pytest.mark.usefixtures("vkey")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--key", "minispine/SMSP-1+nonsense"], "--key is not a public key"),
        (["--checkpoint", "{}/photograph"], "photograph is not a checkpoint"),
        (["--checkpoint", "{}/empty"], "empty holds no checkpoint"),
        (["--checkpoint", "{}/nowhere"], "nowhere: no such file"),
        (["--tiles", "{}", "--checkpoint", "{}/2026-09/1-21-1790000000"], "give one from elsewhere"),
        (["--tiles", "{}"], "holds no log"),
        (["--export", "{}/nowhere"], "nowhere: no such file"),
    ],
)
def test_what_cannot_be_checked_with_is_a_mistake(
    minispine: Command, place: list[str], witness: Path, options: list[str], said: str
) -> None:
    (witness / "empty").mkdir()
    ended = minispine("audit", "verify", *place, *(option.replace("{}", str(witness)) for option in options))
    assert ended.code == 2
    assert said in ended.err


@pytest.mark.usefixtures("vkey")
def test_the_index_is_compared_when_asked_and_a_forged_row_is_named(
    minispine: Command, place: list[str], database: Database
) -> None:
    fold(database)
    assert minispine("audit", "verify", *place, "--index").code == 3
    with database.session(Store.AUDIT) as session:
        forged = b"\x00" * 8 + (30).to_bytes(8)
        entries = session.rows("SELECT entries FROM audit_index_pending WHERE last = 41")[0][0] + forged
        session.run("UPDATE audit_index_pending SET entries = ? WHERE last = 41", (entries,))
    ended = minispine("audit", "verify", *place, "--index")
    assert ended.code == 1
    assert "the index is not right about record 30: false 0000000000000000" in ended.out


def test_a_published_trail_is_checked_without_the_database(
    minispine: Command, vkey: str, witness: Path, database: Database, tmp_path: Path
) -> None:
    with database.reading(Store.AUDIT) as session:
        newest = last_checkpoint(session)
    assert newest is not None
    published = tmp_path / "published"
    Publication(published).take(Offer(database, newest, Taken()))
    asked = ("audit", "verify", "--tiles", published, "--key", vkey)
    assert minispine(*asked).code == 3
    ended = minispine(*asked, "--checkpoint", witness)
    assert ended.code == 0
    assert ended.out.splitlines()[-1].startswith("proven up to record 21 by ")
    (published / "tile" / "0" / "000.p" / "41").write_bytes(bytes(41 * 32))
    ended = minispine(*asked, "--checkpoint", witness)
    assert (ended.code, ended.out.partition(": ")[0]) == (1, "record 1 is not as it was written")


@pytest.mark.requirement("IG-3.9.2", "g")
def test_evidence_is_verified_without_the_database(
    minispine: Command, place: list[str], vkey: str, witness: Path, tmp_path: Path
) -> None:
    file = tmp_path / "evidence"
    seen = witness / "2026-09" / "1-21-1790000000"
    ended = minispine("audit", "evidence", "--first", 5, "--last", 20, "--output", file, *place, "--checkpoint", seen)
    assert ended.code == 0, ended
    assert file.stat().st_mode & 0o777 == 0o600
    asked = ("audit", "verify", "--evidence", file, "--key", vkey)
    assert minispine(*asked).code == 3
    ended = minispine(*asked, "--checkpoint", witness)
    assert ended.code == 0, ended
    assert ended.out.splitlines()[-1] == f"proven up to record 20 by {seen}"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    ended = minispine(*asked, "--checkpoint", witness)
    assert ended.code == 1
    assert "is not as it was written" in ended.out


@pytest.mark.usefixtures("vkey")
def test_taking_evidence_is_recorded_and_leaves_nothing_when_it_fails(
    minispine: Command, place: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "evidence"
    assert minispine("audit", "evidence", "--first", 5, "--last", 41, "--output", file, *place).code == 0
    ended = minispine("audit", "evidence", "--first", 5, "--last", 41, "--output", file, *place)
    assert (ended.code, "is there already" in ended.err) == (2, True)
    other = tmp_path / "other"
    ended = minispine("audit", "evidence", "--first", 5, "--last", 42, "--output", other, *place)
    assert (ended.code, "audit checkpoint" in ended.err) == (1, True)
    assert not other.exists()
    told = minispine("audit", "events", "--first", RECORDS + 1, *place).out
    assert told.count('"command":"audit evidence"') == 2


def test_a_file_that_is_no_evidence_is_not_taken_for_a_broken_record(minispine: Command, tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_text("sequence,index\n1,0\n")
    ended = minispine("audit", "verify", "--export", tmp_path / "export.csv")
    assert (ended.code, ended.err) == (1, "")
    assert ended.out.startswith("the file is not as it was written, or no evidence at all: ")
