"""Open sessions of ours: pinned settings, a name on the server, errors that help."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from backout.errors import BackoutError, ConfigurationError, NeighbourUnreachable, Refused, Stopped
from backout.model.target import SessionIdentity, TargetIdentity
from backout.ports.migrator import Endpoint

Session = psycopg.Connection[TupleRow]

# search_path: an unqualified built-in was hijacked by `public.length(varchar)` in a trial.
# row_security off turns silently filtered rows into an error. The rest pins every text form.
PINNED: Mapping[str, str] = {
    "search_path": "pg_catalog",
    "row_security": "off",
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "0",
}


def place(dsn: str) -> str:
    """`role @ host:port/database` of a connection string: all of it that may be shown."""
    parts = _parts(dsn)
    host = parts.get("hostaddr") or parts.get("host") or "local socket"
    return f"{parts.get('user', '?')} @ {host}:{parts.get('port', 5432)}/{parts.get('dbname', '?')}"


def place_of(session: Session) -> str:
    """`database @ host:port` of an open session."""
    return f"{session.info.dbname} @ {session.info.host or 'local socket'}:{session.info.port}"


def _parts(dsn: str) -> dict[str, object]:
    try:
        return dict(conninfo_to_dict(dsn))
    except psycopg.ProgrammingError:
        raise ConfigurationError(
            "the connection string cannot be parsed (its text is not shown: it may hold a password)",
            where="the DSN of the target",
            intact="everything; nobody was connected to",
            next="correct it, then: backout doctor",
        ) from None


def database_named(dsn: str) -> str:
    """The database of a connection string; of one that names none that of its role, as libpq does."""
    parts = _parts(dsn)
    return str(parts.get("dbname") or parts.get("user") or "")


def with_database(dsn: str, database: str) -> str:
    """The same connection string for another database."""
    _parts(dsn)
    return make_conninfo(dsn, dbname=database)


def elsewhere(dsn: str, database: str) -> str:
    """The same login in another database of the cluster than this one, which may be the usual one itself."""
    return with_database(dsn, "template1" if database == "postgres" else "postgres")


def with_address(dsn: str, host: str, port: int) -> str:
    """The same login at another address."""
    _parts(dsn)
    return make_conninfo(dsn, host=host, hostaddr=None, port=port)


def with_login(dsn: str, user: str, password: str, database: str) -> str:
    """The same address and protection for another login; nothing that belongs to the first one goes along."""
    _parts(dsn)
    theirs = {"passfile": None, "sslcert": None, "sslkey": None, "sslpassword": None, "options": None}
    return make_conninfo(dsn, user=user, password=password, dbname=database, **theirs)


# libpq refuses these when they are given and empty; `service` would name one that is not there.
_NEVER_EMPTY = ("service", "min_protocol_version", "max_protocol_version")


def to_endpoint(endpoint: Endpoint) -> str:
    """The connection string of a proxy of ours, for sessions of this process.

    Every parameter is in it, so that no PG* variable leads elsewhere (PGHOSTADDR!) or demands what only the
    production has (PGSSLNEGOTIATION, PGCHANNELBINDING, PGREQUIREAUTH, a list of revoked certificates).
    """
    defaults = {
        option.keyword.decode(): (option.compiled or b"").decode()
        for option in psycopg.pq.Conninfo.get_defaults()
        if option.envvar
    }
    for name in _NEVER_EMPTY:
        defaults.pop(name, None)
    given: dict[str, str | int] = {
        "host": endpoint.host,
        "hostaddr": _address(endpoint.host),
        "port": endpoint.port,
        "dbname": endpoint.database,
        "user": endpoint.user,
        "password": endpoint.password,
        "sslmode": "verify-full" if endpoint.ca_file else "disable",
        "sslrootcert": str(endpoint.ca_file or ""),
        "sslcrl": str(endpoint.crl_file or ""),
        "sslcertmode": "disable",
        "require_auth": "scram-sha-256,none",  # none: a server that trusts whoever comes
        "client_encoding": "UTF8",
        "connect_timeout": 10,
    }
    return make_conninfo("", **(defaults | given))


def _address(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])


def open_session(
    dsn: str, application_name: str, *, autocommit: bool = True, statement_timeout_ms: int = 0
) -> Session:
    """Open a pinned session.

    Raises `ConfigurationError` for a refused login or unknown database, `NeighbourUnreachable` when
    nobody answers; neither shows the connection string.
    """
    _parts(dsn)
    settings = {**PINNED, "statement_timeout": str(statement_timeout_ms)}
    try:
        session: Session = psycopg.connect(
            dsn, application_name=application_name, connect_timeout=10, autocommit=True
        )
    except psycopg.OperationalError as error:
        raise explain_refusal(error, dsn) from None
    for name, value in settings.items():
        session.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
    _notice_dead_client(session)
    session.autocommit = autocommit
    return session


def _notice_dead_client(session: Session) -> None:
    """Let the server end our statement soon after we die, where it can (14+, not on every platform)."""
    try:
        session.execute("SELECT pg_catalog.set_config('client_connection_check_interval', '500ms', false)")
    except psycopg.Error:
        if not session.autocommit:
            session.rollback()


_TOO_MANY = "too many connections for database"
_FULL = "the connection limit of the database keeps this role out"


def fenced(refusal: BackoutError) -> bool:
    """Whether a login failed because of the database's connection limit."""
    return refusal.what.startswith(_FULL)


def explain_refusal(error: psycopg.OperationalError, dsn: str) -> ConfigurationError | NeighbourUnreachable:
    """The error of a failed login in words that help, without the connection string."""
    text = str(error)
    where = place(dsn)
    role = _parts(dsn).get("user", "the role")
    for sign, what in (
        ("password authentication failed", f"the server refused the password of {role}"),
        ("no password supplied", f"the server wants a password of {role} and none was given"),
        ("does not exist", _last_line(text)),
        ("no pg_hba.conf entry", "the server's pg_hba.conf has no entry that lets this login in"),
        ("certificate verify failed", "the server's certificate could not be verified"),
        ("SSL", _last_line(text)),
    ):
        if sign in text:
            return ConfigurationError(
                what,
                where=where,
                intact="everything; no statement was sent",
                next="correct the DSN, then: backout doctor",
            )
    if _TOO_MANY in text:
        return NeighbourUnreachable(
            f"{_FULL}: {_last_line(text)}",
            where=where,
            intact="everything; no statement was sent",
            next="look who set it: after a move of traffic this is the old server, and dsn.operate belongs to"
            " the new one; then: backout doctor",
        )
    return NeighbourUnreachable(
        f"the database does not answer: {_last_line(text)}",
        where=where,
        intact="everything; no statement was sent",
        next="check host, port and network, then: backout doctor",
    )


# Classes of SQLSTATE whose message never holds a value of a row.
_WITHOUT_VALUES = ("08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58")


def explain_failure(error: Exception) -> BackoutError | None:
    """A failed statement of ours in words that help; never with a value of a row in them. None: no such.

    A lost connection is a neighbour's, a lock or a limit passes; the rest is refused by the server.
    """
    if not isinstance(error, psycopg.Error):
        return None
    state = error.sqlstate or ""
    said = error.diag.message_primary if state[:2] in _WITHOUT_VALUES else ""
    told = f"{said or type(error).__name__} ({state or 'no SQLSTATE'})"
    intact = "what was recorded; an effect that had begun is looked at before it is tried again"
    if isinstance(error, psycopg.OperationalError) and state[:2] in ("", "08", "57") and state != "57014":
        return NeighbourUnreachable(
            f"the connection to the database was lost: {told}",
            where="a database",
            intact=intact,
            next="backout doctor",
        )
    if state in ("55P03", "57014", "40P01", "53300", "53200", "53100"):
        return Stopped(
            f"the database could not answer now: {told}",
            where="a database",
            intact=intact,
            next="backout status",
        )
    return Refused(
        f"the server refused a statement of backout: {told}",
        where="a database",
        intact=intact,
        next="backout status",
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1].removeprefix("FATAL:").strip() if lines else "no reason given"


def identify(session: Session) -> SessionIdentity:
    """Who answers: read from the server itself, never from the connection string."""
    row = session.execute(
        """SELECT c.system_identifier::text, p.timeline_id, pg_catalog.current_database(), d.oid::bigint,
                  coalesce(pg_catalog.host(pg_catalog.inet_server_addr()), ''),
                  pg_catalog.pg_postmaster_start_time()::text,
                  pg_catalog.current_setting('server_version_num')::int,
                  pg_catalog.pg_is_in_recovery(), current_user::text
           FROM pg_catalog.pg_control_system() c, pg_catalog.pg_control_checkpoint() p,
                pg_catalog.pg_database d
           WHERE d.datname = pg_catalog.current_database()"""
    ).fetchone()
    assert row is not None
    info = session.info
    target = TargetIdentity(row[0], row[1], row[2], row[3], info.host or "local socket", info.port)
    return SessionIdentity(target, row[4], row[5], row[6], row[7], row[8])


def as_role(dsn: str, role: str) -> str:
    """The same connection string with the session acting as `role` from its first statement on."""
    escaped = "".join("\\" + c if c in "\\ \t\n" else c for c in role)
    return make_conninfo(dsn, options=f"-c role={escaped}")
