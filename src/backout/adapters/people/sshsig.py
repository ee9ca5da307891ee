"""SSH signatures (OpenSSH's PROTOCOL.sshsig): what `ssh-keygen -Y sign` writes, made and checked here."""

from __future__ import annotations

import base64
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from backout.adapters.people import public_keys, signatures
from backout.adapters.people.public_keys import PublicKey
from backout.adapters.people.signatures import PrivateKey
from backout.adapters.people.wire import Malformed, Reader, string
from backout.errors import Refused

_MAGIC = b"SSHSIG"
_VERSION = 1
_HASHES = (b"sha512", b"sha256")
_FIRST, _LAST = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_LONGEST = 16384
"""Characters; the largest RSA key needs 6,000."""


def sign(private_key: PrivateKey, message: bytes, namespace: str) -> str:
    """An armoured signature over `message`; Refused for a key of a kind or size that may not approve."""
    key = public_key_of(private_key)
    return armour(key.blob, signatures.make(private_key, key.kind, to_sign(message, namespace)), namespace)


def verify(armoured: str, message: bytes, namespace: str) -> PublicKey:
    """The key that signed exactly `message` in `namespace`; whose key it is, is the caller's question.

    Raises Refused for everything else: damage, another message, namespace, hash or kind of signature.
    Stricter than OpenSSH in that the reserved field has to be empty (no signature covers it), and that a
    hardware key has to say that it was touched.
    """
    try:
        key, hash_name, signature = _read_frame(_dearmour(armoured), namespace)
        signatures.check(key, signature, to_sign(message, namespace, hash_name))
    except Malformed as problem:
        raise Refused(
            f"the signature does not count: {problem}",
            where="the signature",
            intact="nothing was approved",
            next="sign the text again, exactly as it was printed: backout approve",
        ) from None
    except InvalidSignature:
        why = "the signature is not one over this text by the key that it names"
        raise Refused(
            why,
            where="the signature",
            intact="nothing was approved",
            next="sign the text again, exactly as it was printed: backout approve",
        ) from None
    return key


def to_sign(message: bytes, namespace: str, hash_name: bytes = _HASHES[0]) -> bytes:
    """The bytes that a key signs: never the message itself, so that no other protocol can mistake them."""
    digest = hashlib.new(hash_name.decode(), message).digest()
    return _MAGIC + b"".join(map(string, (namespace.encode(), b"", hash_name, digest)))


def armour(public_blob: bytes, signature: bytes, namespace: str) -> str:
    """The text form of a signature over `to_sign(message, namespace)`; key and signature in wire encoding."""
    fields = (public_blob, namespace.encode(), b"", _HASHES[0], signature)
    frame = _MAGIC + _VERSION.to_bytes(4, "big") + b"".join(map(string, fields))
    text = base64.b64encode(frame).decode()
    body = (text[start : start + 70] for start in range(0, len(text), 70))
    return "\n".join((_FIRST, *body, _LAST)) + "\n"


def public_key_of(private_key: PrivateKey) -> PublicKey:
    """The public half; Refused for a key of a kind or size that may not approve."""
    try:
        line = private_key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return public_keys.parse(base64.b64decode(line.split()[1]))
    except ValueError as problem:  # Malformed, or a curve for which SSH has no name
        raise Refused(
            f"this key cannot sign: {problem}",
            where="the key",
            intact="nothing was signed",
            next="enrol another key on a calm day: ssh-keygen -t ed25519",
        ) from None


def _dearmour(armoured: str) -> bytes:
    lines = [line.strip(" \t\r") for line in armoured[: _LONGEST + 1].strip().split("\n")]
    if len(armoured) > _LONGEST or lines[0] != _FIRST or lines[-1] != _LAST:
        raise Malformed(f"it is not one whole text from {_FIRST!r} to {_LAST!r}")
    body = "".join(lines[1:-1])
    try:
        frame = base64.b64decode(body.encode("ascii"), validate=True)
    except ValueError:
        raise Malformed("its body is not base64") from None
    if base64.b64encode(frame).decode() != body:  # the spare bits of the last character
        raise Malformed("its body is not base64 in the one canonical form")
    return frame


def _read_frame(frame: bytes, namespace: str) -> tuple[PublicKey, bytes, bytes]:
    reader = Reader(frame)
    if reader.take(len(_MAGIC)) != _MAGIC or reader.uint32() != _VERSION:
        raise Malformed("it is not an SSH signature of version 1")
    blob, signed_for, reserved, hash_name, signature = (reader.string() for _ in range(5))
    reader.end()
    if signed_for != namespace.encode():
        name = signed_for[:60].decode("utf-8", "replace")
        raise Malformed(f"it was made for the namespace {name!a}, not for {namespace!a}")
    if reserved:
        raise Malformed("its reserved field is not empty")
    if hash_name not in _HASHES:
        raise Malformed("it hashes with something else than sha512 or sha256")
    return public_keys.parse(blob), hash_name, signature
