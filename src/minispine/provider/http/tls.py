"""TLS for client systems: our certificate, whose certificates are accepted, and taking new files without a restart.

A client's certificate is optional at TLS and required by `provider/http/gate.py`, so that a caller without one gets a
readable fault and leaves a record. Revocation and expiry are checked there for each request, not only at a handshake.
"""

import ssl
from typing import Any

from minispine.config.settings import Machines
from minispine.keys.files import KeyFileRefused
from minispine.keys.tls import load_own_certificate


class ReloadableContext(ssl.SSLContext):
    """A server context that makes every new connection with the context in force at that moment.

    Replacing the whole context, instead of loading files into it again, is what lets an authority be taken away.
    Connections that are open keep what they were made with.
    """

    in_force: ssl.SSLContext

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Begin a connection with the context in force."""
        return self.in_force.wrap_bio(*args, **kwargs)


def server_context(machines: Machines) -> ssl.SSLContext:
    """Build the context for the listener of client systems from the files as they are now.

    Raises:
        KeyFileRefused: a file is missing or not what it should be, or a key can be read by others.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_own_certificate(context, machines.certificate, machines.key, machines.key_password_file)
    try:
        context.load_verify_locations(machines.client_ca)
    except (OSError, ssl.SSLError):
        raise KeyFileRefused(machines.client_ca, "is not a readable PEM file of certificates") from None
    context.verify_mode = ssl.CERT_OPTIONAL
    # A resumed session would skip the check against the authorities as they are now.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    return context


def reloadable(context: ssl.SSLContext) -> ReloadableContext:
    """Wrap a first context so that later ones can take its place."""
    outer = ReloadableContext(ssl.PROTOCOL_TLS_SERVER)
    outer.in_force = context
    return outer
