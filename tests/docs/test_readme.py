"""What the README tells somebody to type works as it stands."""

import re
from pathlib import Path

from minispine.config import check, load
from minispine.simulator.population import populate

README = (Path(__file__).resolve().parent.parent.parent / "README.md").read_text()


def test_the_person_asked_about_is_one_whom_the_demonstration_has() -> None:
    (asked,) = re.findall(r"minispine call verifyNHSNumber --demo DIR --nhs-number (\d+) --birth-date (\d+)", README)
    people = populate(size=2000, seed=1, taken=set())
    assert asked in {(person.nhs_number, person.birth_time) for person in people if person.kind == "plain"}


def test_the_least_configuration_is_one_that_loads(tmp_path: Path) -> None:
    (least,) = re.findall(r"(?ms)^```toml\n(.*?)^```$", README)
    file = tmp_path / "minispine.toml"
    file.write_text(least)
    assert check(load(file)) == []
