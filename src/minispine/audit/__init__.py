"""The append-only log of everything that happened: events, the writer, and reading it back.

Both products use it. What may be in the hashed part of a record and what only in its payload is said in
``audit/events.py``. The rest of the product sees `AuditLog.append` and the reading functions, nothing of storage.
"""
