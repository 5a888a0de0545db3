import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command

RESULTS = [
    {"id": "SMSP-VAL-002", "clause": "a", "tests": ["tests/a.py::one", "tests/a.py::two"]},
    {"id": "SMSP-VAL-002", "clause": "b", "tests": ["tests/a.py::three"]},
]
REGISTER = (
    'id,clause,side,level,kind,statement,evidence\nSMSP-VAL-002,a,provider,MUST,behaviour,"First, so.",x\n'
    "SMSP-VAL-002,b,provider,MUST,behaviour,Second.,x\nSMSP-VAL-003,a,provider,MAY,behaviour,Third.,x\n"
)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    file = tmp_path / "requirements.json"
    file.write_text(json.dumps(RESULTS))
    return file


def test_each_clause_stands_beside_its_tests(minispine: Command, results: Path) -> None:
    out = minispine("requirements", "--results", results).out
    assert "SMSP-VAL-002 a  tests/a.py::one and 1 more" in out
    assert out.endswith("2 clauses have passed tests; give --register to see which of the register's have none.\n")


def test_what_is_printed_into_a_pipe_fits_a_page(minispine: Command, results: Path, tmp_path: Path) -> None:
    file, register = tmp_path / "long.json", tmp_path / "register.csv"
    file.write_text(json.dumps([{"id": "SMSP-VAL-002", "clause": "a", "tests": [f"tests/a.py::test_{'x' * 90}"]}]))
    register.write_text(REGISTER.replace("Second.", "Second " * 40))
    for more in ([], ["--register", register]):
        out = minispine("requirements", "--results", file, *more).out
        assert max(map(len, out.splitlines()[:-1])) <= 80
        assert "".join(out.split()).count("x") >= 90


def test_with_the_register_unproved_clauses_are_seen(minispine: Command, results: Path, tmp_path: Path) -> None:
    register = tmp_path / "register.csv"
    register.write_text(REGISTER)
    ended = minispine("requirements", "--results", results, "--register", register)
    assert "First, so." in ended.out
    assert "2 of 3 clauses" in ended.out
    rows = minispine("requirements", "--results", results, "--register", register, "--json").json()
    assert [row["tests"] for row in rows] == [["tests/a.py::one", "tests/a.py::two"], ["tests/a.py::three"], []]


def test_a_clause_that_the_register_does_not_have_fails(minispine: Command, results: Path, tmp_path: Path) -> None:
    register = tmp_path / "register.csv"
    register.write_text(REGISTER.replace("SMSP-VAL-002,b", "SMSP-VAL-009,b"))
    ended = minispine("requirements", "--results", results, "--register", register)
    assert ended.code == 1
    assert "SMSP-VAL-002 b" in ended.err


@pytest.mark.parametrize(("content", "said"), [(None, "scripts/test"), ("[1]", "is not what scripts/test writes")])
def test_results_that_are_missing_or_wrong_are_named(
    minispine: Command, tmp_path: Path, content: str | None, said: str
) -> None:
    file = tmp_path / "requirements.json"
    if content:
        file.write_text(content)
    ended = minispine("requirements", "--results", file)
    assert ended.code == 2
    assert said in ended.err
