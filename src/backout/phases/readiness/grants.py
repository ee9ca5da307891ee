"""The SQL that an administrator runs once, in the words of whoever administers the server; pure.

What a vendor's administrator may grant is taken from PostgreSQL's rules and the vendors' pages; whether the
grant worked is not believed but asked again: `doctor --can`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from backout.model.readiness import Capability, Standing
from backout.postgres.names import KEPT_SCHEMA, STATE_SCHEMA, quoted


class Dialect(StrEnum):
    """Who administers the server. It decides the wording of a grant, never whether a right is held."""

    SUPERUSER = "superuser"
    CREATEROLE = "CREATEROLE only"
    RDS = "rds_superuser"
    CLOUD_SQL = "Cloud SQL"
    SUPABASE = "Supabase"


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose rights were asked for, and where."""

    role: str
    database: str
    major: int
    dialect: Dialect
    owners: tuple[str, ...] = ()
    """Owners of the tables that the role may not change."""


_BROUGHT_BY = {"rds_superuser": Dialect.RDS, "cloudsqlsuperuser": Dialect.CLOUD_SQL,
               "supabase_admin": Dialect.SUPABASE}  # fmt: skip


def dialect_of(roles: Sequence[str], *, superuser: bool, creates_roles: bool) -> Dialect:
    """From the roles that a service brings along, else from what the own role is.

    Who has neither right has an administrator who is a superuser.
    """
    for name, dialect in _BROUGHT_BY.items():
        if name in roles:
            return dialect
    return Dialect.CREATEROLE if creates_roles and not superuser else Dialect.SUPERUSER


OUR_SCHEMAS = "the two schemas, see the script"
_SIGNATURES = ("create(text)", "session_setup(text)", "session_reset()", "drop(text)", "oid(text)")
_ORIGINS = ", ".join(f"pg_catalog.pg_replication_origin_{signature}" for signature in _SIGNATURES)
_BY_SUPERUSER: Mapping[str, str] = {
    "kept values": OUR_SCHEMAS,
    "read every table": "GRANT pg_read_all_data TO {role};",
    "read past policies": "ALTER ROLE {role} BYPASSRLS;",
    "see other sessions": "GRANT pg_monitor TO {role};",
    "end other sessions": "GRANT pg_signal_backend TO {role};",
    "commit times": "ALTER SYSTEM SET track_commit_timestamp = on;  -- then restart",
    "named restore point": "GRANT EXECUTE ON FUNCTION pg_catalog.pg_create_restore_point(text) TO {role};",
    "switch the log": "GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal() TO {role};",
    "checkpoint": "GRANT pg_checkpoint TO {role};",
    "create database": "ALTER ROLE {role} CREATEDB;",
    "replication slot": "ALTER ROLE {role} REPLICATION;",
    "base backup": "ALTER ROLE {role} REPLICATION;  -- and a line for replication in pg_hba.conf",
    "publication": "GRANT CREATE ON DATABASE {database} TO {role};",
    "replication origin": f"GRANT EXECUTE ON FUNCTION {_ORIGINS} TO {{role}};",
    "silence triggers": "GRANT SET ON PARAMETER session_replication_role TO {role};",
    "connection limit": "ALTER DATABASE {database} OWNER TO {role};",
    "create role": "ALTER ROLE {role} CREATEROLE;",
    "page checks": "CREATE EXTENSION amcheck;  -- and GRANT EXECUTE on its functions",
}
_NOT_BEFORE = {"read every table": 14, "checkpoint": 15, "silence triggers": 15}
"""The first major version that has the role or the kind of grant."""
# From 16 on a role may only give what it was given WITH ADMIN OPTION.
_PREDEFINED = ("read every table", "see other sessions", "end other sessions", "checkpoint")
_COMMON = ("run the down", "kept values", "create database", "publication", "connection limit", "create role")
_ELSEWHERE: Mapping[Dialect, tuple[tuple[str, ...], Mapping[str, str]]] = {
    Dialect.CREATEROLE: ((*_COMMON, *_PREDEFINED), {}),
    Dialect.RDS: (
        (*_COMMON, *_PREDEFINED, "page checks"),
        {
            "replication slot": "GRANT rds_replication TO {role};  -- rds.logical_replication = 1, reboot",
            "commit times": "track_commit_timestamp = 1 in the parameter group, then reboot",
        },
    ),
    Dialect.CLOUD_SQL: (
        (*_COMMON, *_PREDEFINED[:3], "page checks"),
        {"replication slot": "ALTER USER {role} WITH REPLICATION;  -- flag cloudsql.logical_decoding"},
    ),
    Dialect.SUPABASE: (
        (*_COMMON, *_PREDEFINED[:3], "read past policies", "replication slot", "page checks"),
        {},
    ),
}
"""For everybody but a superuser: which of the grants above they can give, and what they write instead."""


def grant_for(name: str, asker: Asker) -> str:
    """What gives this right to the role; empty when it cannot be had there."""
    if asker.major < _NOT_BEFORE.get(name, 0):
        return ""
    if asker.dialect is not Dialect.SUPERUSER:
        able, instead = _ELSEWHERE[asker.dialect]
        refused = asker.dialect is Dialect.CREATEROLE and asker.major >= 16 and name in _PREDEFINED
        if name in instead:
            return _filled(instead[name], asker)
        if name not in able or refused:
            return ""
    if name == "run the down":
        return " ".join(f"GRANT {quoted(owner)} TO {quoted(asker.role)};" for owner in asker.owners)
    return _filled(_BY_SUPERUSER.get(name, ""), asker)


def _filled(text: str, asker: Asker) -> str:
    return text.format(role=quoted(asker.role), database=quoted(asker.database))


def schema_sql(asker: Asker) -> str:
    """The two schemas of ours, owned by the role: all that strategy A needs besides its own tables."""
    role = quoted(asker.role)
    lines = [
        f"CREATE SCHEMA IF NOT EXISTS {STATE_SCHEMA} AUTHORIZATION {role};",
        f"CREATE SCHEMA IF NOT EXISTS {KEPT_SCHEMA} AUTHORIZATION {role};",
        f"ALTER SCHEMA {STATE_SCHEMA} OWNER TO {role};",
        f"ALTER SCHEMA {KEPT_SCHEMA} OWNER TO {role};",
        f"REVOKE ALL ON SCHEMA {STATE_SCHEMA}, {KEPT_SCHEMA} FROM PUBLIC;",
    ]
    if asker.dialect is not Dialect.SUPERUSER:
        # Who is no superuser can hand a schema only to a role that it is a member of.
        back = f"-- REVOKE {role} FROM CURRENT_USER;  -- unless you were a member of it before"
        lines = [f"GRANT {role} TO CURRENT_USER;", *lines, back]
    return "\n".join(lines)


def _observer(asker: Asker) -> list[str]:
    """A login of its own for `dsn.observe`: optional, one DSN is enough."""
    bypass = " BYPASSRLS" if asker.dialect in (Dialect.SUPERUSER, Dialect.SUPABASE) else ""
    return [
        "-- 3. If reading shall have a login of its own (dsn.observe); set its password yourself.",
        f"--   CREATE ROLE backout_observe LOGIN{bypass} CONNECTION LIMIT 4;",
        "--   GRANT pg_monitor, pg_read_all_data TO backout_observe;",
        "--   ALTER ROLE backout_observe SET default_transaction_read_only = on;",
    ]


def script(capabilities: Sequence[Capability], asker: Asker) -> str:
    """The whole script: what strategy A needs, then what more would be possible, commented out.

    Nothing in it makes a role that can log in, and nothing gives more than one missing right a line.
    """
    missing = [c for c in capabilities if c.standing is Standing.GRANT]
    parts = [
        f"-- For {quoted(asker.role)}, once, by an administrator ({asker.dialect.value})"
        f" in database {quoted(asker.database)}.",
        "-- 1. What strategy A needs.",
        schema_sql(asker),
        *(c.grant for c in missing if c.required and c.grant != OUR_SCHEMAS),
    ]
    more = [c for c in missing if not c.required]
    if more:
        parts.append("-- 2. What more could be done; take away the dashes of what you want.")
    for capability in more:
        parts.append(f"-- {capability.name}, else: {capability.without}")
        parts.append(f"--   {capability.grant}")
    parts += _observer(asker)
    cannot = [c.name for c in capabilities if c.standing is Standing.CANNOT]
    if cannot:
        parts.append(f"-- Cannot be granted here: {', '.join(cannot)}.")
    return "\n".join(parts)
