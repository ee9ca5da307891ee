"""Read what a server says about itself and the role; nothing is changed, tables of users are not read."""

from __future__ import annotations

from backout.errors import BackoutError
from backout.model.migration import FoundIn
from backout.model.target import SessionIdentity
from backout.phases.readiness.facts import (
    Archive,
    Encryption,
    HistoryFacts,
    Leftovers,
    Missing,
    OurSchemas,
    Ownership,
    ServerFacts,
)
from backout.phases.readiness.grants import Asker, dialect_of
from backout.ports.migrator import Migrator
from backout.ports.world import Session
from backout.postgres.activity import invalid_indexes
from backout.postgres.connect import identify
from backout.postgres.marks import is_marked
from backout.postgres.names import KEPT_SCHEMA, STATE_SCHEMA, qualified
from backout.postgres.roles import read_roles
from backout.postgres.source_facts import is_on_this_machine

# Looking one up walks through the git history; the newest are the ones that can be backed out.
_MISSING_LOOKED_UP = 5


def server_facts(session: Session) -> ServerFacts:
    """One look at the target. Raises the driver's error when the server refuses an answer."""
    identity = identify(session)
    settings = _settings(session)
    return ServerFacts(
        identity=identity,
        version=dotted(identity.server_version),
        encryption=encryption(session),
        is_copy=is_marked(session),
        size_bytes=int(_one(session, "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())")),
        ownership=_ownership(session),
        ours=_our_schemas(session),
        forced=_names(session, _FORCED),
        publications=tuple(str(row[0]) for row in session.execute(_ALL_TABLES).fetchall()),
        checksums=settings["data_checksums"] == "on",
        archive=_archive(session, settings),
        wal_level=settings["wal_level"],
        commit_times=settings["track_commit_timestamp"] == "on",
        connections=_connections(session, settings),
        leftovers=_leftovers(session),
        invalid_indexes=tuple(index.name for index in invalid_indexes(session)),
    )


def dotted(number: int) -> str:
    """`160014` as `16.14`."""
    return f"{number // 10000}.{number % 10000}"


def _one(session: Session, query: str, *values: object) -> str:
    row = session.execute(query.encode(), values).fetchone()
    assert row is not None
    return "" if row[0] is None else str(row[0])


def _names(session: Session, query: str) -> tuple[str, ...]:
    """(schema, name) rows as qualified names."""
    return tuple(qualified(row[0], row[1]) for row in session.execute(query.encode()).fetchall())


def _settings(session: Session) -> dict[str, str]:
    wanted = [
        *("data_checksums", "archive_mode", "archive_timeout", "wal_level", "track_commit_timestamp"),
        *("max_connections", "superuser_reserved_connections", "reserved_connections"),
    ]
    rows = session.execute(
        "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY(%s)", (wanted,)
    ).fetchall()
    return {name: "" for name in wanted} | {str(name): str(value) for name, value in rows}


def encryption(session: Session) -> Encryption:
    """What this very session uses; the driver is asked too, because a pooler hides its own part."""
    row = session.execute(
        """SELECT coalesce(s.version, ''), coalesce(g.encrypted, false)
           FROM (SELECT pg_catalog.pg_backend_pid() AS pid) me
           LEFT JOIN pg_catalog.pg_stat_ssl s ON s.pid = me.pid AND s.ssl
           LEFT JOIN pg_catalog.pg_stat_gssapi g ON g.pid = me.pid"""
    ).fetchone()
    assert row is not None
    protocol = "GSSAPI" if row[1] else str(row[0]) if session.pgconn.ssl_in_use else ""
    if session.pgconn.ssl_in_use and not protocol:
        protocol = "TLS"
    options = {option.keyword: option.val or b"" for option in session.pgconn.info}
    return Encryption(protocol, options.get(b"sslmode", b"").decode(), is_on_this_machine(session))


_OF_USERS = """c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'
                  AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass)"""
_RELATIONS = f"""
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE {_OF_USERS}"""
_OF_OTHERS = f"""SELECT n.nspname, c.relname {_RELATIONS}
  AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE') ORDER BY 1, 2"""
_CLOSED = f"""SELECT DISTINCT n.nspname {_RELATIONS} AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
  AND NOT pg_catalog.has_schema_privilege(n.oid, 'CREATE') ORDER BY 1"""
_FORCED = f"""SELECT n.nspname, c.relname {_RELATIONS} AND c.relforcerowsecurity AND c.relrowsecurity
  AND pg_catalog.row_security_active(c.oid) ORDER BY 1, 2"""
_ALL_TABLES = "SELECT pubname FROM pg_catalog.pg_publication WHERE puballtables ORDER BY 1"


def _ownership(session: Session) -> Ownership:
    return Ownership(
        tables=int(_one(session, f"SELECT count(*) {_RELATIONS}")),
        of_others=_names(session, _OF_OTHERS),
        closed_schemas=tuple(str(row[0]) for row in session.execute(_CLOSED.encode()).fetchall()),
        large_objects=int(
            _one(
                session,
                "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata"
                " WHERE NOT pg_catalog.pg_has_role(lomowner, 'USAGE')",
            )
        ),
    )


def _our_schemas(session: Session) -> OurSchemas:
    rows = session.execute(
        """SELECT nspname, pg_catalog.has_schema_privilege(oid, 'USAGE')
                           AND pg_catalog.has_schema_privilege(oid, 'CREATE')
           FROM pg_catalog.pg_namespace WHERE nspname = ANY(%s)""",
        ([STATE_SCHEMA, KEPT_SCHEMA],),
    ).fetchall()
    usable = {str(name): bool(may) for name, may in rows}
    create = "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')"
    return OurSchemas(
        missing=tuple(name for name in (STATE_SCHEMA, KEPT_SCHEMA) if name not in usable),
        unusable=tuple(sorted(name for name, may in usable.items() if not may)),
        may_create=_one(session, create) == "True",
    )


def _archive(session: Session, settings: dict[str, str]) -> Archive:
    row = session.execute(
        """SELECT extract(epoch FROM pg_catalog.now() - last_archived_time)::float8,
                  coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false)
           FROM pg_catalog.pg_stat_archiver"""
    ).fetchone()
    age, failing = row or (None, False)
    return Archive(settings["archive_mode"], age, failing, float(settings["archive_timeout"] or 0))


def _connections(session: Session, settings: dict[str, str]) -> tuple[int, int]:
    """Slots that are left for a role without reserved ones; other databases use them too."""
    used = int(
        _one(
            session,
            "SELECT count(*) FROM pg_catalog.pg_stat_activity"
            " WHERE backend_type IS NULL OR backend_type = 'client backend'",
        )
    )
    most = int(settings["max_connections"])
    reserved = int(settings["superuser_reserved_connections"]) + int(settings["reserved_connections"] or 0)
    return max(0, most - reserved - used), most


def _leftovers(session: Session) -> Leftovers:
    kept = _one(
        session,
        "SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relkind = 'r' AND c.relname ~ '^k_'",
        KEPT_SCHEMA,
    )
    rows = session.execute(_OF_OURS).fetchall()
    return Leftovers(int(kept), tuple(f"{kind} {name}" for kind, name in rows))


# Our own look opens sessions called backout/doctor and backout/look.
_OF_OURS = """
SELECT 'session', application_name || ' (pid ' || pid || ')' FROM pg_catalog.pg_stat_activity
WHERE application_name ~ '^backout/' AND application_name !~ '^backout/(doctor|look|init)/'
  AND datname = pg_catalog.current_database()
UNION ALL SELECT 'slot', slot_name::text FROM pg_catalog.pg_replication_slots WHERE slot_name ~ '^backout_'
UNION ALL SELECT 'publication', pubname::text FROM pg_catalog.pg_publication WHERE pubname ~ '^backout_'
UNION ALL SELECT 'origin', roname FROM pg_catalog.pg_replication_origin WHERE roname ~ '^backout_'
UNION ALL SELECT 'prepared transaction', gid FROM pg_catalog.pg_prepared_xacts WHERE gid ~ '^backout'
ORDER BY 1, 2
"""


def asker(session: Session, identity: SessionIdentity) -> Asker:
    """For whom, and in whose words, grants are written."""
    roles = {role.name: role for role in read_roles(session)}
    me = roles.get(identity.role)
    owners = f"SELECT DISTINCT pg_catalog.pg_get_userbyid(c.relowner)::text {_RELATIONS}"
    owners += " AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE') ORDER BY 1"
    return Asker(
        identity.role,
        identity.target.database,
        identity.server_version // 10000,
        dialect_of(
            tuple(roles),
            superuser=me is not None and me.superuser,
            creates_roles=me is not None and me.create_role,
        ),
        tuple(str(row[0]) for row in session.execute(owners.encode()).fetchall()),
    )


def history_facts(session: Session, migrator: Migrator) -> HistoryFacts:
    """History against files. Raises what the adapter raises, and the driver's error for a refused table."""
    history = migrator.history(session)
    files = [file.name for file in migrator.files()]
    applied = [row.name for row in history.rows]
    lost = [name for name in reversed(applied) if name not in set(files)]
    return HistoryFacts(
        table=history.table,
        applied=len(applied),
        head=applied[-1] if applied else "",
        dirty=tuple(row.name for row in history.rows if row.dirty),
        missing=tuple(
            Missing(name, _origin(migrator, name) if n < _MISSING_LOOKED_UP else "")
            for n, name in enumerate(lost)
        ),
        pending=tuple(name for name in files if name not in set(applied)),
        files=len(files),
    )


def _origin(migrator: Migrator, name: str) -> str:
    try:
        found = migrator.find_missing(name)
    except BackoutError:
        return ""
    if found is None or found.found_in is FoundIn.NOWHERE:
        return ""
    return f"{found.found_in.value} {found.origin[:12]}".strip()
