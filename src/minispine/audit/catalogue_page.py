"""docs/audit-events.md, as it is made from the catalogue.

After a change: ``python -m minispine.audit.catalogue_page > docs/audit-events.md``.
"""

import sys
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from minispine.audit.catalogue import CATALOGUE, Kind
from minispine.audit.events import EventType

_INTRODUCTION: Final = """\
# Audit events

Every kind of event that the audit trail can hold, and what each says. The page is made from `audit/catalogue.py`, and
every entry is held to the same table before it is written: an event that lacks a detail, or has one that is not listed,
is refused. How the trail is kept and read is in [audit.md](audit.md).

## Grammar

An event's name is `<subject>.<what happened>`, in lower case with hyphens. It is never given to something else, and
never changed. An event has the time at which it happened, `data`, and `private`:

- `data` is hashed and kept for ever. It holds ids, codes, fixed words, counts, times, names of systems and of staff. It
  never holds a patient datum, nor anything computed from one alone, nor free text.
- `private` is encrypted, and can be destroyed on the order of both authorities: everything about a patient, and what
  somebody typed in words of their own.

A record holds one event or several. It adds what is the same for all of them: its sequence number, the time at which
it was sealed, the installation (`system`), the process (`instance`), and, of an exchange, its id (`exchange`), the
client (`client`) and the client's message id (`client_message_id`).

A time in `data` is UTC microseconds since 1970. "Or null" means that the field is there all the same. Where a field of
`data` is so long that the record would not fit into a tile of the log, null stands for it and the field is in `moved`,
in the private part.

## Who did it

Each event that a person causes has an `actor`. It has all of these fields, and null for what is not known or does not
apply:

| Field | |
|---|---|
| `user_id` | the log-in name, or the User ID of a smartcard's holder; never null |
| `name` | the person's name |
| `role_profile` | the role selected for the session: a smartcard's User Role Profile, or a local role |
| `organisation` | the ODS code of the organisation for which the role is held |
| `authority` | the user id of the person on whose authority it is done, if that is another |
| `device` | the workstation or terminal |
| `account`, `uid` | the operating system's account that a command runs under |

Of a command, `user_id` is the account of whoever logged in, also behind `sudo` and `su` where the kernel keeps a log-in
uid.
"""


def document() -> str:
    """The page, in Markdown."""
    return "\n".join([_INTRODUCTION, *_not_yet(), *_sections()])


def _not_yet() -> Iterator[str]:
    yield "## What nothing writes yet\n"
    yield "These events are declared, and their fields settled, for parts of the product that are still to come.\n"
    planned: dict[str, list[EventType]] = {}
    for type_, kind in CATALOGUE.items():
        if kind.planned:
            planned.setdefault(kind.writer, []).append(type_)
    yield from (f"- For {writer}: {', '.join(f'`{type_}`' for type_ in types)}" for writer, types in planned.items())
    yield ""


def _sections() -> Iterator[str]:
    for subject, types in groupby(CATALOGUE, key=lambda type_: type_.partition(".")[0]):
        yield f"## {subject.capitalize()}\n"
        for type_ in types:
            yield from _section(type_, CATALOGUE[type_])


def _section(type_: EventType, kind: Kind) -> Iterator[str]:
    yield f"### {type_}\n"
    by = f"Nothing writes it yet; it is for {kind.writer}." if kind.planned else f"Written by {kind.writer}."
    yield f"{kind.meaning} {by}\n"
    rows = [
        f"| `{name}` | {where} | {meaning} |"
        for where, fields in (
            ("always", kind.needs),
            ("where it applies", kind.may),
            ("private, always", kind.private_needs),
            ("private, where it applies", kind.private_may),
        )
        for name, meaning in fields.items()
    ]
    if rows:
        yield "| Field | | |\n|---|---|---|"
        yield from rows
        yield ""


if __name__ == "__main__":
    sys.stdout.write(document())
