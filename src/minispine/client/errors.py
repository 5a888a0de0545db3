"""What can go wrong with a call: the caller's mistake, of which nothing was sent, or the other side's trouble.

A business answer that is no success ("No Match") is an answer, not an error. No text here holds what was asked.
"""

from minispine.wire.soap import Fault


class ClientError(Exception):
    """Anything that keeps a call from being answered."""


class RequestNotSent(ClientError):
    """The caller's mistake; nothing left this process."""


class RequestInvalid(RequestNotSent):
    """A parameter cannot be carried by the operation; `field` is the interface's name of it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field
        self.reason = reason


class IdentityIncomplete(RequestNotSent):
    """There is no audit identity, or not a whole one, and without it nothing may be asked (MSCA-AUD-04 a, d)."""


class ProviderTrouble(ClientError):
    """The provider could not be asked, or did not answer as it should."""


class ConnectionFailed(ProviderTrouble):
    """No connection, or it ended before the answer did. The text is a fixed phrase."""


class TimedOut(ProviderTrouble):
    """No whole answer came in the time allowed. The provider may have asked Spine all the same."""


class Busy(ProviderTrouble):
    """The busy tone (HTTP 503): ask again after `retry_after_s` seconds, None where the provider named no time."""

    def __init__(self, retry_after_s: float | None) -> None:
        super().__init__("the provider is busy")
        self.retry_after_s = retry_after_s


class FaultReceived(ProviderTrouble):
    """The provider answered with a SOAP fault: a technical error, `fault` (SMSP-ERR-001)."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"fault {fault.code or fault.kind}")
        self.fault = fault


class AnswerUnusable(ProviderTrouble):
    """What came back is not an answer to what was asked. The text is a fixed phrase."""
