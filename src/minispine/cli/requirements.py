"""`minispine requirements`: each clause of the requirement register beside the tests that prove it."""

import csv
import json
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from minispine.cli.errors import Exit, Failed, Mistaken
from minispine.cli.output import table

_PIPED_WIDTH: Final = 80
"""Statements and names of tests are long; in a file or a pager they are folded to what a page shows."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """One clause, and the tests that passed and prove it: a row of build/requirements.json."""

    id: str
    clause: str
    tests: tuple[str, ...]


class Clause(msgspec.Struct, frozen=True, kw_only=True):
    """One clause of the register."""

    id: str
    clause: str
    level: str = ""
    statement: str = ""


def requirements(
    *, results: Path = Path("build/requirements.json"), register: Path | None = None, json_: bool = False
) -> int:
    """List the requirement clauses and the tests that prove them.

    Args:
        results: What scripts/test wrote: for each clause, the tests that passed.
        register: The register of requirements (CSV with the columns id, clause, level, statement). With it every
            clause is listed with its statement, those that no test proves too; without it nothing can be said of these.
        json_: Print JSON instead of a table.
    """
    proofs = {(proof.id, proof.clause): proof.tests for proof in _read_results(results)}
    clauses = _read_register(register) if register else [Clause(id=i, clause=c) for i, c in sorted(proofs)]
    if unknown := sorted(proofs.keys() - {(clause.id, clause.clause) for clause in clauses}):
        raise Failed(f"{register}: has no clause {' '.join(unknown[0])}, which a test claims to prove")
    rows = [{**msgspec.structs.asdict(c), "tests": list(proofs.get((c.id, c.clause), ()))} for c in clauses]
    if json_:
        json.dump(rows, sys.stdout, indent=1, ensure_ascii=False)
        print()
    else:
        _print(rows, against_register=register is not None)
    return Exit.DONE


def _print(rows: list[dict[str, Any]], *, against_register: bool) -> None:
    columns = ["clause", *(["level", "statement"] if against_register else []), "proved by"]
    lines = []
    for row in rows:
        tests = row["tests"]
        proof = "-" if not tests else tests[0] if len(tests) == 1 else f"{tests[0]} and {len(tests) - 1} more"
        middle = [row["level"], row["statement"]] if against_register else []
        lines.append([f"{row['id']} {row['clause']}", *middle, proof])
    table(columns, lines, piped_width=_PIPED_WIDTH)
    proved = sum(bool(row["tests"]) for row in rows)
    if against_register:
        print(f"{proved} of {len(rows)} clauses are proved by a test that passed.")
    else:
        print(f"{proved} clauses have passed tests; give --register to see which of the register's have none.")


def _read_results(file: Path) -> list[Proof]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[Proof])
    except FileNotFoundError:
        raise Mistaken(f"{file}: there are no results yet; run scripts/test, or name them with --results") from None
    except msgspec.MsgspecError:
        raise Mistaken(f"{file}: is not what scripts/test writes") from None


def _read_register(file: Path) -> list[Clause]:
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or not {"id", "clause", "level", "statement"} <= rows[0].keys():
        raise Mistaken(f"{file}: needs the columns id, clause, level and statement")
    return [msgspec.convert({name: row[name] or "" for name in Clause.__struct_fields__}, Clause) for row in rows]
