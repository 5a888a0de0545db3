"""The account under which the provider uses PostgreSQL: one that owns nothing and cannot change what is written.

Triggers refuse to change a record, but whoever owns a table can take its triggers away. So on PostgreSQL the tables
belong to one account, which migrates, archives and carries out a court's order, and the provider uses another, which
may add records and no more (SMSP-AUDIT-001 b). On SQLite a file has no accounts; there the triggers and the file's own
permissions have to do.
"""

import re
from typing import TYPE_CHECKING, Final

import sqlalchemy

from minispine.storage.errors import StorageMisconfigured
from minispine.storage.tables import Store

if TYPE_CHECKING:
    from minispine.storage.database import Database, Session

READ: Final = "SELECT"
ADD: Final = "SELECT, INSERT"
ADVANCE: Final = "SELECT, UPDATE"
ALL: Final = "SELECT, INSERT, UPDATE, DELETE"

GRANTS: Final[dict[str, str]] = {
    "audit_record": ADD,
    "audit_payload": ADD,
    "audit_checkpoint": ADD,
    "audit_tile": ADD,
    "audit_message": ADD,
    "audit_change": ADD,
    "audit_removal": READ,
    "audit_archive": READ,
    "audit_archived_key": READ,
    "audit_head": ADVANCE,
    "audit_open": "SELECT, INSERT, DELETE",
    "audit_witness": ALL,
    "audit_index_pending": ALL,
    "audit_index_segment": ALL,
    "audit_index_page": ALL,
    "audit_index_bits": ALL,
    "audit_schema": READ,
    "registry_document": ADD,
    "registry_state": ADVANCE,
    "registry_outbox": ALL,
    "registry_schema": READ,
    "spine_slots": "SELECT, INSERT, UPDATE",
    "cache_entry": ALL,
    "throughput_hour": "SELECT, INSERT, UPDATE",
}
"""What the provider's account may do with each table. Of a table that is not here it may not even know the rows."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
_MEMBERSHIP: Final = "SELECT rolsuper, pg_has_role(rolname, current_user, 'MEMBER') FROM pg_roles WHERE rolname = ?"
_OWNER: Final = (
    "SELECT has_schema_privilege(current_schema(), 'CREATE') AND NOT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace"
    " n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() AND c.relkind = 'r'"
    " AND c.relname ~ '^(audit|registry|spine|cache|throughput)_'"
    " AND NOT pg_has_role(current_user, c.relowner, 'USAGE'))"
)
_SERVING: Final = (
    "SELECT DISTINCT grantee FROM information_schema.role_table_grants"
    " WHERE table_schema = current_schema() AND table_name = 'audit_record' AND grantee <> grantor ORDER BY grantee"
)


def user_of(url: str) -> str | None:
    """The account that an address of PostgreSQL names, None if it names none."""
    return sqlalchemy.make_url(url).username


def let_serve(owner: "Database", name: str, password: str | None = None) -> bool:
    """Let an account serve from the tables that `owner` has, and do nothing else; makes it if it is not there.

    True if it was made, with `password`. Raises `StorageMisconfigured` for a name that cannot be one, and for an
    account that owns the tables, directly or as a member, or is a superuser, which no grant can hold back;
    `StorageUnavailable` when `owner` may not make accounts.
    """
    if owner.kind != "postgresql":
        raise StorageMisconfigured("only PostgreSQL has accounts")
    if not _NAME.fullmatch(name):
        raise StorageMisconfigured("an account of the database is named with letters, digits and -_.")
    with owner.engine_connection(Store.AUDIT) as connection:
        # What is sent and may come into the server's log is the verifier, not the password.
        raw = connection.connection.driver_connection
        assert raw is not None
        verifier = raw.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256") if password else None
    with owner.session(Store.AUDIT) as session:
        session.begin()
        known = session.rows(_MEMBERSHIP, (name,))
        if not known:
            login = f" PASSWORD '{verifier.decode()}'" if verifier else ""
            session.run(f'CREATE ROLE "{name}" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION{login}')
        elif any(known[0]):
            session.rollback()
            raise StorageMisconfigured(
                f"the account {name} owns the tables or may do anything, so that nothing could be kept from it; "
                "name another one in storage.url"
            )
        _grant(session, name)
        session.commit()
    return not known


def grant_again(owner: "Database") -> tuple[str, ...]:
    """Give each account that serves from the tables what it needs of them now, after a migration; their names."""
    if owner.kind != "postgresql":
        return ()
    with owner.session(Store.AUDIT) as session:
        session.begin()
        names = tuple(row[0] for row in session.rows(_SERVING) if row[0] != "PUBLIC")
        for name in names:
            _grant(session, name)
        session.commit()
    return names


def owns(session: "Session") -> bool:
    """Whether the account of a session may make tables and owns those that there are."""
    return bool(session.rows(_OWNER)[0][0])


def _grant(session: "Session", name: str) -> None:
    quoted = '"{}"'.format(name.replace('"', '""'))
    [[schema]] = session.rows("SELECT quote_ident(current_schema())")
    for statement in (
        f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC",
        f"REVOKE ALL ON SCHEMA {schema} FROM {quoted}",
        f"GRANT USAGE ON SCHEMA {schema} TO {quoted}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {quoted}",
        *(f"GRANT {what} ON {table} TO {quoted}" for table, what in GRANTS.items()),
    ):
        session.run(statement)
