"""From a TOML file to `Settings`, and the rules that a value must keep beside having the right type.

`load` refuses what cannot be understood, `survey` says all of it at once, `check` says what is understood but cannot be
served with. Whether the files named in the settings are there and fit for use is asked by ``keys/checking.py``.
"""

import datetime
import difflib
import hashlib
import ipaddress
import re
import shlex
import tomllib
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

import msgspec

from minispine.config.settings import DirectoryWitness, HttpsWitness, Settings, SyslogWitness, Witness
from minispine.config.time_servers import time_server

Severity = Literal["error", "warning"]

DAY_S: Final = 86_400.0
"""The longest time that any setting may name; longer ones are slips, and the largest no clock can count."""

LEAST_TIME_SERVERS: Final = 2
"""With fewer, one that is wrong could not be told from our own clock being wrong."""
LEAST_POLITE_INTERVAL_S: Final = 15.0

MOST_WITNESS_TIMEOUT_S: Final = 60.0

_AT: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<where>[^`]*)`)?$", re.DOTALL)
_EXPECTED: Final = re.compile(r"Expected `(?P<expected>[^`]+)`(?:, got `(?P<got>[^`]+)`)?")
_WORDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>[^`]+)`")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>[^`]+)`")
_ABSENT: Final = object()

S = TypeVar("S", bound=msgspec.Struct)


class ConfigurationInvalid(Exception):
    """The file cannot be read as settings: which file, which TOML key (empty for the whole), and why."""

    def __init__(self, file: Path, key: str, reason: str) -> None:
        super().__init__(f"{file}: {key}: {reason}" if key else f"{file}: {reason}")
        self.file = file
        self.key = key
        self.reason = reason


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something about a setting: an `error` forbids to start, a `warning` is said and lived with."""

    key: str
    reason: str
    severity: Severity = "error"


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What can be made of a file: settings, and why not all of them are the file's own.

    What is missing or cannot be read has its default in `settings`, or something that stands in for it; each is among
    the problems, which are all errors. `sha256` is the digest, in hex, of the bytes that were read.
    """

    settings: Settings
    problems: tuple[Problem, ...]
    sha256: str

    def stands(self, key: str) -> bool:
        """Tell whether the value of a key was read, or rightly left out, so that anything can be said of it."""
        unread = {problem.key.partition("[")[0] for problem in self.problems}
        parts = key.split(".")
        return not any(".".join(parts[: n + 1]) in unread for n in range(len(parts)))


def load(file: Path) -> Settings:
    """Read settings; relative paths in them become absolute from the folder of `file`.

    Raises:
        ConfigurationInvalid: the file cannot be read, is not TOML, has a key that is not known or lacks one that is
            needed, or a value has the wrong type. Of several problems it is about the first.
    """
    return load_with_digest(file)[0]


def load_with_digest(file: Path) -> tuple[Settings, str]:
    """Read settings as `load` does; give them with the SHA-256, in hex, of the very bytes they were read from.

    Raises:
        ConfigurationInvalid: as `load`.
    """
    found = survey(file)
    for problem in found.problems:
        raise ConfigurationInvalid(file, problem.key, problem.reason)
    return found.settings, found.sha256


def survey(file: Path) -> Survey:
    """Read as much of a file as can be read, and say all that cannot.

    Raises:
        ConfigurationInvalid: the file cannot be read at all, or is not TOML.
    """
    try:
        content = file.read_bytes()
        document = tomllib.loads(content.decode())
    except FileNotFoundError:
        hint = f"no such file; make one with: minispine config example > {shlex.quote(str(file))}"
        raise ConfigurationInvalid(file, "", hint) from None
    except OSError as error:
        raise ConfigurationInvalid(file, "", f"cannot be read: {(error.strerror or 'unknown').lower()}") from None
    except UnicodeDecodeError:
        raise ConfigurationInvalid(file, "", "is not text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationInvalid(file, "", f"is not TOML: {error}") from None
    folder = file.absolute().parent
    problems = [Problem(key=key, reason=reason) for key, reason in _unknown(document, Settings, "")]
    settings = _read(document, Settings, "", folder, problems)
    return Survey(
        settings=_with_storage_folder(settings, folder),
        problems=tuple(problems),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _read(document: dict[str, Any], struct: type[S], prefix: str, folder: Path, problems: list[Problem]) -> S:
    """Read the keys of one table; what is missing or cannot be read goes into `problems`, and a stand-in for it."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        key, nested = f"{prefix}{field.name}", nested_struct(field.type)
        given = document.get(field.name, _ABSENT)
        if given is _ABSENT:
            if field.required:
                problems.append(Problem(key=key, reason="is missing"))
                values[field.name] = _stand_in(field.type, key)
            elif isinstance(field.default, Path):
                values[field.name] = folder / field.default
            elif nested is not None and isinstance(field.default, msgspec.Struct):
                values[field.name] = _read({}, nested, f"{key}.", folder, problems)
        elif nested is not None and isinstance(given, dict):
            values[field.name] = _read(given, nested, f"{key}.", folder, problems)
        else:
            try:
                values[field.name] = msgspec.convert(given, field.type, dec_hook=lambda kind, v: _path(kind, v, folder))
            except msgspec.ValidationError as error:
                where, reason = _explained(error, field.type)
                problems.append(Problem(key=f"{key}{where}", reason=reason))
                if field.required:
                    values[field.name] = _stand_in(field.type, key)
    return struct(**values)


def _path(kind: type, value: object, folder: Path) -> Path:
    if kind is not Path or not isinstance(value, str):
        raise ValueError("Expected `str`")
    if not value:
        raise ValueError("is empty; give a path, or leave the key out")
    return folder / Path(value).expanduser()


def _stand_in(kind: Any, key: str) -> Any:
    """Make something of the type of a value that is not there. Every path is another, named for its key."""
    nested = nested_struct(kind)
    if nested is not None:
        return _read({}, nested, f"{key}.", Path(), [])
    return Path(f"<{key}>") if kind is Path else kind()


def check(settings: Settings) -> list[Problem]:
    """Give every rule of `RULES` that the settings break, in the order of the file."""
    return [
        Problem(key=rule.key, reason=rule.reason, severity=rule.severity)
        for rule in RULES
        if not _kept(rule, _value(settings, rule.key), settings)
    ]


class Rule(msgspec.Struct, frozen=True):
    """What the value of a key must be. `test` gets the value (never None) and the whole settings."""

    key: str
    test: Callable[[Any, Settings], bool]
    reason: str
    severity: Severity = "error"


def _positive(value: float, _: Settings) -> bool:
    return value > 0


def _not_negative(value: float, _: Settings) -> bool:
    return value >= 0


def _some_time(value: float, _: Settings) -> bool:
    return 0 < value <= DAY_S


def _part(value: float, _: Settings) -> bool:
    return 0.01 <= value <= 0.9


def _time(value: float, _: Settings) -> bool:
    return 0 <= value <= DAY_S


def _port(value: int, _: Settings) -> bool:
    return 0 <= value <= 65535


def _url(value: str) -> SplitResult | None:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.hostname else None


def _https(value: str, _: Settings) -> bool:
    parts = _url(value)
    return parts is not None and parts.scheme == "https" and not (parts.query or parts.fragment or parts.username)


def _proxy(value: str, _: Settings) -> bool:
    parts = _url(value)
    return parts is not None and parts.scheme in ("http", "https")


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a listener on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _addresses(values: tuple[str, ...], _: Settings) -> bool:
    try:
        return all(ipaddress.ip_address(value) for value in values)
    except ValueError:
        return False


def _known_store(value: str, _: Settings) -> bool:
    return bool(value.removeprefix("sqlite:")) if value.startswith("sqlite:") else _postgresql(value) is not None


def _postgresql(value: str) -> SplitResult | None:
    parts = _url(value)
    return parts if parts is not None and parts.scheme == "postgresql" else None


def _no_password(value: str, _: Settings) -> bool:
    parts = _postgresql(value)
    return parts is None or (parts.password is None and "password=" not in parts.query)


def _one_process_on_sqlite(value: int, settings: Settings) -> bool:
    return value <= 1 or not settings.storage.url.startswith("sqlite:")


def _time_servers(values: tuple[str, ...], _: Settings) -> bool:
    try:
        return len({time_server(value) for value in values}) == len(values)
    except ValueError:
        return False


def _each(test: Callable[[Any], bool]) -> Callable[[Any, Settings], bool]:
    """Hold every table of a list to a test."""
    return lambda values, _: all(test(value) for value in values)


def _name(witness: Witness) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9-]{1,64}", witness.name))


def _server(witness: Witness) -> bool:
    if not isinstance(witness, SyslogWitness):
        return True
    return bool(re.fullmatch(r"[A-Za-z0-9.:_-]+", witness.host)) and 1 <= witness.port <= 65535


def _address(witness: Witness) -> bool:
    if not isinstance(witness, HttpsWitness):
        return True
    parts = _url(witness.url)
    return (
        parts is not None
        and parts.scheme == "https"
        and not (parts.query or parts.fragment or parts.username)
        and witness.url.isascii()
        and witness.url.isprintable()
    )


def _own_certificate_whole(witness: Witness) -> bool:
    if isinstance(witness, DirectoryWitness):
        return True
    return (witness.certificate is None) == (witness.key is None)


def _patience(witness: Witness) -> bool:
    return isinstance(witness, DirectoryWitness) or 0 < witness.timeout_s <= MOST_WITNESS_TIMEOUT_S


def _signs(witness: Witness) -> bool:
    return not isinstance(witness, HttpsWitness) or witness.protocol == "post" or bool(witness.vkey)


def _witnessed(witnesses: tuple[Witness, ...], settings: Settings) -> bool:
    return bool(witnesses) or settings.profile != "production" or settings.audit.no_witness_reason is not None


def _apart(value: int, settings: Settings) -> bool:
    return value == 0 or value != settings.machines.port


RULES: Final[tuple[Rule, ...]] = (
    Rule("system_id", lambda v, _: bool(re.fullmatch(r"[!-~]{1,64}", v)), "must be 1 to 64 characters without blanks"),
    Rule(
        "profile",
        lambda v, _: v == "production",
        "the audit log needs no witness, so that it could be rewritten: for trials with nobody's real data",
        "warning",
    ),
    Rule("machines.port", _port, "must be a port number, 0 to 65535"),
    Rule("machines.trusted_proxies", _addresses, "must be IP addresses"),
    Rule(
        "machines.proxy_header",
        lambda v, _: bool(re.fullmatch(r"[a-z0-9-]+", v)),
        "must be the name of an HTTP header in lower case",
    ),
    Rule("machines.public_url", _https, "must be an https address without user, query or fragment"),
    Rule("machines.max_body_bytes", _positive, "must be more than 0"),
    Rule("machines.body_timeout_s", _some_time, "must be more than 0 and at most a day, 86400"),
    Rule("machines.idle_timeout_s", _some_time, "must be more than 0 and at most a day, 86400"),
    Rule("machines.backlog", _positive, "must be more than 0"),
    Rule(
        "management.host",
        lambda v, _: is_loopback(v),
        "must be a loopback address such as 127.0.0.1: the management listener asks nobody who they are",
    ),
    Rule("management.port", _port, "must be a port number, 0 to 65535"),
    Rule("management.port", _apart, "must not be the port of machines"),
    Rule("storage.url", _known_store, "must be sqlite:DIRECTORY or postgresql://USER@HOST/DATABASE"),
    Rule("storage.url", _no_password, "must not hold a password; put it into a file and name that in password_file"),
    Rule("storage.warn_free", _part, "must be 0.01 to 0.9"),
    Rule("storage.refuse_free", _part, "must be 0.01 to 0.9"),
    Rule(
        "storage.refuse_free",
        lambda v, settings: v < settings.storage.warn_free,
        "must be less than storage.warn_free, so that somebody is warned before",
    ),
    Rule(
        "audit.keep_days",
        lambda v, _: 31 <= v <= 36525,
        "must be 31 to a hundred years, 36525: what was moved to a file cannot be searched by patient without it",
    ),
    Rule(
        "audit.checkpoint_interval_s",
        lambda v, _: 1 <= v <= 3600,
        "must be 1 to an hour, 3600: what was recorded since the last checkpoint could be rewritten and nobody see it",
    ),
    Rule(
        "audit.no_witness_reason",
        lambda v, _: bool(v.strip()) and v.isprintable(),
        "must be a reason in words, on one line, that whoever is shown it can judge",
    ),
    Rule(
        "audit.no_witness_reason",
        lambda v, _: not v.strip(),
        "says that nobody outside can tell whether the audit log was rewritten; take it out once there is a witness",
        "warning",
    ),
    Rule(
        "audit.witnesses",
        _witnessed,
        "must name a witness, [[audit.witnesses]]; or say in audit.no_witness_reason why there is none;"
        ' or, for a trial, set profile = "demonstration"',
    ),
    Rule("audit.witnesses", _each(_name), "must each have a name of letters, digits and hyphens, at most 64"),
    Rule("audit.witnesses", lambda v, _: len({w.name for w in v}) == len(v), "must each have a name of its own"),
    Rule("audit.witnesses", _each(_server), "must each name a host and a port, 1 to 65535, if of kind syslog"),
    Rule(
        "audit.witnesses",
        _each(_address),
        "must each have an https address without user, query or fragment, if of kind https",
    ),
    Rule(
        "audit.witnesses",
        _each(_signs),
        'must each have a vkey, if of kind https and protocol "tlog-witness"',
    ),
    Rule("audit.witnesses", _each(_own_certificate_whole), "must each have both a certificate and its key, or neither"),
    Rule("audit.witnesses", _each(_patience), "must each have a timeout_s of more than 0 and at most a minute, 60"),
    Rule("spine.pds.url", _https, "must be an https address without user, query or fragment"),
    Rule("spine.pds.to_asid", lambda v, _: bool(re.fullmatch(r"[0-9]{12}", v)), "must be an ASID of 12 digits"),
    Rule("spine.pds.proxy", _proxy, "must be an http or https address"),
    Rule("spine.pds.connect_timeout_s", _some_time, "must be more than 0 and at most a day, 86400"),
    Rule("spine.pds.read_timeout_s", _some_time, "must be more than 0 and at most a day, 86400"),
    Rule("spine.pds.timeout_s", _some_time, "must be more than 0 and at most a day, 86400"),
    Rule("spine.pds.retries", lambda v, _: 0 <= v <= 5, "must be 0 to 5"),
    Rule(
        "spine.pds.max_connections",
        lambda v, settings: v >= settings.exchange.max_in_flight,
        "must not be less than exchange.max_in_flight, so that no question waits for a connection",
    ),
    Rule("spine.pds.breaker_failures", _positive, "must be more than 0"),
    Rule("spine.pds.breaker_open_s", _some_time, "must be more than 0 and at most a day, 86400"),
    Rule(
        "clock.policy",
        lambda v, _: v == "require",
        "the provider is ready however wrong its clock is (SMSP-AUDIT-010)",
        "warning",
    ),
    Rule(
        "clock.servers",
        _time_servers,
        "must be HOST or HOST:PORT, such as time.example.nhs.uk or [2001:db8::1]:123, and each but once",
    ),
    Rule(
        "clock.servers",
        lambda v, s: len(v) >= LEAST_TIME_SERVERS or s.clock.policy != "require",
        'must name two time servers or more; for a trial without any, set policy = "observe"',
    ),
    Rule("clock.max_stratum", lambda v, _: 1 <= v <= 3, "must be 1 to 3 (SMSP-AUDIT-010)"),
    Rule("clock.max_offset_ms", lambda v, _: 1 <= v <= 250, "must be 1 to 250"),
    Rule("clock.interval_s", lambda v, _: 1 <= v <= DAY_S, "must be 1 to a day, 86400"),
    Rule("clock.timeout_s", _some_time, "must be more than 0 and at most a day, 86400"),
    Rule(
        "clock.interval_s",
        lambda v, _: not 1 <= v < LEAST_POLITE_INTERVAL_S,
        "asks time servers more often than every 15 s, which only those who run them may (RFC 4330)",
        "warning",
    ),
    Rule("exchange.clock_skew_s", _time, "must be 0 to a day, 86400"),
    Rule("exchange.max_in_flight", _positive, "must be more than 0"),
    Rule("exchange.max_waiting", _not_negative, "must not be negative"),
    Rule("workers", _positive, "must be 1 or more"),
    Rule(
        "workers",
        _one_process_on_sqlite,
        "must be 1 with an sqlite store; several workers need a postgresql store (storage.url)",
    ),
    Rule("drain_s", _time, "must be 0 to a day, 86400"),
    Rule(
        "exchange.clock_skew_s",
        lambda v, s: v <= datetime.timedelta(minutes=15).total_seconds() or not _time(v, s),
        "lets a message be used again for more than a quarter of an hour after it expired",
        "warning",
    ),
    Rule(
        "exchange.not_verified_falls_back_to_search",
        lambda v, _: not v,
        "a number that is not the person's will be followed by a search, which can find somebody else (D23)",
        "warning",
    ),
)
"""What is checked beyond types; each line is one rule."""


def _kept(rule: Rule, value: object, settings: Settings) -> bool:
    return value is None or rule.test(value, settings)


def _value(settings: Settings, key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _with_storage_folder(settings: Settings, folder: Path) -> Settings:
    url = settings.storage.url
    if not url.startswith("sqlite:") or url == "sqlite:":
        return settings
    place = folder / Path(url.removeprefix("sqlite:")).expanduser()
    return msgspec.structs.replace(settings, storage=msgspec.structs.replace(settings.storage, url=f"sqlite:{place}"))


def _unknown(document: dict[str, Any], struct: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, str]]:
    """Give the keys that `struct` does not have, each with the nearest that it has."""
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    for key, value in document.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else f"; known here: {', '.join(fields)}"
            yield f"{prefix}{key}", f"is not a known key{hint}"
        else:
            nested = nested_struct(fields[key].type)
            if nested is not None and isinstance(value, dict):
                yield from _unknown(value, nested, f"{prefix}{key}.")


def nested_struct(annotation: Any) -> type[msgspec.Struct] | None:
    """Give the struct that an annotation names, alone or as an alternative to None; None when it names none."""
    alternatives = typing.get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return next((a for a in alternatives if isinstance(a, type) and issubclass(a, msgspec.Struct)), None)


def listed_structs(annotation: Any) -> tuple[type[msgspec.Struct], ...]:
    """Give the structs that the tables of a list ([[section.name]]) may be; none for an annotation of another kind."""
    if typing.get_origin(annotation) is not tuple:
        return ()
    inner = typing.get_args(annotation)[0]
    alternatives = typing.get_args(inner) if isinstance(inner, UnionType) else (inner,)
    return tuple(a for a in alternatives if isinstance(a, type) and issubclass(a, msgspec.Struct))


def _explained(error: msgspec.ValidationError, kind: Any = None) -> tuple[str, str]:
    """Turn the reading library's words into where in the value the fault is (empty: the value itself) and a reason.

    `kind` is the type that was wanted, for naming the values that it permits.
    """
    parts = _AT.match(str(error))
    what, where = (parts["what"], parts["where"] or "") if parts else (str(error), "")
    if expected := _EXPECTED.search(what):
        reason = f"must be {_in_words(expected['expected'])}"
        return where, f"{reason}, not {_in_words(expected['got'])}" if expected["got"] else reason
    if missing := _MISSING.search(what):
        return f"{where}.{missing['name']}", "is missing"
    if unknown := _UNKNOWN.search(what):
        return f"{where}.{unknown['name']}", "is not a known key"
    if what.startswith("Invalid enum value") and (permitted := typing.get_args(kind)):
        return where, f"must be one of {', '.join(permitted)}"
    if what.startswith("Invalid value") and (structs := listed_structs(kind)):
        return where, f"must be one of {', '.join(_tag(struct) for struct in structs)}"
    return where, what[:1].lower() + what[1:].replace("`", "")


def _tag(struct: type[msgspec.Struct]) -> str:
    return str(struct.__struct_config__.tag)


def _in_words(kinds: str) -> str:
    return " or ".join(_WORDS.get(kind, kind) for kind in kinds.split(" | ") if kind != "null")
