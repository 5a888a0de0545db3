"""Whether key material is fit to start with: asked before a listener or connection is opened, and by `config check`.

Each function answers with findings rather than raising, so that all that is wrong is seen at once.
"""

import datetime
from pathlib import Path
from typing import Final

import msgspec

from minispine.keys.certificates import (
    CertificateFacts,
    RevocationLists,
    belong_together,
    read_certificates,
    read_facts,
    read_private_key,
)
from minispine.keys.files import KeyFileRefused, read_password

WARN_DAYS: Final = 30
"""From how many days before its end a certificate is worth a warning."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing amiss with a file. A `fatal` one forbids to start."""

    file: Path
    reason: str
    fatal: bool


def check_pair(
    certificate: Path, key: Path, password_file: Path | None, *, now: datetime.datetime
) -> tuple[Finding, ...]:
    """Check a certificate and its private key: readable, for the owner only, belonging together, and in date."""
    found = []
    try:
        facts = read_facts(certificate)[0]
        found += _in_date(certificate, facts, now)
        leaf = read_certificates(certificate)[0]
    except KeyFileRefused as refused:
        found.append(_fatal(refused))
        leaf = None
    try:
        private = read_private_key(key, password_file)
    except KeyFileRefused as refused:
        return (*found, _fatal(refused))
    if leaf is not None and not belong_together(leaf, private):
        found.append(Finding(file=key, reason=f"is not the key of the first certificate in {certificate}", fatal=True))
    return tuple(found)


def check_authorities(ca: Path, *, now: datetime.datetime) -> tuple[Finding, ...]:
    """Check a file of authorities: readable, holding certificates, at least one of them in date."""
    try:
        authorities = read_facts(ca)
    except KeyFileRefused as refused:
        return (_fatal(refused),)
    found = [finding for facts in authorities for finding in _in_date(ca, facts, now)]
    if sum(finding.fatal for finding in found) == len(authorities):
        return tuple(found)
    return tuple(msgspec.structs.replace(finding, fatal=False) for finding in found)


def check_lists(lists: tuple[Path, ...], ca: Path, *, now: datetime.datetime) -> tuple[Finding, ...]:
    """Check revocation lists: readable and signed by an authority in `ca` (else fatal), and up to date.

    What is wrong with `ca` itself is `check_authorities`' to say.
    """
    found = []
    for path in lists:
        try:
            problems = RevocationLists.load([path], ca).problems(now)
        except KeyFileRefused as refused:
            if refused.file != ca:
                found.append(_fatal(refused))
        else:
            found += [Finding(file=path, reason=p.removeprefix(f"{path}: "), fatal=False) for p in problems]
    return tuple(found)


def check_password(file: Path) -> tuple[Finding, ...]:
    """Check a password file: readable by its owner only, and holding one line."""
    try:
        read_password(file)
    except KeyFileRefused as refused:
        return (_fatal(refused),)
    return ()


def _in_date(file: Path, facts: CertificateFacts, now: datetime.datetime) -> list[Finding]:
    left = facts.days_left(now)
    if now < facts.not_before:
        return [Finding(file=file, reason=f"{facts.subject} is not valid before {_day(facts.not_before)}", fatal=True)]
    if left < 0:
        return [Finding(file=file, reason=f"{facts.subject} expired on {_day(facts.not_after)}", fatal=True)]
    if left < WARN_DAYS:
        return [Finding(file=file, reason=f"{facts.subject} expires on {_day(facts.not_after)}", fatal=False)]
    return []


def _day(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _fatal(refused: KeyFileRefused) -> Finding:
    return Finding(file=refused.file, reason=refused.reason, fatal=True)
