"""Which master keys are retired, so that nobody who still has one can write what others could not read."""

import sqlalchemy as sa
from alembic import op

revision = "audit_0006"
down_revision = "audit_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; no key is retired yet."""
    none = "X''" if op.get_bind().dialect.name == "sqlite" else "''"
    op.add_column("audit_head", sa.Column("retired", sa.LargeBinary, nullable=False, server_default=sa.text(none)))
