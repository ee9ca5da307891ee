"""The proxy between a migration tool and PostgreSQL: two logins, one thread a session, nothing unseen."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import ssl
import struct
import tempfile
import threading
from pathlib import Path
from types import TracebackType

from backout.errors import ConfigurationError
from backout.ports.migrator import Endpoint
from backout.postgres.proxy import certificates, frames, server_login, upstream
from backout.postgres.proxy.active import WHOLE_UP_TO as ACTIVE_WHOLE_UP_TO
from backout.postgres.proxy.active import ActiveSession
from backout.postgres.proxy.bench import Numbers
from backout.postgres.proxy.passive import WHOLE_UP_TO as PASSIVE_WHOLE_UP_TO
from backout.postgres.proxy.passive import PassiveSession
from backout.postgres.proxy.policy import Policy
from backout.postgres.proxy.reception import HINT, Arrival, Cancel, Reception, TurnedAway, refuse
from backout.postgres.proxy.relay import Relay
from backout.postgres.proxy.seen import Log, Recorder, Refusal, SeenSession
from backout.postgres.proxy.server_login import LoginRefused, ServerSession
from backout.postgres.proxy.upstream import Login, Upstream
from backout.postgres.proxy.wire import Hangup, Wire, part
from backout.sql.parse import statements

_PORTS = range(20_000, 32_000)
"""Below the ephemeral range: nobody else's outgoing connection takes it meanwhile."""


class Proxy:
    """A context manager: listens while it is open, ends every session when it closes.

    `tls` makes it answer SSLRequest with yes (plain sessions pass too, as on a server with both kinds
    of entries); None = as the server does. `address` and `port` are for tools that can be sent to another
    address only: an address of our own in 127/8 and the production port. Closing rolls back what is still
    open.
    """

    def __init__(
        self,
        policy: Policy,
        upstream: Upstream,
        *,
        tls: bool | None = False,
        address: str = "127.0.0.1",
        port: int | None = None,
    ) -> None:
        self._policy = policy
        self._upstream = upstream
        self._tls_wanted = tls
        self._address = address
        self._port = port
        self._log = Log()
        self._numbers = Numbers(policy.keep.number if policy.keep else 1)
        self._keys: dict[tuple[int, bytes], ServerSession] = {}
        self._threads: list[threading.Thread] = []
        self._visitors: set[socket.socket] = set()
        self._visitors_lock = threading.Lock()
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Proxy:
        """Prove the login to the server, then listen.

        Raises `ConfigurationError` or `NeighbourUnreachable` as every login of ours does.
        """
        with contextlib.ExitStack() as undo:
            self._login = upstream.resolve(self._upstream)
            self._wake_read, self._wake_write = os.pipe()
            undo.callback(os.close, self._wake_read)
            undo.callback(os.close, self._wake_write)
            self._listener = _listen(self._address, self._port)
            undo.callback(self._listener.close)
            self._prepare_door(undo)
            self._cleanup = undo.pop_all()
        acceptor = threading.Thread(target=self._accept, name="backout-proxy", daemon=True)
        self._threads.append(acceptor)
        acceptor.start()
        return self

    def _prepare_door(self, undo: contextlib.ExitStack) -> None:
        login = self._login
        tls = ca_file = crl_file = None
        if login.tls if self._tls_wanted is None else self._tls_wanted:
            # only where the DSN demands to be asked: any other certificate of a tool would be refused then
            visitors = upstream.client_certificate(login) if login.sslcertmode == "require" else ""
            tls = certificates.make((login.host, self._address), visitors)
            directory = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="backout-ca-")))
            ca_file, crl_file = directory / "ca.pem", directory / "ca.crl"
            ca_file.write_bytes(tls.authority_pem)
            crl_file.write_bytes(tls.revoked_pem)
        password = secrets.token_urlsafe(24)
        self._reception = Reception(login.database, login.user, password, tls)
        address, port = self._listener.getsockname()[:2]
        server_name = "localhost" if login.local else login.host or login.address
        self._endpoint = Endpoint(
            address, port, login.database, login.user, password, server_name, ca_file, crl_file
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all sessions (the server rolls back what was open) and wait for their threads; idempotent."""
        if not self._threads:
            return
        os.write(self._wake_write, b"x")
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._visitors_lock:  # those that stand at the door and say nothing
            for sock in self._visitors:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=30)
        self._threads.clear()
        self._cleanup.close()

    @property
    def endpoint(self) -> Endpoint:
        """Where the tool shall connect, with the password that is good for this proxy only."""
        return self._endpoint

    @property
    def sessions(self) -> tuple[SeenSession, ...]:
        """Every session that was let in, in order of arrival."""
        return self._log.sessions

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Everything that was not let happen, in order."""
        return self._log.refusals

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._host, args=(sock,), name="backout-session", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _host(self, sock: socket.socket) -> None:
        """One visitor from the door to the end."""
        with self._visitors_lock:
            self._visitors.add(sock)
        try:
            visitor = self._reception.receive(sock)
        except TurnedAway as refused:
            self._turn_away(refused)
        except Hangup:
            pass
        else:
            self._leave(sock)
            if isinstance(visitor, Cancel):
                self._cancel(visitor)
            else:
                self._connect(visitor)
        self._leave(sock)
        with contextlib.suppress(OSError):
            sock.close()

    def _turn_away(self, visitor: TurnedAway) -> None:
        self._log.refuse(Refusal("login" if visitor.what else "tls", visitor.sqlstate, str(visitor)))
        told = frames.error(visitor.sqlstate, visitor.what, hint=HINT, severity="FATAL")
        refuse(visitor.sock, told if visitor.what else b"")

    def _leave(self, sock: socket.socket) -> None:
        with self._visitors_lock:
            self._visitors.discard(sock)

    def _cancel(self, request: Cancel) -> None:
        session = self._keys.get((request.pid, request.secret))
        if session is not None:
            upstream.cancel(self._login, session.pid, session.secret)
        part(request.sock)

    def _connect(self, visitor: Arrival) -> None:
        try:
            session = server_login.log_in(self._login, visitor.parameters)
        except LoginRefused as refused:
            self._log.refuse(Refusal("login", frames.fields(refused.raw[5:]).get("C", ""), str(refused)))
            refuse(visitor.sock, refused.raw)
            return
        except (OSError, ConfigurationError) as failure:
            self._log.refuse(Refusal("login", "08006", str(failure)))
            words = f"the server does not answer: {failure}"
            refuse(visitor.sock, frames.error("08006", words, severity="FATAL"))
            return
        key = (session.pid, secrets.token_bytes(4))
        self._keys[key] = session
        try:
            visitor.sock.sendall(_welcome(session, key[1]))
            self._serve(visitor, session)
        except OSError:
            pass
        finally:
            del self._keys[key]
            for sock in (visitor.sock, session.sock):
                with contextlib.suppress(OSError):
                    sock.close()

    def _serve(self, visitor: Arrival, session: ServerSession) -> None:
        recorder = Recorder(
            self._log.next_number(),
            visitor.parameters.get("application_name", ""),
            session.pid,
            isinstance(visitor.sock, ssl.SSLSocket),
            encoding=frames.codec(session.parameters.get("client_encoding", "UTF8")),
        )
        self._log.open(recorder)
        limit = PASSIVE_WHOLE_UP_TO if self._policy.passive else ACTIVE_WHOLE_UP_TO
        relay = Relay(Wire(visitor.sock), Wire(session.sock), limit, self._wake_read)
        try:
            if self._policy.passive:
                PassiveSession(relay, recorder, statements).serve()
            else:
                cancel = _Canceller(self._login, session)
                ActiveSession(
                    relay, recorder, self._policy, self._log, cancel, statements, self._numbers
                ).serve()
        except Hangup:
            pass
        except Exception as fault:  # noqa: BLE001 - a thread has nobody to raise to: recorded, and rolled back
            self._log.refuse(Refusal("fault", "XX000", f"{type(fault).__name__}: {fault}", recorder.number))
        finally:
            relay.close()


class _Canceller:
    """Stops the running statement of one session."""

    def __init__(self, login: Login, session: ServerSession) -> None:
        self._login = login
        self._session = session

    def __call__(self) -> None:
        upstream.cancel(self._login, self._session.pid, self._session.secret)


def _welcome(session: ServerSession, secret: bytes) -> bytes:
    """AuthenticationOk, what the server said, a cancel key of our own, ReadyForQuery."""
    ok = frames.message(b"R", struct.pack("!I", 0))
    key = frames.message(b"K", struct.pack("!I", session.pid) + secret)
    return ok + b"".join(session.greeting) + key + frames.ready(b"I")


def _listen(address: str, port: int | None) -> socket.socket:
    """A listening socket; a free port below the ephemeral range when none is asked for."""
    offset = secrets.randbelow(len(_PORTS) // 2)
    for candidate in (port,) if port is not None else _PORTS[offset:]:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, candidate))
            listener.listen(16)
        except OSError:
            listener.close()
            continue
        return listener
    raise ConfigurationError(
        f"no port to listen on at {address}" + (f":{port}" if port else ""),
        where="this machine",
        intact="everything; no statement was sent",
        next="free the port, then the same command again",
    )
