"""The door towards the tool: TLS, the run's password over SCRAM-SHA-256, and nothing else gets in."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from scramp import ScramException, ScramMechanism  # type: ignore[import-untyped]

from backout.postgres.proxy import frames
from backout.postgres.proxy.certificates import ServerTls
from backout.postgres.proxy.wire import Hangup, read_exactly, read_message

_SSL, _CANCEL, _GSS = 80877103, 80877102, 80877104
_TLS_HANDSHAKE = b"\x16"
_LARGEST_STARTUP = 10_000
_LOGIN_SECONDS = 15.0
_OURS = "this is the proxy of backout"
HINT = "let the tool take its whole connection from its environment, which leads here"
"""For a tool that came here with somebody else's login."""
_NO_TLS = "the tool insists on TLS, which the server does not speak, and so the proxy does not either"
_NOT_TRUSTED = (
    "the tool did not accept the certificate of this run: it names a root certificate, a list of revoked "
    "ones or a host of its own (sslrootcert, sslcrl, ssl.ca) instead of those of its environment"
)


@dataclass(frozen=True, slots=True)
class Cancel:
    """A CancelRequest: whose statement shall stop. The sender waits until `sock` is closed."""

    sock: socket.socket
    pid: int
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A tool that knew the password. `parameters` are those of its startup message."""

    sock: socket.socket
    parameters: Mapping[str, str]


class TurnedAway(Exception):
    """The visitor shall be refused with `sqlstate` and `what` on `sock`; the reason is for the record.
    With an empty `what` it went away itself: nothing can be said to it any more."""

    def __init__(self, sock: socket.socket, sqlstate: str, what: str, reason: str) -> None:
        super().__init__(reason)
        self.sock = sock
        self.sqlstate = sqlstate
        self.what = what


@dataclass(frozen=True, slots=True)
class Reception:
    """Who may come in: one database, one user name, one password, good for one run."""

    database: str
    user: str
    password: str = field(repr=False)
    tls: ServerTls | None = None

    def receive(self, sock: socket.socket) -> Arrival | Cancel:
        """Speak with a new connection until it is logged in.

        Raises `TurnedAway` when it must not come in, `Hangup` when it went away.
        """
        sock.settimeout(_LOGIN_SECONDS)
        try:
            return self._startup(sock)
        except (OSError, ssl.SSLError) as failure:
            raise Hangup from failure

    def _startup(self, sock: socket.socket) -> Arrival | Cancel:
        asked_tls = sock.recv(1, socket.MSG_PEEK) == _TLS_HANDSHAKE
        if asked_tls:
            sock = self._encrypt(sock)
        try:
            for _ in range(4):  # GSS asked, TLS asked, startup; a peer that asks more is no client
                code, body = self._packet(sock, asked_tls)
                asked_tls = asked_tls or code == _SSL
                if code == _CANCEL:
                    return Cancel(sock, struct.unpack("!I", body[:4])[0], body[4:])
                if code == _SSL and self.tls is not None and not isinstance(sock, ssl.SSLSocket):
                    sock.sendall(b"S")
                    sock = self._encrypt(sock)
                elif code in (_SSL, _GSS):
                    sock.sendall(b"N")
                elif code >> 16 == 3:
                    return self._login(sock, code & 0xFFFF, body)
                else:
                    break
            raise Hangup
        except TurnedAway:
            raise
        except BaseException:
            sock.close()
            raise

    def _encrypt(self, sock: socket.socket) -> socket.socket:
        """TLS on this connection, with our certificate."""
        if self.tls is None:
            raise TurnedAway(sock, "08P01", "", _NO_TLS)
        try:
            return self.tls.context.wrap_socket(sock, server_side=True)
        except ssl.SSLError as failure:
            why = failure.reason or "no reason given"
            raise TurnedAway(sock, "08P01", "", f"{_NOT_TRUSTED} ({why.lower()})") from failure

    def _packet(self, sock: socket.socket, asked_tls: bool) -> tuple[int, bytes]:
        """The next packet. A client that was told that there is no TLS, or that looks at our certificate only
        when TLS stands, goes without a word: the reason is what it had asked for."""
        try:
            return _startup_packet(sock)
        except (Hangup, OSError) as failure:
            if not asked_tls:
                raise
            reason = _NO_TLS if self.tls is None else f"{_NOT_TRUSTED} (it hung up after the handshake)"
            raise TurnedAway(sock, "08P01", "", reason) from failure

    def _login(self, sock: socket.socket, minor: int, body: bytes) -> Arrival:
        words = [word.decode("utf-8", "surrogateescape") for word in body.split(b"\0")]
        parameters = {name: value for name, value in zip(words[::2], words[1::2], strict=False) if name}
        extensions = [name for name in parameters if name.startswith("_pq_.")]
        if minor > 0 or extensions:
            names = b"".join(map(frames.text, extensions))
            sock.sendall(frames.message(b"v", struct.pack("!II", 0, len(extensions)) + names))
        user = parameters.get("user", "")
        database = parameters.get("database", user)
        if user != self.user or database != self.database:
            reason = f"a session for another database or role: {user!r} at {database!r}"
            raise TurnedAway(sock, "28000", f"{_OURS}: it leads to one database and one role only", reason)
        if parameters.get("replication", "false") not in ("false", "off", "no", "0"):
            raise TurnedAway(sock, "0A000", "replication does not pass here", "a replication session")
        self._check_password(sock)
        chosen = {k: v for k, v in parameters.items() if k not in extensions and k != "replication"}
        return Arrival(sock, chosen)

    def _check_password(self, sock: socket.socket) -> None:
        try:
            self._scram(sock)
        except (ScramException, UnicodeError, ValueError):
            reason = "a session without the password of this run"
            words = f"password authentication failed: {_OURS}, which takes the password of this run only"
            raise TurnedAway(sock, "28P01", words, reason) from None

    def _scram(self, sock: socket.socket) -> None:
        bound = self.tls is not None and isinstance(sock, ssl.SSLSocket)
        offered = ["SCRAM-SHA-256-PLUS"] if bound else []
        offered.append("SCRAM-SHA-256")
        sock.sendall(
            frames.message(b"R", struct.pack("!I", 10) + b"".join(map(frames.text, offered)) + b"\0")
        )
        answer = _password_message(sock)
        name, position = frames.cut_text(answer, 0, "ascii")
        if name not in offered:
            raise ValueError("a mechanism that was not offered")
        first = answer[position + 4 :].decode()
        mechanism = ScramMechanism(name)
        secret = mechanism.make_auth_info(self.password)
        binding = ("tls-server-end-point", self.tls.end_point) if bound and self.tls is not None else None
        server = mechanism.make_server(lambda _user: secret, channel_binding=binding)
        # PostgreSQL's clients leave the user name of SCRAM empty, which the library refuses: it is
        # given a name, and the message that both sides sign is put back as it was sent.
        flag, authorization, bare = first.split(",", 2)
        server.set_client_first(f"{flag},{authorization},{bare.replace('n=,', 'n=tool,', 1)}")
        server.client_first_bare = bare
        sock.sendall(frames.message(b"R", struct.pack("!I", 11) + server.get_server_first().encode()))
        server.set_client_final(_password_message(sock).decode())
        sock.sendall(frames.message(b"R", struct.pack("!I", 12) + server.get_server_final().encode()))


def _startup_packet(sock: socket.socket) -> tuple[int, bytes]:
    """Code and body of one message before the startup."""
    length = struct.unpack("!I", read_exactly(sock, 4))[0]
    if not 8 <= length <= _LARGEST_STARTUP:
        raise Hangup
    packet = read_exactly(sock, length - 4)
    code = struct.unpack("!I", packet[:4])[0]
    if code == _CANCEL and length < 16:
        raise Hangup
    return code, packet[4:]


def _password_message(sock: socket.socket) -> bytes:
    kind, body = read_message(sock, 10_000)
    if kind != b"p":
        raise Hangup
    return body


def refuse(sock: socket.socket, raw: bytes) -> None:
    """Answer with an ErrorResponse and close."""
    with contextlib.suppress(OSError):
        sock.sendall(raw)
    with contextlib.suppress(OSError):
        sock.close()
