"""Can this role dump this database whole: version of the program, readable tables, no filtered rows."""

from __future__ import annotations

from backout.model.check import Check, CheckState
from backout.postgres.binaries import Binaries, speaks_tls
from backout.postgres.connect import Session
from backout.postgres.names import qualified


def preflight(session: Session, binaries: Binaries, excluded: tuple[str, ...] = ()) -> tuple[Check, ...]:
    """Can this role dump this database whole: program version, readable tables, no filtered rows."""
    return (_version_check(session, binaries), _rights_check(session), _filter_check(session, excluded))


def _version_check(session: Session, binaries: Binaries) -> Check:
    major = session.info.server_version // 10000
    if binaries.major < major:
        detail = (
            f"pg_dump {binaries.version} is older than the server ({_dotted(session.info.server_version)})"
        )
    elif session.pgconn.ssl_in_use and not speaks_tls(binaries):
        detail = f"the server is reached over TLS, and pg_dump {binaries.version} was built without it"
    else:
        return Check("dump program", CheckState.PASS, f"pg_dump {binaries.version}, server {major}")
    return Check("dump program", CheckState.FAIL, detail, f"apt-get install postgresql-client-{major}")


def _dotted(number: int) -> str:
    return f"{number // 10000}.{number % 10000}"


def _rights_check(session: Session) -> Check:
    rows = session.execute(
        """SELECT n.nspname, c.relname FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'
             AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
             AND NOT (has_schema_privilege(n.oid, 'USAGE') AND CASE c.relkind
                      WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
                      ELSE has_table_privilege(c.oid, 'SELECT') END)
             AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d
                             WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
                               AND d.deptype = 'e')
           ORDER BY 1, 2"""
    ).fetchall()
    if not rows:
        return Check("readable", CheckState.PASS, "every table and sequence can be read")
    role = session.info.user
    names = _some([qualified(*row) for row in rows])
    detail = f"{role} may not read {names}: a dump of the whole database is not possible"
    mend = f"GRANT pg_read_all_data TO {role} (an administrator; or record a snapshot of your provider)"
    return Check("readable", CheckState.FAIL, detail, mend)


def _filter_check(session: Session, excluded: tuple[str, ...]) -> Check:
    rows = session.execute(
        """SELECT n.nspname, c.relname FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND c.relrowsecurity
             AND row_security_active(c.oid) ORDER BY 1, 2"""
    ).fetchall()
    names = [qualified(*row) for row in rows if qualified(*row) not in excluded]
    if not names:
        return Check("row-level security", CheckState.PASS, "no policy hides rows from this role")
    role = session.info.user
    detail = f"row-level security hides rows of {_some(names)} from {role}: a dump would silently miss them"
    mend = f"ALTER ROLE {role} BYPASSRLS (an administrator)"
    return Check("row-level security", CheckState.FAIL, detail, mend)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
