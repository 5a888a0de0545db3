import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from minispine.config import CHANGEABLE, Settings, decode, differing, encode, load, taking
from minispine.config.example import sections
from tests.config.test_example import uncommented

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Every key with a value."""
    file = tmp_path / "minispine.toml"
    file.write_text(uncommented())
    return load(file)


def keys(settings: Settings) -> list[str]:
    """Every key, a list of tables being one."""
    listed = list(
        dict.fromkeys(
            f"{each.name}.{one.name}".lstrip(".") if each.kind is None else each.name
            for each in sections()
            for one in each.settings
        )
    )
    assert set(listed) == set(differing(settings, everything_changed(settings)))
    return listed


def everything_changed(struct: Any) -> Any:
    """The same settings with another value of the same type for every key."""
    changed: dict[str, Any] = {}
    for name in struct.__struct_fields__:
        match getattr(struct, name):
            case msgspec.Struct() as inner:
                changed[name] = everything_changed(inner)
            case bool(value):
                changed[name] = not value
            case int(value) | float(value):
                changed[name] = value + 1
            case tuple(value):
                changed[name] = (*value, Path("more"))
            case Path():
                changed[name] = Path("/elsewhere")
            case value:
                changed[name] = f"{value}x"
    return msgspec.structs.replace(struct, **changed)


def test_what_may_change_is_taken_and_everything_else_stays(settings: Settings) -> None:
    fresh = everything_changed(settings)
    in_force = taking(settings, fresh)
    assert set(differing(settings, in_force)) == CHANGEABLE
    assert set(differing(in_force, fresh)) == set(keys(settings)) - CHANGEABLE


def test_differences_are_full_keys_in_the_order_of_the_file(settings: Settings) -> None:
    assert differing(settings, settings) == ()
    assert differing(settings, everything_changed(settings))[:3] == ("system_id", "profile", "machines.host")


def test_settings_pass_between_processes_unchanged(settings: Settings) -> None:
    assert decode(encode(settings), Settings) == settings
    one = msgspec.structs.replace(settings, drain_s=0.1)
    assert decode(encode(one), Settings) == one


def test_the_documentation_lists_what_is_taken_while_running() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text().partition("## While it runs")[2].partition("\n## ")[0]
    listed = {key for line in re.findall(r"(?m)^\| `.*$", text) for key in re.findall(r"`([a-z_.]+)`", line)}
    assert listed == CHANGEABLE
