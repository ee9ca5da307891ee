"""Where the proxy logs in: the tool's own DSN, resolved once by libpq, and the TLS it demands."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from backout.errors import ConfigurationError
from backout.postgres.connect import explain_refusal, place
from backout.postgres.proxy.wire import Hangup, read_exactly

_SSL_REQUEST = struct.pack("!II", 8, 80877103)
_CONNECT_SECONDS = 10.0
ALPN = "postgresql"
"""Protocol name in TLS; whoever begins with TLS directly has to agree on it."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """The real server, as the role of the tool's DSN (ownership!), never a stronger one."""

    dsn: str = field(repr=False)
    application_name: str = ""
    """Name of our sessions on the server; empty = the tool's own name stays."""


@dataclass(frozen=True, slots=True)
class Login:
    """Every parameter of a login, as libpq resolved it (service, passfile, environment, several hosts)."""

    host: str
    address: str
    """Address to connect to when it differs from `host`, which stays the name to verify."""
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    options: str
    application_name: str
    tls: bool
    """Whether libpq ended up with TLS (`prefer` and `allow` leave it open)."""
    sslmode: str
    sslrootcert: str
    sslcert: str
    sslkey: str
    sslpassword: str = field(repr=False)
    sslnegotiation: str
    channel_binding: str
    require_auth: str = ""
    sslcertmode: str = "allow"
    sslcrl: str = ""
    sslcrldir: str = ""
    ssl_min_protocol_version: str = "TLSv1.2"
    ssl_max_protocol_version: str = ""

    @property
    def local(self) -> bool:
        """Whether the server is reached over a unix socket."""
        return self.host.startswith(("/", "@")) and not self.address


def resolve(upstream: Upstream) -> Login:
    """Let libpq resolve the DSN and prove that the login works, with one short session.

    Raises `ConfigurationError` or `NeighbourUnreachable`, as for every session of ours.
    """
    with _connect(upstream.dsn) as connection:
        info = connection.info
        found = {
            option.keyword.decode(): option.val.decode()
            for option in connection.pgconn.info
            if option.val is not None
        }
        return Login(
            host=info.host,
            address=info.hostaddr if not info.host.startswith(("/", "@")) else "",
            port=info.port,
            database=info.dbname,
            user=info.user,
            password=info.password,
            options=found.get("options", ""),
            application_name=upstream.application_name or found.get("application_name", ""),
            tls=connection.pgconn.ssl_in_use,
            sslmode=found.get("sslmode", "prefer"),
            sslrootcert=found.get("sslrootcert", ""),
            sslcert=found.get("sslcert", ""),
            sslkey=found.get("sslkey", ""),
            sslpassword=found.get("sslpassword", ""),
            sslnegotiation=found.get("sslnegotiation", "postgres"),
            channel_binding=found.get("channel_binding", "prefer"),
            require_auth=found.get("require_auth", ""),
            sslcertmode=found.get("sslcertmode") or "allow",
            sslcrl=found.get("sslcrl", ""),
            sslcrldir=found.get("sslcrldir", ""),
            ssl_min_protocol_version=found.get("ssl_min_protocol_version", ""),
            ssl_max_protocol_version=found.get("ssl_max_protocol_version", ""),
        )


def _connect(dsn: str) -> psycopg.Connection:
    where = place(dsn)
    given = conninfo_to_dict(dsn)
    guarded = str(given.get("sslmode", "prefer")) in ("disable", "allow", "prefer")
    guarded &= not str(given.get("host", "")).startswith(("/", "@"))
    if guarded and "require_auth" not in given:
        dsn = make_conninfo(dsn, require_auth="!password")
    try:
        return psycopg.connect(dsn, connect_timeout=int(_CONNECT_SECONDS), autocommit=True)
    except psycopg.OperationalError as failure:
        if '"!password"' in str(failure):
            raise ConfigurationError(
                "the server wants the password in clear text, and the DSN does not demand TLS",
                where=where,
                intact="everything; no statement was sent",
                next="add sslmode=verify-full (or require) to the DSN, then: backout doctor",
            ) from None
        raise explain_refusal(failure, dsn) from None


def reach(login: Login) -> socket.socket:
    """A connected socket, with TLS when `sslmode` wants it; nothing is sent yet.

    Raises `OSError` (`ssl.SSLError` among them) when the server cannot be reached or verified.
    """
    if login.local:
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(_CONNECT_SECONDS)
        plain.connect(f"{login.host}/.s.PGSQL.{login.port}".replace("@", "\0", 1))
        return plain
    plain = socket.create_connection((login.address or login.host, login.port), _CONNECT_SECONDS)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    try:
        return _secure(plain, login)
    except BaseException:
        plain.close()
        raise


def _secure(plain: socket.socket, login: Login) -> socket.socket:
    if not login.tls:
        return plain
    direct = login.sslnegotiation == "direct"
    if not direct:
        plain.sendall(_SSL_REQUEST)
        if read_exactly(plain, 1) != b"S":
            raise OSError("the server offered TLS a moment ago and does not now")
    name = login.host or login.address
    secure = client_context(login).wrap_socket(plain, server_hostname=name)
    if direct and secure.selected_alpn_protocol() != ALPN:
        secure.close()  # some other service behind the same certificate could be made to answer
        raise OSError("who answers there does not say that it speaks PostgreSQL (ALPN)")
    return secure


def client_context(login: Login) -> ssl.SSLContext:
    """The ssl module's equivalent of libpq's `sslmode`, `sslrootcert`, `sslcert`, `sslkey`.

    Raises `ConfigurationError` naming a file that cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _limit_versions(context, login)
    context.set_alpn_protocols([ALPN])
    home = Path.home() / ".postgresql"
    root = login.sslrootcert or str(home / "root.crt")
    # libpq: a root file that exists makes "require" as strict as "verify-ca"
    verifies = login.sslmode in ("verify-ca", "verify-full")
    verifies = verifies or (login.sslmode == "require" and Path(root).exists())
    context.check_hostname = login.sslmode == "verify-full"
    context.verify_mode = ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE
    try:
        if verifies and root == "system":
            context.load_default_certs()
        elif verifies:
            context.load_verify_locations(root)
        if verifies:
            _heed_revocations(context, login, home)
        certificate = client_certificate(login)
        if certificate:
            key = login.sslkey or str(home / "postgresql.key")
            context.load_cert_chain(certificate, key, login.sslpassword)
    except (OSError, ssl.SSLError) as failure:
        raise ConfigurationError(
            f"a certificate file of the DSN cannot be used: {failure}",
            where="sslrootcert, sslcert or sslkey of the DSN",
            intact="everything; no statement was sent",
            next="correct sslrootcert, sslcert, sslkey, then: backout doctor",
        ) from None
    return context


def client_certificate(login: Login) -> str:
    """The file with the client certificate that libpq would present to the server; empty = none."""
    file = login.sslcert or str(Path.home() / ".postgresql" / "postgresql.crt")
    return file if login.sslcertmode != "disable" and Path(file).exists() else ""


def _limit_versions(context: ssl.SSLContext, login: Login) -> None:
    """`ssl_min_protocol_version` and `ssl_max_protocol_version`; below TLS 1.2 we never go."""
    if login.ssl_min_protocol_version == "TLSv1.3":
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    else:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    if login.ssl_max_protocol_version == "TLSv1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2


def _heed_revocations(context: ssl.SSLContext, login: Login, home: Path) -> None:
    """`sslcrl` and `sslcrldir`, else the list at its usual place; none there is no error, as for libpq."""
    files = login.sslcrl or ("" if login.sslcrldir else str(home / "root.crl"))
    file = files if files and Path(files).is_file() else None
    directory = login.sslcrldir if login.sslcrldir and Path(login.sslcrldir).is_dir() else None
    if file or directory:
        context.load_verify_locations(cafile=file, capath=directory)
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN


def cancel(login: Login, pid: int, secret: bytes) -> None:
    """Ask the server to stop the running statement of a session; waits until the signal was sent."""
    with contextlib.suppress(OSError, Hangup):
        sock = reach(login)
        with sock:
            sock.sendall(struct.pack("!III", 12 + len(secret), 80877102, pid) + secret)
            sock.recv(1)  # the server closes after it has sent the signal
