"""Databases: engines, tables, migrations, and the versioned registry of what changes while running."""
