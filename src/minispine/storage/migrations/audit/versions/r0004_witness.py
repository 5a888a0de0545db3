"""What each witness has taken of the log's checkpoints, and what it said when it did not take one."""

import sqlalchemy as sa
from alembic import op

revision = "audit_0004"
down_revision = "audit_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "audit_witness",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger),
        sa.Column("note", sa.Text),
        sa.Column("problem", sa.Text),
        sa.Column("conflict", sa.SmallInteger, nullable=False),
        sqlite_with_rowid=False,
    )
