"""An event of each type as the catalogue wants it: what a test does not say itself is made up."""

from typing import Any

from minispine.audit.actor import Actor
from minispine.audit.catalogue import CATALOGUE, Fields
from minispine.audit.events import Event, EventType

AT = 1_790_000_000_000_000
ACTOR = Actor(
    user_id="ward.clerk",
    name="Clare Clerk",
    role_profile="S0080:G0450:R5080",
    organisation="RXX",
    authority="dr.doctor",
    device="WS-17",
    account="clerk",
    uid=1001,
)


def sample(type_: EventType, *, at: int = AT, private: dict[str, Any] | None = None, **data: Any) -> Event:
    """An event with every field that its type needs, those of the test among them."""
    kind = CATALOGUE[type_]
    return Event(
        type=type_, at=at, data=_made_up(kind.needs) | data, private=_made_up(kind.private_needs) | (private or {})
    )


def full_sample(type_: EventType) -> Event:
    """An event with every field that is declared for its type."""
    kind = CATALOGUE[type_]
    return sample(type_, private=_made_up(kind.private_may), **_made_up(kind.may))


def _made_up(fields: Fields) -> dict[str, Any]:
    return {name: ACTOR.as_data() if name == "actor" else f"some {name}" for name in fields}
