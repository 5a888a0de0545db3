"""Who runs a command, as the audit trail names them: the operating system's account, and who logged in to get it."""

import os
import pwd
from pathlib import Path
from typing import Any, Final

from minispine.audit.actor import Actor

_LOGIN_UID: Final = Path("/proc/self/loginuid")
_NOBODY: Final = 2**32 - 1
"""What the kernel gives as the login uid of a process that nobody logged in for."""


def actor() -> dict[str, Any]:
    """Give the `Actor` behind this command, as it stands in an event."""
    return account().as_data()


def account() -> Actor:
    """Find out who is behind this process.

    `user_id` is the account of whoever logged in, which Linux remembers through sudo and su, else that of the process.
    `account` and `uid` are those under which it runs; an account without a name is called by its number.
    """
    uid = os.getuid()
    login_uid = _login_uid()
    person = uid if login_uid is None else login_uid
    return Actor(
        user_id=_account_name(person) or str(person),
        name=_person_name(person),
        device=_device(),
        account=_account_name(uid),
        uid=uid,
    )


def _login_uid() -> int | None:
    try:
        login_uid = int(_LOGIN_UID.read_text("ascii"))
    except (OSError, ValueError):
        return None
    return None if login_uid == _NOBODY else login_uid


def _account_name(uid: int) -> str | None:
    try:
        return _text(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return None


def _person_name(uid: int) -> str | None:
    """The full name in the account's entry: what stands before the first comma of its comment."""
    try:
        return _text(pwd.getpwuid(uid).pw_gecos.partition(",")[0].strip()) or None
    except KeyError:
        return None


def _device() -> str:
    """This machine's name, and the terminal where there is one."""
    machine = _text(os.uname().nodename)
    for stream in range(3):
        try:
            return f"{machine} {_text(os.ttyname(stream))}"
        except OSError:
            continue
    return machine


def _text(found: str) -> str:
    """What the system says, as text that can be recorded: bytes that are not UTF-8 become question marks."""
    return found.encode("utf-8", "replace").decode()
