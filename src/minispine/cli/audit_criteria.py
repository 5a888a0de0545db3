"""What the commands that read the trail share: which trail, which part of it, and that reading is recorded first."""

import datetime
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter

from minispine.audit.events import EventType
from minispine.audit.looking import looked
from minispine.audit.search import Query
from minispine.audit.words import UK
from minispine.cli.account import actor
from minispine.cli.errors import Mistaken
from minispine.cli.trail import CONFIG, OpenTrail, now_us, opened
from minispine.cli.values import unknown
from minispine.domain.nhs_number import is_valid

_DAY: Final = datetime.timedelta(days=1)

NhsNumberFile = Annotated[Path, Parameter(allow_leading_hyphen=True)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Place:
    """Which trail.

    Args:
        config: The provider's configuration, which says where the trail is.
        storage: Where the trail is, instead: sqlite:DIRECTORY or a PostgreSQL URL.
        storage_password_file: The file of the password that goes with --storage.
        audit_keys: The folder of the log's keys that goes with --storage.
    """

    config: Path = CONFIG
    storage: str | None = None
    storage_password_file: Path | None = None
    audit_keys: Path | None = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Criteria:
    """Which part of it. An option that is given several times is met by any of its values.

    Args:
        user: Who did it or is concerned: a log-in name, user code, User ID, role profile or audit identity.
        authority: On whose authority it was done, if that is another: a user id.
        nhs_number_file: About the patient whose NHS number is in this file (- for standard input); on a command line
            everybody on the machine could read it.
        id_: With this id: of a client's message, a Spine message, an exchange, a tracking id, an audit identity.
        organisation: Of this organisation: its ODS code.
        client: Of this client: the name of its registration.
        event: Of this type, such as exchange.replied: see docs/audit-events.md.
        outcome: With this outcome: a response code, a fault, the reason of a refusal.
        source: Answered from there: spine, cache or local.
        device: From this workstation or access point.
        item: About this item: the key of a registration, table or setting that was changed.
        from_: Recorded from this day on, in the United Kingdom, or from this time on, such as 2026-03-01T09:00:00Z.
        to: Recorded up to the end of this day, or before this time.
        first: From this sequence number on.
        last: Up to this sequence number.
    """

    user: tuple[str, ...] = ()
    authority: tuple[str, ...] = ()
    nhs_number_file: NhsNumberFile | None = None
    id_: tuple[str, ...] = ()
    organisation: tuple[str, ...] = ()
    client: tuple[str, ...] = ()
    event: tuple[str, ...] = ()
    outcome: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    device: tuple[str, ...] = ()
    item: tuple[str, ...] = ()
    from_: str | None = None
    to: str | None = None
    first: int = 1
    last: int | None = None

    def query(self) -> Query:
        """The query that was typed. Raises `Mistaken`."""
        check_ids(self.id_)
        for each in self.event:
            if each not in set(EventType):
                raise unknown("type of event", each, EventType)
        return query(
            user=self.user,
            authority=self.authority,
            patient=nhs_number_in(self.nhs_number_file) if self.nhs_number_file else (),
            identifier=self.id_,
            organisation=self.organisation,
            client=self.client,
            event=self.event,
            outcome=self.outcome,
            source=self.source,
            device=self.device,
            item=self.item,
            from_=read_moment(self.from_) if self.from_ else None,
            to=read_moment(self.to, end_of_day=True) if self.to else None,
            first=self.first,
            last=self.last,
        )


ANYWHERE: Final = Place()
ANYTHING: Final = Criteria()


@contextmanager
def recorded(
    place: Place,
    query: Query,
    *,
    command: str,
    private: bool,
    form: str | None = None,
    as_at: int | None = None,
) -> Iterator[tuple[OpenTrail, Query]]:
    """Open a trail to read it, once it is recorded that somebody does (IG-3.9.3 c).

    Gives the trail, and the query for what was recorded before that. Raises `AuditUnavailable` when it could not be
    recorded; then nothing may be shown.
    """
    with opened(
        place.config,
        storage=place.storage,
        storage_password_file=place.storage_password_file,
        audit_keys=place.audit_keys,
    ) as trail:
        entry = looked(
            query, actor=actor(), command=command, at=now_us(), private_shown=private, form=form, as_at=as_at
        )
        with trail.log() as log:
            last = log.append_now(entry).sequence - 1
        yield trail, msgspec.structs.replace(query, last=last if query.last is None else min(query.last, last))


def query(**conditions: object) -> Query:
    """A query for what was typed. Raises `Mistaken`."""
    try:
        return Query(**conditions)  # type: ignore[arg-type]
    except ValueError as error:
        raise Mistaken(str(error)) from None


def check_ids(ids: Iterable[str]) -> None:
    """Raise `Mistaken` for an NHS number, which everybody on the machine could read on a command line."""
    if any(is_valid(each.replace(" ", "").replace("-", "")) for each in ids):
        raise Mistaken("an NHS number belongs in a file: --nhs-number-file, or - for standard input")


def nhs_number_in(file: Path) -> str:
    """The NHS number that a file holds, or standard input for ``-``. Raises `Mistaken`, which does not quote it."""
    text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8", errors="replace")
    number = text.replace(" ", "").strip()
    if not is_valid(number):
        raise Mistaken(f"{'standard input' if str(file) == '-' else file}: this is not an NHS number")
    return number


def read_moment(text: str, *, end_of_day: bool = False) -> int:
    """A day in the United Kingdom, or a time with its offset, in UTC microseconds. Raises `Mistaken`.

    A day is its first moment, with `end_of_day` the first of the next. A time needs its offset, because in October one
    hour comes twice.
    """
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise Mistaken(f"{text!r} is not a day such as 2026-03-01 or a time such as 2026-03-01T09:00:00Z") from None
    if len(text) == 10:
        moment = moment.replace(tzinfo=UK)
    elif moment.tzinfo is None:
        raise Mistaken(f"{text!r} needs its offset: {text}Z in winter, {text}+01:00 in summer")
    try:
        end = moment + _DAY if len(text) == 10 and end_of_day else moment
        return round(end.timestamp() * 1_000_000)
    except OverflowError:
        raise Mistaken(f"{text!r} is further away than times go") from None
