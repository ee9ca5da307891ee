"""The verbs about guards: plan, arm, run a command under one, list, status, drop; and their leftovers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from backout.app import commands, lock
from backout.app.desk import Desk
from backout.app.results import GuardAnswer, Guarded, GuardLine, GuardList, GuardPlanned, GuardStatus
from backout.errors import BackoutError, Busy, Refused, UnknownName
from backout.model.check import CheckState, all_good
from backout.model.guard import CommandRun, Dropped, Guard, GuardHealth, GuardPlan, Wishes
from backout.model.journal import EntryKind
from backout.phases.guard import act, decide, gather, registry
from backout.phases.guard.registry import STORY, Known
from backout.phases.snapshot import registry as snapshots
from backout.ports.world import World
from backout.postgres.capture.leftovers import Stranger
from backout.postgres.names import OBJECT_PREFIX
from backout.runbooks import guard as story

ShowPlan = Callable[[GuardPlan], None]
_WAIT_FOR_LOCK = 30.0
ELSEWHERE_OVER = "armed elsewhere, over"


def newest_guard(desk: Desk, target: str) -> Guard | None:
    """The newest guard of this target that is armed and not dropped."""
    return registry.newest_guard(desk.app.journal, target)


def plan(desk: Desk, target: str | None, wishes: Wishes) -> GuardPlanned:
    """What `arm` would do here, and what the role cannot. The database is only read."""
    name = desk.app.target_name(target)
    world = desk.app.world(name)
    exercise = desk.new_incident(name, world.environment, "guard plan", prefix="exc")
    planned = story.plan(desk.story(exercise.id, STORY), world, wishes)
    return GuardPlanned(planned, f"backout guard arm --target {name}")


def arm(
    desk: Desk, target: str | None, wishes: Wishes, show: ShowPlan, proven_within: float | None
) -> Guarded:
    """Arm a guard. What cannot be finished is taken away again at once."""
    name = desk.app.target_name(target)
    world = desk.app.world(name)
    _demand_proof(world, name, proven_within)
    with lock.worker(desk.app.state, "guard arm", desk.actor):
        planned, guard = _armed(desk, world, wishes, show)
    return Guarded(planned, guard, f"backout guard status {guard.id}")


def _armed(desk: Desk, world: World, wishes: Wishes, show: ShowPlan) -> tuple[GuardPlan, Guard]:
    begun = desk.new_incident(world.target, world.environment, "guard", prefix=registry.PREFIX)
    run = desk.story(begun.id, STORY)
    planned = story.plan(run, world, wishes)
    show(planned)
    try:
        return planned, story.arm(run, world, planned)
    except BackoutError as error:
        _disarm(desk, world, planned, f"arming failed: {error.what}", error)
        raise


def _disarm(desk: Desk, world: World, planned: GuardPlan, reason: str, first: BackoutError) -> None:
    """The first failure is told; that clearing failed too only goes with it. The next command tries again."""
    try:
        story.disarm(desk.unstoppable_story(planned.guard, STORY), world, planned, reason)
    except BackoutError as second:
        first.add_note(f"and could not be cleared yet: {second.what}")


def run_under(
    desk: Desk,
    target: str | None,
    wishes: Wishes,
    command: tuple[str, ...],
    show: ShowPlan,
    proven_within: float | None,
    *,
    quiet_stdout: bool,
) -> GuardAnswer:
    """Arm, run the command, and keep the guard for its window, or drop it when nothing came of the command.

    While the command runs no lock is held: whoever has to look at the database meanwhile may.
    """
    armed = arm(desk, target, wishes, show, proven_within)
    planned, guard = armed.plan, armed.guard
    world = desk.app.world(guard.target)
    named = desk.app.target(guard.target).dsn.operate.env
    launch = commands.launcher(command, named, quiet_stdout=quiet_stdout)
    run = desk.story(guard.id, STORY)
    try:
        ran = story.under(run, world, planned, guard, Path(command[0]).name, launch)
    except BackoutError as error:
        desk.record(guard.id, EntryKind.DECISION, f"{STORY}.doomed", {"reason": error.what})
        _disarm(desk, world, planned, error.what, error)
        raise
    reason = decide.drop_reason(ran)
    if not reason:
        _look_after(desk, world, guard)
    dropped = _drop_after(desk, world, planned, reason) if reason else None
    return GuardAnswer(guard, ran, dropped, _after(guard, ran, dropped))


def _look_after(desk: Desk, world: World, guard: Guard) -> None:
    """A key that went with the migration takes the application's updates with it, until this look."""
    try:
        _look(desk, world, guard)
    except BackoutError as error:
        desk.teller.progress(f"the guard could not be looked at: {error.what}")


def _drop_after(desk: Desk, world: World, planned: GuardPlan, reason: str) -> Dropped | None:
    """None: it could not be done now; the next command does it."""
    desk.record(planned.guard, EntryKind.DECISION, f"{STORY}.doomed", {"reason": reason})
    try:
        with lock.worker(desk.app.state, "guard", desk.actor, patience=_WAIT_FOR_LOCK):
            return story.disarm(desk.unstoppable_story(planned.guard, STORY), world, planned, reason)
    except BackoutError:
        return None


def _after(guard: Guard, ran: CommandRun, dropped: Dropped | None) -> str:
    if ran.exit_code == 0:
        return f"backout guard status {guard.id}"
    if dropped is not None:
        return "mend the migration, then the same command again"
    return f"backout open --target {guard.target}" if ran.changed else f"backout guard drop {guard.id}"


def _demand_proof(world: World, target: str, within: float | None) -> None:
    """Raises `Refused` without a proof of a snapshot of this target that is young enough."""
    if within is None:
        return
    root = world.store.directory("snapshots", "x").parent
    found = [s for s in snapshots.newest_first(root) if s.target == target]
    proofs = [proof for s in found if (proof := snapshots.proof_of(root, s.id)) is not None]
    if not decide.proven_lately(proofs, world.now(), within):
        newest = max((proof.proven_at for proof in proofs), default="")
        had = f"the newest was proven at {newest}" if newest else "none was ever proven"
        raise Refused(
            f"no snapshot of {target} was proven within the last {within / 3600:g} h: {had}",
            where=str(root),
            intact="everything; nothing was armed and the command was not started",
            next=f"backout snapshot prove --target {target}",
        )


# --- list, status, drop


def listing(desk: Desk, target: str | None) -> GuardList:
    """All guards of the journal that may have something on a server, newest first."""
    found = [k for k in registry.known(desk.app.journal) if k.dropped is None and k.plan is not None]
    lines = tuple(_line(known) for known in found if target in (None, known.target))
    lines += tuple(_strange_line(name, s) for name in _targets(desk, target) for s in _strangers(desk, name))
    return GuardList(lines, _what_next(lines))


def _what_next(lines: tuple[GuardLine, ...]) -> str:
    if not lines:
        return "nothing"
    if lines[0].state == ELSEWHERE_OVER:
        return f"backout guard drop {lines[0].id} --target {lines[0].target}"
    return f"backout guard status {lines[0].id}" if lines[0].id.startswith(registry.PREFIX) else "nothing"


def _targets(desk: Desk, target: str | None) -> tuple[str, ...]:
    return tuple(desk.app.settings.target) if target is None else (desk.app.target_name(target),)


def _strangers(desk: Desk, target: str) -> tuple[Stranger, ...]:
    """Guards on the server of this target that the journal here does not know; none when nobody answers."""
    known = {
        name
        for k in registry.known(desk.app.journal)
        if k.plan is not None and k.dropped is None
        for name in (k.plan.slot, k.plan.publication)
    }
    try:
        return gather.strangers(desk.app.world(target), known, "backout/guards/look")
    except BackoutError:
        return ()


def _strange_line(target: str, found: Stranger) -> GuardLine:
    over = found.expires_at and datetime.fromisoformat(found.expires_at) <= datetime.now(UTC)
    state = ELSEWHERE_OVER if over or not found.expires_at else "armed elsewhere"
    return GuardLine(found.name, target, state, "", found.expires_at, found.name if found.slot else "", 0, "")


def _line(known: Known) -> GuardLine:
    guard = known.guard
    state = "armed" if guard is not None else "half armed: the next command clears it"
    return GuardLine(
        *(known.id, known.target, state, guard.armed_at if guard else known.begun_at),
        *(guard.expires_at if guard else "", guard.slot if guard else "", len(guard.xids) if guard else 0),
        known.command.program if known.command else "",
    )


def status(desk: Desk, name: str | None, target: str | None) -> GuardStatus:
    """One look at an armed guard; at the cap it goes, and that is said."""
    known = _chosen(desk, name, target)
    if known.guard is None:
        raise Refused(
            f"{known.id} was never armed",
            where=known.target,
            intact="everything; it was only read",
            next="backout guard arm",
        )
    world = desk.app.world(known.target)
    seen = _look(desk, world, known.guard)
    known = next(k for k in registry.known(desk.app.journal) if k.id == known.id)
    assert known.guard is not None
    dropped = None
    if seen.over_cap:
        dropped = _drop_at_cap(desk, world, known, seen)
    elif not all_good(seen.checks):
        _alarm(desk, known.guard, seen)
    good = all_good(seen.checks) and dropped is None
    return GuardStatus(known.guard, seen, dropped, "nothing" if good else _mend(known.guard, seen, dropped))


def watch(desk: Desk, name: str | None, target: str | None, every: float) -> GuardStatus:
    """Look again and again, until it is not well, its window is over, or the person at the terminal stops."""
    known = _chosen(desk, name, target)
    run = desk.story(known.id, STORY)
    while True:
        seen = status(desk, known.id, None)
        if seen.dropped is not None or not all_good(seen.health.checks):
            return seen
        reason = _why_it_goes(desk, known)
        if reason:
            assert known.plan is not None
            gone = _drop_after(desk, desk.app.world(known.target), known.plan, reason)
            return replace(seen, dropped=gone)
        until = time.monotonic() + every
        while time.monotonic() < until:
            if run.stopping:
                return seen
            time.sleep(min(0.2, every))


def _look(desk: Desk, world: World, guard: Guard) -> GuardHealth:
    run = desk.unstoppable_story(guard.id, STORY)
    return story.look(run, world, guard, f"backout/{guard.id}/look")


def _drop_at_cap(desk: Desk, world: World, known: Known, seen: GuardHealth) -> Dropped | None:
    assert known.plan is not None and known.guard is not None
    cap = known.guard.wal_cap_bytes
    reason = f"its slot held back {seen.retained_bytes:,} bytes of WAL, the cap is {cap:,}"
    dropped = _drop_after(desk, world, known.plan, reason)
    _tell(desk, known.guard, "cap", f"ALARM: guard {known.id} of {known.target} dropped itself: {reason}")
    return dropped


def _alarm(desk: Desk, guard: Guard, seen: GuardHealth) -> None:
    bad = next(check for check in seen.checks if not check.good)
    _tell(desk, guard, bad.name, f"ALARM: guard {guard.id} of {guard.target}: {bad.detail}")


def _tell(desk: Desk, guard: Guard, what: str, text: str) -> None:
    """A notice, once for each kind of alarm."""
    desk.story(guard.id, STORY).notice(f"alarm.{what.replace(' ', '_')}", text, "operators")


def _mend(guard: Guard, seen: GuardHealth, dropped: Dropped | None) -> str:
    if dropped is not None:
        return "backout guard arm"
    mends = [check.mend for check in seen.checks if not check.good and check.mend]
    again = f"backout guard drop {guard.id}"
    return f"{mends[0]}, then: backout guard status {guard.id}" if mends else again


def drop(desk: Desk, name: str | None, target: str | None) -> Dropped:
    """Take a guard off the server; also one that only the server knows, by the name of its slot."""
    if name is not None and name.startswith(OBJECT_PREFIX):
        return _drop_stranger(desk, name, target)
    known = _chosen(desk, name, target)
    assert known.plan is not None
    with lock.worker(desk.app.state, "guard drop", desk.actor):
        run = desk.unstoppable_story(known.id, STORY)
        return story.disarm(run, desk.app.world(known.target), known.plan, f"dropped by {desk.actor}")


def _drop_stranger(desk: Desk, name: str, target: str | None) -> Dropped:
    chosen = desk.app.target_name(target)
    found = [s for s in _strangers(desk, chosen) if s.name == name]
    if not found:
        raise UnknownName(
            f"no guard {name!r} on {chosen} that the journal here does not know",
            where=chosen,
            intact="everything; it was only read",
            next="backout guard list",
        )
    world = desk.app.world(chosen)
    with lock.worker(desk.app.state, "guard drop", desk.actor):
        exercise = desk.new_incident(chosen, world.environment, "guard drop", prefix="exc")
        run = desk.unstoppable_story(exercise.id, STORY)
        return act.drop_stranger(run, world, found[0], f"dropped by {desk.actor}")


def _chosen(desk: Desk, name: str | None, target: str | None) -> Known:
    """The named guard, or the newest one that is on a server."""
    there = [k for k in registry.known(desk.app.journal) if k.dropped is None and k.plan is not None]
    found = [k for k in there if (name is None or k.id.startswith(name)) and target in (None, k.target)]
    if not found:
        raise UnknownName(
            "no guard is armed" if name is None else f"no guard {name!r} is armed",
            where=str(desk.app.state),
            intact="everything; only the journal was read",
            next="backout guard arm" if not there else f"one of: {', '.join(k.id for k in there)}",
        )
    return found[0]


# --- what the next command of any kind finds


def tidy_one(desk: Desk, known: Known) -> str:
    """Clear one guard that has to go, or look at one that stays; a line when a person has to know.

    A target that does not answer says nothing about a guard that stays: the command itself will.
    """
    reason = _why_it_goes(desk, known)
    if reason:
        return _cleared(desk, known, reason)
    assert known.guard is not None
    try:
        world = desk.app.world(known.target)
        seen = _look(desk, world, known.guard)
    except BackoutError:
        return ""
    if seen.over_cap:
        _drop_at_cap(desk, world, known, seen)
        return f"ALARM: guard {known.id} held back too much WAL and dropped itself"
    bad = [check for check in seen.checks if check.state in (CheckState.FAIL, CheckState.UNKNOWN)]
    return f"ALARM: guard {known.id} of {known.target}: {bad[0].detail}" if bad else ""


def _why_it_goes(desk: Desk, known: Known) -> str:
    """Why a guard has to go now; empty = it stays."""
    if known.guard is None:
        return "its command died before it was armed"
    if known.doomed:
        return known.doomed
    over = decide.expired(known.guard, datetime.now(UTC))
    return "its window is over" if over and not _incident_open(desk, known.target) else ""


def _incident_open(desk: Desk, target: str) -> bool:
    """An open incident of the target may stand on the guard: it stays then, up to its cap."""
    ids = (name for name in desk.app.journal.incidents() if name.startswith("inc-"))
    return any(not desk.closed(name) and desk.incident(name).target == target for name in ids)


def _cleared(desk: Desk, known: Known, reason: str) -> str:
    try:
        return _clear(desk, known, reason)
    except BackoutError as error:
        return (
            f"guard {known.id} on {known.target} is to go ({reason}) and could not be cleared: {error.what}"
        )


def _clear(desk: Desk, known: Known, reason: str) -> str:
    assert known.plan is not None
    try:
        with lock.worker(desk.app.state, "guard", desk.actor):
            fresh = next(k for k in registry.known(desk.app.journal) if k.id == known.id)
            if fresh.dropped is not None or (fresh.guard is None) != (known.guard is None):
                return ""  # its own command has gone on meanwhile
            run = desk.unstoppable_story(known.id, STORY)
            gone = story.disarm(run, desk.app.world(known.target), known.plan, reason)
    except Busy:
        return ""  # it may be the very command that arms it
    what = ", ".join(gone.removed) or "nothing was left on the server"
    return f"cleared guard {known.id} of {known.target} ({reason}): {what}"
