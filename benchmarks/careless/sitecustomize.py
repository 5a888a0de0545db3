"""Switches flushing off in every process that has this folder on its PYTHONPATH; nothing in the product can do that.

Python imports a module of this name at its start. It is how the power-cut drill sees that it would notice a lost flush.
"""

from minispine.storage.database import Session

_begin = Session.begin


def _begin_carelessly(session: Session) -> None:
    """Begin a transaction whose commit waits for no disk."""
    if session.kind == "sqlite":
        session.run("PRAGMA synchronous = OFF")
        _begin(session)
    else:
        _begin(session)
        session.run("SET LOCAL synchronous_commit = off")


Session.begin = _begin_carelessly  # type: ignore[method-assign,assignment]
