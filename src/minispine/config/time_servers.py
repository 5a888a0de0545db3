"""How a time server is written in the settings: a host, or a host and a port."""

from typing import Final
from urllib.parse import urlsplit

NTP_PORT: Final = 123


def time_server(text: str) -> tuple[str, int]:
    """Read ``time.example.nhs.uk``, ``10.0.0.1:1123`` or ``[2001:db8::1]:123``; without a port it is 123.

    Raises:
        ValueError: it is not written like that.
    """
    parts = urlsplit(f"//{text}")
    host, port = parts.hostname, parts.port
    plain = text.isprintable() and text.isascii() and " " not in text and parts.netloc == text and "@" not in text
    if not plain or not host or port == 0 or text.endswith(":"):
        raise ValueError("is not HOST or HOST:PORT")
    return host, NTP_PORT if port is None else port
