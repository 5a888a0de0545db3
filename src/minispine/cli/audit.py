"""`minispine audit`: read the trail.

Looking at the trail is itself recorded in it, before anything is shown. Nothing here asks a question, and nothing holds
up a provider that serves from the same database.
"""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from minispine.audit import reading
from minispine.audit.encoding import encode_json
from minispine.audit.events import Entry, Event, EventType
from minispine.cli.account import actor
from minispine.cli.errors import Exit, Mistaken
from minispine.cli.trail import CONFIG, now_us, opened
from minispine.domain.nhs_number import is_valid


def events(
    *,
    config: Path = CONFIG,
    storage: str | None = None,
    storage_password_file: Path | None = None,
    audit_keys: Path | None = None,
    private: bool = False,
    exchange: str | None = None,
    id_: str | None = None,
    nhs_number_file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    from_: int = 1,
    to: int | None = None,
) -> int:
    """Print the events of the audit trail in order, one JSON object a line.

    Given several conditions, it prints what meets all of them; when nothing does it says so, with exit code 0. That it
    was asked, by whom and for what is recorded first, so the events printed are those before that record.

    Args:
        config: The provider's configuration, which says where the trail is.
        storage: Where the trail is, instead: sqlite:DIRECTORY or a PostgreSQL URL.
        storage_password_file: The file of the password that goes with --storage.
        audit_keys: The folder of the log's keys that goes with --storage.
        private: Print what is recorded about patients too.
        exchange: Only the events of this exchange.
        id_: Only exchanges in which this id occurs: of a client's message, a Spine message, a tracking id, an audit
            identity.
        nhs_number_file: Only exchanges about the patient whose NHS number is in this file (- for standard input); on
            a command line everybody on the machine could read it.
        from_: The first sequence number.
        to: The last sequence number.
    """
    for option, wanted in (("--exchange", exchange), ("--id", id_)):
        if wanted is not None and not wanted.strip():
            raise Mistaken(f"{option} is empty; leave it out to have every event")
    nhs_number = _nhs_number(nhs_number_file) if nhs_number_file else None
    shown = 0
    with opened(config, storage=storage, storage_password_file=storage_password_file, audit_keys=audit_keys) as trail:
        with trail.log() as log:
            read_at = log.append_now(
                _reading(
                    first=from_, last=to, private=private, exchange=exchange, identifier=id_, nhs_number=nhs_number
                )
            )
        last = read_at.sequence - 1
        for event in reading.events(
            trail.database,
            first=from_,
            last=last if to is None else min(to, last),
            exchange=exchange,
            identifier=id_,
            nhs_number=nhs_number,
            vault=trail.keys.vault() if private or nhs_number else None,
        ):
            sys.stdout.buffer.write(encode_line(event))
            shown += 1
    if not shown:
        print("minispine: no event meets that", file=sys.stderr)
    return Exit.DONE


def encode_line(event: dict[str, object]) -> bytes:
    """One event as a line of JSON, its keys in the order that `reading.events` gives them."""
    return b"{%b}\n" % b",".join(b"%b:%b" % (encode_json(key), encode_json(value)) for key, value in event.items())


def _reading(
    *,
    first: int,
    last: int | None,
    private: bool,
    exchange: str | None,
    identifier: str | None,
    nhs_number: str | None,
) -> Entry:
    """The record that somebody reads the trail: who and how in the open, what was typed in the private part."""
    typed = {"exchange": exchange, "identifier": identifier, "nhs_number": nhs_number}
    criteria = {name: value for name, value in typed.items() if value is not None}
    told = {
        "actor": actor(),
        "command": "audit events",
        "criteria": sorted(criteria),
        "first": first,
        "last": last,
        "private_shown": private,
    }
    return Entry(events=(Event(type=EventType.AUDIT_READ, at=now_us(), data=told, private=criteria),))


def _nhs_number(file: Path) -> str:
    text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8", errors="replace")
    number = text.replace(" ", "").strip()
    if not is_valid(number):
        raise Mistaken(f"{'standard input' if str(file) == '-' else file}: this is not an NHS number")
    return number
