"""The tables of the index of searches. They begin empty: what was recorded before is indexed by a rebuild."""

import sqlalchemy as sa
from alembic import op

revision = "audit_0003"
down_revision = "audit_0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "audit_index_segment",
        sa.Column("id", _ID, primary_key=True, autoincrement=False),
        sa.Column("level", sa.SmallInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_table(
        "audit_index_page",
        sa.Column("segment", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("first_key", sa.LargeBinary, primary_key=True),
        sa.Column("entries", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "audit_index_bits",
        sa.Column("segment", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("block", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("bits", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        # Keyed hashes do not compress, and two pages fit into one of the server's: keep them out of its TOAST tables.
        op.execute("ALTER TABLE audit_index_page ALTER COLUMN entries SET STORAGE PLAIN")
