"""What a role can do on a server, and what that means for a back-out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Standing(StrEnum):
    """How one capability stands on this server."""

    WORKS = "works"
    GRANT = "works with this grant"
    CANNOT = "cannot here"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Capability:
    """One row of the table of `doctor --can`."""

    name: str
    standing: Standing
    how: str
    """How the server was asked: `tried` (and rolled back), `asked`, `looked up`."""
    said: str
    """The server's words, or what the answer rests on."""
    grant: str
    """SQL or a setting that gives the right; empty when it works or cannot be had."""
    used_by: tuple[str, ...]
    """`A`, `B`, `C`, `D`, `guard`, `proof`, `fence`."""
    required: bool
    """Strategy A does not go on without it."""
    without: str
    """What is not to be had while it is missing."""
