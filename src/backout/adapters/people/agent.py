"""A client of the running ssh-agent (draft-miller-ssh-agent): lists its keys and asks for a signature."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass

from backout.adapters.people.public_keys import RSA, parse
from backout.adapters.people.wire import Malformed, Reader, string
from backout.errors import NeighbourUnreachable, Refused

_REQUEST_IDENTITIES, _IDENTITIES_ANSWER = 11, 12
_SIGN_REQUEST, _SIGN_RESPONSE = 13, 14
_FAILURE = 5
_RSA_SHA2_512 = 4
"""Flag; without it an agent signs with SHA-1, which nobody accepts any more."""
_LARGEST = 256 * 1024
"""Bytes of one message; the limit that OpenSSH's own agent keeps."""
_LIST_SECONDS = 5.0
_SIGN_SECONDS = 60.0
"""Long enough to touch a hardware key or to answer the question of `ssh-add -c`."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What the agent signed with which of its keys, both in wire encoding."""

    blob: bytes
    signature: bytes


def sign(
    blobs: Collection[bytes],
    data: bytes,
    *,
    list_seconds: float = _LIST_SECONDS,
    sign_seconds: float = _SIGN_SECONDS,
) -> Signed | None:
    """A signature over `data` by the first key of the agent that is among `blobs`.

    None when there is no agent at `SSH_AUTH_SOCK` or it holds none of the keys. Refused
    when it holds one and will not sign; NeighbourUnreachable when it does not answer in time, in full or
    in its own protocol.
    """
    path = os.environ.get("SSH_AUTH_SOCK", "")
    connection = _connect(path, list_seconds) if path else None
    if connection is None:
        return None
    with connection:
        held = [blob for blob in _identities(connection, list_seconds) if blob in blobs]
        for blob in held:
            signature = _ask_to_sign(connection, blob, data, sign_seconds)
            if signature is not None:
                return Signed(blob, signature)
    if held:
        raise Refused(
            f"the ssh-agent holds {parse(held[0]).fingerprint} and did not sign with it",
            where=path,
            intact="nothing was signed",
            next="unlock or plug in the key, answer the agent's question, and type the command again",
        )
    return None


def _connect(path: str, seconds: float) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(seconds)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        return None
    return connection


def _identities(connection: socket.socket, seconds: float) -> list[bytes]:
    kind, reader = _ask(connection, bytes([_REQUEST_IDENTITIES]), seconds)
    if kind != _IDENTITIES_ANSWER:
        return []  # a locked agent says that it holds nothing, others say that they failed
    try:
        pairs = [(reader.string(), reader.string()) for _ in range(reader.uint32())]
        reader.end()
    except Malformed as problem:
        raise _unreachable(f"gave an answer that cannot be read: {problem}") from None
    return [blob for blob, _comment in pairs]


def _ask_to_sign(connection: socket.socket, blob: bytes, data: bytes, seconds: float) -> bytes | None:
    flags = _RSA_SHA2_512 if parse(blob).kind == RSA else 0
    request = bytes([_SIGN_REQUEST]) + string(blob) + string(data) + flags.to_bytes(4, "big")
    kind, reader = _ask(connection, request, seconds)
    if kind == _FAILURE:
        return None
    try:
        signature = reader.string()
        reader.end()
    except Malformed as problem:
        raise _unreachable(f"gave an answer that cannot be read: {problem}") from None
    if kind != _SIGN_RESPONSE:
        raise _unreachable(f"answered a request to sign with message {kind}")
    return signature


def _ask(connection: socket.socket, request: bytes, seconds: float) -> tuple[int, Reader]:
    """One question and its answer: the kind of the message and the rest of it."""
    deadline = time.monotonic() + seconds
    try:
        connection.settimeout(seconds)
        connection.sendall(string(request))
        length = int.from_bytes(_receive(connection, 4, deadline), "big")
        if not 1 <= length <= _LARGEST:
            raise _unreachable(f"announced an answer of {length} bytes")
        answer = _receive(connection, length, deadline)
    except TimeoutError:
        raise _unreachable(f"did not answer within {seconds:g} s") from None
    except OSError as problem:
        raise _unreachable(f"broke off: {(problem.strerror or 'no reason given').lower()}") from None
    return answer[0], Reader(answer[1:])


def _receive(connection: socket.socket, count: int, deadline: float) -> bytes:
    """Exactly `count` bytes; the deadline holds for all of them, not for each."""
    received = bytearray()
    while len(received) < count:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        chunk = connection.recv(count - len(received))
        if not chunk:
            raise _unreachable("closed the connection")
        received += chunk
    return bytes(received)


def _unreachable(what: str) -> NeighbourUnreachable:
    return NeighbourUnreachable(
        f"the ssh-agent {what}",
        where=os.environ.get("SSH_AUTH_SOCK", ""),
        intact="nothing was signed",
        next="sign with --key FILE, or elsewhere with the printed ssh-keygen line and --signature FILE",
    )
