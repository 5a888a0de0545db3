"""The revisions of the registry store."""
