"""Who runs a command, as the audit trail names them."""

import os
import pwd
from typing import Any


def actor() -> dict[str, Any]:
    """Give the operating system's account: its name, None where it has none, and its number."""
    uid = os.getuid()
    try:
        return {"account": pwd.getpwuid(uid).pw_name, "uid": uid}
    except KeyError:
        return {"account": None, "uid": uid}
