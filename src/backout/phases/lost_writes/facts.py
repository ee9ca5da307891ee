"""What is noted before the down, for the repair after it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Horizon:
    """Transaction ids, 32 bit; `migration` is empty where it is not known."""

    xid: str
    """Transactions below it were over before the down began."""
    migration: str
    """The migration's own: a row that it wrote last was not written by the application since."""
