"""The destructive night with strategy B: the state before the migration beside it, traffic moved there."""

from __future__ import annotations

import time
from dataclasses import replace

from backout.demo import destructive, ending, place, reckoning, returned, scenes
from backout.demo.destructive import Counted, Told
from backout.demo.ending import Ending
from backout.demo.place import Place
from backout.demo.scenes import Stage
from backout.demo.world import entrance
from backout.demo.world.application import CLIENTS
from backout.demo.world.project import SRE
from backout.errors import Refused, Stopped
from backout.model.fates import Fate
from backout.postgres import parked

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


def count(stage: Stage) -> None:
    """The new side, while nobody writes: soon traffic leaves it. Then everybody writes on."""
    if not _goes_back(stage) or stage.evidence.went_back():
        return
    stage.screen.chapter("Counted on the new server; the application stands still for it, then it goes on")
    stage.processes.end("application")
    counted = destructive.count(stage, _archived(stage))
    stage.progress.counted = counted.plain()
    back, fates = counted.back, counted.fates
    stage.screen.remark(f"{back.rows_back:,} rows and {back.values_back:,} mottos are back there, and of")
    stage.screen.remark(
        f"{back.writes_since:,} writes since the migration {fates.carried:,} stand as written"
    )
    scenes.start(stage)


def way_back(stage: Stage) -> None:
    """Used once, to see it: what was written on the new side goes along, and the migration is live again."""
    if not _goes_back(stage):
        stage.screen.remark("The way back is shown through a pooler only.")
        return
    stage.screen.chapter("The way back is armed. It is used here once, to see that it holds")
    stage.screen.remark("On your night you would stay: on the other side the migration is live.")
    stage.typist.verb("way-back", "status", stage.progress.incident)
    signed = ("--as", SRE, "--key", f"../people/{SRE}", "--confirm", stage.team.target)
    for tries in range(_TRIES):
        if stage.evidence.went_back():
            break
        expect = (0, *_AGAIN) if tries < _TRIES - 1 else (0,)
        stage.typist.verb("way-back", "use", stage.progress.incident, *signed, expect=expect, actor=SRE)
        time.sleep(1)
    stage.tell_ledger()
    stage.screen.remark(f"Port {stage.entrance.side()} answers the application's connection string again.")


def end(stage: Stage) -> Ending:
    """Counted on the new side: what came back by the formula of the seed, what was written by the ledger.
    And on the old one, once traffic is there again: every write since the migration."""
    lever = stage.entrance.lever
    remark = "at most one a client: each was cut once" if _ERRORS[lever] else "through every move"
    told = Told(stage.evidence.went_back(), _ERRORS[lever], remark)
    if not told.way_back_used:
        return destructive.tell(stage, destructive.count(stage, _archived(stage)), told)
    return destructive.tell(stage, _on_both_sides(stage), told)


def _goes_back(stage: Stage) -> bool:
    return stage.entrance.lever == entrance.POOLER


def _archived(stage: Stage) -> int:
    done = stage.evidence.restored()
    return done.carried.fates.archived if done else 0


def _on_both_sides(stage: Stage) -> Counted:
    """What stood on the new side, and what is missing or doubled on the old one of all that was written since
    the migration and waits for nobody."""
    there = destructive.counted(stage.progress.counted)
    written = reckoning.read(stage.place.ledger)
    lately = reckoning.since(written, stage.progress.migrated_at)
    with stage.session() as session:
        found = reckoning.look(session, lately, stage.progress.incident)
        entries = parked.entries(session, stage.progress.incident)
    lost = found.lost - returned.rows(entries, Fate.PARKED)
    here = ending.reckon(stage, written, replace(found, lost=lost))
    numbers = replace(
        here,
        lost_writes=there.numbers.lost_writes + here.lost_writes,
        doubled_writes=there.numbers.doubled_writes + here.doubled_writes,
    )
    return replace(there, numbers=numbers)
