"""A commented minispine.toml, written from the structs of ``settings.py`` and their docstrings so that it cannot drift.

A key without a default stands as it must be filled in; every other key stands commented out with its default.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import msgspec

from minispine.config import settings as module
from minispine.config.loading import listed_structs, nested_struct
from minispine.config.settings import Settings

EXAMPLES: Final[dict[str, Any]] = {
    "system_id": "RXX-SMSP-1",
    "machines.certificate": "keys/smsp.pem",
    "machines.key": "keys/smsp.key",
    "machines.key_password_file": "keys/smsp.password",
    "machines.client_ca": "keys/clients-ca.pem",
    "machines.public_url": "https://smsp.example.nhs.uk",
    "storage.password_file": "keys/database.password",
    "storage.volume": "/var/lib/postgresql",
    "audit.keep_days": 730,
    "audit.directory": "published",
    "audit.no_witness_reason": "a trial in our own network, until the witness at the regional hub is there",
    "audit.witnesses.directory.name": "backup-server",
    "audit.witnesses.directory.directory": "/mnt/backup-server/minispine-checkpoints",
    "audit.witnesses.syslog.name": "security-log",
    "audit.witnesses.syslog.host": "syslog.example.nhs.uk",
    "audit.witnesses.syslog.ca": "keys/syslog-ca.pem",
    "audit.witnesses.syslog.certificate": "keys/witness-client.pem",
    "audit.witnesses.syslog.key": "keys/witness-client.key",
    "audit.witnesses.syslog.key_password_file": "keys/witness-client.password",
    "audit.witnesses.https.name": "region",
    "audit.witnesses.https.url": "https://witness.example.nhs.uk",
    "audit.witnesses.https.vkey": "witness.example.nhs.uk/w1+3d6e1fc5+BBPlRzvbLQyee9QIG2zbiliWYVl5pQhow7/bj+zT5SEq",
    "audit.witnesses.https.ca": "keys/witness-ca.pem",
    "audit.witnesses.https.certificate": "keys/witness-client.pem",
    "audit.witnesses.https.key": "keys/witness-client.key",
    "audit.witnesses.https.key_password_file": "keys/witness-client.password",
    "audit.origin": "minispine/RXX-SMSP-1",
    "spine.pds.url": "https://spine.example.nhs.uk/sync-service",
    "spine.pds.to_asid": "928942012545",
    "spine.pds.certificate": "keys/spine-client.pem",
    "spine.pds.key": "keys/spine-client.key",
    "spine.pds.key_password_file": "keys/spine-client.password",
    "spine.pds.ca": "keys/spine-ca.pem",
    "spine.pds.proxy": "http://proxy.example.nhs.uk:3128",
    "organisations.file": "organisations.csv",
    "clock.servers": ("time-1.example.nhs.uk", "time-2.example.nhs.uk", "time-3.example.nhs.uk"),
}
"""A value for each key that has no default of its own, None for a default, or one with which nothing would start."""

_TO_BE_GIVEN: Final = frozenset({"clock.servers"})
"""Keys that are read without a value but not served without one, unless something else is set."""
_TABLES_TO_BE_GIVEN: Final = frozenset({("audit.witnesses", "directory")})
"""Tables of lists that stand as they must be filled in, for the same reason; every other stands commented out."""

_WIDTH: Final = 110


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One key as documents show it: its TOML value, whether it must be given, and what it means."""

    section: str
    name: str
    value: str
    required: bool
    meaning: str


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the file: its name (none: the top of the file), what it is for, and its keys.

    `kind` is None but for a table of a list, [[name]], of which there may be any number of each kind.
    """

    name: str
    meaning: str
    settings: tuple[Setting, ...]
    kind: str | None = None


def example() -> str:
    """Write a whole minispine.toml with comments; as it stands it loads, its files being the reader's to make."""
    lines = ["# minispine.toml. Paths are relative to the folder of this file.", ""]
    for section in sections():
        given = section.kind is None or (section.name, section.kind) in _TABLES_TO_BE_GIVEN
        if section.name:
            header = f"[{section.name}]" if section.kind is None else f"[[{section.name}]]"
            lines += [*_comment(section.meaning), header if given else f"# {header}"]
        for setting in section.settings:
            lines += _comment(setting.meaning)
            lines += [f"{'' if setting.required and given else '# '}{setting.name} = {setting.value}"]
        lines.append("")
    return "\n".join(lines)


def sections() -> Iterator[Section]:
    """Give each section in the order of the file."""
    yield from _sections(Settings, "")


def _sections(struct: type[msgspec.Struct], section: str) -> Iterator[Section]:
    settings: list[Setting] = []
    below: list[Iterator[Section]] = []
    for field in msgspec.structs.fields(struct):
        inner = nested_struct(field.type)
        key = f"{section}.{field.name}" if section else field.name
        if inner is not None:
            below.append(_sections(inner, key))
        elif kinds := listed_structs(field.type):
            below += [_listed(kind, key) for kind in kinds]
        else:
            settings.append(_setting(struct, field, section, key))
    if settings:
        yield Section(name=section, meaning=_purpose(struct), settings=tuple(settings))
    for sections in below:
        yield from sections


def _listed(struct: type[msgspec.Struct], section: str) -> Iterator[Section]:
    """Give the section of a table of a list."""
    kind = str(struct.__struct_config__.tag)
    tag = Setting(
        section=section, name=str(struct.__struct_config__.tag_field), value=_toml(kind), required=True, meaning=""
    )
    settings = [
        _setting(struct, field, section, f"{section}.{kind}.{field.name}") for field in msgspec.structs.fields(struct)
    ]
    yield Section(name=section, meaning=_purpose(struct), settings=(tag, *settings), kind=kind)


def _setting(struct: type[msgspec.Struct], field: msgspec.structs.FieldInfo, section: str, key: str) -> Setting:
    default = field.default if field.default is not msgspec.NODEFAULT else None
    return Setting(
        section=section,
        name=field.name,
        value=_toml(EXAMPLES[key] if default is None or key in _TO_BE_GIVEN else default),
        required=field.required or key in _TO_BE_GIVEN,
        meaning=_attribute_docstrings(struct.__name__).get(field.name, ""),
    )


def _purpose(struct: type[msgspec.Struct]) -> str:
    text = inspect.cleandoc(struct.__doc__ or "").partition("\n\n")[0]
    return text.partition("]: ")[2] or text


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    # A TOML basic string and a JSON string are written alike, and so are its numbers and truth values.
    return msgspec.json.encode(value, enc_hook=str).decode()


def _comment(text: str) -> list[str]:
    words = " ".join(text.split())
    if not words.startswith("``"):  # what is to be typed is left as it is typed
        words = words[:1].upper() + words[1:]
    return [f"# {line}" for line in textwrap.wrap(words.replace("``", ""), _WIDTH)]


@cache
def _attribute_docstrings(class_name: str) -> dict[str, str]:
    """Give the string that follows each annotated attribute of a class in ``settings.py``."""
    found: dict[str, str] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            for attribute, following in zip(node.body, node.body[1:], strict=False):
                match attribute, following:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                        found[name] = inspect.cleandoc(text)
    return found
