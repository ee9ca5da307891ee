"""Signatures of one key over some bytes, as SSH writes them (RFC 5656, RFC 8332, PROTOCOL.u2f)."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from backout.adapters.people.public_keys import RSA, PublicKey
from backout.adapters.people.wire import Malformed, Reader, mpint, string

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_RSA_HASHES: dict[bytes, hashes.HashAlgorithm] = {
    b"rsa-sha2-512": hashes.SHA512(),
    b"rsa-sha2-256": hashes.SHA256(),
}
"""Not `ssh-rsa`: as the name of a signature it means SHA-1."""
_TOUCHED = 0x01
"""Flag of a hardware key: somebody touched it for this signature."""


def make(private_key: PrivateKey, kind: str, data: bytes) -> bytes:
    """The signature of a key of `kind` over `data`, in wire encoding; RSA as rsa-sha2-512."""
    match private_key:
        case ed25519.Ed25519PrivateKey() as ed:
            return string(kind.encode()) + string(ed.sign(data))
        case ec.EllipticCurvePrivateKey() as curve:
            r, s = decode_dss_signature(curve.sign(data, ec.ECDSA(_curve_hash(curve.curve))))
            return string(kind.encode()) + string(mpint(r) + mpint(s))
        case rsa.RSAPrivateKey() as modulus:
            return string(b"rsa-sha2-512") + string(modulus.sign(data, padding.PKCS1v15(), hashes.SHA512()))


def check(key: PublicKey, signature: bytes, data: bytes) -> None:
    """Return when `signature` is one of `key` over `data`.

    Raises `Malformed` for a form that is not accepted, and the library's InvalidSignature.
    """
    reader = Reader(signature)
    algorithm, value = reader.string(), reader.string()
    if algorithm not in (tuple(_RSA_HASHES) if key.kind == RSA else (key.kind.encode(),)):
        name = algorithm[:60].decode("ascii", "replace")
        raise Malformed(f"a signature of kind {name!a} by a key of kind {key.kind} is not accepted")
    if key.application is not None:
        data = _said_by_token(key.application, reader, data)
    reader.end()
    match key.verifier:
        case ed25519.Ed25519PublicKey() as ed:
            ed.verify(value, data)
        case ec.EllipticCurvePublicKey() as curve:
            curve.verify(_der(value), data, ec.ECDSA(_curve_hash(curve.curve)))
        case rsa.RSAPublicKey() as modulus:
            whole = value.rjust((modulus.key_size + 7) // 8, b"\0")  # some agents drop leading zeros
            modulus.verify(whole, data, padding.PKCS1v15(), _RSA_HASHES[algorithm])


def _said_by_token(application: bytes, reader: Reader, data: bytes) -> bytes:
    """What a hardware key really signs: its application, flags and counter too (PROTOCOL.u2f)."""
    flags, counter = reader.take(1), reader.take(4)
    if not flags[0] & _TOUCHED:
        # ssh-keygen lets this pass; here a machine would approve with a key that somebody left plugged in
        raise Malformed("the hardware key was not touched when it signed")
    return hashlib.sha256(application).digest() + flags + counter + hashlib.sha256(data).digest()


def _der(value: bytes) -> bytes:
    reader = Reader(value)
    r, s = reader.mpint(), reader.mpint()
    reader.end()
    return encode_dss_signature(r, s)


def _curve_hash(curve: ec.EllipticCurve) -> hashes.HashAlgorithm:
    """RFC 5656, section 6.2.1: the hash follows from the size of the curve."""
    if curve.key_size <= 256:
        return hashes.SHA256()
    return hashes.SHA384() if curve.key_size <= 384 else hashes.SHA512()
