"""TLS and every way to log in, on both sides; needs a server that was built with TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from backout.errors import ConfigurationError
from backout.postgres.proxy import certificates, frames, server_login, upstream
from backout.postgres.proxy.policy import RECORD_ONLY
from backout.postgres.proxy.server import Proxy
from backout.postgres.proxy.upstream import Upstream
from backout.testing.servers import RealServer
from tests.proxy.helpers import through
from tests.proxy.secure import cancelled_after_a_moment, client_pair, dsn_of, revocations, who
from tests.proxy.world import FIRST_NAME, make, manifest, policy


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


def test_a_client_certificate_is_presented(
    secure: RealServer, authority: trustme.CA, trusted: Path, tmp_path: Path
):
    pair = client_pair(authority, "cert_role", tmp_path)
    verified = {"sslmode": "verify-full", "sslrootcert": trusted}
    for more in ({"sslmode": "require"}, verified, {**verified, "sslcertmode": "require"}):
        with Proxy(RECORD_ONLY, Upstream(dsn_of(secure, "cert_role", **pair, **more))) as proxy:
            assert who(proxy) == ("cert_role", True)


def test_the_key_of_a_client_certificate_may_have_a_passphrase(
    secure: RealServer, authority: trustme.CA, tmp_path: Path
):
    pair = client_pair(authority, "cert_role", tmp_path)
    key = serialization.load_pem_private_key(Path(pair["sslkey"]).read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"open sesame")
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    Path(pair["sslkey"]).write_bytes(key.private_bytes(*form))
    dsn = dsn_of(secure, "cert_role", sslmode="require", sslpassword="'open sesame'", **pair)
    with Proxy(RECORD_ONLY, Upstream(dsn)) as proxy:
        assert who(proxy) == ("cert_role", True)


def test_a_server_that_expects_tls_at_once_is_reached_so(secure: RealServer, trusted: Path):
    if secure.major < 17 or psycopg.pq.version() < 170000:
        pytest.skip("direct TLS needs a server and a libpq of 17 or newer")
    direct = {"sslnegotiation": "direct", "sslmode": "verify-full", "sslrootcert": trusted}
    dsn = dsn_of(secure, "scram_role", channel_binding="require", **direct)
    with Proxy(RECORD_ONLY, Upstream(dsn), tls=None) as proxy:
        assert who(proxy, sslmode="require") == ("scram_role", True)
        with through(proxy, autocommit=True) as tool:
            cancelled_after_a_moment(tool)


def test_the_versions_of_tls_that_the_dsn_allows_are_kept_to(secure: RealServer):
    seen = []
    for limit in ({"ssl_max_protocol_version": "TLSv1.2"}, {"ssl_min_protocol_version": "TLSv1.3"}):
        dsn = dsn_of(secure, "scram_role", sslmode="require", **limit)
        with Proxy(RECORD_ONLY, Upstream(dsn)) as proxy, through(proxy) as tool:
            row = tool.execute("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
            seen.append(row)
    assert seen == [("TLSv1.2",), ("TLSv1.3",)]


def test_a_server_whose_certificate_was_revoked_is_not_spoken_to(
    secure: RealServer, authority: trustme.CA, trusted: Path, tmp_path: Path
):
    verified = {"sslmode": "verify-full", "sslrootcert": trusted}
    login = upstream.resolve(Upstream(dsn_of(secure, "scram_role", **verified)))
    with socket.create_connection(("127.0.0.1", login.port)) as plain:
        plain.sendall((8).to_bytes(4, "big") + (80877103).to_bytes(4, "big"))
        assert plain.recv(1) == b"S"
        trusting = upstream.client_context(login)
        with trusting.wrap_socket(plain, server_hostname="localhost") as peer:
            shown = x509.load_der_x509_certificate(peer.getpeercert(binary_form=True) or b"")
    none, listed = tmp_path / "none.crl", tmp_path / "listed.crl"
    none.write_bytes(revocations(authority))
    listed.write_bytes(revocations(authority, shown.serial_number))
    upstream.reach(replace(login, sslcrl=str(none))).close()
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        upstream.reach(replace(login, sslcrl=str(listed)))


@pytest.mark.parametrize(
    ("allowed", "method", "answer"),
    [
        ("", "password", True),
        ("scram-sha-256", "scram-sha-256", True),
        ("scram-sha-256", "md5", False),
        ("scram-sha-256, md5", "md5", True),
        ("scram-sha-256", "none", False),
        ("!password,!md5", "md5", False),
        ("!password,!md5", "scram-sha-256", True),
        ("!none", "none", False),
    ],
)
def test_what_the_server_may_ask_for(allowed: str, method: str, answer: bool):
    assert server_login.may_ask(allowed, method) is answer


@contextmanager
def impostor(*messages: bytes) -> Iterator[int]:
    """The port of somebody who is no PostgreSQL: whatever it hears, it says the next of these."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            peer, _ = listener.accept()
            with peer, contextlib.suppress(OSError):  # who sees through it hangs up
                for message in messages:
                    peer.recv(10_000)
                    peer.sendall(message)
                peer.recv(10_000)

        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        yield listener.getsockname()[1]
        speaker.join(timeout=10)


def test_an_impostor_that_does_not_know_the_password_is_found_out(secure: RealServer):
    login = upstream.resolve(Upstream(dsn_of(secure, "scram_role", sslmode="require")))
    ask = frames.message(b"R", (10).to_bytes(4, "big") + b"SCRAM-SHA-256\0\0")
    come_in = frames.message(b"R", bytes(4)) + frames.ready(b"I")
    with impostor(ask, come_in) as port:
        fooled = replace(login, port=port, tls=False)
        with pytest.raises(server_login.LoginRefused, match="did not prove that it knows the password"):
            server_login.log_in(fooled, {})


def test_an_impostor_cannot_ask_for_a_weaker_login_than_the_dsn_allows(secure: RealServer):
    dsn = dsn_of(secure, "scram_role", sslmode="require", require_auth="scram-sha-256")
    login = upstream.resolve(Upstream(dsn))
    for what, said in (
        ("md5", frames.message(b"R", (5).to_bytes(4, "big") + b"salt")),
        ("nothing", frames.message(b"R", bytes(4)) + frames.ready(b"I")),
    ):
        refused = pytest.raises(server_login.LoginRefused, match=f"asked for {what}")
        with impostor(said) as port, refused:
            server_login.log_in(replace(login, port=port, tls=False), {})


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
