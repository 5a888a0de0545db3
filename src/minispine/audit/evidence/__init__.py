"""A period of the log as evidence: a file that can be verified by itself, without the database (IG-3.9.2 g).

It holds every record of the period exactly as it was hashed, with its payload, and the proof that these are the records
of this period in the tree of a signed checkpoint. What is in the file is in ``form.py``.
"""

from minispine.audit.evidence.form import FORM
from minispine.audit.evidence.verifying import Upheld, verify
from minispine.audit.evidence.writing import EvidenceUnavailable, write

__all__ = ["FORM", "EvidenceUnavailable", "Upheld", "verify", "write"]
