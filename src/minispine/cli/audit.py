"""`minispine audit events` and `audit search`: look at the events of the trail.

Looking at the trail is itself recorded in it, before anything is shown. Nothing here asks a question, and nothing holds
up a provider that serves from the same database.
"""

import datetime
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from minispine.audit import reading, search
from minispine.audit.export.json_lines import encode_line
from minispine.audit.search import Page, Query
from minispine.audit.terms import patients_of
from minispine.audit.vault import Vault
from minispine.audit.words import organisation, result, uk_time, who
from minispine.cli.audit_criteria import (
    ANYTHING,
    ANYWHERE,
    Criteria,
    Place,
    check_ids,
    nhs_number_in,
    query,
    recorded,
)
from minispine.cli.errors import Exit, Mistaken
from minispine.cli.output import table
from minispine.cli.trail import CONFIG
from minispine.storage import Database


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
    first: int = 1,
    last: int | None = None,
) -> int:
    """Print the events of the audit trail in order, one JSON object a line.

    Given several conditions, it prints the exchanges that meet all of them, one after another; when nothing does it
    says so, with exit code 0. That it was asked, by whom and for what is recorded first, so the events printed are
    those before that record.

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
        first: From this sequence number on.
        last: Up to this sequence number.
    """
    for option, given in (("--exchange", exchange), ("--id", id_)):
        if given is not None and not given.strip():
            raise Mistaken(f"{option} is empty; leave it out to have every event")
    check_ids(() if id_ is None else (id_,))
    wanted = query(
        exchange=exchange or (),
        identifier=id_ or (),
        patient=nhs_number_in(nhs_number_file) if nhs_number_file else (),
        first=first,
        last=last,
    )
    place = Place(config=config, storage=storage, storage_password_file=storage_password_file, audit_keys=audit_keys)
    shown = 0
    with recorded(place, wanted, command="audit events", private=private) as (trail, before):
        for event in _events(trail.database, trail.keys.vault(), before, private=private):
            sys.stdout.buffer.write(encode_line(event))
            shown += 1
    if not shown:
        print("minispine: no event meets that", file=sys.stderr)
    return Exit.DONE


def search_(
    *,
    place: Place = ANYWHERE,
    criteria: Criteria = ANYTHING,
    whole_exchanges: bool = False,
    private: bool = False,
    newest_first: bool = False,
    limit: int = 100,
    after: int | None = None,
    format_: Literal["table", "jsonl"] | None = None,
) -> int:
    """Search the audit trail: a page of the records that meet every criterion, as a table or as JSON lines.

    A record has to meet all of it by itself; with --whole-exchanges the records of an exchange may meet it together,
    and all of them are shown. That it was asked, by whom and for what is recorded first. Where there is more, the last
    line on standard error says how to ask for it.

    Args:
        place: Which trail.
        criteria: Which part of it.
        whole_exchanges: Find exchanges, and show all of each.
        private: Show what is recorded about patients too.
        newest_first: Begin with the newest.
        limit: How many records, or exchanges, to show.
        after: Go on after the record that the page before ended with.
        format_: How to print it; by default a table on a terminal, and JSON lines elsewhere.
    """
    if limit < 1:
        raise Mistaken("--limit has to be 1 or more")
    wanted = criteria.query()
    options: dict[str, Any] = {"after": after, "newest_first": newest_first, "private": private}
    with recorded(place, wanted, command="audit search", private=private) as (trail, before):
        if whole_exchanges:
            page = _page(search.exchanges(trail.database, trail.keys.vault(), before, **options), limit)
        else:
            page = search.search(trail.database, trail.keys.vault(), before, limit=limit, **options)
    if format_ == "table" or (format_ is None and sys.stdout.isatty()):
        _print_table(page.events, private=private)
    else:
        for event in page.events:
            sys.stdout.buffer.write(encode_line(event))
    if page.after is not None:
        print(f"minispine: there is more; go on with --after {page.after}", file=sys.stderr)
    elif not page.events:
        hint = (
            ""
            if whole_exchanges or len(wanted.conditions) < 2
            else "; the records of an exchange may together, with --whole-exchanges"
        )
        print(f"minispine: no record meets that{hint}", file=sys.stderr)
    return Exit.DONE


def _events(database: Database, vault: Vault, wanted: Query, *, private: bool) -> Iterator[dict[str, Any]]:
    if not (wanted.exchange or wanted.identifier or wanted.patient):
        opening = vault if private else None
        yield from reading.events(database, first=wanted.first, last=wanted.last, vault=opening)
        return
    anywhere = Query(exchange=wanted.exchange, identifier=wanted.identifier, patient=wanted.patient)
    for exchange in search.exchanges(database, vault, anywhere, private=private):
        for record in exchange.records:
            if wanted.first <= record.sequence <= (wanted.last or 0):
                yield from reading.told(record)


def _page(found: Iterator[search.Exchange], limit: int) -> Page:
    some = list(islice(found, limit + 1))
    shown = (event for each in some[:limit] for record in each.records for event in reading.told(record))
    return Page(tuple(shown), some[limit - 1].found if len(some) > limit else None)


def _print_table(events: Iterable[dict[str, Any]], *, private: bool) -> None:
    columns = ["Record", "When", "Event", "Who", "Organisation", "Client", "Result", "Exchange"]
    rows = []
    for event in events:
        told = event["data"]
        at = datetime.datetime.fromisoformat(event["at"])
        row = [
            str(event["sequence"]),
            uk_time(round(at.timestamp() * 1_000_000)),
            event["type"],
            who(told),
            organisation(told),
            event["client"] or "",
            result(told),
            event["exchange"] or "",
        ]
        rows.append([*row, _patients(event)] if private else row)
    table([*columns, "Patient"] if private else columns, rows)


def _patients(event: dict[str, Any]) -> str:
    """Whom an event is about, or why that is no longer to be had."""
    for gone in ("removed", "archived", "missing"):
        if gone in event:
            return f"({gone}: {event[gone]})" if event[gone] is not True else f"({gone})"
    return ", ".join(sorted(patients_of((event["private"],))))
