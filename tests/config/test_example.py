import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from minispine.config.example import EXAMPLES, example, sections
from minispine.config.loading import check, load
from minispine.config.settings import DirectoryWitness, HttpsWitness, SyslogWitness

ROOT = Path(__file__).resolve().parent.parent.parent


def keys() -> dict[str, object]:
    """Every key but those of lists of tables."""
    return {
        f"{section.name}.{setting.name}".strip("."): setting
        for section in sections()
        if section.kind is None
        for setting in section.settings
    }


def listed_keys() -> set[str]:
    """The keys of tables of lists, with the kind of table."""
    return {
        f"{section.name}.{section.kind}.{setting.name}"
        for section in sections()
        if section.kind is not None
        for setting in section.settings
    }


def uncommented() -> str:
    return re.sub(r"(?m)^# (\w+ = |\[\[)", r"\1", example())


def test_every_setting_stands_in_the_example_and_can_be_uncommented(tmp_path: Path) -> None:
    document = tomllib.loads(uncommented())
    for key in keys():
        value: object = document
        for part in key.split("."):
            value = value[part]  # type: ignore[index]
    (tmp_path / "minispine.toml").write_text(uncommented())
    load(tmp_path / "minispine.toml")


def test_what_is_commented_out_is_the_default(tmp_path: Path) -> None:
    plain, full = tmp_path / "plain.toml", tmp_path / "full.toml"
    plain.write_text(example())
    full.write_text(uncommented())
    before, after = (msgspec.to_builtins(load(file), enc_hook=str) for file in (plain, full))
    for key in keys().keys() - EXAMPLES.keys():
        one, other = before, after
        for part in key.split("."):
            one, other = one[part], other[part]
        assert one == other, key


def test_no_example_value_is_left_over() -> None:
    assert EXAMPLES.keys() <= keys().keys() | listed_keys()


def test_a_table_of_each_kind_can_be_uncommented_and_one_stands_in_the_example(tmp_path: Path) -> None:
    plain, full = tmp_path / "plain.toml", tmp_path / "full.toml"
    plain.write_text(example())
    full.write_text(uncommented())
    before, after = (load(file) for file in (plain, full))
    assert check(before) == []
    assert [type(each) for each in before.audit.witnesses] == [DirectoryWitness]
    assert [type(each) for each in after.audit.witnesses] == [DirectoryWitness, SyslogWitness, HttpsWitness]
    assert {p.severity for p in check(after)} <= {"warning"}


@pytest.mark.parametrize(
    "line",
    [
        "# How long SIGTERM waits for requests being served.",
        "# sqlite:DIRECTORY (one worker; audit.db and registry.db there) or a PostgreSQL URL without password.",
        'certificate = "keys/smsp.pem"',
        "# port = 8443",
        "[spine.pds]",
    ],
)
def test_comments_are_the_settings_own_docstrings(line: str) -> None:
    assert line in example().splitlines()


def test_the_documentation_holds_the_example_as_it_is() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert f"```toml\n{example()}```" in text, "run: minispine config example, and put its output into the page"
