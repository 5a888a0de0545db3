import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import docstring_parser
import pytest

from minispine.cli import app
from tests.cli.conftest import Command

PRESENT = {path: target for path, target in app.COMMANDS.items() if find_spec(target.partition(":")[0])}


@pytest.mark.parametrize("path", PRESENT)
def test_every_command_has_help_from_its_docstring(minispine: Command, path: str) -> None:
    ended = minispine(*path.split(), "--help")
    assert ended.code == 0
    module, _, function = PRESENT[path].partition(":")
    first = app._docstring(module, function).partition("\n")[0]  # type: ignore[union-attr]
    assert " ".join(first.replace("`", "").split()) in " ".join(ended.out.split())


@pytest.mark.parametrize("path", PRESENT)
def test_every_parameter_is_described(path: str) -> None:
    module, _, function = PRESENT[path].partition(":")
    spec = find_spec(module)
    assert spec is not None
    tree = ast.parse(Path(str(spec.origin)).read_text())
    (node,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function)
    described = {p.arg_name for p in docstring_parser.parse(ast.get_docstring(node) or "").params if p.description}
    assert {a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)} == described


def test_help_lists_every_command_without_importing_any() -> None:
    code = (
        "import sys; from minispine.cli import app; app.run(['--help']);"
        "print([m for m in sys.modules if m.startswith(('minispine.provider', 'minispine.cli.', 'cryptography'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['minispine.cli.stdout', 'minispine.cli.errors', 'minispine.cli.app']"
    for path in PRESENT:
        assert f" {path.split()[0]} " in done.stdout


def test_a_group_lists_its_commands(minispine: Command) -> None:
    out = minispine("client", "--help").out
    assert all(f" {name} " in out for name in ("add", "list", "edit", "disable", "enable"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pkj"], "pki"),
        (["pki", "isue"], "issue"),
        (["pki", "init"], "folder"),
        (["pki", "init", "x", "--dayz", "3"], "--days"),
        (["pki", "init", "x", "--days", "many"], "many"),
        (["pki", "init", "x", "--days", "many"], "--days is a whole number, not 'many'"),
        (["pki", "init", "x", "--days"], "--days needs a value"),
        (["pki", "init", "x", "y"], "there is nothing that 'y' could be for"),
        (["client", "add", "x"], "--certificate is needed"),
        (["call", "verifyNHSNumber", "--timeout", "long"], "--timeout is a number, not 'long'"),
        (["call", "verifyNHSNumbr"], "verifyNHSNumber"),
    ],
)
def test_a_wrong_command_line_is_one_line_that_helps(minispine: Command, arguments: list[str], said: str) -> None:
    ended = minispine(*arguments)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert said.lower() in ended.err.lower()


@pytest.mark.parametrize("command", [[Path(sys.executable).parent / "minispine"], [sys.executable, "-m", "minispine"]])
def test_the_installed_command_runs_and_ends_with_its_code(command: list[str | Path]) -> None:
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0.1.0"
    done = subprocess.run([*command, "pki", "show", "/nowhere"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
