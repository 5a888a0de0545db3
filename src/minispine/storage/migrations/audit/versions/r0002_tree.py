"""The log as a Merkle tree, encrypted payloads, checkpoints, and the index of searches.

No record is rewritten: those of the first release keep their leaves and their chain, and become the first leaves of the
tree, which is why every leaf is read once here.
"""

import sqlalchemy as sa
from alembic import op

from minispine.storage.migrations.frontier import frontier_over

revision = "audit_0002"
down_revision = "audit_0001"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_APPEND_ONLY = ("audit_checkpoint", "audit_removal", "audit_archive")
_PAYLOAD_MAY_GO = (
    "EXISTS (SELECT 1 FROM audit_removal r WHERE r.sequence = OLD.sequence)"
    " OR EXISTS (SELECT 1 FROM audit_archive a WHERE OLD.sequence BETWEEN a.first AND a.last)"
)
_KEY_IS_LOST = (
    "(OLD.wrapped IS NULL) <> (NEW.wrapped IS NULL) OR (NEW.wrapped IS NOT NULL AND length(NEW.wrapped) <> 52)"
)
"""A key may be wrapped anew, by another master key, and no more; a payload of the first release has none."""
_SAID_BY = {"audit_removal": '"type":"audit.payload-removed"', "audit_archive": '"type":"audit.archived"'}
"""What is in the leaf of the record that a row names; in a text within a leaf, its quotes would be escaped."""


def upgrade() -> None:
    """Make the tables, compute the tree's frontier over what was written before, and let payloads go only by record."""
    _alter()
    op.create_table(
        "audit_tile",
        sa.Column("level", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit_checkpoint",
        sa.Column("number", _SEQUENCE, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_index("ix_audit_checkpoint_size", "audit_checkpoint", ["size"])
    op.create_table(
        "audit_removal",
        sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=False),
        sa.Column("record", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "audit_archive",
        sa.Column("first", _SEQUENCE, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("record", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "audit_index_pending",
        sa.Column("first", _SEQUENCE, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("entries", sa.LargeBinary, nullable=False),
    )
    op.drop_index("ix_audit_record_exchange", "audit_record")
    if op.get_bind().dialect.name == "sqlite":
        _triggers_sqlite()
    else:
        _triggers_postgresql()


def _alter() -> None:
    bind = op.get_bind()
    op.add_column("audit_head", sa.Column("frontier", sa.LargeBinary, nullable=False, server_default=sa.text("''")))
    op.add_column("audit_head", sa.Column("epoch", sa.BigInteger, nullable=False, server_default="1"))
    op.add_column("audit_head", sa.Column("declared", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("audit_payload", sa.Column("wrapped", sa.LargeBinary))
    leaves = (bytes(row[0]) for row in bind.execute(sa.text("SELECT leaf FROM audit_record ORDER BY sequence")))
    bind.execute(sa.text("UPDATE audit_head SET frontier = :frontier"), {"frontier": frontier_over(leaves)})


def _triggers_sqlite() -> None:
    op.execute("DROP TRIGGER audit_payload_refuses_update")
    op.execute("DROP TRIGGER audit_payload_refuses_delete")
    op.execute(
        "CREATE TRIGGER audit_payload_refuses_update BEFORE UPDATE OF sequence, salt, private, bodies ON audit_payload"
        " BEGIN SELECT RAISE(ABORT, 'audit_payload is append-only'); END"
    )
    op.execute(
        "CREATE TRIGGER audit_payload_keeps_its_key BEFORE UPDATE OF wrapped ON audit_payload"
        f" WHEN {_KEY_IS_LOST} OR typeof(NEW.wrapped) NOT IN ('blob', 'null')"
        " BEGIN SELECT RAISE(ABORT, 'the key of a payload is only ever wrapped anew'); END"
    )
    op.execute(
        f"CREATE TRIGGER audit_payload_refuses_delete BEFORE DELETE ON audit_payload WHEN NOT ({_PAYLOAD_MAY_GO})"
        " BEGIN SELECT RAISE(ABORT, 'a payload goes only after the record of its removal'); END"
    )
    for table in _APPEND_ONLY:
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{action.lower()} BEFORE {action} ON {table}"
                f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    for table, said in _SAID_BY.items():
        op.execute(
            f"CREATE TRIGGER {table}_needs_its_record BEFORE INSERT ON {table}"  # noqa: S608
            " WHEN NOT EXISTS (SELECT 1 FROM audit_record r WHERE r.sequence = NEW.record"
            f" AND instr(r.leaf, x'{said.encode().hex()}') > 0)"
            f" BEGIN SELECT RAISE(ABORT, '{table} without its record'); END"
        )


def _triggers_postgresql() -> None:
    op.execute("DROP TRIGGER audit_payload_append_only ON audit_payload")
    op.execute(
        "CREATE TRIGGER audit_payload_append_only BEFORE UPDATE OF sequence, salt, private, bodies OR TRUNCATE"
        " ON audit_payload FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change()"
    )
    op.execute(
        "CREATE FUNCTION audit_keeps_its_key() RETURNS trigger LANGUAGE plpgsql AS $$"
        f" BEGIN IF {_KEY_IS_LOST} THEN RAISE EXCEPTION 'the key of a payload is only ever wrapped anew'"
        " USING ERRCODE = 'insufficient_privilege'; END IF; RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_payload_keeps_its_key BEFORE UPDATE OF wrapped ON audit_payload"
        " FOR EACH ROW EXECUTE FUNCTION audit_keeps_its_key()"
    )
    op.execute(
        "CREATE FUNCTION audit_payload_may_go() RETURNS trigger LANGUAGE plpgsql AS $$"
        f" BEGIN IF {_PAYLOAD_MAY_GO} THEN RETURN OLD; END IF;"
        " RAISE EXCEPTION 'a payload goes only after the record of its removal'"
        " USING ERRCODE = 'insufficient_privilege'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_payload_may_go BEFORE DELETE ON audit_payload"
        " FOR EACH ROW EXECUTE FUNCTION audit_payload_may_go()"
    )
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change()"
        )
    op.execute(
        "CREATE FUNCTION audit_needs_its_record() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN IF EXISTS (SELECT 1 FROM audit_record r WHERE r.sequence = NEW.record"
        " AND position(decode(TG_ARGV[0], 'hex') IN r.leaf) > 0) THEN RETURN NEW; END IF;"
        " RAISE EXCEPTION '% without its record', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege'; END $$"
    )
    for table, said in _SAID_BY.items():
        op.execute(
            f"CREATE TRIGGER {table}_needs_its_record BEFORE INSERT ON {table}"
            f" FOR EACH ROW EXECUTE FUNCTION audit_needs_its_record('{said.encode().hex()}')"
        )
