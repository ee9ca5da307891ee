"""One socket, plain or TLS, read and written without blocking, with a bounded backlog."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections import deque

HIGH_WATER = 256 * 1024
"""Bytes that may wait for a slow reader before we stop reading from the other side."""
_CHUNK = 64 * 1024
_GOODBYE_SECONDS = 2.0


class Hangup(Exception):
    """The peer closed the connection."""


class Wire:
    """A connected socket after its login. Belongs to one thread."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # not for unix sockets
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._out: deque[memoryview] = deque()
        self.backlog = 0
        """Bytes that wait to be written."""

    def read(self) -> bytes:
        """What has arrived, `b""` when nothing has; raises `Hangup` at the end of the stream."""
        try:
            data = self.sock.recv(_CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""
        except (OSError, ssl.SSLError) as failure:
            raise Hangup from failure
        if not data:
            raise Hangup
        return data

    @property
    def pending(self) -> bool:
        """Whether decrypted bytes wait inside TLS, where select cannot see them."""
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0

    def write(self, data: bytes) -> None:
        """Send now what goes, keep the rest; raises `Hangup` when the peer is gone."""
        if not data:
            return
        self._out.append(memoryview(data))
        self.backlog += len(data)
        self.flush()

    def flush(self) -> None:
        """Send as much of the backlog as the socket takes."""
        while self._out:
            head = self._out[0]
            try:
                sent = self.sock.send(head)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except (OSError, ssl.SSLError) as failure:
                raise Hangup from failure
            self.backlog -= sent
            if sent == len(head):
                self._out.popleft()
            else:
                self._out[0] = head[sent:]

    def drain(self, seconds: float) -> None:
        """Send what waits, as far as the peer takes it within `seconds`: last words of the server."""
        with contextlib.suppress(OSError):
            self.sock.settimeout(seconds)
            for rest in self._out:
                self.sock.sendall(rest)
        self._out.clear()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self.sock.close()


def part(sock: socket.socket) -> None:
    """Close a blocking socket whose peer waits for that. Over TLS with a goodbye: without one the peer takes
    the end for a torn line, and libpq says that its cancel failed."""
    with contextlib.suppress(OSError, ValueError):
        sock.settimeout(_GOODBYE_SECONDS)
        if isinstance(sock, ssl.SSLSocket):
            sock.unwrap()
    with contextlib.suppress(OSError):
        sock.close()


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """`count` bytes from a blocking socket; never one more, so that TLS can begin right behind them."""
    parts = bytearray()
    while len(parts) < count:
        data = sock.recv(count - len(parts))
        if not data:
            raise Hangup
        parts += data
    return bytes(parts)


def read_message(sock: socket.socket, limit: int = 1 << 20) -> tuple[bytes, bytes]:
    """Type and body of one message from a blocking socket (used only while logging in)."""
    head = read_exactly(sock, 5)
    length = int.from_bytes(head[1:], "big") - 4
    if not 0 <= length <= limit:
        raise Hangup
    return head[:1], read_exactly(sock, length)
