"""The management endpoints, for loopback only: is it alive, is it ready and if not why, and the metrics."""

from collections.abc import Callable, Sequence

import msgspec

from minispine.observe.metrics import exposition
from minispine.provider.http.app import Receive, Scope, Send

Reasons = Callable[[], list[str]]
"""Gives the reasons why this part of the provider is not ready; none when it is."""


class ManagementApp:
    """ASGI for /live, /ready and /metrics.

    `checks` say what keeps the worker from serving, `warnings` what somebody should look at although it serves.
    """

    def __init__(self, checks: Sequence[Reasons], warnings: Sequence[Reasons]) -> None:
        self._checks = checks
        self._warnings = warnings

    def reasons(self) -> list[str]:
        """Everything that keeps this worker from serving."""
        return [reason for check in self._checks for reason in check()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        status, content_type, body = 404, "text/plain; charset=utf-8", b"/live, /ready or /metrics\n"
        if scope["method"] not in ("GET", "HEAD"):
            status = 405
        elif scope["path"] == "/live":
            status, content_type, body = 200, "application/json", b'{"live":true}'
        elif scope["path"] == "/ready":
            reasons = self.reasons()
            status, content_type = (503 if reasons else 200), "application/json"
            warnings = [warning for check in self._warnings for warning in check()]
            body = msgspec.json.encode({"ready": not reasons, "reasons": reasons, "warnings": warnings})
        elif scope["path"] == "/metrics":
            body, content_type = exposition()
            status = 200
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
