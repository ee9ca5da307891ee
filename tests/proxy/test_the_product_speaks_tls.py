"""What the verbs do with the proxy: TLS towards the tool as the server has it, and nothing of this process's
environment in sessions of ours."""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg
import pytest

from backout.adapters.migrator import child, sql_pairs, sql_session
from backout.ports.migrator import Endpoint, ToolEnvironment, ToolResult
from backout.postgres.alone import run_through
from backout.postgres.proxy.policy import RECORD_ONLY
from backout.postgres.proxy.server import Proxy
from backout.postgres.proxy.upstream import Upstream
from backout.postgres.through_proxy import ToolRun, drive
from backout.testing.servers import RealServer
from tests.proxy.secure import dsn_of

STRICT = """
import psycopg
with psycopg.connect("sslmode=verify-full channel_binding=require require_auth=scram-sha-256") as session:
    session.execute("SELECT 1")
"""
OWN_ROOT = """
import psycopg
psycopg.connect("sslmode=verify-full sslrootcert={root}")
"""


def driven(script: str, dsn: str, directory: Path, tls: bool | None = None) -> ToolRun:
    """A tool of one script, run as the verbs run it."""

    def verb(environment: ToolEnvironment) -> ToolResult:
        assert environment.endpoint is not None
        variables = child.environment_of(environment, ()) | child.libpq_variables(environment.endpoint)
        return child.run(
            [sys.executable, "-c", script], directory=directory, environment=variables, deadline=60
        )

    return drive(sql_pairs.from_settings(directory, {}), verb, dsn, RECORD_ONLY, "backout/test", tls=tls)


def test_a_tool_finds_tls_where_the_server_speaks_it(secure: RealServer, trusted: Path, tmp_path: Path):
    dsn = dsn_of(secure, "scram_role", sslmode="verify-full", sslrootcert=trusted)
    ran = driven(STRICT, dsn, tmp_path)
    assert ran.result.exit_code == 0, ran.result.output
    assert [session.encrypted for session in ran.sessions] == [True]
    assert ran.refusal is None


def test_a_copy_without_tls_is_reached_as_production_is(dsn: str, tmp_path: Path):
    ran = driven(STRICT, dsn, tmp_path, tls=True)
    assert ran.result.exit_code == 0, ran.result.output
    assert [session.encrypted for session in ran.sessions] == [True]


def test_why_a_tool_was_not_let_in_is_told(secure: RealServer, trusted: Path, tmp_path: Path):
    dsn = dsn_of(secure, "scram_role", sslmode="require")
    ran = driven(OWN_ROOT.format(root=trusted), dsn, tmp_path)
    assert ran.result.exit_code == 1 and ran.sessions == ()
    assert ran.refusal is not None and "names a root certificate" in ran.refusal.detail


def test_a_tool_that_came_in_at_its_second_try_was_not_refused(
    secure: RealServer, trusted: Path, tmp_path: Path
):
    dsn = dsn_of(secure, "scram_role", sslmode="require")
    twice = f"""
import psycopg
try:
    psycopg.connect("sslmode=verify-full sslrootcert={trusted}")
except psycopg.OperationalError:
    psycopg.connect("")
"""
    ran = driven(twice, dsn, tmp_path)
    assert len(ran.sessions) == 1 and len(ran.refusals) == 1
    assert ran.refusal is None


DEMANDS = {
    "PGHOSTADDR": "192.0.2.1",
    "PGSSLNEGOTIATION": "direct",
    "PGSSLMODE": "verify-full",
    "PGCHANNELBINDING": "require",
    "PGREQUIREAUTH": "md5",
    "PGSSLCERTMODE": "require",
    "PGSSLCRL": "/nonexistent",
    "PGSSLMINPROTOCOLVERSION": "TLSv1.3",
    "PGSSLMAXPROTOCOLVERSION": "TLSv1.2",
    "PGTARGETSESSIONATTRS": "standby",
    "PGGSSENCMODE": "disable",
    "PGOPTIONS": "-c no.such=setting -c statement_timeout=1",
}


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("name", DEMANDS)
def test_what_production_demands_by_the_environment_is_not_demanded_of_the_proxy(
    dsn: str, monkeypatch: pytest.MonkeyPatch, name: str, tls: bool
):
    with Proxy(RECORD_ONLY, Upstream(dsn), tls=tls) as proxy:
        monkeypatch.setenv(name, DEMANDS[name])
        assert _both_ways_in(proxy.endpoint) == ("1", "")
        assert [session.encrypted for session in proxy.sessions] == [tls, tls]


def _both_ways_in(endpoint: Endpoint) -> tuple[str, str]:
    with sql_session.opened(endpoint) as session:
        row = session.execute("SELECT '1'").fetchone()
    answer = run_through(endpoint, "backout/test", "SELECT 1", lock_timeout=0, statement_timeout=0)
    assert row is not None
    return row[0], answer.sqlstate


def test_a_service_of_the_environment_is_not_mixed_in(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    services = tmp_path / "services.conf"
    services.write_text("[prod]\nhostaddr=192.0.2.1\nsslmode=verify-full\nchannel_binding=require\n")
    with Proxy(RECORD_ONLY, Upstream(dsn)) as proxy:
        monkeypatch.setenv("PGSERVICEFILE", str(services))
        monkeypatch.setenv("PGSERVICE", "prod")
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(host=proxy.endpoint.host, connect_timeout=2)
        assert _both_ways_in(proxy.endpoint) == ("1", "")
