"""The index of searches: which records have which terms. What a term is and how its key is made is not known here.

The index is not part of the log: nothing is proven by it, and it can be made anew from the records at any time. Its
tables may be written by the product at any time, unlike those of the log.

It is a log-structured merge tree. The transaction that writes records puts their entries into `audit_index_pending`
as one row, which costs next to nothing; keys are random, so a plain B-tree would touch a page of its own for each
entry. In the background `fold` sorts what is pending into segments, and merges eight segments of adjacent records into
a larger one, until segments cover a quarter of a million records. A search looks into each segment and at what is
pending, in the order of the records, and stops as soon as it has enough.

How that lies in the tables is in ``layout.py``.
"""

from minispine.audit.index.checking import Difference, differences
from minispine.audit.index.folding import fold
from minispine.audit.index.layout import ENTRY_BYTES, KEY_BYTES, SHAPE, IndexBroken, Shape, entry
from minispine.audit.index.rebuilding import EntriesOf, rebuild
from minispine.audit.index.removal import remove
from minispine.audit.index.searching import matching, postings

__all__ = [
    "ENTRY_BYTES",
    "KEY_BYTES",
    "SHAPE",
    "Difference",
    "EntriesOf",
    "IndexBroken",
    "Shape",
    "differences",
    "entry",
    "fold",
    "matching",
    "postings",
    "rebuild",
    "remove",
]
