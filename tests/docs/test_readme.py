"""What the README tells somebody to type works as it stands."""

import re
from pathlib import Path

import pytest

from minispine.cli import app
from minispine.config import check, load
from minispine.simulator.population import populate

README = (Path(__file__).resolve().parent.parent.parent / "README.md").read_text()


def test_the_person_asked_about_is_one_whom_the_demonstration_has() -> None:
    (asked,) = re.findall(r"minispine call verifyNHSNumber --demo DIR --nhs-number (\d+) --birth-date (\d+)", README)
    people = populate(size=2000, seed=1, taken=set())
    assert asked in {(person.nhs_number, person.birth_time) for person in people if person.kind == "plain"}


def test_every_command_and_option_that_it_types_is_there(capfd: pytest.CaptureFixture[str]) -> None:
    typed = re.findall(r"(?m)^\$ minispine ([^#\n]+)", README)
    assert len(typed) > 8
    for line in typed:
        command = max((path for path in app.COMMANDS if line.startswith(f"{path} ")), key=len)
        assert app.run([*command.split(), "--help"]) == 0
        described = capfd.readouterr().out
        for option in re.findall(r"--[a-z-]+", line):
            assert option in described, line


def test_the_least_configuration_is_one_that_loads(tmp_path: Path) -> None:
    (least,) = re.findall(r"(?ms)^```toml\n(.*?)^```$", README)
    file = tmp_path / "minispine.toml"
    file.write_text(least)
    assert check(load(file)) == []
