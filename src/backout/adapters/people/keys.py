"""Files of private keys: read once and never stored; and a pair made for the demo and for tests."""

from __future__ import annotations

import os
import shlex
import stat
import warnings
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)
from cryptography.utils import CryptographyDeprecationWarning

from backout.adapters.people.public_keys import KINDS
from backout.adapters.people.signatures import PrivateKey
from backout.adapters.people.sshsig import public_key_of
from backout.errors import ConfigurationError, Refused

AskPassphrase = Callable[[Path], str | None]
"""Asks a person for the passphrase of a file; None = there is nobody to ask, or no answer."""

_LARGEST = 64 * 1024
"""Bytes; the largest RSA key is a quarter of it."""
_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_INTACT = "nothing was signed"


def read_private_key(path: Path, ask: AskPassphrase | None = None) -> PrivateKey:
    """The private key in `path`, in OpenSSH's format or in PEM; `ask` is called only when it is encrypted.

    ConfigurationError when the file cannot be read; Refused when others may read it (as ssh does), when
    it holds no key of a kind that can sign here, and when the passphrase is missing or wrong.
    """
    data = _read_closed_file(path)
    try:
        key = _load(data, None)
    except TypeError:  # how the library says that the key is encrypted
        key = _load_encrypted(path, data, ask)
    except (ValueError, UnsupportedAlgorithm):
        raise _unusable(path, "it is damaged or a hardware key, which signs through ssh-agent") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise _unusable(path, "keys of its kind cannot approve", "enrol another: ssh-keygen -t ed25519")
    return key


def make_key(path: Path, comment: str) -> str:
    """Make an ed25519 pair without a passphrase; return its public line, as it stands in `path`.pub.

    The private half goes to `path`, mode 0600. For a demo and for tests: people bring keys of their own.
    ConfigurationError when one of the two files is already there, neither is overwritten.
    """
    key = ed25519.Ed25519PrivateKey.generate()
    public = f"{public_key_of(key).line} {comment}"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public_path = path.with_name(path.name + ".pub")
    _write_new(public_path, public.encode() + b"\n", 0o644)
    try:
        _write_new(path, private, 0o600)
    except ConfigurationError:
        public_path.unlink()
        raise
    return public


def allowed_signers_line(name: str, public_line: str) -> str:
    """The line that enrols `name` with the key of a `.pub` file, for approvals and nothing else."""
    return f'{name} namespaces="backout" {public_line.strip()}'


def _load(data: bytes, password: bytes | None) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # DSA keys: refused by the caller
        if _OPENSSH in data:
            return load_ssh_private_key(data, password)
        return load_pem_private_key(data, password)


def _load_encrypted(path: Path, data: bytes, ask: AskPassphrase | None) -> object:
    passphrase = ask(path) if ask is not None else None
    if not passphrase:
        raise _unusable(path, "it is encrypted, and no passphrase was given")
    try:
        return _load(data, passphrase.encode())
    except ValueError:
        raise _unusable(path, "the passphrase does not open it") from None
    except UnsupportedAlgorithm:
        raise _unusable(
            path, "encrypted keys need the Python package bcrypt, which is not installed"
        ) from None


def _unusable(path: Path, why: str, next: str = "") -> Refused:
    return Refused(
        f"this key file cannot sign: {why}",
        where=str(path),
        intact=_INTACT,
        next=next or f"ssh-add {shlex.quote(str(path))}",
    )


def _read_closed_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode  # of what was opened, not of what the name says later
            content = file.read(_LARGEST + 1)
    except OSError as problem:
        why = (problem.strerror or "it cannot be opened").lower()
        raise ConfigurationError(
            f"the key file cannot be read: {why}",
            where=str(path),
            intact=_INTACT,
            next="name the private key file with --key, or use the ssh-agent",
        ) from None
    if content.startswith(tuple(f"{kind} ".encode() for kind in KINDS)):
        raise Refused(
            "this is the public half of a key",
            where=str(path),
            intact=_INTACT,
            next="name the file without .pub",
        )
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Refused(
            f"others may read this private key (mode {stat.S_IMODE(mode):04o}); ssh would not use it either",
            where=str(path),
            intact=_INTACT,
            next=f"chmod 600 {shlex.quote(str(path))}",
        )
    if len(content) > _LARGEST:
        raise _unusable(path, "it is larger than any key")
    return content


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as problem:
        why = (problem.strerror or "it cannot be written").lower()
        raise ConfigurationError(
            f"the key file cannot be made: {why}",
            where=str(path),
            intact="everything; nothing was written",
            next="name another file",
        ) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
