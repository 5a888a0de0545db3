"""docs/simulator.md says what the tables say."""

from pathlib import Path

import pytest

from minispine.simulator.faults import ACTIONS, FaultRule
from minispine.simulator.opentest import DEFECTS
from minispine.simulator.population import KINDS
from minispine.simulator.record import ALTERATIONS

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_person_is_there_with_its_share(name: str) -> None:
    kind = KINDS[name]
    share, meaning = f"{kind.share * 100:g}", kind.meaning.replace("successor", "`successor`")
    assert f"| `{name}` | {share} | {meaning} |" in PAGE


@pytest.mark.parametrize("word", [*DEFECTS, *ACTIONS, *ALTERATIONS, *FaultRule.__struct_fields__])
def test_each_word_of_the_other_tables_is_there(word: str) -> None:
    assert f"`{word}`" in PAGE or f"| {word} |" in PAGE
