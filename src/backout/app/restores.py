"""The verb `restore`: a backup or snapshot to a new instance, tested and handed over; no incident needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from backout.app import lock, worlds
from backout.app.desk import Desk
from backout.app.results import RestoreAnswer
from backout.errors import BackoutError, ConfigurationError, Refused, UnknownName
from backout.model.check import all_good
from backout.model.journal import EntryKind
from backout.model.restored import Choice, PointKind, Wanted
from backout.model.snapshot import Snapshot
from backout.phases.restore import choice as choices
from backout.phases.restore import instance, judge, registry
from backout.phases.restore.choice import Known
from backout.phases.restore.registry import Try
from backout.phases.snapshot import registry as snapshots
from backout.ports.world import World
from backout.runbooks import restore_new as story

_OF_INCIDENTS = re.compile(r"backout (?:resume|propose)(?: rst-\w+)?")
_NEWEST_FOR = timedelta(hours=1)
"""So long "the newest state" of a command that died is still what people mean."""


@contextmanager
def _typed_again(command: str) -> Iterator[None]:
    """What stopped is gone on with by typing it again: `resume` and `propose` are for incidents."""
    try:
        yield
    except BackoutError as error:
        error.next = _OF_INCIDENTS.sub(lambda _: command, error.next)
        raise


def plan(desk: Desk, target: str | None, wanted: Wanted) -> RestoreAnswer:
    """What would be restored, from what, where, how large, how long. Nothing is begun."""
    name = desk.app.target_name(target)
    world = desk.app.world(name)
    found = choices.choose_one(world, wanted, _known(desk, world), "backout/restore/0", desk.teller.progress)
    _refuse_tried(desk, name, found)
    return RestoreAnswer("", name, "planned", found, None, None, None, "", judge.command(wanted, name))


def restore(desk: Desk, target: str | None, wanted: Wanted) -> RestoreAnswer:
    """Choose, restore, test, hand over. Typed again after a death it goes on with the same point.

    Raises what choosing and restoring raise, and `Refused` for a point whose restore failed before and nobody
    recorded why.
    """
    name = desk.app.target_name(target)
    world = desk.app.world(name)
    with lock.worker(desk.app.state, "restore", desk.actor), _typed_again(judge.command(wanted, name)):
        identifier = _story(desk, world, name, wanted)
        run, known = desk.story(identifier), _known(desk, world)
        chosen = story.choose(run, world, wanted, known)
        _refuse_tried(desk, name, chosen)
        snapshot = _snapshot(known, chosen)
        made, smoked = story.restore(run, world, chosen, snapshot)
        if not smoked.holds:
            return RestoreAnswer(
                *(identifier, name, "failed", chosen, made, smoked, None, ""),
                _explain_command(desk, name, made.instance),
            )
        handed = story.hand_over(run, world, chosen, made)
    following = desk.app.for_target(f"backout copies --destroy {made.instance}", name)
    outcome = "handed over" if all_good(handed.checks) else "failed"
    following = f"look at it, then: {following}"
    return RestoreAnswer(identifier, name, outcome, chosen, made, smoked, handed, "", following)


def explain(desk: Desk, target: str | None, failed: str, reason: str) -> RestoreAnswer:
    """Record why a restored copy failed its smoke tests: then it may go, and its point be tried again."""
    name = desk.app.target_name(target)
    found = next(
        (t for s in registry.known(desk.app.journal, name) for t in s.tries if t.instance == failed), None
    )
    if found is None or found.choice is None or not found.failed:
        raise UnknownName(
            f"no restore called {failed!r} failed its smoke tests",
            where=name,
            intact="everything; nothing was recorded",
            next="backout copies",
        )
    if not reason.strip():
        raise ConfigurationError(
            "a reason is needed: it is what the next person reads before trying this point again",
            where=failed,
            intact="everything; the copy is kept",
            next=_explain_command(desk, name, failed),
        )
    body = {"reason": reason.strip(), "person": desk.actor}
    desk.record(found.story, EntryKind.DECISION, f"r{found.round}.reason", body)
    following = desk.app.for_target(f"backout copies --destroy {failed}", name)
    return RestoreAnswer(
        *(found.story, name, "explained", found.choice, found.restored, found.smoked, None, reason.strip()),
        following,
    )


def _explain_command(desk: Desk, target: str, failed: str) -> str:
    return desk.app.for_target(f"backout restore --failed {failed} --reason TEXT", target)


def _known(desk: Desk, world: World) -> Known:
    root = world.store.directory("snapshots", "x").parent
    there = tuple(one for one in snapshots.newest_first(root) if one.target == world.target)
    proofs = (snapshots.proof_of(root, one.id) for one in there)
    proved = tuple(("dump", proof.bytes_per_second) for proof in proofs if proof is not None)
    rates = (*registry.rates(desk.app.journal, world.target), *proved)
    return Known(there, rates, worlds.database_of(desk.app, world.target))


def _snapshot(known: Known, chosen: Choice) -> Snapshot | None:
    return next((one for one in known.snapshots if one.id == chosen.backup), None)


def _refuse_tried(desk: Desk, target: str, chosen: Choice) -> None:
    """A point is not offered again while nobody has said why its restore failed."""
    failed = registry.tried(desk.app.journal, target, chosen.target, chosen.backup)
    if failed is None:
        return
    assert failed.smoked is not None
    bad = "; ".join(f"{check.name}: {check.detail}" for check in failed.smoked.checks if not check.good)
    raise Refused(
        f"{chosen.target} was restored from {chosen.backup} before and failed: {bad}",
        where=failed.instance,
        intact="everything; that copy is kept, nothing was restored",
        next=f"choose another point, or say why it failed: {_explain_command(desk, target, failed.instance)}",
    )


def _story(desk: Desk, world: World, target: str, wanted: Wanted) -> str:
    """The restore that a killed command left in the middle of the same thing, else one more round of it after
    a failure, else a new one."""
    newest = next(registry.known(desk.app.journal, target), None)
    if newest is None or newest.newest.handed is not None:
        return desk.new_incident(target, world.environment, "restore", prefix=registry.PREFIX).id
    last = newest.newest
    if last.choice is None or _goes_on(world, last, wanted):
        desk.teller.progress(f"going on with {newest.id}")
        return newest.id
    if last.unfinished and last.instance in instance.instances(world).unfinished():
        instance.instances(world).destroy(last.instance)
    desk.begin_round(newest.id, "its smoke tests failed" if last.failed else "another point was asked for")
    return newest.id


def _goes_on(world: World, last: Try, wanted: Wanted) -> bool:
    """Whether the round is in the middle of exactly this, and what it made is still there."""
    if not last.unfinished or last.choice is None or last.choice.wanted != wanted:
        return False
    if last.restored is not None and instance.there(world, last.instance) is None:
        return False
    begun = datetime.fromisoformat(last.begun_at.replace("Z", "+00:00"))
    return wanted.kind is not PointKind.NEWEST or datetime.now(UTC) - begun < _NEWEST_FOR
