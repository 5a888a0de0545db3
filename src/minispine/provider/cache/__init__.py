"""What is kept of Spine's answers, so that Spine need not be asked again at once, and answers while it is away.

The invariant: **the cache never tells a caller what Spine would not.** What that means rule by rule, how long anything
is kept and why is in docs/caching.md; which rules are in force is a table (``vocabulary/cache_rules.py``).

| Module | Has |
|---|---|
| `lessons.py` | what an answer of Spine means for what is kept; pure |
| `keys.py` | finding an entry without naming anybody, and encrypting it; no I/O |
| `entries.py` | the table, in short transactions |
| `keeping.py` | `Cache`: what an exchange asks and tells, and what a worker does in between |
| `purging.py` | throwing away on somebody's order, on the record |
"""

from minispine.provider.cache.keeping import Cache, Kept, Scope
from minispine.provider.cache.keys import CacheKeys
from minispine.provider.cache.purging import purge_now

__all__ = ["Cache", "CacheKeys", "Kept", "Scope", "purge_now"]
