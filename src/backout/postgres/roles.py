"""Roles and per-database settings of a source: read beside the dump, set up on a scratch server before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from backout.postgres.connect import Session, as_role

# A library that the scratch server does not have would refuse every login.
_NOT_CARRIED = ("local_preload_libraries", "session_preload_libraries", "role")


@dataclass(frozen=True, slots=True)
class Role:
    """A role without its password; `member_of` names the roles it belongs to."""

    name: str
    superuser: bool
    inherit: bool
    create_role: bool
    create_database: bool
    bypass_rls: bool
    member_of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """One `ALTER DATABASE|ROLE … SET name = value`; empty role = for all roles of the database."""

    role: str
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Properties:
    """What belongs to a database and is not inside it. `grants`: (role or empty for PUBLIC, privilege);
    None = PostgreSQL's default."""

    owner: str
    grants: tuple[tuple[str, str], ...] | None
    settings: tuple[Setting, ...]


def read_roles(session: Session) -> tuple[Role, ...]:
    """All roles but PostgreSQL's own; needs no special right."""
    rows = session.execute(
        """SELECT r.rolname, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolbypassrls,
                  array(SELECT g.rolname FROM pg_catalog.pg_auth_members m
                        JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
                        WHERE m.member = r.oid ORDER BY g.rolname)::text[]
           FROM pg_catalog.pg_roles r WHERE r.rolname !~ '^pg_' ORDER BY r.rolname"""
    ).fetchall()
    return tuple(Role(row[0], row[1], row[2], row[3], row[4], row[5], tuple(row[6])) for row in rows)


def read_properties(session: Session, database: str, *, with_roles: bool) -> Properties:
    """What `pg_dump` without `--create` leaves out of a database: owner, grants, settings.

    `with_roles` adds the settings that roles have in every database, the more general first.
    """
    owner, has_grants = _one(
        session,
        "SELECT pg_catalog.pg_get_userbyid(datdba)::text, datacl IS NOT NULL"
        " FROM pg_catalog.pg_database WHERE datname = %s",
        database,
    )
    grants = session.execute(
        """SELECT coalesce(r.rolname, ''), a.privilege_type
           FROM pg_catalog.pg_database d CROSS JOIN LATERAL pg_catalog.aclexplode(d.datacl) a
           LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
           WHERE d.datname = %s AND (a.grantee = 0 OR r.rolname IS NOT NULL) ORDER BY 1, 2""",
        (database,),
    ).fetchall()
    entries = session.execute(
        """SELECT coalesce(r.rolname, ''), c.entry
           FROM pg_catalog.pg_db_role_setting s
           LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
           CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c(entry)
           WHERE (s.setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = %s)
                  OR (s.setdatabase = 0 AND %s))
             AND (s.setrole = 0 OR r.rolname IS NOT NULL)
           ORDER BY s.setdatabase, 1, 2""",
        (database, with_roles),
    ).fetchall()
    pairs = ((role, *entry.split("=", 1)) for role, entry in entries)
    return Properties(
        owner=owner,
        grants=tuple((str(role), str(right)) for role, right in grants) if has_grants else None,
        settings=tuple(Setting(role, name, value) for role, name, value in pairs if name not in _NOT_CARRIED),
    )


def _one(session: Session, query: LiteralString, database: str) -> tuple[str, bool]:
    row = session.execute(query, (database,)).fetchone()
    assert row is not None
    return str(row[0]), bool(row[1])


def can_set_owners(session: Session) -> bool:
    """Only a superuser may hand over an object to a role that has no right to create in its schema."""
    return is_superuser(session)


def is_superuser(session: Session) -> bool:
    """Whether the session's current role is a superuser."""
    row = session.execute("SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user").fetchone()
    return row is not None and bool(row[0])


def acting_dsn(session: Session, dsn: str, role: str) -> str:
    """`dsn` of a copy, acting as the tool's own `role` where the copy's objects belong to their owners.

    Where they could not be handed over, all of them belong to who restored them, and `role` could not even
    read its history: then nobody else acts. `session` is one on that server.
    """
    known = session.execute("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = %s", (role,)).fetchone()
    return as_role(dsn, role) if known is not None and can_set_owners(session) else dsn


def make_roles(session: Session, roles: tuple[Role, ...], *, powers: bool) -> tuple[str, ...]:
    """Create the roles that are missing, without login or password, then their memberships.

    `powers` carries superuser, create and bypass rights over, as the source has them: only for a server of
    ours. Roles that are there stay as they are, but for powers. Returns the memberships that this server
    does not let us grant (of PostgreSQL's own roles, say), as words for people.
    """
    there = {row[0] for row in session.execute("SELECT rolname FROM pg_catalog.pg_roles").fetchall()}
    made = tuple(role.name for role in roles if role.name not in there)
    for role in roles:
        if role.name in there and (not powers or role.name == session.info.user):
            continue
        verb = sql.SQL("ALTER ROLE {} {}" if role.name in there else "CREATE ROLE {} NOLOGIN {}")
        session.execute(verb.format(sql.Identifier(role.name), sql.SQL(_attributes(role, powers))))
    notes = _grant_memberships(session, roles, made if not powers else None)
    if not powers:  # to hand objects over to a role, one has to be a member of it
        for name in made:
            session.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(name)))
    return notes


def _attributes(role: Role, powers: bool) -> str:
    words = ["INHERIT" if role.inherit else "NOINHERIT"]
    if powers:
        for word, has in (
            ("SUPERUSER", role.superuser),
            ("CREATEROLE", role.create_role),
            ("CREATEDB", role.create_database),
            ("BYPASSRLS", role.bypass_rls),
        ):
            words.append(word if has else f"NO{word}")
    return " ".join(words)


def _grant_memberships(
    session: Session, roles: tuple[Role, ...], only: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Grant what is missing; `only` limits it to these members (on a server that is not ours)."""
    notes: list[str] = []
    there = {row[0] for row in session.execute("SELECT rolname FROM pg_catalog.pg_roles").fetchall()}
    for role in roles:
        if only is not None and role.name not in only:
            continue
        for group in role.member_of:
            if group in there:
                grant = sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(role.name))
                notes.append(_try(session, f"membership of {role.name} in {group}", grant))
    return tuple(filter(None, notes))


def apply_properties(session: Session, database: str, properties: Properties) -> tuple[str, ...]:
    """Give them to a database, settings to it alone (never server-wide, other copies live there).

    Returns what the server did not take, as words for people.
    """
    name = sql.Identifier(database)
    statements: list[tuple[str, sql.Composed]] = []
    if properties.owner:
        owner = sql.Identifier(properties.owner)
        statements.append(("owner", sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, owner)))
    if properties.grants is not None:
        statements.append(("grants", sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name)))
        for grantee, right in properties.grants:
            to = sql.Identifier(grantee) if grantee else sql.SQL("PUBLIC")
            grant = sql.SQL("GRANT {} ON DATABASE {} TO {}").format(sql.SQL(_privilege(right)), name, to)
            statements.append(("grants", grant))
    statements += [(f"setting {setting.name}", _set(name, setting)) for setting in properties.settings]
    return tuple(filter(None, (_try(session, what, statement) for what, statement in statements)))


def _privilege(right: str) -> LiteralString:
    """The privilege as a constant of ours: what comes from the source is looked up, never pasted."""
    words: tuple[LiteralString, ...] = ("CONNECT", "CREATE", "TEMPORARY")
    return next(word for word in words if word == right)


def _set(database: sql.Composable, setting: Setting) -> sql.Composed:
    target = sql.SQL("DATABASE {}").format(database)
    if setting.role:
        target = sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(setting.role), database)
    name = sql.SQL(".").join(sql.Identifier(part) for part in setting.name.split("."))
    return sql.SQL("ALTER {} SET {} TO {}").format(target, name, _value(setting))


def _try(session: Session, what: str, statement: sql.Composed) -> str:
    try:
        session.execute(statement)
    except psycopg.Error as error:
        return f"{what} not carried over: {error.diag.message_primary or type(error).__name__}"
    return ""


# Settings whose value is a list of quoted names; one literal would make it one long name.
_LISTS = frozenset({"search_path", "datestyle", "temp_tablespaces"})


def _value(setting: Setting) -> sql.Composable:
    if setting.name.lower() not in _LISTS:
        return sql.Literal(setting.value)
    parts = [part.strip() for part in setting.value.split(",")]
    return sql.SQL(", ").join(sql.Literal(part.strip('"').replace('""', '"')) for part in parts)
