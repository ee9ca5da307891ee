"""Signatures of people."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from backout.model.people import Person


class People(Protocol):
    """The enrolled people and their keys. Holds no private key and issues nothing that approves.

    `verify` must raise `errors.Refused` when the signature is not one of an enrolled key of `person`
    over exactly `message` in namespace `backout`.
    """

    def enrolled(self) -> tuple[Person, ...]: ...

    def digest(self) -> str:
        """SHA-256 of the allowed_signers file and the roles; part of what is approved."""
        ...

    def verify(self, person: str, message: bytes, armoured: str) -> str:
        """Return the fingerprint of the key that signed."""
        ...

    def sign_with_agent(self, person: str, message: bytes) -> str | None:
        """Armoured signature by a key of `person` in the running ssh-agent, or None."""
        ...

    def sign_with_key(self, person: str, message: bytes, key_file: Path) -> str:
        """Armoured signature by a private key file, read once and never stored."""
        ...
