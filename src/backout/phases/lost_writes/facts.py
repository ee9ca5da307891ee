"""What is noted before the down, for the repair after it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Horizon:
    """Transactions below this xid (32 bit) were over before the down began."""

    xid: str
