"""What a supervisor tells a worker: the settings to serve with, which it alone reads and checks.

Each worker has a socket to the supervisor. The first message on it is what the worker starts with, each later one what
the supervisor has read again since; its end means that the supervisor is gone. So no worker, nor one that takes the
place of another, ever reads a file that was not checked.
"""

import socket
from pathlib import Path
from typing import Final

import msgspec

from minispine.config import Settings, decode, encode

_MOST_BYTES: Final = 1024 * 1024


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """Settings to serve with, and what they were read from.

    `sha256` is the digest, in hex, of the file as it was read, and `need_a_restart` names the keys by which that file
    differs from `settings` because they are not taken while running.
    """

    settings: Settings
    file: Path
    sha256: str
    need_a_restart: tuple[str, ...] = ()


def line() -> tuple[socket.socket, socket.socket]:
    """Make the supervisor's end and the worker's end of a socket; each message on it arrives whole or not at all."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs


def tell(ours: socket.socket, handover: Handover) -> None:
    """Send a message without waiting.

    Raises:
        OSError: the worker is gone (BrokenPipeError, ConnectionError), or has not listened for long (BlockingIOError).
    """
    ours.send(encode(handover))


def told(theirs: socket.socket) -> Handover | None:
    """Receive the next message; None means that the supervisor is gone."""
    try:
        message = theirs.recv(_MOST_BYTES)
    except ConnectionError:
        return None
    return decode(message, Handover) if message else None
