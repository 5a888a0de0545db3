"""What a question to a national service came to: ten kinds, each naming the event it stands for.

`event` is the key of the Spine-code table (``vocabulary/spine-codes.toml``), which gives the response code.
An `Outcome` never holds text that the national service wrote, only what the table's author wrote.
"""

import msgspec

from minispine.domain.patient import SpineRecord


class Found(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One person, with the record as received."""

    event: str
    record: SpineRecord


class Superseded(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The number asked about has been replaced; `nhs_number` is the replacement, None where Spine named none."""

    event: str
    nhs_number: str | None


class Invalidated(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The number exists but is no longer valid and has no replacement."""

    event: str


class NoMatch(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Nobody matches."""

    event: str


class SeveralMatches(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """More than one person matches."""

    event: str


class NotVerified(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The number exists but the demographics do not match it."""

    event: str


class InputRefused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The question itself is not acceptable to the national service."""

    event: str


class Unusable(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An answer came from which no safe reply can be made."""

    event: str


class Unavailable(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """No answer came: not reachable, timed out, or a fault that says try again."""

    event: str


class AuthorRefused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The national service refused the sender: author, system or access control."""

    event: str


Bare = NoMatch | SeveralMatches | NotVerified | Invalidated | InputRefused | Unusable | Unavailable | AuthorRefused
"""The kinds that say nothing but which event they stand for."""

Outcome = Found | Superseded | Bare

BARE_KINDS: dict[str, type[Bare]] = {
    "invalidated": Invalidated,
    "no-match": NoMatch,
    "several-matches": SeveralMatches,
    "not-verified": NotVerified,
    "input-refused": InputRefused,
    "unusable": Unusable,
    "unavailable": Unavailable,
    "author-refused": AuthorRefused,
}

KINDS: dict[str, type[Outcome]] = {"found": Found, "superseded": Superseded, **BARE_KINDS}
"""The names by which tables speak of the kinds."""

_NAMES: dict[type[Outcome], str] = {kind: name for name, kind in KINDS.items()}


def kind_of(outcome: Outcome) -> str:
    """Give the name by which tables and the audit trail speak of this outcome's kind."""
    return _NAMES[type(outcome)]
