"""Tools whose own configuration demands TLS, channel binding, direct TLS, a certificate: all come in; and who
does not belong here is told why."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import ssl
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trustme
from scramp import ScramClient  # type: ignore[import-untyped]

from backout.adapters.migrator import child
from backout.postgres.proxy import frames
from backout.postgres.proxy.policy import RECORD_ONLY
from backout.postgres.proxy.server import Proxy
from backout.postgres.proxy.upstream import Upstream
from backout.postgres.proxy.wire import read_exactly, read_message
from backout.testing.servers import RealServer
from tests.proxy.helpers import through
from tests.proxy.secure import cancelled_after_a_moment, client_pair, dsn_of, revocations, who

_SSL_REQUEST = struct.pack("!II", 8, 80877103)
NEW_LIBPQ = pytest.mark.skipif(psycopg.pq.version() < 170000, reason="this libpq cannot begin with TLS")


def verified(proxy: Proxy) -> dict[str, Any]:
    """What the environment of a tool says, as parameters."""
    end = proxy.endpoint
    return {"sslmode": "verify-full", "sslrootcert": str(end.ca_file), "sslcrl": str(end.crl_file)}


@pytest.mark.parametrize(
    "demands",
    [
        {"require_auth": "scram-sha-256"},
        {"require_auth": "scram-sha-256", "channel_binding": "require"},
        {"channel_binding": "disable"},
        {"ssl_min_protocol_version": "TLSv1.3"},
        {"ssl_max_protocol_version": "TLSv1.2"},
        pytest.param({"sslnegotiation": "direct", "channel_binding": "require"}, marks=NEW_LIBPQ),
        pytest.param({"sslnegotiation": "direct", "ssl_max_protocol_version": "TLSv1.2"}, marks=NEW_LIBPQ),
    ],
    ids=lambda demands: " ".join(f"{name}={value}" for name, value in demands.items()),
)
def test_a_tool_that_insists_is_let_in(secure: RealServer, trusted: Path, demands: dict[str, str]):
    dsn = dsn_of(secure, "scram_role", sslmode="verify-full", sslrootcert=trusted)
    with Proxy(RECORD_ONLY, Upstream(dsn), tls=None) as proxy:
        assert who(proxy, **verified(proxy), **demands) == ("scram_role", True)
        assert [session.encrypted for session in proxy.sessions] == [True]
        assert proxy.refusals == ()


def test_a_tool_with_a_client_certificate_in_its_configuration(
    secure: RealServer, authority: trustme.CA, tmp_path: Path
):
    pair = client_pair(authority, "cert_role", tmp_path)
    dsn = dsn_of(secure, "cert_role", sslmode="require", **pair)
    (tmp_path / "other").mkdir()
    other = client_pair(trustme.CA(), "cert_role", tmp_path / "other")
    with Proxy(RECORD_ONLY, Upstream(dsn), tls=None) as proxy:
        assert who(proxy, **verified(proxy), **pair) == ("cert_role", True)
        assert who(proxy, **verified(proxy), **other) == ("cert_role", True), "it is not asked for"
        with pytest.raises(psycopg.OperationalError, match="requested SASL"):
            through(proxy, **pair, sslmode="require", require_auth="none")


def test_a_tool_that_insists_on_being_asked_for_its_certificate(
    secure: RealServer, authority: trustme.CA, tmp_path: Path
):
    pair = client_pair(authority, "cert_role", tmp_path)
    dsn = dsn_of(secure, "cert_role", sslmode="require", sslcertmode="require", **pair)
    with Proxy(RECORD_ONLY, Upstream(dsn), tls=None) as proxy:
        for more in ({}, {"sslnegotiation": "direct"} if psycopg.pq.version() >= 170000 else {}):
            strict = {**verified(proxy), **pair, **more, "sslcertmode": "require"}
            assert who(proxy, **strict) == ("cert_role", True)
        assert who(proxy, **verified(proxy)) == ("cert_role", True), "the password is what lets in"
        end = proxy.endpoint
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(
                host=end.host, port=end.port, dbname=end.database, user=end.user, password="guessed", **pair
            )


@pytest.mark.parametrize("tls", [True, False])
def test_who_has_another_password_is_told_whose_door_this_is(secure: RealServer, tls: bool):
    with Proxy(RECORD_ONLY, Upstream(dsn_of(secure, "scram_role", sslmode="require")), tls=tls) as proxy:
        end = proxy.endpoint
        with pytest.raises(psycopg.OperationalError) as refused:
            psycopg.connect(
                host=end.host, port=end.port, dbname=end.database, user=end.user, password="of production"
            )
        assert "this is the proxy of backout, which takes the password of this run only" in str(refused.value)
        assert "let the tool take its whole connection from its environment" in str(refused.value)
        assert proxy.sessions == ()
        refusal = proxy.refusals[-1]
        assert (refusal.what, refusal.sqlstate) == ("login", "28P01")


def waited_for(proxy: Proxy) -> str:
    """The reason of the first refusal: it is written when the visitor has gone."""
    deadline = time.monotonic() + 10
    while not proxy.refusals and time.monotonic() < deadline:
        time.sleep(0.02)
    refusal = proxy.refusals[0]
    assert refusal.what == "tls"
    return refusal.detail


@pytest.mark.parametrize("more", [{}, pytest.param({"sslnegotiation": "direct"}, marks=NEW_LIBPQ)])
def test_a_root_certificate_in_the_tool_itself_is_named_as_the_reason(
    secure: RealServer, trusted: Path, more: dict[str, str]
):
    with Proxy(RECORD_ONLY, Upstream(dsn_of(secure, "scram_role", sslmode="require")), tls=None) as proxy:
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            through(proxy, sslmode="verify-full", sslrootcert=str(trusted), **more)
        assert "names a root certificate" in waited_for(proxy)


def test_a_host_name_that_the_certificate_does_not_have_is_named_as_the_reason(secure: RealServer):
    with Proxy(RECORD_ONLY, Upstream(dsn_of(secure, "scram_role", sslmode="require")), tls=None) as proxy:
        end = proxy.endpoint
        with pytest.raises(psycopg.OperationalError, match="does not match host name"):
            psycopg.connect(
                host="elsewhere.example.com",
                hostaddr=end.host,
                port=end.port,
                dbname=end.database,
                user=end.user,
                password=end.password,
                **verified(proxy),
            )
        assert "it hung up after the handshake" in waited_for(proxy)


def test_a_tool_that_insists_on_tls_where_the_server_has_none(dsn: str):
    with Proxy(RECORD_ONLY, Upstream(dsn), tls=None) as proxy:
        assert proxy.endpoint.ca_file is None
        with pytest.raises(psycopg.OperationalError, match="server does not support SSL"):
            through(proxy, sslmode="require")
        assert "insists on TLS, which the server does not speak" in waited_for(proxy)


@NEW_LIBPQ
def test_a_tool_that_begins_with_tls_where_the_server_has_none(dsn: str):
    with Proxy(RECORD_ONLY, Upstream(dsn), tls=None) as proxy:
        with pytest.raises(psycopg.OperationalError):
            through(proxy, sslmode="require", sslnegotiation="direct")
        assert "insists on TLS, which the server does not speak" in waited_for(proxy)
        with through(proxy, sslmode="prefer") as tool:
            tool.execute("SELECT 1")


def test_a_list_of_revoked_certificates_in_the_users_home_does_not_keep_the_tool_out(
    secure: RealServer, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql" / "root.crl").write_bytes(revocations(authority))
    with Proxy(RECORD_ONLY, Upstream(dsn_of(secure, "scram_role", sslmode="require")), tls=None) as proxy:
        monkeypatch.setenv("HOME", str(tmp_path))
        root = {"sslmode": "verify-full", "sslrootcert": str(proxy.endpoint.ca_file)}
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            through(proxy, **root)
        for name, value in child.libpq_variables(proxy.endpoint).items():
            monkeypatch.setenv(name, value)
        with psycopg.connect("") as tool:
            tool.execute("SELECT 1")


# --- cancel


@pytest.mark.parametrize(
    "more", [{}, {"sslmode": "disable"}, pytest.param({"sslnegotiation": "direct"}, marks=NEW_LIBPQ)]
)
def test_a_cancel_reaches_the_statement(secure: RealServer, more: dict[str, Any]):
    dsn = dsn_of(secure, "scram_role", sslmode="require")
    with Proxy(RECORD_ONLY, Upstream(dsn), tls=None) as proxy:
        with through(proxy, autocommit=True, **(verified(proxy) | more)) as tool:
            cancelled_after_a_moment(tool)
            assert tool.execute("SELECT 1").fetchone() == (1,)
        assert proxy.refusals == ()


def test_a_cancel_with_a_key_that_was_not_given_out_does_nothing(secure: RealServer):
    dsn = dsn_of(secure, "scram_role", sslmode="require")
    with Proxy(RECORD_ONLY, Upstream(dsn), tls=None) as proxy, through(proxy, autocommit=True) as tool:
        pid = tool.info.backend_pid
        with socket.create_connection((proxy.endpoint.host, proxy.endpoint.port)) as stranger:
            stranger.sendall(struct.pack("!IIII", 16, 80877102, pid, 12345))
            assert stranger.recv(1) == b""
        assert tool.execute("SELECT pg_sleep(0.2), 1").fetchone() == ("", 1)


# --- strangers


def _encrypted(proxy: Proxy) -> ssl.SSLSocket:
    end = proxy.endpoint
    plain = socket.create_connection((end.host, end.port))
    plain.sendall(_SSL_REQUEST)
    assert read_exactly(plain, 1) == b"S"
    return ssl.create_default_context(cafile=str(end.ca_file)).wrap_socket(plain, server_hostname=end.host)


def _startup(proxy: Proxy) -> bytes:
    words = ("user", proxy.endpoint.user, "database", proxy.endpoint.database)
    body = b"".join(word.encode() + b"\0" for word in words) + b"\0"
    return struct.pack("!II", 8 + len(body), 196608) + body


def _scram(name: str, first: bytes) -> bytes:
    return frames.message(b"p", name.encode() + b"\0" + struct.pack("!I", len(first)) + first)


def test_a_client_that_was_told_of_no_channel_binding_is_not_let_in(secure: RealServer):
    """Somebody between tool and proxy took the offer out of the list: the tool says that it could have."""
    with Proxy(RECORD_ONLY, Upstream(dsn_of(secure, "scram_role", sslmode="require")), tls=None) as proxy:
        with _encrypted(proxy) as sock:
            sock.sendall(_startup(proxy))
            read_message(sock)
            fooled = ScramClient(
                ["SCRAM-SHA-256"], "tool", proxy.endpoint.password, ("tls-server-end-point", sock)
            )
            first = fooled.get_client_first()
            assert first.startswith("y,,")
            sock.sendall(_scram("SCRAM-SHA-256", first.encode()))
            assert read_message(sock)[0] == b"E"
        assert proxy.refusals[-1].what == "login"


RUBBISH = {
    "nothing": b"",
    "noise": b"\xff" * 64,
    "a web browser": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "half a TLS greeting": b"\x16\x03\x01\x02\x00\x01",
    "a TLS greeting of noise": b"\x16\x03\x01\x00\x05hello",
    "a cancel without a key": struct.pack("!II", 8, 80877102),
    "a cancel with half a key": struct.pack("!IIH", 10, 80877102, 1),
    "a startup that is too long": struct.pack("!II", 1 << 30, 196608),
    "another protocol": struct.pack("!II", 8, 2 << 16),
    "the same question for ever": _SSL_REQUEST * 9,
}
HUNG_UP = {errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN}


@pytest.mark.parametrize("said", RUBBISH.values(), ids=RUBBISH.keys())
@pytest.mark.parametrize("tls", [True, False])
def test_rubbish_at_the_door_disturbs_nobody(dsn: str, said: bytes, tls: bool):
    with Proxy(RECORD_ONLY, Upstream(dsn), tls=tls) as proxy:
        with socket.create_connection((proxy.endpoint.host, proxy.endpoint.port)) as stranger:
            stranger.settimeout(10)
            try:
                stranger.sendall(said)
                stranger.shutdown(socket.SHUT_WR)
                while stranger.recv(1000):
                    pass
            except OSError as hung_up:
                # the proxy may hang up at the first byte, so before we have said that we are done
                assert hung_up.errno in HUNG_UP
        with through(proxy) as tool:
            tool.execute("SELECT 1")
        assert len(proxy.sessions) == 1


@pytest.mark.parametrize(
    "answer",
    [
        _scram("SCRAM-SHA-256", b""),
        _scram("SCRAM-SHA-256", b"n,,"),
        _scram("SCRAM-SHA-256", b"n,,n=,r="),
        _scram("SCRAM-SHA-256", b"n,,n=,r=\xff\xfe"),
        _scram("SCRAM-SHA-256", b"p=tls-unique,,n=,r=abc"),
        _scram("SCRAM-SHA-256-PLUS", b"n,,n=,r=abc"),
        _scram("SCRAM-SHA-1", b"n,,n=,r=abc"),
        frames.message(b"p", b"a password in clear text\0"),
        frames.message(b"p", b""),
    ],
)
def test_who_does_not_know_scram_is_refused(dsn: str, answer: bytes):
    with Proxy(RECORD_ONLY, Upstream(dsn)) as proxy:
        with socket.create_connection((proxy.endpoint.host, proxy.endpoint.port)) as stranger:
            stranger.settimeout(10)
            stranger.sendall(_startup(proxy))
            read_message(stranger)
            stranger.sendall(answer)
            kind, body = read_message(stranger)
            assert (kind, frames.fields(body)["C"]) == (b"E", "28P01")
        assert proxy.sessions == ()


# --- psql


def test_psql_comes_in_with_its_demands_in_its_argument(secure: RealServer):
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("no psql on this machine: apt-get install postgresql-client")
    with Proxy(RECORD_ONLY, Upstream(dsn_of(secure, "scram_role", sslmode="require")), tls=None) as proxy:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        ran = subprocess.run(
            [psql, "-XAtc", "SELECT current_user", "channel_binding=require sslmode=verify-full"],
            env=clean | child.libpq_variables(proxy.endpoint),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ran.stdout.strip(), ran.stderr) == ("scram_role", "")
        assert [session.encrypted for session in proxy.sessions] == [True]
