"""The destructive night with strategy B: the state before the migration beside it, traffic moved there."""

from __future__ import annotations

import time

from backout.demo import destructive, place, scenes
from backout.demo.destructive import Told
from backout.demo.ending import Ending
from backout.demo.place import Place
from backout.demo.scenes import Stage
from backout.demo.world import entrance
from backout.demo.world.application import CLIENTS
from backout.errors import Refused, Stopped

_TRIES = 8
_AGAIN = (Refused.exit_code, Stopped.exit_code)
"""How `run` ends when nothing was moved: not close behind for five seconds, or a deadline was missed."""
_ERRORS = {entrance.POOLER: 0, entrance.LIST: CLIENTS + 1}
"""What each lever promises: none; one for each client that writes, and for the one that reads."""


def where() -> Place:
    """Beside the other demos, with a server of its own: this one is set up for a move of traffic."""
    return place.find("restore", "destructive", "--strategy", "restore")


def backup(stage: Stage) -> None:
    """A base backup on the calm day; from then on the archived WAL tells every state."""
    stage.screen.chapter("Still calm: a base backup. PostgreSQL archives its WAL by itself")
    stage.typist.verb("backup", "take", "--target", stage.team.target)


def deploy(stage: Stage) -> None:
    """The same deploy, its migration under a guard."""
    destructive.deploy(stage, _migrate)


def _migrate(stage: Stage) -> None:
    """Apply the bad migration under a guard, unless it is applied, and note when it began."""
    if not scenes.migrated_at(stage):
        stage.project.bring_bad_migration()
        stage.typist.verb("guard", "--target", stage.team.target, "--", "./migrate", "up")
    stage.progress.migrated_at = scenes.migrated_at(stage)
    stage.screen.remark(
        "The guard's slot holds every write from here on; nobody knows yet that it will help."
    )


def approve(stage: Stage) -> None:
    """Strategy B by its name, with what the new server will be without."""
    accepted = (word for name in stage.evidence.to_accept("B") for word in ("--accept", name))
    scenes.approve(stage, "--strategy", "B", *accepted)


def run(stage: Stage) -> None:
    """Traffic moves, and the same connection string leads to the new server."""
    stage.screen.chapter("The way back: every write since is carried over, then traffic moves")
    stage.screen.remark("Stale writers are looked for only for 5 s here; the default is 15 minutes.")
    _move(stage)
    side = stage.entrance.side()
    stage.screen.remark(f"The application's connection string is what it was; port {side} answers it now,")
    stage.screen.remark(f"{stage.production.port} did before. That server stands as it was, behind a fence.")


def _move(stage: Stage) -> None:
    """As often as it takes: what is missed before the switch leaves everything as it was."""
    for _ in range(_TRIES):
        if scenes.carry_out(stage, (0, *_AGAIN)) == 0:
            return
        if not stage.evidence.running():  # the approvals are void: the story asks for them again
            break
        stage.screen.remark("Nothing was moved, and no write was lost; once more.")
        time.sleep(1)
    scenes.carry_out(stage)


def end(stage: Stage) -> Ending:
    """Counted on the new side: what came back by the formula of the seed, what was written by the ledger."""
    done = stage.evidence.restored()
    lever = stage.entrance.lever
    remark = "at most one a client: each was cut once" if _ERRORS[lever] else "through the whole move"
    return destructive.reckon(
        stage, Told(done.carried.fates.archived if done else 0, errors=_ERRORS[lever], errors_remark=remark)
    )
