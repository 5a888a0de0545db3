"""Everything that can be said against settings before they are served with: values, files, keys, certificates.

`minispine config check` prints it, `minispine serve` does not start while an error is among it, and a provider that
runs takes nothing from a configuration with one.
"""

import datetime
from collections.abc import Iterable
from pathlib import Path

import msgspec

from minispine.audit.note import CosignatureVerifier
from minispine.config import Problem, Settings, check
from minispine.config.settings import DirectoryWitness, HttpsWitness, Storage, Witness
from minispine.keys.checking import Finding, check_authorities, check_lists, check_pair, check_password
from minispine.spine.ods.practice_file import OrganisationsInvalid, read_practices


def problems(settings: Settings, *, now: datetime.datetime) -> list[Problem]:
    """Give all that is wrong with the settings and the files they name: errors forbid to start, warnings do not."""
    machines, pds, storage = settings.machines, settings.spine.pds, settings.storage
    return [
        *check(settings),
        *_told(
            "machines", machines, check_pair(machines.certificate, machines.key, machines.key_password_file, now=now)
        ),
        *_told("machines", machines, check_authorities(machines.client_ca, now=now)),
        *_told("machines", machines, check_lists(machines.crl, machines.client_ca, now=now)),
        *_volume(storage),
        *_told("storage", storage, check_password(storage.password_file) if storage.password_file else ()),
        *_told("spine.pds", pds, check_pair(pds.certificate, pds.key, pds.key_password_file, now=now)),
        *_told("spine.pds", pds, check_authorities(pds.ca, now=now)),
        *_told("spine.pds", pds, check_lists(pds.crl, pds.ca, now=now)),
        *_organisations(settings.organisations.file),
        *_published(settings.audit.directory),
        *(problem for number, each in enumerate(settings.audit.witnesses) for problem in _witness(number, each, now)),
    ]


def _volume(storage: Storage) -> list[Problem]:
    """Give what keeps anybody from watching how full the disk of the database is; SQLite's is known."""
    if storage.url.startswith("sqlite:"):
        return []
    if storage.volume is None:
        reason = "is not set: nobody is told when the disk of the database fills up; name a path on it, if it is here"
    elif not storage.volume.exists():
        reason = f"{storage.volume}: is not there: nobody is told when the disk of the database fills up"
    else:
        return []
    return [Problem(key="storage.volume", reason=reason, severity="warning")]


def _published(directory: Path | None) -> list[Problem]:
    if directory is not None and directory.exists() and not directory.is_dir():
        return [Problem(key="audit.directory", reason=f"{directory}: is not a directory")]
    return []


def _witness(number: int, witness: Witness, now: datetime.datetime) -> list[Problem]:
    """Give what is wrong with what a witness needs here; whether it can be reached shows when the provider runs."""
    section = f"audit.witnesses[{number}]"
    if isinstance(witness, DirectoryWitness):
        if witness.directory.is_dir():
            return []
        reason = f"{witness.directory}: is not there; make it, or mount its disk"
        return [Problem(key=f"{section}.directory", reason=reason, severity="warning")]
    found = [*check_authorities(witness.ca, now=now)]
    if witness.certificate is not None and witness.key is not None:
        found += check_pair(witness.certificate, witness.key, witness.key_password_file, now=now)
    problems = _told(section, witness, found)
    if isinstance(witness, HttpsWitness) and witness.vkey:
        try:
            CosignatureVerifier.parse(witness.vkey)
        except ValueError as error:
            problems.append(Problem(key=f"{section}.vkey", reason=str(error)))
    return problems


def _told(section: str, settings: msgspec.Struct, findings: Iterable[Finding]) -> list[Problem]:
    """Turn findings about files into problems of the keys by which the settings name those files."""
    keys: dict[Path, str] = {}
    for name, value in msgspec.structs.asdict(settings).items():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Path):
                keys.setdefault(one, name)
    return [
        Problem(
            key=f"{section}.{keys[finding.file]}" if finding.file in keys else section,
            reason=f"{finding.file}: {finding.reason}",
            severity="error" if finding.fatal else "warning",
        )
        for finding in findings
    ]


def _organisations(file: Path | None) -> list[Problem]:
    try:
        if file is not None:
            read_practices(file)
    except OrganisationsInvalid as invalid:
        return [Problem(key="organisations.file", reason=str(invalid))]
    return []
