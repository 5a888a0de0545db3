"""`minispine client`: which client systems may call the provider, and what each may do.

Every change is a new version of the registration, recorded with before and after, and taken by every worker within a
second.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from minispine.audit.events import EventType
from minispine.cli.errors import Failed, Mistaken
from minispine.cli.output import table
from minispine.cli.registry import OpenRegistry, opened
from minispine.cli.trail import CONFIG
from minispine.cli.values import (
    Operations,
    PerhapsReason,
    Reason,
    read_method,
    read_network,
    read_ods_code,
    read_time,
    unknown,
)
from minispine.domain.identity import AccessMethod
from minispine.domain.lanes import Lane
from minispine.domain.operations import NationalService, Operation
from minispine.keys.certificates import read_facts
from minispine.provider.clients import ClientCertificate, Compatibility, Registration
from minispine.provider.in_force import CLIENT, TABLE

T = TypeVar("T")
Methods = dict[NationalService, tuple[AccessMethod, ...]]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FLAGS: Final = tuple(field.name for field in msgspec.structs.fields(Compatibility))
_ALL: Final = tuple(Operation)
_SMARTCARD_METHODS: Final = (3, 4)
MAX_TIMEOUT_S: Final = 300.0


def add(
    name: str,
    /,
    *,
    certificate: tuple[Path, ...],
    organisation: tuple[str, ...],
    method: tuple[str, ...],
    service: Operations = _ALL,
    config: Path = CONFIG,
    pin: bool = False,
    from_: str | None = None,
    until: str | None = None,
    network: tuple[str, ...] = (),
    lane: Lane = "attended",
    timeout: float = 25.0,
    user_codes: Literal["registered", "asserted"] = "registered",
    user_code: tuple[str, ...] = (),
    compat: tuple[str, ...] = (),
    note: str = "",
    reason: PerhapsReason = None,
) -> None:
    """Register a client system; it may call at once.

    Args:
        name: What to call it, here and in the audit trail.
        certificate: A certificate by which it comes, PEM or DER. Its subject and issuer are what counts, so that a
            renewed one is recognised. May be given several times, like every option that can hold several values.
        organisation: The ODS code of an organisation it may act for.
        method: An access method it may use: 1 unattended, 2 attended; pds:1 is the same as 1.
        service: An operation it may call; all five when left out.
        config: The provider's configuration, which says where the registry is.
        pin: Accept these very certificates only, not renewed ones with the same names.
        from_: From when these certificates are accepted (a date, or a date and time in UTC).
        until: Until when they are accepted.
        network: A network it may come from, such as 10.1.2.0/24; from anywhere when left out.
        lane: How its requests are ranked when there is more to ask than Spine may be asked.
        timeout: For how many seconds it waits for an answer.
        user_codes: Whether user codes of method 2 are registered with us or asserted by the organisation.
        user_code: A registered user code, as ORG:code.
        compat: A compatibility switch to turn on, or NAME=false to turn one off.
        note: Anything worth remembering about it.
        reason: Why, for the audit trail.
    """
    if not _NAME.fullmatch(name):
        raise Mistaken(f"{name!r} cannot be a client's name: use letters, digits, dots, hyphens and underscores")
    with opened(config) as registry:
        if name in registry.documents(CLIENT):
            raise Mistaken(f"there is a client {name!r} already; change it with: minispine client edit {name}")
        registration = Registration(
            name=name,
            certificates=_certificates(certificate, pin=pin, from_=from_, until=until),
            organisations=_unique(map(read_ods_code, organisation)),
            services=_unique(service),
            methods=_with_methods({}, method),
            networks=_unique(map(read_network, network)),
            lane=lane,
            timeout_s=timeout,
            user_codes=user_codes,
            user_code_list=_unique(user_code),
            compatibility=_with_flags(Compatibility(), compat),
            note=note,
        )
        _put(registry, registration, EventType.CLIENT_ADDED, reason, "added")


def edit(
    name: str,
    /,
    *,
    reason: Reason,
    config: Path = CONFIG,
    certificate: tuple[Path, ...] = (),
    pin: bool = False,
    from_: str | None = None,
    until: str | None = None,
    remove_certificate: tuple[str, ...] = (),
    organisation: tuple[str, ...] = (),
    remove_organisation: tuple[str, ...] = (),
    service: Operations = (),
    remove_service: Operations = (),
    method: tuple[str, ...] = (),
    remove_method: tuple[str, ...] = (),
    network: tuple[str, ...] = (),
    remove_network: tuple[str, ...] = (),
    user_code: tuple[str, ...] = (),
    remove_user_code: tuple[str, ...] = (),
    lane: Lane | None = None,
    timeout: float | None = None,
    user_codes: Literal["registered", "asserted"] | None = None,
    compat: tuple[str, ...] = (),
    note: str | None = None,
) -> None:
    """Change what a client may do. Options add to what it has, those that begin with --remove take away.

    Args:
        name: The client.
        reason: Why, for the audit trail.
        config: The provider's configuration, which says where the registry is.
        certificate: A further certificate, PEM or DER; the old one stays until it is removed.
        pin: Accept the certificates given now only as they are, not renewed ones with the same names.
        from_: From when the certificates given now are accepted.
        until: Until when they are accepted.
        remove_certificate: The subject, or the pinned fingerprint, of a certificate.
        organisation: The ODS code of a further organisation it may act for.
        remove_organisation: One that it may no longer act for.
        service: A further operation it may call.
        remove_service: One that it may no longer call.
        method: A further access method it may use.
        remove_method: One that it may no longer use.
        network: A further network it may come from.
        remove_network: One that it may no longer come from.
        user_code: A further registered user code, as ORG:code.
        remove_user_code: One that is no longer registered.
        lane: How its requests are ranked.
        timeout: For how many seconds it waits for an answer.
        user_codes: Whether user codes of method 2 are registered with us or asserted by the organisation.
        compat: A compatibility switch to turn on, or NAME=false to turn one off.
        note: Anything worth remembering about it, instead of what was noted before.
    """
    with opened(config) as registry:
        before = _registration(registry, name)
        after = msgspec.structs.replace(
            before,
            certificates=_unique(
                [
                    *_without(
                        before.certificates, remove_certificate, "certificate", lambda c: (c.subject, c.fingerprint)
                    ),
                    *_certificates(certificate, pin=pin, from_=from_, until=until),
                ]
            ),
            organisations=_changed(
                before.organisations, map(read_ods_code, organisation), map(read_ods_code, remove_organisation)
            ),
            services=_changed(before.services, service, remove_service),
            methods=_without_methods(_with_methods(before.methods, method), remove_method),
            networks=_changed(before.networks, map(read_network, network), map(read_network, remove_network)),
            user_code_list=_changed(before.user_code_list, user_code, remove_user_code),
            compatibility=_with_flags(before.compatibility, compat),
            **{
                field: value
                for field, value in (
                    ("lane", lane),
                    ("timeout_s", timeout),
                    ("user_codes", user_codes),
                    ("note", note),
                )
                if value is not None
            },
        )
        if after == before:
            raise Failed(f"{name}: that changes nothing")
        _put(registry, after, EventType.CLIENT_EDITED, reason, "changed")


def disable(name: str, /, *, reason: Reason, config: Path = CONFIG) -> None:
    """Let a client call no longer. Nothing is asked or answered for it once this command has ended.

    Args:
        name: The client.
        reason: Why, for the audit trail.
        config: The provider's configuration, which says where the registry is.
    """
    _switch(name, config, reason, enabled=False)


def enable(name: str, /, *, reason: Reason, config: Path = CONFIG) -> None:
    """Let a client call again.

    Args:
        name: The client.
        reason: Why, for the audit trail.
        config: The provider's configuration, which says where the registry is.
    """
    _switch(name, config, reason, enabled=True)


def list_(*, config: Path = CONFIG, json_: bool = False) -> None:
    """List the registered clients.

    Args:
        config: The provider's configuration, which says where the registry is.
        json_: Print the whole registrations as JSON.
    """
    with opened(config) as registry:
        documents = sorted(registry.documents(CLIENT).items())
    if json_:
        json.dump([{**d.body, "version": d.version} for _, d in documents], sys.stdout, indent=1, ensure_ascii=False)
        print()
        return
    rows = []
    for key, document in documents:
        client = msgspec.convert(document.body, Registration, strict=False)
        rows.append(
            [
                key,
                "enabled" if client.enabled else "disabled",
                " ".join(client.organisations),
                " ".join(f"{service}:{','.join(map(str, map(int, ms)))}" for service, ms in client.methods.items()),
                "all" if set(client.services) == set(Operation) else " ".join(client.services),
                client.lane,
                "; ".join(certificate.subject for certificate in client.certificates),
                str(document.version),
            ]
        )
    table(("client", "", "acts for", "methods", "operations", "lane", "certificates", "version"), rows)


def _switch(name: str, config: Path, reason: str, *, enabled: bool) -> None:
    word, event = ("enabled", EventType.CLIENT_ENABLED) if enabled else ("disabled", EventType.CLIENT_DISABLED)
    with opened(config) as registry:
        before = _registration(registry, name)
        if before.enabled is enabled:
            raise Failed(f"{name}: is {word} already")
        _put(registry, msgspec.structs.replace(before, enabled=enabled), event, reason, word)


def _registration(registry: OpenRegistry, name: str) -> Registration:
    documents = registry.documents(CLIENT)
    if name not in documents:
        raise unknown("client", name, documents) if documents else Mistaken(f"{name!r}: no client is registered yet")
    return msgspec.convert(documents[name].body, Registration, strict=False)


def _put(registry: OpenRegistry, registration: Registration, event: EventType, reason: str | None, word: str) -> None:
    if registration.enabled:
        _check(registry, registration)
    version = registry.change(CLIENT, registration.name, msgspec.to_builtins(registration), event=event, reason=reason)
    print(f"{registration.name}: {word}, version {version}")


def _check(registry: OpenRegistry, registration: Registration) -> None:
    """Refuse a registration that could never be used, or that would take another's certificate from it."""
    needed = {
        "certificate": registration.certificates,
        "organisation": registration.organisations,
        "service": registration.services,
        "method": registration.methods,
    }
    for what, values in needed.items():
        if not values:
            raise Mistaken(f"{registration.name}: a client needs at least one {what}; give --{what}, or disable it")
    if not 0 < registration.timeout_s <= MAX_TIMEOUT_S:
        raise Mistaken(f"--timeout must be more than 0 and at most {MAX_TIMEOUT_S:g} seconds")
    for code in registration.user_code_list:
        organisation, _, user = code.partition(":")
        if organisation not in registration.organisations or not user:
            raise Mistaken(f"--user-code {code!r} must be ORG:code, ORG being an organisation the client may act for")
    for key, document in registry.documents(CLIENT).items():
        if key != registration.name:
            other = msgspec.convert(document.body, Registration, strict=False)
            if other.enabled and (shared := _shared_certificate(registration, other)):
                raise Mistaken(f"the certificate {shared} is that of client {key}; a certificate belongs to one client")
    organisations = registry.documents(TABLE).get("organisations")
    for code in registration.organisations:
        if organisations is None or code not in organisations.body:
            print(
                f"minispine: note: {code} has no ASID yet, so its requests are refused; "
                "give it one with: minispine table load organisations FILE",
                file=sys.stderr,
            )


def _shared_certificate(one: Registration, other: Registration) -> str | None:
    for mine in one.certificates:
        for theirs in other.certificates:
            same_names = (mine.subject, mine.issuer) == (theirs.subject, theirs.issuer)
            told_apart = mine.fingerprint and theirs.fingerprint and mine.fingerprint != theirs.fingerprint
            if same_names and not told_apart:
                return mine.subject
    return None


def _certificates(
    files: Iterable[Path], *, pin: bool, from_: str | None, until: str | None
) -> tuple[ClientCertificate, ...]:
    accepted = []
    for file in files:
        facts = read_facts(file)[0]
        accepted.append(
            ClientCertificate(
                subject=facts.subject,
                issuer=facts.issuer,
                fingerprint=facts.fingerprint if pin else None,
                not_before=read_time(from_) if from_ else None,
                not_after=read_time(until) if until else None,
            )
        )
    return tuple(accepted)


def _with_methods(methods: Methods, added: Iterable[str]) -> Methods:
    changed = dict(methods)
    for service, number in map(read_method, added):
        if number in _SMARTCARD_METHODS:
            raise Mistaken(
                "access methods 3 and 4 are not available in this version; they come with smartcard identities"
            )
        changed[service] = tuple(sorted({*changed.get(service, ()), AccessMethod(number)}))
    return changed


def _without_methods(methods: Methods, removed: Iterable[str]) -> Methods:
    changed = dict(methods)
    for service, number in map(read_method, removed):
        if number not in changed.get(service, ()):
            raise Mistaken(f"the client does not have access method {service}:{number}")
        changed[service] = tuple(method for method in changed[service] if method != number)
    return {service: kept for service, kept in changed.items() if kept}


def _with_flags(before: Compatibility, flags: Iterable[str]) -> Compatibility:
    changes: dict[str, bool] = {}
    for flag in flags:
        name, _, value = flag.partition("=")
        if name not in _FLAGS:
            raise unknown("compatibility switch", name, _FLAGS)
        if value not in ("", "true", "false"):
            raise Mistaken(f"--compat {name} is true or false, not {value!r}")
        changes[name] = value != "false"
    return msgspec.structs.replace(before, **changes)


def _changed(before: Iterable[T], added: Iterable[T], removed: Iterable[T]) -> tuple[T, ...]:
    return _unique([*_without(before, removed, "value", lambda value: (value,)), *added])


def _without(
    before: Iterable[T], removed: Iterable[Any], what: str, names_of: Callable[[T], tuple[Any, ...]]
) -> tuple[T, ...]:
    kept = list(before)
    for name in removed:
        if not any(name in names_of(value) for value in kept):
            raise Mistaken(f"the client has no {what} {name!r} to remove")
        kept = [value for value in kept if name not in names_of(value)]
    return tuple(kept)


def _unique(values: Iterable[T]) -> tuple[T, ...]:
    """Keep the first of equal values."""
    kept: list[T] = []
    for value in values:
        if value not in kept:
            kept.append(value)
    return tuple(kept)
