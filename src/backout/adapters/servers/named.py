"""A scratch server that the user names: logical copies only, and never the production itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from backout.adapters.servers import fit
from backout.errors import BackoutError, Refused
from backout.model.check import Check, CheckState
from backout.ports.servers import Capabilities, Scratch, SourceFacts
from backout.postgres import copies, extensions
from backout.postgres.binaries import client_for, speaks_tls
from backout.postgres.connect import Session, open_session, place, with_database
from backout.postgres.roles import can_set_owners
from backout.postgres.source_facts import read_source_facts

_APPLICATION = "backout/scratch/0"
_BY_AN_ADMINISTRATOR = "(an administrator of the scratch server)"
_REACHING_OUT = ("dblink", "http", "pg_net", "aws_lambda", "aws_s3", "pg_cron")


class NamedServer:
    """The server behind one connection string, which is read anew at each call and never kept or shown.

    Its configuration is not ours, so a copy there is isolated by the absence of credentials: user
    mappings, subscriptions and publications are never restored.
    """

    def __init__(self, dsn_source: Callable[[], str]) -> None:
        self._dsn_source = dsn_source

    def fit(self, source: SourceFacts, need_bytes: int) -> tuple[Check, ...]:
        """Check by check; the room on its disk cannot be seen from here, so that check is skipped."""
        try:
            with self._session() as session:
                here = read_source_facts(session)
                return (
                    _version_check(source, here),
                    _client_check(here, bool(session.pgconn.ssl_in_use)),
                    _identity_check(source, here, session),
                    _rights_check(session),
                    *fit.extension_checks(source, _ground(session)),
                    _encoding_check(source, here),
                    _reach_check(source),
                    Check(
                        "disk", CheckState.SKIPPED, f"needs {fit.size(need_bytes)}; not to be seen from here"
                    ),
                )
        except BackoutError as error:
            return (Check("scratch server", CheckState.FAIL, error.what, error.next),)

    def start(self, source: SourceFacts) -> Scratch:
        """Look once more that it fits; raises `Refused` with the first check that fails."""
        for check in self.fit(source, 0):
            if check.state is CheckState.FAIL:
                raise Refused(
                    f"this scratch server cannot be used: {check.detail}",
                    where=place(self._dsn_source()),
                    intact="everything; nothing was created there",
                    next=check.mend or "backout doctor",
                )
        return self._scratch()

    def conninfo(self, scratch: Scratch, database: str) -> str:
        """Connection string with the user's own secret; never journalled or printed."""
        dsn = self._dsn_source()
        # `postgres` stands for the maintenance database, which is the one that the user named.
        return dsn if database == "postgres" else with_database(dsn, database)

    def running(self) -> tuple[Scratch, ...]:
        """The server, when it answers."""
        try:
            return (self._scratch(),)
        except BackoutError:
            return ()

    def stopped(self) -> tuple[Scratch, ...]:
        """None: whether it runs is not for us to say."""
        return ()

    def destroy(self, scratch: Scratch) -> None:
        """Drop the marked copies there, no more: the server is not ours. Errors as in `copies.destroy`."""
        dsn = self._dsn_source()
        for copy in copies.list_copies(dsn, scratch.name):
            if copy.marker is not None:
                copies.destroy(scratch, dsn, copy.database)

    def capabilities(self) -> Capabilities:
        return Capabilities(physical=False, isolated_settings=False, no_network=False)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with open_session(self._dsn_source(), _APPLICATION) as session:
            yield session

    def _scratch(self) -> Scratch:
        with self._session() as session:
            info = session.info
            major = info.server_version // 10000
            return Scratch(
                name=f"named:{info.host or 'local'}:{info.port}",
                host=info.host,
                port=info.port,
                user=info.user,
                major=major,
                bin_directory=str(Path(client_for(major).directory)),
                data_directory="",
            )


def _version_check(source: SourceFacts, here: SourceFacts) -> Check:
    wanted, there = source.server_version // 10000, here.server_version // 10000
    if wanted == there:
        return Check("server version", CheckState.PASS, f"PostgreSQL {there}")
    detail = (
        f"the source is PostgreSQL {wanted}, this server {there}: the rehearsal would show another server"
    )
    return Check("server version", CheckState.FAIL, detail, f"name a PostgreSQL {wanted} server")


def _client_check(here: SourceFacts, over_tls: bool) -> Check:
    """A pg_restore of 17 or newer cannot restore to an older server; one of the same major always can."""
    major = here.server_version // 10000
    client = client_for(major)
    if major < 17 <= client.major:
        detail = f"pg_restore {client.version} on this machine cannot restore to PostgreSQL {major}"
    elif over_tls and not speaks_tls(client):
        detail = f"it is reached over TLS, and pg_restore {client.version} was built without it"
    else:
        return Check("client programs", CheckState.PASS, f"pg_dump and pg_restore {client.version}")
    return Check("client programs", CheckState.FAIL, detail, f"apt-get install postgresql-client-{major}")


def _identity_check(source: SourceFacts, here: SourceFacts, session: Session) -> Check:
    """A physical copy shares the identifier with its source, so the start of the postmaster decides; both
    are refused: the one is the production, the other a standby or a clone that may still reach the world."""
    row = session.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone()
    if row is not None and row[0]:
        return Check("identity", CheckState.FAIL, "this server is a standby", "name a server of its own")
    if source.system_identifier and source.system_identifier == here.system_identifier:
        same = source.postmaster_started == here.postmaster_started
        detail = "this is the source itself" if same else "this is a physical copy of the source"
        return Check("identity", CheckState.FAIL, detail, "name a server of its own, made by initdb")
    return Check("identity", CheckState.PASS, "another server than the source")


def _rights_check(session: Session) -> Check:
    row = session.execute(
        "SELECT rolcreatedb OR rolsuper, rolcreaterole OR rolsuper FROM pg_catalog.pg_roles"
        " WHERE rolname = current_user"
    ).fetchone()
    assert row is not None
    missing = [word for word, has in zip(("CREATEDB", "CREATEROLE"), row, strict=True) if not has]
    user = session.info.user
    if missing:
        mend = f"ALTER ROLE {user} {' '.join(missing)};   {_BY_AN_ADMINISTRATOR}"
        return Check("rights", CheckState.FAIL, f"{user} lacks {', '.join(missing)}", mend)
    if can_set_owners(session):
        return Check("rights", CheckState.PASS, "superuser: copies keep their owners")
    detail = f"{user} is no superuser and owns all of a copy: a right that the tool lacks does not show there"
    return Check("rights", CheckState.WARN, detail)


def _ground(session: Session) -> fit.Ground:
    """What this server can create, and which of it needs a superuser that our role there is not."""
    return fit.Ground(
        extensions.on_server(session),
        preloads=True,
        where="on the machine of the scratch server: ",
        otherwise="name another scratch server",
        refused=frozenset() if can_set_owners(session) else extensions.for_superusers(session),
        allow=f"ALTER ROLE {session.info.user} SUPERUSER;   {_BY_AN_ADMINISTRATOR}",
    )


def _encoding_check(source: SourceFacts, here: SourceFacts) -> Check:
    """Every database is created from template0, so another default encoding or locale is no obstacle."""
    if source.collation_version and source.collation_version != here.collation_version:
        there = here.collation_version or "not versioned"
        detail = f"source {source.collation_version}, there {there}: text may sort in another order"
        return Check("collation version", CheckState.WARN, detail)
    return Check("collation version", CheckState.PASS, source.collation_version or "not versioned")


def _reach_check(source: SourceFacts) -> Check:
    reaching = [name for name, _ in source.extensions if name in _REACHING_OUT]
    detail = "its configuration and network are not ours: user mappings and subscriptions are left out"
    if reaching:
        detail += f"; functions of {', '.join(reaching)} can reach out from a copy"
    return Check("isolation", CheckState.WARN, detail)
