"""What each right on the server is for, and what is lost without it; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backout.model.readiness import Capability, Standing
from backout.phases.readiness.grants import Asker, grant_for
from backout.postgres.capabilities import Right


@dataclass(frozen=True, slots=True)
class _Use:
    """What a right is good for."""

    used_by: str
    without: str
    required: bool = False


_USES: Mapping[str, _Use] = {
    "run the down": _Use("A", "the down stops at a table of another role", True),
    "kept values": _Use("A", "A is refused: what the down destroys could not be kept", True),
    "marker in the log": _Use("A D guard", "the down cannot be told from the application's writes", True),
    "session locks": _Use("A fence", "two runs at once could not be told apart", True),
    "fate of a commit": _Use(
        "A proof", "after a lost connection only people can say what was committed", True
    ),
    "read every table": _Use("proof", "no whole dump: record a snapshot of your provider"),
    "read past policies": _Use("A proof", "tables with row-level security are neither dumped nor kept"),
    "see other sessions": _Use("A fence", "holders of a lock are shown without what they run"),
    "end other sessions": _Use("B fence", "only sessions of the same role can be ended"),
    "commit times": _Use("A B D", "the moment of a commit is known from the history table at best"),
    "named restore point": _Use("B D guard", "B restores to a moment, not to a named point"),
    "switch the log": _Use("B guard", "the last writes wait for their segment to fill"),
    "checkpoint": _Use("B", "a base backup begins at the server's own next checkpoint"),
    "create database": _Use("B D", "no twin beside it on the same server"),
    "replication slot": _Use("B D guard", "no replay of later writes: B and D are inexact"),
    "base backup": _Use("B D", "no base backup: B and D need a restore by your provider"),
    "publication": _Use("B D guard", "later writes cannot be captured by table"),
    "replication origin": _Use("B D", "replayed writes carry the marker message instead of an origin"),
    "silence triggers": _Use("D", "D writes parents first, and triggers fire: the forecast lists them"),
    "event trigger": _Use("guard", "a migration that comes back is seen by looking, not as it happens"),
    "connection limit": _Use("B fence", "new connections cannot be kept out by the database itself"),
    "create role": _Use("fence", "the application's login cannot be switched off"),
    "page checks": _Use("proof", "the structure of indexes is not looked at (amcheck)"),
}
CAPABILITIES = tuple(_USES)
"""Every name, in the order in which they are shown."""


def table(rights: Sequence[Right], asker: Asker) -> tuple[Capability, ...]:
    """One row for each right that was asked for, in the order of `CAPABILITIES`."""
    by_name = {right.name: right for right in rights}
    return tuple(_row(by_name[name], _USES[name], asker) for name in CAPABILITIES if name in by_name)


def _row(right: Right, use: _Use, asker: Asker) -> Capability:
    grant = "" if right.held else grant_for(right.name, asker)
    standing = Standing.UNKNOWN
    if right.held is not None:
        standing = Standing.WORKS if right.held else Standing.GRANT if grant else Standing.CANNOT
    shown = grant if standing is Standing.GRANT else ""
    return Capability(
        *(right.name, standing, right.how, right.said, shown),
        *(tuple(use.used_by.split()), use.required, "" if right.held else use.without),
    )
