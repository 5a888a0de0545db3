"""The way out: ports to the national services, and an adapter package for each technology.

Whatever an HTTP library, TLS or the XML reader raises ends here: callers get an Outcome.
"""
