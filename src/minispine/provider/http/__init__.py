"""Sockets, TLS, ASGI and processes of the provider."""
