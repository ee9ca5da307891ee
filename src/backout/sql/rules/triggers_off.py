"""Triggers are switched off."""

from __future__ import annotations

from backout.sql.facts import EffectKind, Reading
from backout.sql.rule import Rule


def _meets(reading: Reading) -> bool:
    return reading.has(EffectKind.DISABLE_TRIGGER) or "session_replication_role" in reading.settings


RULE = Rule(
    name="triggers-off",
    problem=(
        "DISABLE TRIGGER and session_replication_role = replica skip the application's triggers and, "
        "with ALL or replica, the checks of foreign keys: rows change unseen, and anything that "
        "watches by trigger misses them."
    ),
    solution=(
        "Leave triggers on; where one must sleep, name that trigger and wake it in the same transaction."
    ),
    meets=_meets,
)
