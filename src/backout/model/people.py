"""People: who they are, what they may sign, and what they signed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    SRE = "sre"
    OWNER = "owner"
    """Owner of the migration: a developer familiar with it."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person is a public key enrolled on a calm day."""

    name: str
    roles: tuple[Role, ...]
    keys: tuple[str, ...]
    """Fingerprints (`SHA256:...`) of the enrolled OpenSSH public keys."""


@dataclass(frozen=True, slots=True)
class Approval:
    """A yes of one person, in one role, to one digest."""

    person: str
    role: Role
    digest: str
    """Hex SHA-256 of the proposal."""
    strategy: str
    accepts: tuple[str, ...]
    signature: str
    """Armoured SSH signature, namespace `backout`, over the message that was shown."""
    key: str
    """Fingerprint of the key."""
    round: int
