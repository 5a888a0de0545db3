"""A witness that is a syslog server: each checkpoint is one message (RFC 5424) over TLS (RFC 5425).

The protocol has no answer, so this witness never says whether the log extends what it saw: whoever verifies has to
take the note out of a message there and give it to ``minispine audit verify``. The note is the text of the message, its
lines ended by newlines, which some servers write down as ``#012``.

Each step has the time-out for all of it, and there are few: the handshake is one, however slowly a server drips it.
"""

import contextlib
import datetime
import os
import socket
import ssl
from typing import Final

from minispine.audit.checkpointing import StoredCheckpoint
from minispine.audit.witnesses.recipient import Offer, Unreachable
from minispine.audit.witnesses.tls import context_for, in_our_words
from minispine.config.settings import SyslogWitness

_PRIORITY: Final = 13 * 8 + 5
"""Facility 13, log audit; severity 5, notice."""
_UTF_8_MARK: Final = b"\xef\xbb\xbf"


class SyslogRecipient:
    """A syslog server that is sent every checkpoint, each on a connection of its own.

    `turned_down_within_s` is how long a server has to turn the connection down after the message.
    """

    def __init__(self, settings: SyslogWitness, *, turned_down_within_s: float = 1.0) -> None:
        self.name: Final = settings.name
        self.called: Final = f"witness {settings.name}"
        self._settings = settings
        self._turned_down_within_s = turned_down_within_s

    def take(self, offer: Offer) -> str:
        """See `Recipient.take`. A message counts as taken when the server has not turned the connection down."""
        settings = self._settings
        context = context_for(settings.ca, settings.certificate, settings.key, settings.key_password_file)
        message = _framed(_message(offer.stored))
        try:
            with (
                socket.create_connection((settings.host, settings.port), settings.timeout_s) as line,
                context.wrap_socket(line, server_hostname=settings.host) as secured,
            ):
                secured.sendall(message)
                self._await_refusal(secured)
                # A server that closes without a farewell, after ours, has still read all.
                with contextlib.suppress(ssl.SSLEOFError):
                    secured.unwrap()
        except (OSError, UnicodeError) as error:
            raise in_our_words(error) from None
        return offer.stored.note

    def _await_refusal(self, line: ssl.SSLSocket) -> None:
        """Raise if the server turns us down: with TLS 1.3 it does so after the handshake, over our certificate say."""
        line.settimeout(min(self._turned_down_within_s, self._settings.timeout_s))
        try:
            said = line.recv(1)
        except TimeoutError:
            line.settimeout(self._settings.timeout_s)
            return
        raise Unreachable("it says what no syslog server says" if said else "it closed the connection at once")


def _message(stored: StoredCheckpoint) -> bytes:
    at = datetime.datetime.fromtimestamp(stored.at / 1_000_000, datetime.UTC)
    time = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    header = f"<{_PRIORITY}>1 {time} {_hostname()} minispine {os.getpid()} checkpoint - "
    return header.encode("ascii") + _UTF_8_MARK + stored.note.encode()


def _framed(message: bytes) -> bytes:
    """A message after its length in bytes (RFC 5425, section 4.3)."""
    return b"%d %b" % (len(message), message)


def _hostname() -> str:
    """This machine's name in printable ASCII, as a header wants it; a hyphen where there is none."""
    name = "".join(c for c in os.uname().nodename if "!" <= c <= "~")
    return name[:255] or "-"
