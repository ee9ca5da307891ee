"""One screen a verb: `X_screen(records, style=...) -> str`, each whole and ending in `next:`."""

from __future__ import annotations

from backout.render.screens.approve import screen as approve_screen
from backout.render.screens.open import screen as open_screen
from backout.render.screens.propose import screen as propose_screen

__all__ = [
    "approve_screen",
    "open_screen",
    "propose_screen",
]
