"""Application log lines: one table of events, each with a fixed text and the values it may carry.

Nothing but a member of `LogEvent` with its declared fields can be logged, so a message's content cannot reach the log
by accident (Law 8). Lines are JSON on stdout. What libraries log is reduced to who logged and how badly.
"""

import contextlib
import datetime
import logging
import sys
import traceback
from enum import Enum
from typing import Any, Final, Literal, TextIO

import msgspec

Level = Literal["debug", "info", "warning", "error"]

_ORDER: Final[dict[Level, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class LogEvent(Enum):
    """Every line the product can log: reference, level, text, and the names of the values that go with it."""

    PROVIDER_STARTING = ("MS0001", "info", "provider starting", ("version", "workers", "config"))
    PROVIDER_LISTENING = ("MS0002", "info", "listening", ("listener", "host", "port"))
    PROVIDER_STOPPING = ("MS0003", "info", "stopping: waiting for requests being served", ("drain_s",))
    PROVIDER_STOPPED = ("MS0004", "info", "stopped", ("unfinished",))
    WORKER_STARTED = ("MS0010", "info", "worker started", ("worker", "pid"))
    WORKER_DIED = ("MS0011", "error", "worker died and is being replaced", ("worker", "pid", "status"))
    WORKER_GIVEN_UP = ("MS0012", "error", "a worker cannot start: giving up", ("worker", "status"))
    WORKER_WITHOUT_STORE = (
        "MS0015",
        "error",
        "a worker cannot start while the database is away: it will be started again",
        ("worker", "again_s"),
    )
    WORKER_READY = ("MS0013", "info", "worker ready", ("worker", "pid"))
    ORPHANS_CLOSED = ("MS0014", "warning", "exchanges left open by a dead process were closed as unknown", ("count",))
    RELOADED = ("MS0020", "info", "certificates were read again", ("worker",))
    RELOAD_REFUSED = ("MS0021", "error", "what was read again is not usable: the old stays in force", ("reason",))
    REGISTRY_TAKEN = ("MS0022", "info", "a new version of the registry is in force", ("version",))
    REGISTRY_REFUSED = (
        "MS0023",
        "error",
        "the registry holds a document that cannot be used: the old version stays in force",
        ("version", "document", "reason"),
    )
    CONFIGURATION_READ = ("MS0025", "info", "the configuration was read again", ("taken", "need_a_restart"))
    REGISTRY_UNREADABLE = ("MS0024", "error", "the registry cannot be read", ("reason",))
    AUDIT_UNAVAILABLE = ("MS0030", "error", "the audit log cannot be written: requests get a retryable fault", ())
    AUDIT_RESUMED = ("MS0031", "info", "the audit log can be written again", ())
    SPINE_BREAKER = ("MS0040", "warning", "the breaker of a national service changed", ("service", "state"))
    CLOCK_NOT_RIGHT = (
        "MS0050",
        "warning",
        "the clock is not known to be right",
        ("state", "stratum", "offset_us", "why"),
    )
    CLOCK_RIGHT = ("MS0051", "info", "the clock is right", ("stratum", "offset_us"))
    WITNESS_FAILS = (
        "MS0060",
        "warning",
        "a recipient of the audit log's checkpoints did not take one",
        ("recipient", "reason"),
    )
    WITNESS_RESUMED = ("MS0061", "info", "a recipient takes checkpoints again", ("recipient",))
    WITNESS_CONFLICT = (
        "MS0062",
        "error",
        "the audit log does not extend what a recipient of its checkpoints has seen: it was rewritten",
        ("recipient", "reason"),
    )
    CHECKPOINT_REFUSED = ("MS0063", "error", "no checkpoint of the audit log is signed any more", ("reason",))
    CHECKPOINTS_RESUMED = ("MS0064", "info", "checkpoints of the audit log are signed again", ())
    INDEX_BROKEN = ("MS0065", "error", "the index of the audit trail has to be made anew", ())
    ROOM_LOW = ("MS0070", "warning", "the disk of the audit log fills up", ("place", "free_percent"))
    ROOM_NONE = (
        "MS0071",
        "error",
        "the disk of the audit log is nearly full: requests get a retryable fault",
        ("place", "free_percent"),
    )
    ROOM_ENOUGH = ("MS0072", "info", "there is room for the audit log again", ("place", "free_percent"))
    DEFECT = ("MS0090", "error", "a defect of our own", ("reference", "exception", "where"))
    LIBRARY = ("MS0091", "warning", "a library reported a problem", ("logger", "severity", "exception"))

    def __init__(self, reference: str, level: Level, text: str, fields: tuple[str, ...]) -> None:
        self.reference = reference
        self.level: Level = level
        self.text = text
        self.fields = frozenset(fields)


_threshold = _ORDER["info"]
_stream: TextIO | None = None


def configure(level: Level, stream: TextIO | None = None) -> None:
    """Set the least level that is written, and another stream than stdout; libraries go through `LogEvent.LIBRARY`."""
    global _threshold, _stream
    _threshold = _ORDER[level]
    _stream = stream
    logging.root.handlers[:] = [_LibraryHandler(logging.WARNING)]
    logging.root.setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "aiohttp", "asyncio"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.WARNING)


def log(event: LogEvent, **values: str | int | float | None) -> None:
    """Write one line. Where it cannot be written it is lost: nothing that the product does may depend on its log.

    Raises:
        ValueError: a value that the event does not declare.
    """
    if not event.fields.issuperset(values):
        raise ValueError(f"{event.name} does not carry {sorted(set(values) - event.fields)}")
    if _ORDER[event.level] < _threshold:
        return
    line: dict[str, Any] = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": event.level,
        "ref": event.reference,
        "event": event.text,
        **values,
    }
    text = msgspec.json.encode(line).decode() + "\n"
    stream = _stream or sys.stdout
    with contextlib.suppress(OSError, ValueError):  # a full disk, a reader that has gone, a stream that was closed
        stream.write(text)
        stream.flush()


def where(error: BaseException) -> str:
    """Say where an exception came from: our own files, lines and functions, never its message or any value."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "minispine" in f.filename]
    return " < ".join(f"{f.filename.rpartition('minispine/')[2]}:{f.lineno} {f.name}" for f in reversed(frames[-6:]))


class _LibraryHandler(logging.Handler):
    """Says that a library complained, without its words: they could quote a message."""

    def emit(self, record: logging.LogRecord) -> None:
        exception = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        log(LogEvent.LIBRARY, logger=record.name, severity=record.levelname.lower(), exception=exception)
