"""Keys for the tests of people: one of each kind, and hardware keys played in software."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from backout.adapters.people import public_keys, sshsig
from backout.adapters.people.keys import allowed_signers_line
from backout.adapters.people.public_keys import SK_ED25519, PublicKey
from backout.adapters.people.signatures import PrivateKey
from backout.adapters.people.wire import mpint, string

KINDS = ("ed25519", "nistp256", "nistp384", "nistp521", "rsa")
MESSAGE = b"back out 0042_rename on production\nvalues destroyed: 1,001, all kept\n"

needs_openssh = pytest.mark.skipif(
    not all(map(shutil.which, ("ssh-keygen", "ssh-agent", "ssh-add"))),
    reason="OpenSSH IS NOT INSTALLED: nothing here is compared with the real ssh-keygen and ssh-agent",
)


@cache
def private_key(kind: str, person: str = "jonas") -> PrivateKey:
    """The key of `kind` of `person`; the same one for the whole session."""
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    curves: dict[str, ec.EllipticCurve] = {
        "nistp256": ec.SECP256R1(),
        "nistp384": ec.SECP384R1(),
        "nistp521": ec.SECP521R1(),
    }
    return ec.generate_private_key(curves[kind])


def write_private(key: PrivateKey, path: Path) -> Path:
    """A private key file as ssh-keygen writes it, mode 0600."""
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    return path


def public_line(key: PrivateKey) -> str:
    return sshsig.public_key_of(key).line


def write_signers(path: Path, **keys: PrivateKey) -> Path:
    """An `allowed_signers` file that enrols each name with its key."""
    path.write_text("".join(allowed_signers_line(n, public_line(k)) + "\n" for n, k in keys.items()))
    return path


@dataclass(frozen=True)
class Token:
    """A hardware key: signs its application, flags and counter along with the data."""

    key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
    application: bytes = b"ssh:"

    @property
    def public(self) -> PublicKey:
        tail = string(self.application)
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            raw = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            return public_keys.parse(string(SK_ED25519.encode()) + string(raw) + tail)
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        kind = string(public_keys.SK_ECDSA.encode())
        return public_keys.parse(kind + string(b"nistp256") + string(point) + tail)

    def sign(self, message: bytes, *, namespace: str = "backout", flags: int = 1) -> str:
        said = bytes([flags]) + (7).to_bytes(4, "big")
        hashed = hashlib.sha256(sshsig.to_sign(message, namespace)).digest()
        data = hashlib.sha256(self.application).digest() + said + hashed
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            value = self.key.sign(data)
        else:
            value = b"".join(map(mpint, decode_dss_signature(self.key.sign(data, ec.ECDSA(hashes.SHA256())))))
        signature = string(self.public.kind.encode()) + string(value) + said
        return sshsig.armour(self.public.blob, signature, namespace)


def tokens() -> tuple[Token, Token]:
    return Token(ed25519.Ed25519PrivateKey.generate()), Token(ec.generate_private_key(ec.SECP256R1()))
