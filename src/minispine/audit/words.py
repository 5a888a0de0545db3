"""What an event says in a few words, for lists that people read: who, of which organisation, to what result, when.

Only the open part of an event is looked at, so nothing of a patient comes out of here.
"""

import datetime
from collections.abc import Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

UK: Final = ZoneInfo("Europe/London")
_RESULTS: Final = ("code", "fault", "outcome", "reason", "state", "cause")


def uk_time(us: int, *, fraction: int = 3) -> str:
    """UTC microseconds as people in the United Kingdom read them, with the offset: 2026-10-25 01:30:00.000 +01:00."""
    moment = datetime.datetime.fromtimestamp(us // 1_000_000, UK)
    offset = f"{moment:%z}"
    rest = f".{us % 1_000_000:06d}"[: fraction + 1] if fraction else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{rest} {offset[:3]}:{offset[3:]}"


def who(data: Mapping[str, Any]) -> str:
    """Who did it, as far as the event's `data` says so: a person, the audit identity of a caller, a function."""
    if actor := data.get("actor"):
        return named(actor["user_id"], actor.get("name"))
    if author := data.get("author"):
        return f"{author['user_id']} (role profile {author['role_profile_id']})"
    if code := data.get("user_code") or data.get("function"):
        return str(code)
    if identities := data.get("audit_identity"):
        return ", ".join(each["uri"] for each in identities)
    return named(data["user"], data.get("user_name")) if data.get("user") else ""


def named(user_id: str, name: str | None) -> str:
    """A person by name and user id."""
    return f"{name} ({user_id})" if name else user_id


def organisation(data: Mapping[str, Any]) -> str:
    """The organisation for which it was done."""
    return str(data.get("organisation") or (data.get("actor") or {}).get("organisation") or "")


def result(data: Mapping[str, Any]) -> str:
    """What came of it: a response code, a fault, an outcome, a reason."""
    return next((str(data[name]) for name in _RESULTS if data.get(name)), "")
