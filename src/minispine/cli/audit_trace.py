"""`minispine audit trace`: everything that was done in an exchange, from any id that occurs in it."""

import re
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from minispine.audit import search
from minispine.audit.events import Body
from minispine.audit.reading import Record, bodies
from minispine.audit.search import Exchange
from minispine.audit.tracing import steps
from minispine.audit.words import uk_time
from minispine.cli.audit_criteria import ANYWHERE, NhsNumberFile, Place, check_ids, nhs_number_in, query, recorded
from minispine.cli.errors import Exit, Mistaken
from minispine.cli.output import plain
from minispine.cli.trail import OpenTrail
from minispine.keys.files import write_secret

_HERE: Final = Path("-")


def trace(
    id_: str | None = None,
    /,
    *,
    place: Place = ANYWHERE,
    nhs_number_file: NhsNumberFile | None = None,
    bodies_: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
) -> int:
    """Show every exchange in which an id occurs, step by step: received, asked, answered, replied.

    The id can be that of the client's message, of a message to Spine or its answer, of an exchange, a tracking id or an
    audit identity. What is awaited still, or was when a process died, stands at the end. That it was asked, by whom and
    for what is recorded first. Exit code 1 when nothing has that id.

    Args:
        id_: The id.
        place: Which trail.
        nhs_number_file: Instead of an id: every exchange about the patient whose NHS number is in this file (- for
            standard input).
        bodies_: Write the messages out as they were on the wire: to files in this folder, or here with -.
    """
    if (id_ is None) == (nhs_number_file is None):
        raise Mistaken("name either an id, or --nhs-number-file")
    check_ids(() if id_ is None else (id_,))
    wanted = query(identifier=id_ or (), patient=nhs_number_in(nhs_number_file) if nhs_number_file else ())
    if bodies_ is not None and bodies_ != _HERE:
        bodies_.mkdir(mode=0o700, parents=True, exist_ok=True)
    shown = 0
    with recorded(place, wanted, command="audit trace", private=bodies_ is not None) as (trail, before):
        for exchange in search.exchanges(trail.database, trail.keys.vault(), before, private=bodies_ is not None):
            if shown:
                print()
            _print(exchange)
            if bodies_ is not None:
                for record in exchange.records:
                    _write_out(trail, record, bodies_)
            shown += 1
    if not shown:
        print("nothing has that id" if id_ is not None else "nothing is about that patient")
        return Exit.FAILED
    return Exit.DONE


def _print(exchange: Exchange) -> None:
    first = exchange.records[0]
    name = f"exchange {first.exchange}" if first.exchange is not None else f"record {first.sequence}, of no exchange"
    print(plain(", ".join([name] + ([f"client {first.client}"] if first.client else []))))
    if first.client_message_id:
        print(plain(f"message of the client {first.client_message_id}"))
    if first.repeats:
        print(f"repeats the message of exchange {first.repeats}")
    for step in steps(exchange):
        when = uk_time(step.at, fraction=6) if step.at is not None else ""
        place = f"record {step.sequence}" if step.sequence is not None else ""
        print(f"  {when:33}  {place:14}  {step.act:11}  {plain(step.text)}")


def _write_out(trail: OpenTrail, record: Record, folder: Path) -> None:
    if record.absent is not None:
        said = f"{record.absent.why}, {record.absent.reference}" if record.absent.reference else record.absent.why
        print(f"  record {record.sequence}: its messages are not here ({plain(said)})")
    for body in bodies(trail.database, record.sequence, trail.keys.vault()):
        cut = f", the beginning of {body.cut.length} with SHA-256 {body.cut.digest.hex()}" if body.cut else ""
        if folder == _HERE:
            print(f"\n── record {record.sequence}, {body.name}: {len(body.content)} bytes{cut}")
            print(plain(body.content.decode("utf-8", "backslashreplace"), keep="\n\t"))
        else:
            print(f"  {_file(folder, record.sequence, body)}: {len(body.content)} bytes{cut}")


def _file(folder: Path, sequence: int, body: Body) -> Path:
    file = folder / f"{sequence:09d}-{re.sub(r'[^a-z0-9-]', '_', body.name)}.xml"
    write_secret(file, body.content)  # in the place of whatever has that name, never through it
    return file
