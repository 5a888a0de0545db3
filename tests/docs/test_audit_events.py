"""The page of audit events is the catalogue, and tells the truth about which of them anything writes."""

import ast
from collections.abc import Iterator
from pathlib import Path

from minispine.audit.catalogue import CATALOGUE
from minispine.audit.catalogue_page import document
from minispine.audit.events import EventType

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_made_from_the_catalogue() -> None:
    page = (ROOT / "docs" / "audit-events.md").read_text(encoding="utf-8")
    assert page == document(), "run: python -m minispine.audit.catalogue_page > docs/audit-events.md"


def test_what_is_said_to_be_written_is_written_and_the_rest_is_not() -> None:
    used = {EventType[name] for file in (ROOT / "src").rglob("*.py") for name in _used_in_functions(file)}
    assert {type_ for type_, kind in CATALOGUE.items() if not kind.planned} == used


def _used_in_functions(file: Path) -> Iterator[str]:
    """The names of event types in a file's functions, but for those that an event read back is compared with.

    A constant may list events that others write.
    """
    for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (name for statement in function.body for name in _named(statement))


def _named(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Compare):
        return
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "EventType":
        yield node.attr
    for child in ast.iter_child_nodes(node):
        yield from _named(child)
