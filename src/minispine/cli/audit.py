"""`minispine audit events` and `audit search`: look at the events of the trail.

Looking at the trail is itself recorded in it, before anything is shown. Nothing here asks a question, and nothing holds
up a provider that serves from the same database.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from minispine.audit import reading, search
from minispine.audit.looking import looked
from minispine.audit.search import Query
from minispine.audit.vault import Vault
from minispine.cli.account import actor
from minispine.cli.audit_criteria import encode_line, nhs_number_in
from minispine.cli.errors import Exit, Mistaken
from minispine.cli.trail import CONFIG, now_us, opened
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
    from_: int = 1,
    to: int | None = None,
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
        from_: The first sequence number.
        to: The last sequence number.
    """
    for option, wanted in (("--exchange", exchange), ("--id", id_)):
        if wanted is not None and not wanted.strip():
            raise Mistaken(f"{option} is empty; leave it out to have every event")
    query = Query(
        exchange=exchange or (),
        identifier=id_ or (),
        patient=nhs_number_in(nhs_number_file) if nhs_number_file else (),
        first=from_,
        last=to,
    )
    shown = 0
    with opened(config, storage=storage, storage_password_file=storage_password_file, audit_keys=audit_keys) as trail:
        with trail.log() as log:
            record = looked(query, actor=actor(), command="audit events", at=now_us(), private_shown=private)
            before = log.append_now(record).sequence
        bounds = range(max(1, from_), before if to is None else min(to + 1, before))
        for event in _events(trail.database, trail.keys.vault(), query, bounds, private=private):
            sys.stdout.buffer.write(encode_line(event))
            shown += 1
    if not shown:
        print("minispine: no event meets that", file=sys.stderr)
    return Exit.DONE


def _events(
    database: Database, vault: Vault, query: Query, bounds: range, *, private: bool
) -> Iterator[dict[str, Any]]:
    if not (query.exchange or query.identifier or query.patient):
        yield from reading.events(database, first=bounds.start, last=bounds.stop - 1, vault=vault if private else None)
        return
    anywhere = Query(exchange=query.exchange, identifier=query.identifier, patient=query.patient)
    for exchange in search.exchanges(database, vault, anywhere, private=private):
        for record in exchange.records:
            if record.sequence in bounds:
                yield from reading.told(record)
