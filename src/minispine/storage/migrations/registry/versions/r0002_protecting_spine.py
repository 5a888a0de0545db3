"""The budget of calls to Spine, kept answers, and counts of requests by the hour."""

import sqlalchemy as sa
from alembic import op

revision = "registry_0002"
down_revision = "registry_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, empty."""
    op.create_table(
        "spine_slots",
        sa.Column("service", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        # It is written many times a second: not compressed, and with room for its next versions.
        op.execute("ALTER TABLE spine_slots ALTER COLUMN state SET STORAGE EXTERNAL")
        op.execute("ALTER TABLE spine_slots SET (fillfactor = 10, autovacuum_vacuum_threshold = 500)")
    op.create_table(
        "cache_entry",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("patient", sa.LargeBinary, nullable=False, index=True),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("fetched_at", sa.BigInteger, nullable=False),
        sa.Column("strip_at", sa.BigInteger, nullable=False, index=True),
        sa.Column("gone_at", sa.BigInteger, nullable=False, index=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Index("ix_cache_entry_of_operation", "client", "operation", "fetched_at"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "throughput_hour",
        sa.Column("hour", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("operation", sa.Text, primary_key=True),
        sa.Column("organisation", sa.Text, primary_key=True),
        sa.Column("lane", sa.Text, primary_key=True),
        sa.Column("outcome", sa.Text, primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
