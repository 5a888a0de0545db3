"""Which settings may change while a provider runs, and how settings pass from one process of it to another.

Law 11 has `minispine.toml` for what needs a restart. What follows is the exception: keys whose value is looked up at
every use, and the names of key and certificate files, whose content is read again anyway.
"""

from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from minispine.config.settings import Settings

S = TypeVar("S", bound=msgspec.Struct)

CHANGEABLE: Final = frozenset(
    {
        "drain_s",
        "log_level",
        "machines.certificate",
        "machines.key",
        "machines.key_password_file",
        "machines.client_ca",
        "machines.crl",
        "spine.pds.certificate",
        "spine.pds.key",
        "spine.pds.key_password_file",
        "spine.pds.ca",
        "spine.pds.crl",
        "exchange.clock_skew_s",
        "exchange.require_security",
        "exchange.partial_birth_dates",
        "exchange.not_verified_falls_back_to_search",
    }
)
"""The keys that a re-reading takes without a restart."""


def taking(in_force: Settings, fresh: Settings) -> Settings:
    """Give the settings in force, with what may change as `fresh` has it."""
    return _taking(in_force, fresh, "")


def differing(one: msgspec.Struct, other: msgspec.Struct, prefix: str = "") -> tuple[str, ...]:
    """Name, by their full keys and in the order of the file, the settings that two configurations do not share."""
    found: list[str] = []
    for name in one.__struct_fields__:
        mine, theirs = getattr(one, name), getattr(other, name)
        if isinstance(mine, msgspec.Struct):
            found += differing(mine, theirs, f"{prefix}{name}.")
        elif mine != theirs:
            found.append(prefix + name)
    return tuple(found)


def _taking(in_force: S, fresh: S, prefix: str) -> S:
    changed: dict[str, Any] = {}
    for name in in_force.__struct_fields__:
        mine, theirs = getattr(in_force, name), getattr(fresh, name)
        if isinstance(mine, msgspec.Struct):
            changed[name] = _taking(mine, theirs, f"{prefix}{name}.")
        elif prefix + name in CHANGEABLE:
            changed[name] = theirs
    return msgspec.structs.replace(in_force, **changed)


def encode(value: msgspec.Struct) -> bytes:
    """Write settings, or a struct that holds some, as JSON."""
    return msgspec.json.encode(value, enc_hook=_text)


def decode(content: bytes, kind: type[S]) -> S:
    """Read what `encode` wrote: ``decode(encode(x), type(x)) == x`` where every number in x is finite."""
    return msgspec.json.decode(content, type=kind, dec_hook=lambda expected, text: expected(text))


def _text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"no setting is a {type(value).__name__}")
