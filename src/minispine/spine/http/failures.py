"""What comes of a call: a whole answer, or one of the few ways to fail."""

import msgspec


class HttpAnswer(msgspec.Struct, frozen=True):
    """A whole answer of any status, its body as it was on the wire."""

    status: int
    body: bytes


class TransportFailure(Exception):
    """No whole answer came. The text is a fixed phrase."""


class Unreachable(TransportFailure):
    """No connection, or it ended before an answer began: asking again is safe."""


class TimedOut(TransportFailure):
    """The time allowed was over first."""


class Interrupted(TransportFailure):
    """The connection ended in the middle of an answer, or what came is no answer."""


class TooLarge(TransportFailure):
    """The answer is larger than allowed."""
