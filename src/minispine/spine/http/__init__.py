"""The one HTTP client for calls to national services: one endpoint, mutual TLS, bytes out and bytes back.

What it holds to: only the authorities configured for the endpoint are trusted; a certificate on a configured
revocation list is refused; a certificate that names its host by CN alone is refused unless the host is listed; the
environment names no proxy; redirects are not followed; an answer may not be larger than allowed. What fails comes out
as one of the few exceptions of `failures`, whose texts are fixed: no address, header or body is in them, nor the
library's own exception behind them. Retries, breakers and what an answer means are not here.

`endpoint` is where the service is and whom it is trusted by, `client` keeps connections and puts calls on them,
`connection` is HTTP/1.1 on one of them, `tunnel` the way through a proxy.
"""

from minispine.spine.http.client import HttpClient
from minispine.spine.http.endpoint import MAX_ANSWER_BYTES, Endpoint, EndpointInvalid
from minispine.spine.http.failures import (
    HttpAnswer,
    Interrupted,
    TimedOut,
    TooLarge,
    TransportFailure,
    Unreachable,
)

__all__ = [
    "MAX_ANSWER_BYTES",
    "Endpoint",
    "EndpointInvalid",
    "HttpAnswer",
    "HttpClient",
    "Interrupted",
    "TimedOut",
    "TooLarge",
    "TransportFailure",
    "Unreachable",
]
