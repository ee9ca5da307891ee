"""A server that lets nobody in without TLS (but one who may only speak plainly), one role for each login."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from backout.postgres.proxy.server import Proxy
from backout.testing.servers import RealServer, start_server, stop_server
from tests.proxy.helpers import through

HBA = """
hostssl all scram_role 127.0.0.1/32 scram-sha-256
hostssl all md5_role 127.0.0.1/32 md5
host all clear_role 127.0.0.1/32 password
hostssl all cert_role 127.0.0.1/32 cert
local all scram_role scram-sha-256
"""
ROLES = ("scram_role", "md5_role", "clear_role", "cert_role")


@contextmanager
def started(major: int, authority: trustme.CA) -> Iterator[RealServer]:
    """A server of this major with a certificate of `authority`, which signs client certificates too."""
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
    try:
        yield server
    finally:
        stop_server(server)


def dsn_of(server: RealServer, role: str, **more: object) -> str:
    """Connection string of one of the roles, by the name that the server's certificate has."""
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


def client_pair(authority: trustme.CA, name: str, directory: Path) -> dict[str, Any]:
    """Files of a client certificate for the role `name`, as `sslcert` and `sslkey`."""
    pair = authority.issue_cert(common_name=name)
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    key.touch(mode=0o600)
    key.write_bytes(pair.private_key_pem.bytes())
    return {"sslcert": str(certificate), "sslkey": str(key)}


def revocations(authority: trustme.CA, *serials: int) -> bytes:
    """The authority's list of revoked certificates, PEM."""
    key = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes()).subject
    now = datetime.now(UTC)
    listed = x509.CertificateRevocationListBuilder(issuer, now - timedelta(hours=1), now + timedelta(days=1))
    for serial in serials:
        one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        listed = listed.add_revoked_certificate(one)
    signed = listed.sign(key, hashes.SHA256())  # type: ignore[arg-type]
    return signed.public_bytes(serialization.Encoding.PEM)


def cancelled_after_a_moment(tool: psycopg.Connection) -> None:
    """A long statement that the tool cancels by the safe function of libpq: encrypted as the session is."""
    threading.Timer(0.3, tool.cancel_safe).start()
    begun = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        tool.execute("SELECT pg_sleep(20)")
    assert time.monotonic() - begun < 5
