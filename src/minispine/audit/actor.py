"""Who did it: the person behind an event, as every event that a person causes names them.

Here is what is said of a person. How it is found out, from a session or from the operating system's account, is the
business of whoever makes the event. Names of staff are no patient data, so an actor stands in the hashed part.
"""

from typing import Any, Final

import msgspec


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """A person who acts (IG-3.9.4 a, b, g; SMSP-AUDIT-009 a). What is not known, or does not apply, is None.

    `role_profile` and `organisation` are those selected for the session in which it is done, not all that the person
    has. A command has no session: it gives the `account` of the operating system that it runs under, with its `uid`.
    """

    user_id: str
    """The log-in name, or the national User ID of a smartcard's holder."""
    name: str | None = None
    role_profile: str | None = None
    """The User Role Profile of a smartcard's holder, or the role that a local user has taken up."""
    organisation: str | None = None
    """The ODS code of the organisation for which the role is held."""
    authority: str | None = None
    """The user id of the person on whose authority it is done, if that is another."""
    device: str | None = None
    """The workstation or terminal."""
    account: str | None = None
    uid: int | None = None

    def as_data(self) -> dict[str, Any]:
        """The JSON object that stands as `actor` in an event's data: always all of the fields, null for None."""
        return {field: getattr(self, field) for field in ACTOR_FIELDS}


ACTOR_FIELDS: Final = Actor.__struct_fields__
