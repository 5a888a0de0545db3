"""The tree of commands: which function, in which module of this room, each is.

Modules are imported only when their command is run. What `--help` says about the others is read from their source,
so that every command's help is its own docstring and asking for it stays quick.
"""

import ast
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from cyclopts import App, CoercionError, CycloptsError, MissingArgumentError, Parameter, UnusedCliTokensError

from minispine import __version__
from minispine.cli import errors

ABOUT: Final = "An NHS Spine Mini Service Provider, and a simulated Spine to run it against."

GROUPS: Final[dict[str, str]] = {
    "pki": "Make certificates for development.",
    "config": "Check minispine.toml, or print one to start from.",
    "client": "Register the client systems that may call the provider.",
    "table": "Look at the reference tables in force, or put one of your own in their place.",
    "budget": "Say how often Spine may be called, and see how much of that is used.",
    "report": "Tell how much was asked.",
    "cache": "Look at how much of Spine's answers is kept, or throw it away.",
    "audit": "Begin the audit trail, read it, check that it is intact, and keep it.",
}

COMMANDS: Final[dict[str, str]] = {
    "demo": "minispine.cli.demo:demo",
    "serve": "minispine.cli.serve:serve",
    "simulate": "minispine.cli.simulate:simulate",
    "call": "minispine.cli.call:call",
    "migrate": "minispine.cli.migrate:migrate",
    "backup": "minispine.cli.backup:backup",
    "restore": "minispine.cli.backup:restore",
    "requirements": "minispine.cli.requirements:requirements",
    "pki init": "minispine.cli.pki:init",
    "pki issue": "minispine.cli.pki:issue",
    "pki revoke": "minispine.cli.pki:revoke",
    "pki renew": "minispine.cli.pki:renew",
    "pki show": "minispine.cli.pki:show",
    "config check": "minispine.cli.config:check",
    "config example": "minispine.cli.config:example",
    "client add": "minispine.cli.client:add",
    "client list": "minispine.cli.client:list_",
    "client edit": "minispine.cli.client:edit",
    "client disable": "minispine.cli.client:disable",
    "client enable": "minispine.cli.client:enable",
    "table list": "minispine.cli.table:list_",
    "table show": "minispine.cli.table:show",
    "table load": "minispine.cli.table:load",
    "table reset": "minispine.cli.table:reset",
    "budget show": "minispine.cli.budget:show",
    "budget set": "minispine.cli.budget:set_",
    "budget unset": "minispine.cli.budget:unset",
    "report throughput": "minispine.cli.report:throughput",
    "cache show": "minispine.cli.cache:show",
    "cache purge": "minispine.cli.cache:purge",
    "audit init": "minispine.cli.audit_init:init",
    "audit authority": "minispine.cli.audit_init:authority",
    "audit archive": "minispine.cli.audit_archive:archive",
    "audit redaction-request": "minispine.cli.audit_redact:redaction_request",
    "audit sign": "minispine.cli.audit_redact:sign",
    "audit redact": "minispine.cli.audit_redact:redact",
    "audit rotate-master-key": "minispine.cli.audit_keys:rotate_master_key",
    "audit change-keys": "minispine.cli.audit_keys:change_keys",
    "audit forecast": "minispine.cli.audit_forecast:forecast",
    "audit events": "minispine.cli.audit:events",
    "audit search": "minispine.cli.audit:search_",
    "audit trace": "minispine.cli.audit_trace:trace",
    "audit export": "minispine.cli.audit_export:export",
    "audit report": "minispine.cli.audit_report:report",
    "audit as-answered": "minispine.cli.audit_report:as_answered",
    "audit checkpoint": "minispine.cli.audit_checkpoint:checkpoint",
    "audit evidence": "minispine.cli.audit_evidence:take",
    "audit reindex": "minispine.cli.audit_reindex:reindex",
    "audit verify": "minispine.cli.audit_verify:verify",
}


def build() -> App:
    """Make the command tree; a command whose module is not installed is left out."""
    app = App(
        name="minispine",
        help=ABOUT,
        version=__version__,
        help_format="markdown",
        result_action="return_value",
        default_parameter=Parameter(negative=(), show_default=_default),
    )
    groups = {name: App(name=name, help=text, help_format="markdown") for name, text in GROUPS.items()}
    for path, target in COMMANDS.items():
        group, _, name = path.rpartition(" ")
        module, _, function = target.partition(":")
        docstring = _docstring(module, function)
        if docstring is not None:
            (groups[group] if group else app).command(target, name=name, help=docstring)
    for sub_app in groups.values():
        app.command(sub_app)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line to its exit code; nothing is raised."""
    return errors.run(lambda: _run(arguments))


def _run(arguments: Sequence[str]) -> object:
    if not all(map(_is_text, arguments)):
        raise errors.Mistaken("an argument is not text in UTF-8, and could not be recorded")
    try:
        return build()(list(arguments), exit_on_error=False, print_error=False)
    except CycloptsError as wrong:
        raise errors.Mistaken(f"{_explained(wrong)}; see --help") from None


def _is_text(argument: str) -> bool:
    """Whether it was UTF-8: other bytes come as halves of surrogate pairs."""
    return not any("\ud800" <= character <= "\udfff" for character in argument)


_VALUES: Final[dict[object, str]] = {int: "a whole number", float: "a number", bool: "true or false"}


def _explained(wrong: CycloptsError) -> str:
    """Say what is wrong with a command line, where the library's own words would be a programmer's in ours."""
    match wrong:
        case UnusedCliTokensError(unused_tokens=list(tokens)):
            return f"there is nothing that {' '.join(map(repr, tokens))} could be for"
        case MissingArgumentError(argument=argument, keyword=keyword) if argument is not None:
            return f"{keyword} needs a value" if keyword else f"{argument.name} is needed"
        case CoercionError(token=token, target_type=kind) if token is not None and kind in _VALUES:
            return f"{token.keyword or 'a value'} is {_VALUES[kind]}, not {token.value!r}"
    return str(wrong).rstrip(".")


def _default(value: object) -> str | None:
    """Write a default as it would be typed; nothing for an option that is simply off or empty."""
    if value is None or value is False or value in ((), ""):
        return None
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return str(value)


@cache
def _functions(module: str) -> dict[str, str] | None:
    """Give the docstrings of a module's functions without importing it; None when there is no such module."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return None
    tree = ast.parse(Path(spec.origin).read_bytes())
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name: ast.get_docstring(node) or "" for node in functions}


def _docstring(module: str, function: str) -> str | None:
    functions = _functions(module)
    return None if functions is None else functions.get(function)
