"""TLS and every way to log in, on both sides; needs a server that was built with TLS."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import trustme

from backout.errors import ConfigurationError
from backout.postgres.proxy import certificates
from backout.postgres.proxy.policy import RECORD_ONLY
from backout.postgres.proxy.server import Proxy
from backout.postgres.proxy.upstream import Upstream
from backout.testing.servers import RealServer, available_majors, has_tls, start_server, stop_server
from tests.proxy.helpers import through
from tests.proxy.world import FIRST_NAME, make, manifest, policy

HBA = """
hostssl all scram_role 127.0.0.1/32 scram-sha-256
hostssl all md5_role 127.0.0.1/32 md5
host all clear_role 127.0.0.1/32 password
hostssl all cert_role 127.0.0.1/32 cert
local all scram_role scram-sha-256
"""
ROLES = ("scram_role", "md5_role", "clear_role", "cert_role")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secure(authority: trustme.CA) -> Iterator[RealServer]:
    major = next((m for m in available_majors() if has_tls(m)), None)
    if major is None:
        pytest.skip("no PostgreSQL with TLS on this machine")
    pair = authority.issue_cert("localhost", "127.0.0.1")
    files = {
        "server.key": pair.private_key_pem.bytes(),
        "server.crt": b"".join(blob.bytes() for blob in pair.cert_chain_pems),
        "root.crt": authority.cert_pem.bytes(),
    }
    settings = {"ssl": "on", "ssl_ca_file": "root.crt"}
    server = start_server(major, hba=HBA, settings=settings, files=files)
    with server.connect() as admin:
        for role in ROLES:
            kind = "md5" if role == "md5_role" else "scram-sha-256"
            admin.execute(f"SET password_encryption = '{kind}'")
            admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'pass word {role}'")
    yield server
    stop_server(server)


@pytest.fixture(scope="module")
def trusted(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    path.write_bytes(authority.cert_pem.bytes())
    return path


def dsn_of(server: RealServer, role: str, **more: object) -> str:
    parts = {
        "host": "localhost",
        "hostaddr": "127.0.0.1",
        "port": server.port,
        "dbname": "postgres",
        "user": role,
        "password": f"'pass word {role}'",
        **more,
    }
    return " ".join(f"{name}={value}" for name, value in parts.items())


def who(proxy: Proxy, **more: object) -> tuple[object, ...]:
    """Role and TLS of the server's side."""
    with through(proxy, **more) as tool:
        row = tool.execute(
            "SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        ).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
def test_the_server_is_reached_with_channel_binding(secure: RealServer, trusted: Path, mode: str):
    dsn = dsn_of(secure, "scram_role", sslmode=mode, sslrootcert=trusted, channel_binding="require")
    with Proxy(RECORD_ONLY, Upstream(dsn)) as proxy:
        assert who(proxy) == ("scram_role", True)


@pytest.mark.parametrize("role", ["md5_role", "clear_role"])
def test_older_ways_to_log_in_work_over_tls(secure: RealServer, role: str):
    with Proxy(RECORD_ONLY, Upstream(dsn_of(secure, role, sslmode="require"))) as proxy:
        assert who(proxy) == (role, True)


def test_a_password_never_goes_out_in_clear_text_without_tls(secure: RealServer):
    for mode in ("disable", "prefer"):
        with pytest.raises(ConfigurationError, match="clear text"):
            Proxy(RECORD_ONLY, Upstream(dsn_of(secure, "clear_role", sslmode=mode))).__enter__()


def test_a_client_certificate_is_presented(secure: RealServer, authority: trustme.CA, tmp_path: Path):
    pair = authority.issue_cert(common_name="cert_role")
    certificate, key = tmp_path / "client.crt", tmp_path / "client.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    key.touch(mode=0o600)
    key.write_bytes(pair.private_key_pem.bytes())
    dsn = dsn_of(secure, "cert_role", sslmode="require", sslcert=certificate, sslkey=key)
    with Proxy(RECORD_ONLY, Upstream(dsn)) as proxy:
        assert who(proxy) == ("cert_role", True)


def test_a_certificate_of_somebody_else_is_refused(secure: RealServer, tmp_path: Path):
    other = tmp_path / "other.pem"
    other.write_bytes(trustme.CA().cert_pem.bytes())
    dsn = dsn_of(secure, "scram_role", sslmode="verify-full", sslrootcert=other)
    with pytest.raises(ConfigurationError, match="certificate"):
        Proxy(RECORD_ONLY, Upstream(dsn)).__enter__()


def test_service_and_password_files_are_resolved(
    secure: RealServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    services, passwords = tmp_path / "services.conf", tmp_path / "pgpass"
    services.write_text(
        f"[prod]\nhost=localhost\nport={secure.port}\ndbname=postgres\nuser=scram_role\nsslmode=require\n"
    )
    passwords.touch(mode=0o600)
    passwords.write_text(f"localhost:{secure.port}:*:scram_role:pass word scram_role\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    with Proxy(RECORD_ONLY, Upstream(f"service=prod passfile={passwords}")) as proxy:
        assert who(proxy) == ("scram_role", True)
        assert proxy.endpoint.server_name == "localhost"


def test_the_server_is_reached_over_its_socket(secure: RealServer):
    socket = secure.layout.socket_directory
    dsn = f"host={socket} port={secure.port} dbname=postgres user=scram_role password='pass word scram_role'"
    with Proxy(RECORD_ONLY, Upstream(dsn)) as proxy:
        assert who(proxy) == ("scram_role", False)


def test_the_tool_verifies_the_proxy_as_it_would_the_server(secure: RealServer, trusted: Path):
    dsn = dsn_of(secure, "scram_role", sslmode="verify-full", sslrootcert=trusted)
    with Proxy(RECORD_ONLY, Upstream(dsn), tls=True) as proxy:
        strict = {"sslmode": "verify-full", "sslrootcert": str(proxy.endpoint.ca_file)}
        for more in ({}, {"channel_binding": "require"}, {"channel_binding": "disable"}):
            assert who(proxy, **strict, **more) == ("scram_role", True)
        assert who(proxy, sslmode="disable") == ("scram_role", True)
        assert [session.encrypted for session in proxy.sessions] == [True, True, True, False]
        ca_file = proxy.endpoint.ca_file
        assert ca_file is not None
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            through(proxy, sslmode="verify-full", sslrootcert=str(trusted))
    assert not ca_file.exists()


def test_the_certificate_names_the_production_host(secure: RealServer):
    dsn = dsn_of(secure, "scram_role", host="db.example.com", sslmode="require")
    with Proxy(RECORD_ONLY, Upstream(dsn), tls=True) as proxy:
        assert proxy.endpoint.server_name == "db.example.com"
        tool = psycopg.connect(
            host="db.example.com",
            hostaddr="127.0.0.1",
            port=proxy.endpoint.port,
            dbname="postgres",
            user="scram_role",
            password=proxy.endpoint.password,
            sslmode="verify-full",
            sslrootcert=str(proxy.endpoint.ca_file),
        )
        tool.close()


def test_direct_tls_is_understood(secure: RealServer):
    if psycopg.pq.version() < 170000:
        pytest.skip("this libpq cannot begin with TLS")
    with Proxy(RECORD_ONLY, Upstream(dsn_of(secure, "scram_role")), tls=True) as proxy:
        assert who(proxy, sslmode="require", sslnegotiation="direct") == ("scram_role", True)


def test_an_address_of_our_own_takes_the_port_of_production(secure: RealServer):
    with Proxy(
        RECORD_ONLY, Upstream(dsn_of(secure, "scram_role")), address="127.0.0.2", port=secure.port
    ) as proxy:
        assert (proxy.endpoint.host, proxy.endpoint.port) == ("127.0.0.2", secure.port)
        assert who(proxy) == ("scram_role", True)


def test_keeping_works_with_tls_on_both_sides(secure: RealServer, trusted: Path):
    with secure.database("scram_role") as name:
        dsn = dsn_of(secure, "scram_role", dbname=name, sslmode="verify-full", sslrootcert=trusted)
        make(dsn)
        with Proxy(policy(FIRST_NAME), Upstream(dsn), tls=True) as proxy:
            ca_file = str(proxy.endpoint.ca_file)
            with through(proxy, sslmode="verify-ca", sslrootcert=ca_file) as tool:
                tool.execute("ALTER TABLE users DROP COLUMN first_name")
                big = tool.execute("SELECT repeat('x', 3000000)").fetchone()
                assert big == ("x" * 3_000_000,)
            assert proxy.refusals == ()
        with psycopg.connect(dsn) as direct:
            assert manifest(direct) == [("public.users", "columns", 5, 5)]


def test_our_tls_context_is_not_weak():
    context = certificates.make(("db.example.com",)).context
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
