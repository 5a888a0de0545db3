"""`minispine audit init` begins a log once, with authorities named now or never; `audit authority` makes their keys."""

import getpass
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from minispine.audit import declaration, keyfiles
from minispine.audit.declaration import Declaration
from minispine.audit.note import Verifier
from minispine.storage import Database
from tests.cli.conftest import Command, Ended

PASSPHRASE = "correct horse battery"


@pytest.fixture
def authority(minispine: Command, tmp_path: Path) -> Callable[[str], Path]:
    """Make the keys of an authority; gives the file of the public one."""
    passphrase = tmp_path / "passphrase"
    passphrase.write_text(PASSPHRASE)
    passphrase.chmod(0o600)

    def make(name: str) -> Path:
        key = tmp_path / f"{name}.key"
        ended = minispine("audit", "authority", name, "--key", key, "--passphrase-file", passphrase)
        assert ended.code == 0, ended.err
        assert ended.out == f"made {key} and {key}.pub\n"
        return key.with_name(f"{key.name}.pub")

    return make


@pytest.fixture
def init(minispine: Command, config: Path) -> Command:
    return lambda *arguments: minispine("audit", "init", "--config", config, *arguments)


def declared(config: Path) -> Declaration | None:
    with Database.open(f"sqlite:{config.parent}/data") as database:
        return declaration.in_force(database)


def test_a_log_is_begun_with_its_keys_and_those_of_two_authorities(
    init: Command, authority: Callable[[str], Path], config: Path, trail: Callable[[], list[dict[str, Any]]]
) -> None:
    files = [authority("caldicott-guardian"), authority("chief-executive")]
    ended = init("--authority", files[0], "--authority", files[1])
    assert ended.code == 0
    *made, begun, vkey = ended.out.splitlines()
    folder = config.parent / "audit-keys"
    assert set(made) == {f"made {folder / name}" for name in ("log.key", "master.keys", "index.key")}
    assert begun == "the audit log minispine/TEST-1 has begun; its public key is"
    keys = declared(config)
    assert keys is not None
    assert keys.log_key == Verifier.parse(vkey)
    assert keys.log_key.public_key == keyfiles.load(folder).log_key.public_key().public_bytes_raw()
    assert keys.authorities == tuple(Verifier.parse(file.read_text().strip()) for file in files)
    assert [key.name for key in keys.authorities] == ["caldicott-guardian", "chief-executive"]
    assert "Keep this line" in ended.err
    assert f"a copy of {folder}" in ended.err
    (first,) = trail()
    assert (first["sequence"], first["type"], first["system"]) == (1, "audit.begun", "TEST-1")
    assert first["data"]["actor"]["user_id"]


def test_it_can_be_repeated_and_changes_nothing(init: Command, config: Path) -> None:
    first = init("--without-redaction")
    before = declared(config)
    again = init("--without-redaction")
    assert (again.code, again.out.splitlines()[0]) == (0, "the audit log has begun before; its public key is")
    assert again.out.splitlines()[-1] == first.out.splitlines()[-1]
    assert declared(config) == before
    assert before is not None
    assert before.authorities == ()


def mistaken(ended: Ended) -> str:
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    return ended.err


def test_authorities_are_two_of_their_own_or_none_on_purpose(
    init: Command, authority: Callable[[str], Path], config: Path, tmp_path: Path
) -> None:
    one, two = authority("one"), authority("two")
    no_key = tmp_path / "no.pub"
    no_key.write_text("not a key\n")
    assert "--authority twice, or --without-redaction" in mistaken(init())
    assert "--authority twice" in mistaken(init("--authority", one))
    assert "--authority twice" in mistaken(init("--authority", one, "--authority", two, "--authority", one))
    assert "--without-redaction" in mistaken(init("--authority", one, "--authority", two, "--without-redaction"))
    assert "the same key" in mistaken(init("--authority", one, "--authority", one))
    assert f"{no_key}: is not a public key" in mistaken(init("--authority", one, "--authority", no_key))
    assert f"{one.with_suffix('')}: is not a public key" in mistaken(
        init("--authority", one.with_suffix(""), "--authority", two)
    )
    assert not (config.parent / "audit-keys").exists()
    assert not (config.parent / "data").exists()


def test_a_name_that_no_checkpoint_can_carry_is_refused(init: Command, config: Path) -> None:
    config.write_text(config.read_text().replace("[clock]", '[audit]\norigin = "two words"\n[clock]'))
    assert "audit.origin" in mistaken(init("--without-redaction"))


def test_keys_that_are_not_the_log_s_are_said_and_not_used(init: Command, config: Path) -> None:
    init("--without-redaction")
    folder = config.parent / "audit-keys"
    (folder / "log.key").unlink()
    keyfiles.make(folder)
    refused = init("--without-redaction")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "put the right audit key folder in its place" in refused.err


def test_nothing_is_changed_before_the_log_has_begun(minispine: Command, config: Path, keys: Path) -> None:
    certificate = keys / "issued" / "ward.pem"
    for step in (
        ("client", "add", "ward", "--certificate", certificate, "--organisation", "RXX", "--method", "1"),
        ("serve",),
    ):
        assert "run: minispine audit init" in mistaken(minispine(*step, "--config", config))


def test_a_private_key_of_an_authority_takes_its_passphrase(authority: Callable[[str], Path], tmp_path: Path) -> None:
    public = authority("guardian")
    key = tmp_path / "guardian.key"
    assert key.stat().st_mode & 0o777 == 0o600
    content = key.read_bytes()
    with pytest.raises(TypeError):
        load_pem_private_key(content, None)
    private = load_pem_private_key(content, PASSPHRASE.encode())
    assert Verifier.parse(public.read_text().strip()).public_key == private.public_key().public_bytes_raw()  # type: ignore[union-attr]


def test_no_key_of_an_authority_is_written_over(
    minispine: Command, authority: Callable[[str], Path], tmp_path: Path
) -> None:
    public = authority("guardian")
    before = public.read_bytes(), (tmp_path / "guardian.key").read_bytes()
    for present in (public, tmp_path / "guardian.key"):
        refused = minispine(
            *("audit", "authority", "guardian", "--key", tmp_path / "guardian.key"),
            *("--passphrase-file", tmp_path / "passphrase"),
        )
        assert (refused.code, refused.err.count("\n")) == (1, 1)
        assert "is there already" in refused.err
        if present == public:
            (tmp_path / "guardian.key").rename(tmp_path / "away")
    (tmp_path / "away").rename(tmp_path / "guardian.key")
    assert (public.read_bytes(), (tmp_path / "guardian.key").read_bytes()) == before


@pytest.mark.parametrize("name", ["", "two words", "a+b"])
def test_an_authority_needs_a_name_that_can_sign(minispine: Command, tmp_path: Path, name: str) -> None:
    assert "cannot be a name" in mistaken(minispine("audit", "authority", name, "--key", tmp_path / "key"))


def test_a_passphrase_is_long_and_typed_twice(
    minispine: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("audit", "authority", "guardian", "--key", tmp_path / "key")
    for typed, said in ((["short", "short"], "at least 12"), ([PASSPHRASE, PASSPHRASE + "x"], "differ")):
        monkeypatch.setattr(getpass, "getpass", lambda prompt, typed=typed: typed.pop(0))
        assert said in mistaken(minispine(*command))
    assert list(tmp_path.glob("key*")) == []
    typed = [PASSPHRASE, PASSPHRASE]
    monkeypatch.setattr(getpass, "getpass", lambda prompt: typed.pop(0))
    assert minispine(*command).code == 0


def test_the_keys_are_not_in_what_is_printed_or_recorded(init: Command, config: Path) -> None:
    ended = init("--without-redaction")
    folder = config.parent / "audit-keys"
    secret_lines = {line for file in folder.iterdir() for line in file.read_text().split() if len(line) > 30}
    assert len(secret_lines) == 3
    kept = b"".join(file.read_bytes() for file in (config.parent / "data").iterdir())
    for secret in secret_lines:
        assert secret not in ended.out + ended.err
        assert secret.encode() not in kept


def test_of_two_at_once_one_begins_the_log_and_the_other_says_so(
    init: Command, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_force = declaration.in_force

    def overtaken(database: Database) -> Declaration | None:
        """Look, and let another do it all before going on."""
        found = in_force(database)
        monkeypatch.setattr(declaration, "in_force", in_force)
        command = [sys.executable, "-m", "minispine", "audit", "init", "--without-redaction", "--config", str(config)]
        subprocess.run(command, check=True, capture_output=True)
        return found

    monkeypatch.setattr(declaration, "in_force", overtaken)
    ended = init("--without-redaction")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "at the same moment" in ended.err
    keys = declared(config)
    assert keys is not None
    assert (
        keys.log_key.public_key == keyfiles.load(config.parent / "audit-keys").log_key.public_key().public_bytes_raw()
    )
