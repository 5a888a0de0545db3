"""The revisions of the audit store."""
