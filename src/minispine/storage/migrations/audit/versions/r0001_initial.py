"""The audit log as first released, with the triggers that keep its records as they are."""

import sqlalchemy as sa
from alembic import op

revision = "audit_0001"
down_revision = None
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_KEPT = ("audit_record", "audit_payload")


def upgrade() -> None:
    """Make the tables, the head of an empty log, and the triggers."""
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.SmallInteger, sa.CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("sealed_at", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "audit_record",
        sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=False),
        sa.Column("exchange", sa.Text),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_audit_record_exchange", "audit_record", ["exchange"])
    op.create_table(
        "audit_payload",
        sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("private", sa.LargeBinary),
        sa.Column("bodies", sa.LargeBinary),
    )
    op.create_table(
        "audit_open",
        sa.Column("exchange", sa.Text, primary_key=True),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit_message",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("exchange", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit_change",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.bulk_insert(head, [{"id": 1, "sequence": 0, "sealed_at": 0, "hash": bytes(32)}])
    if op.get_bind().dialect.name == "sqlite":
        _refuse_change_sqlite()
    else:
        _refuse_change_postgresql()


def _refuse_change_sqlite() -> None:
    for table in _KEPT:
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{action.lower()} BEFORE {action} ON {table}"
                f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )


def _refuse_change_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege'; END $$"
    )
    for table in _KEPT:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change()"
        )
