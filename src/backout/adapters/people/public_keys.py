"""Public keys as OpenSSH writes them: which kinds may approve, and their fingerprints."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from backout.adapters.people.wire import Malformed, Reader

ED25519 = "ssh-ed25519"
RSA = "ssh-rsa"
SK_ED25519 = "sk-ssh-ed25519@openssh.com"
SK_ECDSA = "sk-ecdsa-sha2-nistp256@openssh.com"
CURVES: dict[str, tuple[bytes, ec.EllipticCurve]] = {
    "ecdsa-sha2-nistp256": (b"nistp256", ec.SECP256R1()),
    "ecdsa-sha2-nistp384": (b"nistp384", ec.SECP384R1()),
    "ecdsa-sha2-nistp521": (b"nistp521", ec.SECP521R1()),
    SK_ECDSA: (b"nistp256", ec.SECP256R1()),
}
KINDS = (ED25519, RSA, SK_ED25519, *CURVES)
SMALLEST_RSA = 2048
LARGEST_RSA = 16384
"""Bits. OpenSSH draws the same upper line: a larger key costs whoever verifies, not whoever signs."""

Verifier = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that may approve."""

    kind: str
    """One of `KINDS`."""
    blob: bytes
    """The key in SSH's wire encoding; two keys are the same when their blobs are."""
    verifier: Verifier = field(repr=False, compare=False)
    application: bytes | None = None
    """Of a key that lives in a hardware token: the application it was made for, usually `ssh:`."""

    @property
    def fingerprint(self) -> str:
        """`SHA256:...`, as `ssh-keygen -l` prints it."""
        return fingerprint(self.blob)

    @property
    def line(self) -> str:
        """The kind and the key, as they stand in a `.pub` file."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"


def fingerprint(blob: bytes) -> str:
    """The fingerprint of a key in wire encoding, as `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def parse(blob: bytes) -> PublicKey:
    """The key that `blob` holds; `Malformed` when it is damaged or of a kind or size that may not approve."""
    reader = Reader(blob)
    kind = reader.string().decode("ascii", "replace")
    verifier = _verifier(kind, reader)
    application = reader.string() if kind in (SK_ED25519, SK_ECDSA) else None
    reader.end()
    return PublicKey(kind, blob, verifier, application)


def parse_line(kind: str, encoded: str) -> PublicKey:
    """The key of a line of text: its kind and its base64, which have to agree. Raises `Malformed`."""
    try:
        blob = base64.b64decode(encoded.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Malformed("the key is not base64") from None
    key = parse(blob)
    if key.kind != kind:
        raise Malformed(f"the line says {kind}, the key inside is {key.kind}")
    return key


def _verifier(kind: str, reader: Reader) -> Verifier:
    if kind not in KINDS:
        raise Malformed(f"a key of kind {kind[:60]!a} cannot approve (kinds that can: {', '.join(KINDS)})")
    try:
        if kind in (ED25519, SK_ED25519):
            return ed25519.Ed25519PublicKey.from_public_bytes(reader.string())
        return _rsa(reader) if kind == RSA else _ecdsa(kind, reader)
    except Malformed:
        raise
    except ValueError:  # the library's own words speak of its parameters, not of the person's key
        raise Malformed(f"it holds no valid {kind} key") from None


def _ecdsa(kind: str, reader: Reader) -> ec.EllipticCurvePublicKey:
    expected, curve = CURVES[kind]
    name, point = reader.string(), reader.string()
    if name != expected:
        raise Malformed("the name of its curve is not the one of its kind")
    if point[:1] != b"\x04":
        raise Malformed("its point is not in the uncompressed form")
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, point)


def _rsa(reader: Reader) -> rsa.RSAPublicKey:
    exponent, modulus = reader.mpint(), reader.mpint()
    bits = modulus.bit_length()
    if not SMALLEST_RSA <= bits <= LARGEST_RSA:
        raise Malformed(f"an RSA key of {bits} bits cannot approve ({SMALLEST_RSA} to {LARGEST_RSA} can)")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()
