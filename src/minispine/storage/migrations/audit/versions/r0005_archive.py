"""The keys of archived payloads, which stay where an order to destroy them reaches them."""

import sqlalchemy as sa
from alembic import op

revision = "audit_0005"
down_revision = "audit_0004"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the table, and let its rows go only by record."""
    op.create_table(
        "audit_archived_key",
        sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
    )
    may_go = "EXISTS (SELECT 1 FROM audit_removal r WHERE r.sequence = OLD.sequence)"
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            f"CREATE TRIGGER audit_archived_key_refuses_delete BEFORE DELETE ON audit_archived_key WHEN NOT {may_go}"
            " BEGIN SELECT RAISE(ABORT, 'the key of a payload goes only after the record of its removal'); END"
        )
        op.execute(
            "CREATE TRIGGER audit_archived_key_refuses_update BEFORE UPDATE OF sequence ON audit_archived_key"
            " BEGIN SELECT RAISE(ABORT, 'audit_archived_key keeps its records'); END"
        )
        op.execute(
            "CREATE TRIGGER audit_archived_key_is_kept BEFORE UPDATE OF wrapped ON audit_archived_key"
            " WHEN length(NEW.wrapped) IS NOT 52 OR typeof(NEW.wrapped) <> 'blob'"
            " BEGIN SELECT RAISE(ABORT, 'the key of a payload is only ever wrapped anew'); END"
        )
        return
    op.execute(
        "CREATE FUNCTION audit_archived_key_may_go() RETURNS trigger LANGUAGE plpgsql AS $$"
        f" BEGIN IF {may_go} THEN RETURN OLD; END IF;"
        " RAISE EXCEPTION 'the key of a payload goes only after the record of its removal'"
        " USING ERRCODE = 'insufficient_privilege'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_archived_key_may_go BEFORE DELETE ON audit_archived_key"
        " FOR EACH ROW EXECUTE FUNCTION audit_archived_key_may_go()"
    )
    op.execute(
        "CREATE TRIGGER audit_archived_key_is_kept BEFORE UPDATE OF wrapped ON audit_archived_key"
        " FOR EACH ROW EXECUTE FUNCTION audit_keeps_its_key()"
    )
    op.execute(
        "CREATE TRIGGER audit_archived_key_append_only BEFORE UPDATE OF sequence OR TRUNCATE ON audit_archived_key"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change()"
    )
