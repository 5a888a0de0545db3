from pathlib import Path

import pytest

from minispine.config import load
from tests.cli.conftest import Command


def test_a_sound_configuration_would_start(minispine: Command, config: Path) -> None:
    ended = minispine("config", "check", config)
    assert (ended.code, ended.err) == (0, "")
    assert "would start" in ended.out


def test_the_default_is_the_file_of_this_folder(
    minispine: Command, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent)
    assert minispine("config", "check").code == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('system_id = "TEST-1"', 'system_id = "a b"', "minispine: {file}: system_id:"),
        ("smsp.key", "ward.key", "machines.key: {keys}/issued/ward.key: is not the key of the first certificate"),
        ("issued/smsp.pem", "issued/none.pem", "machines.certificate: {keys}/issued/none.pem: cannot be used"),
        ("clients/crl.pem", "spine/crl.pem", "machines.crl: {keys}/spine/crl.pem: is not signed by an authority"),
        ("spine/ca.pem", "spine/none.pem", "spine.pds.ca: {keys}/spine/none.pem"),
        ("[spine.pds]", "[organisations]\nfile = 'none.csv'\n[spine.pds]", "organisations.file: "),
        ("[spine.pds]", "[storage]\npassword_file = 'none'\n[spine.pds]", "storage.password_file: "),
        ("[machines]", "workers = 3\n[machines]", "workers: must be 1 with an sqlite store"),
    ],
)
def test_what_is_wrong_is_said_by_file_key_and_reason(
    minispine: Command, config: Path, keys: Path, old: str, new: str, said: str
) -> None:
    config.write_text(config.read_text().replace(old, new))
    ended = minispine("config", "check", config)
    assert ended.code == 2
    assert said.format(file=config, keys=keys) in ended.err
    assert "1 error; the provider would not start" in ended.err


def test_a_key_that_others_can_read_is_an_error(minispine: Command, config: Path, keys: Path, tmp_path: Path) -> None:
    key = tmp_path / "smsp.key"
    key.write_bytes((keys / "issued" / "smsp.key").read_bytes())
    key.chmod(0o640)
    config.write_text(config.read_text().replace(f"{keys}/issued/smsp.key", str(key)))
    ended = minispine("config", "check", config)
    assert ended.code == 2
    assert f"machines.key: {key}: is open to others (mode 0640); run: chmod 600" in ended.err


def test_a_file_that_cannot_be_read_as_settings_is_a_mistake(minispine: Command, config: Path) -> None:
    config.write_text(config.read_text().replace("client_ca", "client_cas"))
    ended = minispine("config", "check", config)
    assert ended.code == 2
    assert "did you mean machines.client_ca?" in ended.err


def test_everything_that_is_wrong_is_said_at_once_and_once(
    minispine: Command, config: Path, keys: Path, tmp_path: Path
) -> None:
    text = config.read_text()
    text = text.replace('system_id = "TEST-1"', 'system_ip = "TEST-1"\nworkers = 0\nlog_level = "loud"')
    text = text.replace("clients/ca.pem", "clients/none.pem").replace("smsp.key", "ward.key")
    text = text.replace("[machines]", "[machines]\nport = 'x'\nprot = 1")
    text = text.replace('to_asid = "928942012545"', "to_asid = 928942012545")
    config.write_text(text)
    ended = minispine("config", "check", config)
    *lines, last = ended.err.splitlines()
    assert ended.code == 2
    assert [line.removeprefix(f"minispine: {config}: ").partition(":")[0] for line in lines] == [
        *("system_ip", "machines.prot", "system_id", "machines.port", "spine.pds.to_asid", "log_level"),
        *("workers", "machines.key", "machines.client_ca"),
    ]
    assert last == f"minispine: {config}: 9 errors; the provider would not start"


def test_a_warning_is_said_and_lived_with(minispine: Command, config: Path) -> None:
    config.write_text(config.read_text() + "[exchange]\nclock_skew_s = 2000.0\n")
    ended = minispine("config", "check", config)
    assert ended.code == 0
    assert ended.err.startswith(f"minispine: warning: {config}: exchange.clock_skew_s: lets a message")


def test_a_file_that_is_not_there_is_said_with_how_to_make_one(minispine: Command, tmp_path: Path) -> None:
    file = tmp_path / "with blanks.toml"
    ended = minispine("config", "check", file)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert f"no such file; make one with: minispine config example > '{file}'" in ended.err


def test_the_example_printed_is_one_that_loads(minispine: Command, tmp_path: Path) -> None:
    file = tmp_path / "printed.toml"
    file.write_text(minispine("config", "example").out)
    assert load(file).machines.port == 8443
