"""The dead-man: gives writes back by itself when the operator no longer can.

One file, the standard library only, so that it can also be copied beside a pooler and run by its python3.
Its orders come as one line of JSON on stdin (they hold passwords, so never in argv), and then words:

    hold      the clock starts; at the budget it settles
    rest      the clock stops (a hold that was not granted was let go)
    ping      answered by `pong`
    disarm    answered by `disarmed`; ends without touching anything

When stdin ends without `disarm`, the operator is dead, and it settles at once. To settle is: take the
permission to switch away (one rename, which the switch needs too, so exactly one of the two happens);
then, when nothing was switched, open the fence and let writes go on as before, else complete the switch.
Once it has settled it stays while the operator lives, and settles again what a stopped and woken operator
begins late.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import select
import signal
import socket
import ssl
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_OPEN_SECONDS = 5.0
_ACT_SECONDS = 5.0
_AGAIN_SECONDS = 0.1
_PATIENCE_SECONDS = 3600.0

Row = dict[str, str | None]


class Refusal(Exception):
    """The server answered with an error; `sqlstate` may be empty (a pooler's)."""

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


# ── the wire: a simple-query client with a deadline of its own ──────────────────────────────────────────
# A PAUSE that waits gets no answer after a RESUME from elsewhere, so every answer has a deadline here; and a
# console speaks the simple protocol only.


class Wire:
    """One connection to a server or to a pooler's console. After a deadline was missed it is closed."""

    def __init__(self, address: Mapping[str, Any], seconds: float = _OPEN_SECONDS) -> None:
        self._address = address
        self._until = time.monotonic() + seconds
        self._buffer = b""
        host, port = str(address["host"]), int(address["port"])
        self._socket = _open_socket(host, port, f"{host}/.s.PGSQL.{port}", seconds)
        try:
            self._encrypt()
            self._start()
        except BaseException:
            self._socket.close()
            raise

    def ask(self, statement: str, seconds: float = _ACT_SECONDS) -> list[Row]:
        """Say one statement and return the rows of the answer; `Refusal`, `OSError`, `TimeoutError`."""
        self._until = time.monotonic() + seconds
        try:
            self._send(b"Q", statement.encode() + b"\0")
            return self._answer()
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        self._socket.close()

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    def _answer(self) -> list[Row]:
        rows: list[Row] = []
        names: list[str] = []
        refusal: Refusal | None = None
        while True:
            kind, body = self._message()
            if kind == b"T":
                names = _column_names(body)
            elif kind == b"D":
                rows.append(dict(zip(names, _cells(body), strict=True)))
            elif kind == b"E":
                refusal = _refusal(body)
            elif kind == b"Z":
                if refusal is not None:
                    raise refusal
                return rows

    def _encrypt(self) -> None:
        mode = self._address.get("tls") or "prefer"
        host = str(self._address["host"])
        if host.startswith("/") or mode == "disable":
            return
        self._socket.sendall(struct.pack("!ii", 8, 80877103))
        if self._take(1) == b"S":
            self._socket = _context(mode, self._address.get("ca")).wrap_socket(
                self._socket, server_hostname=host
            )
        elif mode not in ("prefer", "allow"):
            raise Refusal("the server does not speak TLS", "")

    def _start(self) -> None:
        words = {
            "user": self._address["user"],
            "database": self._address["database"],
            "application_name": self._address.get("application_name", "backout/dead-man/0"),
            "client_encoding": "UTF8",
        }
        text = b"".join(f"{k}\0{v}\0".encode() for k, v in words.items()) + b"\0"
        self._socket.sendall(struct.pack("!ii", len(text) + 8, 196608) + text)
        while True:
            kind, body = self._message()
            if kind == b"R":
                self._authenticate(body)
            elif kind == b"E":
                raise _refusal(body)
            elif kind == b"Z":
                return

    def _authenticate(self, body: bytes) -> None:
        (kind,) = struct.unpack_from("!i", body)
        password = str(self._address.get("password") or "")
        if kind == 3:
            self._send(b"p", password.encode() + b"\0")
        elif kind == 5:
            inner = _md5(password.encode() + str(self._address["user"]).encode())
            self._send(b"p", b"md5" + _md5(inner + body[4:8]) + b"\0")
        elif kind == 10:
            self._scram(password)
        elif kind != 0:
            raise Refusal(f"the server wants an authentication (kind {kind}) that is not spoken here", "")

    def _scram(self, password: str) -> None:
        bare = f"n=,r={base64.b64encode(secrets.token_bytes(18)).decode()}"
        first = f"n,,{bare}".encode()
        self._send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first)
        server_first = self._sasl(11)
        given = dict(part.split("=", 1) for part in server_first.split(","))
        salted = hashlib.pbkdf2_hmac(
            "sha256", password.encode(), base64.b64decode(given["s"]), int(given["i"])
        )
        client = hmac.digest(salted, b"Client Key", "sha256")
        final = f"c=biws,r={given['r']}"
        signed = f"{bare},{server_first},{final}".encode()
        signature = hmac.digest(hashlib.sha256(client).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(client, signature, strict=True))
        self._send(b"p", f"{final},p={base64.b64encode(proof).decode()}".encode())
        server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        if self._sasl(12) != f"v={base64.b64encode(server).decode()}":
            raise Refusal("the server does not know the password that it asked for", "")

    def _sasl(self, wanted: int) -> str:
        kind, body = self._message()
        if kind == b"E":
            raise _refusal(body)
        (got,) = struct.unpack_from("!i", body)
        if kind != b"R" or got != wanted:
            raise Refusal("the server broke off the authentication", "")
        return body[4:].decode()

    def _send(self, kind: bytes, body: bytes) -> None:
        self._socket.settimeout(self._left())
        self._socket.sendall(kind + struct.pack("!i", len(body) + 4) + body)

    def _message(self) -> tuple[bytes, bytes]:
        head = self._take(5)
        return head[:1], self._take(struct.unpack("!i", head[1:])[0] - 4)

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._socket.settimeout(self._left())
            data = self._socket.recv(65536 if self._buffer or size > 1 else 1)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._buffer += data
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        return left


def _open_socket(host: str, port: int, path: str, seconds: float) -> socket.socket:
    """Over TCP, or through a socket at `path` where the host is one."""
    if host.startswith("/"):
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(seconds)
        made.connect(path)
        return made
    made = socket.create_connection((host, port), timeout=seconds)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _context(mode: str, ca: str | None) -> ssl.SSLContext:
    """As libpq: only `verify-*` looks at the certificate."""
    context = ssl.create_default_context(cafile=ca or None)
    context.check_hostname = mode == "verify-full"
    if not mode.startswith("verify"):
        context.verify_mode = ssl.CERT_NONE
    return context


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()


def _refusal(body: bytes) -> Refusal:
    fields = {part[:1]: part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}
    return Refusal(fields.get(b"M", "refused without a reason"), fields.get(b"C", ""))


def _column_names(body: bytes) -> list[str]:
    names, at = [], 2
    for _ in range(struct.unpack_from("!h", body)[0]):
        end = body.index(b"\0", at)
        names.append(body[at:end].decode())
        at = end + 19
    return names


def _cells(body: bytes) -> list[str | None]:
    cells: list[str | None] = []
    at = 2
    for _ in range(struct.unpack_from("!h", body)[0]):
        (size,) = struct.unpack_from("!i", body, at)
        at += 4
        cells.append(None if size < 0 else body[at : at + size].decode("utf-8", "replace"))
        at += max(size, 0)
    return cells


class Console:
    """The runtime API of HAProxy: one connection a command, plain text both ways."""

    closed = False

    def __init__(self, address: Mapping[str, Any], seconds: float = _OPEN_SECONDS) -> None:
        self._address = address
        self.ask("show info", seconds)

    def ask(self, statement: str, seconds: float = _ACT_SECONDS) -> list[Row]:
        """Say one command and return the rows of a `show`; `Refusal`, `OSError`, `TimeoutError`."""
        host, port = str(self._address["host"]), int(self._address["port"])
        until = time.monotonic() + seconds
        with _open_socket(host, port, host, seconds) as made:
            made.sendall(f"{statement}\n".encode())
            said = b""
            while data := _receive(made, until):
                said += data
        return _told(statement, said.decode("utf-8", "replace"))

    def close(self) -> None:
        """Nothing stays open."""


def _receive(made: socket.socket, until: float) -> bytes:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    made.settimeout(left)
    return made.recv(65536)


def _told(statement: str, text: str) -> list[Row]:
    """A table has its names behind `#`; what acts says nothing, or what has changed."""
    lines = [line for line in text.splitlines() if line.strip()]
    if statement.startswith("show "):
        heads = [line for line in lines if line.startswith("# ")]
        if not heads and any(line.startswith(("Can't", "Unknown", "Permission")) for line in lines):
            raise Refusal(" ".join(lines), "")
        names = heads[0][2:].split() if heads else []
        cells = [line.split() for line in lines[lines.index(heads[0]) + 1 :]] if heads else []
        return [dict(zip(names, row, strict=False)) for row in cells]
    if lines and not all("changed from" in line or "no need to change" in line for line in lines):
        raise Refusal(" ".join(lines), "")
    return []


# ── the permission to switch ────────────────────────────────────────────────────────────────────────────


def spend(warrant: Mapping[str, str]) -> bool:
    """Switch: rename the prepared file into place. False when the permission was withdrawn."""
    return _rename(warrant["prepared"], warrant["final"])


def withdraw(warrant: Mapping[str, str]) -> bool:
    """Take the permission away. True when nothing was switched, and now nothing will be."""
    return _rename(warrant["prepared"], warrant["withdrawn"]) or not switched(warrant)


def switched(warrant: Mapping[str, str]) -> bool:
    """Whether the file in force is the prepared one."""
    try:
        return hashlib.sha256(Path(warrant["final"]).read_bytes()).hexdigest() == warrant["digest"]
    except FileNotFoundError:
        return False


def _rename(source: str, target: str) -> bool:
    try:
        Path(source).replace(target)
    except FileNotFoundError:
        return False
    directory = os.open(Path(target).parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return True


# ── settling ────────────────────────────────────────────────────────────────────────────────────────────


class Links:
    """The connections of the orders, opened once and opened again when one was lost."""

    def __init__(self, addresses: Mapping[str, Mapping[str, Any]]) -> None:
        self._addresses = addresses
        self._open: dict[str, Wire | Console] = {}

    def open(self) -> None:
        """Open every link that is not open."""
        for name in self._addresses:
            self.get(name)

    def get(self, name: str) -> Wire | Console:
        link = self._open.get(name)
        if link is None or link.closed:
            address = self._addresses[name]
            link = Console(address) if address.get("speaks") == "haproxy" else Wire(address)
            self._open[name] = link
        return link

    def ask(self, name: str, statement: str, seconds: float = _ACT_SECONDS) -> list[Row]:
        """Say a statement; a link that was found dead is opened again, once."""
        known = name in self._open
        try:
            return self.get(name).ask(statement, seconds)
        except TimeoutError:
            raise
        except OSError:
            if not known:
                raise
            return self.get(name).ask(statement, seconds)

    def close(self) -> None:
        for wire in self._open.values():
            wire.close()
        self._open.clear()


def perform(act: Mapping[str, Any], links: Links) -> None:
    """Look, then say the statement when it is still needed."""
    if act.get("look") and _holds(act, links.ask(act["on"], act["look"])):
        return
    try:
        links.ask(act["on"], act["say"])
    except Refusal as refusal:
        if not any(text in str(refusal) for text in act.get("fine", ())):
            raise


def _holds(act: Mapping[str, Any], rows: Sequence[Row]) -> bool:
    wanted = act.get("row") or {}
    found = [row for row in rows if all(row.get(k) == v for k, v in wanted.items())]
    return bool(found) and all(row.get(act["column"]) == act["want"] for row in found)


def settle(orders: Mapping[str, Any], links: Links, *before: Mapping[str, Any]) -> str:
    """Undo or complete, whichever the warrant says: `back` or `forward`. Safe to repeat.

    `before` comes first on the way back: what keeps the one that is settled for from going on. An act that
    fails ends it with its error, so writes are never released onto a side whose fence is half open.
    """
    way = "back" if withdraw(orders["warrant"]) else "forward"
    for act in (*(before if way == "back" else ()), *orders[way]):
        perform(act, links)
    return way


# ── the process ─────────────────────────────────────────────────────────────────────────────────────────


class _Watch:
    """The clock and the words of the operator."""

    def __init__(self, orders: Mapping[str, Any], links: Links) -> None:
        self._orders = orders
        self._links = links
        self._due: float | None = None
        self._settled = ""
        self._words = b""

    def run(self) -> int:
        while True:
            wait = None if self._due is None else max(0.0, self._due - time.monotonic())
            ready, _, _ = select.select([0], [], [], wait)
            if ready:
                data = os.read(0, 4096)
                if not data:
                    return self._alone()
                if self._listen(data):
                    return 0
            elif self._due is not None:
                self._fire()

    def _listen(self, data: bytes) -> bool:
        *lines, self._words = (self._words + data).split(b"\n")
        for line in lines:
            word = line.decode().strip()
            if word == "hold" and not self._settled:
                self._due = time.monotonic() + self._orders["budget_ms"] / 1000
            elif word == "rest" and not self._settled:
                self._due = None
            elif word == "ping":
                _say({"word": "settled " + self._settled if self._settled else "pong"})
            elif word == "disarm":
                _say({"word": "disarmed"})
                return True
        return False

    def _fire(self) -> None:
        """Settle; and again and again, for an operator that was only stopped may wake up and go on."""
        self._due = time.monotonic() + _AGAIN_SECONDS
        try:
            way = settle(self._orders, self._links, *self._orders.get("silence", ()))
        except (OSError, Refusal) as error:
            _say({"word": "failed", "why": f"{type(error).__name__}: {error}"})
            return
        if not self._settled:
            self._settled = way
            _say({"word": f"settled {way}"})

    def _alone(self) -> int:
        """The operator is gone: settle until it holds."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            try:
                settle(self._orders, self._links, *self._orders.get("silence", ()))
                return 0
            except (OSError, Refusal):
                time.sleep(_AGAIN_SECONDS)
        return 1


def _say(message: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more; that must not stop the settling
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def _orders() -> dict[str, Any]:
    """The first line, byte by byte: what stands behind it belongs to the clock."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise ValueError("the orders ended in the middle")
        line += byte
    orders: dict[str, Any] = json.loads(line)
    return orders


def main() -> int:
    """Take orders, open and prove every connection, then watch."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)  # a closed terminal is what it is for
    try:
        orders = _orders()
        links = Links(orders["links"])
        links.open()
        for act in orders["proofs"]:
            links.ask(act["on"], act["say"])
    except (OSError, ValueError, KeyError, Refusal) as error:
        _say({"word": "failed", "why": f"{type(error).__name__}: {error}"})
        return 1
    _say({"word": "ready"})
    return _Watch(orders, links).run()


if __name__ == "__main__":
    sys.exit(main())
