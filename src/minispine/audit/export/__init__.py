"""A part of the trail in forms that others read: CSV for a spreadsheet, JSON lines for a program, FHIR AuditEvent.

Each form takes the records that a search found, one after another, and gives bytes as it goes, so that an export is as
long as it has to be. Times have their offset always, and each event the sequence number and the hash of its record, by
which it can be found again in the log and held to a proof. Patients are in it only if their part of the records was
read. That an export is recorded first is its caller's duty (``looking.py``).
"""

from minispine.audit.export.csv import as_csv
from minispine.audit.export.fhir import as_fhir
from minispine.audit.export.json_lines import as_json_lines

__all__ = ["as_csv", "as_fhir", "as_json_lines"]
