"""A court's order carried out with the commands, from the keys of the authorities to the destroyed payload."""

from pathlib import Path

import pytest

from minispine.audit import reading
from minispine.audit.keyfiles import load
from minispine.audit.opening import open_database, open_log
from minispine.config import load as load_settings
from tests.audit.conftest import START, received
from tests.cli.conftest import Command

PASSPHRASES = ("correct horse battery", "staple of the executive")
AUTHORITIES = ("caldicott-guardian", "chief-executive")


@pytest.fixture
def published(config: Path) -> Path:
    """Where the log is published."""
    folder = config.parent / "published"
    config.write_text(config.read_text().replace("[clock]", f'[audit]\ndirectory = "{folder}"\n[clock]'))
    return folder


@pytest.fixture
def begun(minispine: Command, config: Path, tmp_path: Path, published: Path) -> Path:
    """A log with two authorities and one exchange; the folder of their keys."""
    options = []
    for name, passphrase in zip(AUTHORITIES, PASSPHRASES, strict=True):
        (tmp_path / f"{name}.pass").write_text(f"{passphrase}\n")
        (tmp_path / f"{name}.pass").chmod(0o600)
        key = tmp_path / name
        made = minispine("audit", "authority", name, "--key", key, "--passphrase-file", tmp_path / f"{name}.pass")
        assert made.code == 0, made.err
        options += ["--authority", f"{key}.pub"]
    done = minispine("audit", "init", "--config", config, *options)
    assert done.code == 0, done.err
    settings = load_settings(config)
    with open_database(settings.storage) as database:
        log = open_log(database, load(settings.audit.keys), settings=settings, instance="test", now=lambda: START)
        log.append_now(received("e", "m"))
        log.close_now()
    return tmp_path


def requested(minispine: Command, config: Path, file: Path, records: str = "2") -> Path:
    made = minispine("audit", "redaction-request", "--config", config, "--reference", "Case 17", "--records", records)
    assert made.code == 0, made.err
    file.write_text(made.out)
    return file


def signed(minispine: Command, file: Path, keys: Path, name: str) -> None:
    done = minispine("audit", "sign", file, "--key", keys / name, "--passphrase-file", keys / f"{name}.pass")
    assert done.code == 0, done.err
    assert "reference Case 17\nrecords 2\n" in done.out


def types(config: Path) -> list[str]:
    with open_database(load_settings(config).storage) as database:
        return [event["type"] for event in reading.events(database)]


@pytest.mark.requirement("SMSP-AUDIT-001", "d")
def test_an_order_goes_from_text_to_two_signatures_to_destruction(
    minispine: Command, config: Path, begun: Path, published: Path
) -> None:
    file = requested(minispine, config, begun / "order")
    for name in AUTHORITIES:
        signed(minispine, file, begun, name)
    done = minispine("audit", "redact", file, "--config", config)
    assert (done.code, done.out) == (0, "the payloads of 1 records are destroyed; record 3 says so\n")
    assert "docs/retention.md" in done.err
    with open_database(load_settings(config).storage) as database:
        vault = load(load_settings(config).audit.keys).vault()
        assert reading.bodies(database, 2, vault) == ()
    [kept] = (published / "redactions").iterdir()
    assert kept.read_text() == file.read_text()
    again = minispine("audit", "redact", file, "--config", config)
    assert (again.code, again.out) == (0, "this was carried out before, as record 3 says; nothing was done\n")
    assert types(config)[-1] == "audit.payload-removed"


@pytest.mark.requirement("IG-3.9.6", "a")
def test_an_order_of_one_authority_is_refused_and_recorded(minispine: Command, config: Path, begun: Path) -> None:
    file = requested(minispine, config, begun / "order")
    signed(minispine, file, begun, AUTHORITIES[0])
    done = minispine("audit", "redact", file, "--config", config)
    advice = "it is signed with: minispine audit sign FILE --key KEY"
    assert (done.code, done.err) == (1, f"minispine: {file}: the signature of chief-executive is missing; {advice}\n")
    assert types(config)[-1] == "audit.removal-refused"


def test_nobody_signs_twice_or_with_a_wrong_passphrase_or_anything_else(
    minispine: Command, config: Path, begun: Path
) -> None:
    file = requested(minispine, config, begun / "order")
    signed(minispine, file, begun, AUTHORITIES[0])
    key = begun / AUTHORITIES[0]
    content = file.read_text()
    twice = minispine("audit", "sign", file, "--key", key, "--passphrase-file", f"{key}.pass")
    assert (twice.code, twice.err) == (1, f"minispine: caldicott-guardian has signed {file} before\n")
    other = begun / f"{AUTHORITIES[1]}.pass"
    wrong = minispine("audit", "sign", file, "--key", key, "--passphrase-file", other)
    assert (wrong.code, wrong.err) == (2, f"minispine: {key}: cannot be opened with this passphrase\n")
    assert file.read_text() == content
    letter = begun / "letter"
    letter.write_text("I agree to everything.\n")
    refused = minispine("audit", "sign", letter, "--key", key, "--passphrase-file", f"{key}.pass")
    assert refused.code == 2
    assert letter.read_text() == "I agree to everything.\n"


def test_a_request_needs_records_and_a_reference_that_can_be_written(
    minispine: Command, config: Path, begun: Path
) -> None:
    for reference, records in (("", "2"), ("Case", "two"), ("Case", "9-2"), ("x" * 121, "2")):
        made = minispine(
            "audit", "redaction-request", "--config", config, "--reference", reference, "--records", records
        )
        assert (made.code, made.out) == (2, "")


def test_a_request_for_records_that_are_not_there_is_not_made(minispine: Command, config: Path, begun: Path) -> None:
    made = minispine("audit", "redaction-request", "--config", config, "--reference", "Case", "--records", "1,2-5")
    assert (made.code, made.out) == (2, "")
    assert made.err == "minispine: the log has 2 records; not all of 1,2-5 are among them\n"


@pytest.mark.requirement("IG-3.9.6", "b")
def test_a_log_without_authorities_makes_no_request(minispine: Command, config: Path) -> None:
    assert minispine("audit", "init", "--config", config, "--without-redaction").code == 0
    made = minispine("audit", "redaction-request", "--config", config, "--reference", "Case", "--records", "2")
    assert (made.code, made.out) == (1, "")
    assert "without authorities" in made.err


def test_an_archive_that_is_none_is_named(minispine: Command, config: Path, begun: Path) -> None:
    file = requested(minispine, config, begun / "order")
    for name in AUTHORITIES:
        signed(minispine, file, begun, name)
    done = minispine("audit", "redact", file, "--config", config, "--archive", file)
    assert (done.code, done.err) == (2, f"minispine: {file} is not an archive of payloads\n")
    assert minispine("audit", "redact", file, "--config", config, "--archive", begun).code == 0
