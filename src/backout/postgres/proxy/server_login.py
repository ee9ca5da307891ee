"""Our own login to the server: SCRAM-SHA-256 with channel binding, md5, cleartext over TLS only."""

from __future__ import annotations

import hashlib
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from scramp import ScramClient, ScramException  # type: ignore[import-untyped]

from backout.postgres.proxy import frames
from backout.postgres.proxy.upstream import Login, reach
from backout.postgres.proxy.wire import Hangup, read_message


@dataclass(frozen=True, slots=True)
class ServerSession:
    """A session that the server has accepted, idle, with what it said on the way in."""

    sock: socket.socket
    pid: int
    secret: bytes = field(repr=False)
    greeting: tuple[bytes, ...]
    """ParameterStatus and notices, to be handed on to the tool as they came."""
    parameters: Mapping[str, str]


class LoginRefused(Exception):
    """The server or we ended the login; `raw` is an ErrorResponse for the tool."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(frames.fields(raw[5:]).get("M", "the login failed"))
        self.raw = raw


def log_in(login: Login, wishes: Mapping[str, str]) -> ServerSession:
    """Open a session as the role of `login` with the run-time settings the tool asked for.

    Raises `LoginRefused` with the server's own words, `OSError` when it cannot be reached.
    """
    sock = reach(login)
    try:
        sock.sendall(_startup(login, wishes))
        return _Dialogue(sock, login).run()
    except (ScramException, Hangup) as failure:
        sock.close()
        words = str(failure) or "the server closed the connection"
        raise LoginRefused(
            frames.error("08006", f"login to the server failed: {words}", severity="FATAL")
        ) from None
    except BaseException:
        sock.close()
        raise


def _startup(login: Login, wishes: Mapping[str, str]) -> bytes:
    settings = {k: v for k, v in wishes.items() if k not in ("user", "database")}
    options = " ".join(filter(None, (login.options, settings.pop("options", ""))))
    if login.application_name:
        settings["application_name"] = login.application_name
    if options:
        settings["options"] = options
    settings = {"user": login.user, "database": login.database, **settings}
    body = b"".join(frames.text(k) + frames.text(v) for k, v in settings.items()) + b"\0"
    return struct.pack("!II", len(body) + 8, 196608) + body


_METHODS = {3: "password", 5: "md5", 7: "gss", 9: "sspi", 10: "scram-sha-256"}


def may_ask(require_auth: str, method: str) -> bool:
    """Whether libpq's `require_auth` lets the server ask for this: a list of all that may be, or of `!` and
    all that may not; empty = anything. `none` = the server lets us in without asking."""
    named = [word.strip() for word in require_auth.split(",") if word.strip()]
    if not named:
        return True
    if named[0].startswith("!"):
        return f"!{method}" not in named
    return method in named


class _Dialogue:
    """The messages from startup to the first ReadyForQuery."""

    def __init__(self, sock: socket.socket, login: Login) -> None:
        self._sock = sock
        self._login = login
        self._scram: ScramClient | None = None
        self._proved = False
        """The server has shown that it knows the password, too."""
        self._answered = False
        self._greeting: list[bytes] = []
        self._parameters: dict[str, str] = {}
        self._key = (0, b"")

    def run(self) -> ServerSession:
        while True:
            kind, body = read_message(self._sock)
            if kind == b"R":
                self._authenticate(struct.unpack("!I", body[:4])[0], body[4:])
            elif kind == b"E":
                raise LoginRefused(frames.message(b"E", body))
            elif kind == b"K":
                self._key = (struct.unpack("!I", body[:4])[0], body[4:])
            elif kind == b"S":
                name, value, _ = (part.decode() for part in body.split(b"\0"))
                self._parameters[name] = value
                self._greeting.append(frames.message(kind, body))
            elif kind == b"Z":
                pid, secret = self._key
                return ServerSession(self._sock, pid, secret, tuple(self._greeting), self._parameters)
            elif kind == b"N":
                self._greeting.append(frames.message(kind, body))
            else:
                raise Hangup

    def _authenticate(self, code: int, body: bytes) -> None:
        asked = _METHODS.get(code, "")
        if asked and not may_ask(self._login.require_auth, asked):
            raise _refused(f"require_auth={self._login.require_auth}, and the server asked for {asked}")
        match code:
            case 0:
                self._check_end()
            case 3:
                if not (self._encrypted or self._login.local):
                    raise _refused("the server wants the password in clear text without TLS")
                self._answer(frames.text(self._password))
            case 5:
                self._answer(frames.text(_md5(self._login.user, self._password, body[:4])))
            case 10:
                self._begin_scram([m.decode() for m in body.split(b"\0") if m])
            case 11 | 12 if self._scram is not None:
                self._go_on_with_scram(code, body)
            case _:
                raise _refused("the server wants a way of authentication that this proxy does not speak")

    def _check_end(self) -> None:
        """Whoever says "you are in" in the middle of the exchange need not be the server: only the last
        message of SCRAM proves that it knows the password, and only that one is bound to the channel."""
        if self._scram is not None and not self._proved:
            raise _refused("the server did not prove that it knows the password")
        if self._login.channel_binding == "require" and not self._bound:
            raise _refused("channel_binding=require, and the server asked for none")
        if not self._answered and not may_ask(self._login.require_auth, "none"):
            raise _refused(f"require_auth={self._login.require_auth}, and the server asked for nothing")

    @property
    def _encrypted(self) -> bool:
        return isinstance(self._sock, ssl.SSLSocket)

    @property
    def _bound(self) -> bool:
        return self._scram is not None and self._scram.mechanism_name.endswith("-PLUS")

    @property
    def _password(self) -> str:
        if not self._login.password:
            raise _refused("the server wants a password and the DSN has none")
        return self._login.password

    def _answer(self, body: bytes) -> None:
        self._answered = True
        self._sock.sendall(frames.message(b"p", body))

    def _begin_scram(self, offered: list[str]) -> None:
        wanted = [m for m in offered if m in ("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS")]
        binding = None
        # given also where the server offers none: then the message says that we could have, and a server
        # that did offer it notices that somebody in between took the offer away
        if self._encrypted and self._login.channel_binding != "disable":
            binding = ("tls-server-end-point", self._sock)
        # the server takes the user from the startup message and ignores this name
        self._scram = ScramClient(wanted, "tool", self._password, channel_binding=binding)
        if not self._bound and self._login.channel_binding == "require":
            raise _refused("channel_binding=require, and the server offers none")
        first = self._scram.get_client_first().encode()
        self._answer(frames.text(self._scram.mechanism_name) + struct.pack("!I", len(first)) + first)

    def _go_on_with_scram(self, code: int, body: bytes) -> None:
        assert self._scram is not None
        if code == 11:
            self._scram.set_server_first(body.decode())
            self._answer(self._scram.get_client_final().encode())
        else:
            self._scram.set_server_final(body.decode())
            self._proved = True


def _md5(user: str, password: str, salt: bytes) -> str:
    inner = hashlib.md5((password + user).encode(), usedforsecurity=False).hexdigest()
    return "md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest()


def _refused(what: str) -> LoginRefused:
    return LoginRefused(frames.error("28000", what, severity="FATAL"))
