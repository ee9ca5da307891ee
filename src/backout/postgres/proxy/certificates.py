"""A certificate authority for one run: its key never leaves memory, its certificate is all a tool needs."""

from __future__ import annotations

import hashlib
import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What the proxy needs to speak TLS towards the tool."""

    context: ssl.SSLContext = field(repr=False)
    authority_pem: bytes
    """Certificate of the run's authority, to be trusted by the tool."""
    revoked_pem: bytes
    """The authority's list of revoked certificates, empty. Who checks such lists at all (libpq does as soon
    as the user has a `root.crl`) refuses a certificate whose authority has none."""
    end_point: bytes
    """Channel binding data `tls-server-end-point` of our certificate (RFC 5929: SHA-256 of it)."""


def make(names: Iterable[str], visitors: str = "") -> ServerTls:
    """A fresh authority and a certificate for localhost, 127.0.0.1 and `names` (hosts or addresses).

    `visitors` is a PEM file: a visitor is then asked for a client certificate, and that one is accepted.
    """
    authority_key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "backout run authority")])
    authority = (
        _builder(subject, subject, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = (
        _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), subject, key.public_key())
        .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    der = leaf.public_bytes(serialization.Encoding.DER)
    return ServerTls(
        _context(key, leaf, visitors),
        authority.public_bytes(serialization.Encoding.PEM),
        _nothing_revoked(authority_key, subject).public_bytes(serialization.Encoding.PEM),
        hashlib.sha256(der).digest(),
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # clocks of containers differ a little
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _nothing_revoked(key: ec.EllipticCurvePrivateKey, issuer: x509.Name) -> x509.CertificateRevocationList:
    now = datetime.now(UTC)
    return (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer)
        .last_update(now - timedelta(minutes=5))
        .next_update(now + _LIFETIME)
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(names: Iterable[str]) -> list[x509.GeneralName]:
    found: dict[str, x509.GeneralName] = {}
    for name in ("localhost", "127.0.0.1", *names):
        try:
            found[name] = x509.IPAddress(ip_address(name))
        except ValueError:
            if name and not name.startswith(("/", "@")):
                found[name] = x509.DNSName(name)
    return list(found.values())


def _context(key: ec.EllipticCurvePrivateKey, leaf: x509.Certificate, visitors: str) -> ssl.SSLContext:
    """A server context. The ssl module reads keys from files only: a private one, gone at once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["postgresql"])  # direct TLS (PostgreSQL 17) insists on it
    with tempfile.TemporaryDirectory(prefix="backout-tls-") as directory:
        path = Path(directory) / "pair.pem"
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + leaf.public_bytes(serialization.Encoding.PEM)
        )
        context.load_cert_chain(path)
    if visitors:
        context.load_verify_locations(visitors)
        # the certificate itself is trusted; who signed it is the server's business, not ours
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
