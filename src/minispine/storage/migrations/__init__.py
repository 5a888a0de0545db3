"""The revisions of the tables, one line of them for each store."""
