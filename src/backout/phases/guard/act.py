"""Arm and drop, each part a named step that looks before it acts.

Invariant: the plan, with every name and every old replica identity, is journalled before the first effect.
So whatever is on the server can be taken away by somebody who has the journal only, in any order of deaths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from backout.errors import NeighbourUnreachable, Refused
from backout.model.guard import Dropped, Guard, GuardPlan, Identity, Reach, RestorePoint, StoredFile
from backout.phases.guard import decide
from backout.phases.guard.facts import Made, SlotMade, Stored
from backout.phases.guard.gather import same_server
from backout.ports.run import Attempt, Run
from backout.ports.world import Session, World
from backout.postgres.activity import end_own_sessions
from backout.postgres.asking import attempt as attempted
from backout.postgres.capture import identities, leftovers, origins, points, publications, slots
from backout.postgres.capture.leftovers import Stranger
from backout.postgres.capture.patience import Patience, told
from backout.postgres.catalog import digest, read_schema
from backout.postgres.connect import fenced, open_session
from backout.postgres.decoding.slot import arming_snapshot

_STORED = "migrations"
ARM, DROP = "backout guard arm", "backout guard drop"


def full_rows(run: Run, world: World, plan: GuardPlan) -> Made:
    """REPLICA IDENTITY FULL where it was approved."""

    def act(attempt: Attempt) -> Made:
        with told(ARM), world.databases.operate(attempt.name) as session:
            for identity in plan.identities:
                identities.make_full(session, identity, _patience(run, world))
        return Made(tuple(identity.table for identity in plan.identities))

    return run.step("identities", Made, act)


def publish(run: Run, world: World, plan: GuardPlan) -> Made:
    """Both publications, before the slot: in the other order 16 stops later and 18 omits rows silently."""

    def act(attempt: Attempt) -> Made:
        expires = decide.expiry(world.now(), plan.window_seconds).isoformat(timespec="seconds")
        note = leftovers.note(plan.guard, plan.target, expires, plan.identities)
        with told(ARM), world.databases.operate(attempt.name) as session:
            for name, reach in ((plan.publication, Reach.EVERY), (plan.inserts_only, Reach.INSERTS)):
                if name:
                    publications.create(session, name, reach, plan.tables(reach), note, _patience(run, world))
        return Made(plan.publications)

    return run.step("publications", Made, act)


def capture(run: Run, world: World, plan: GuardPlan) -> SlotMade:
    """The slot."""

    def act(attempt: Attempt) -> SlotMade:
        with told(ARM), open_session(world.databases.snapshot_dsn(), attempt.name) as session:
            before = arming_snapshot(session)
            lsn = slots.create(session, plan.slot, failover=plan.failover, patience=_patience(run, world))
            return SlotMade(lsn, before)

    return run.step("slot", SlotMade, act)


def mark_place(run: Run, world: World, plan: GuardPlan) -> RestorePoint:
    """The named restore point, its segment ended and archived."""
    switch = any(part.name == "WAL switch" and part.possible for part in plan.parts)

    def act(attempt: Attempt) -> RestorePoint:
        with told(ARM), open_session(world.databases.snapshot_dsn(), attempt.name) as session:
            return points.make(session, plan.restore_point, switch=switch)

    return run.step("point", RestorePoint, act)


def store_files(run: Run, world: World) -> Stored:
    """The migrations as they are now, under the digest of their content."""

    def act(attempt: Attempt) -> Stored:
        with told(ARM), world.databases.observe(attempt.name) as session:
            return Stored(tuple(_store(world)), digest(read_schema(session)))

    return run.step("files", Stored, act)


def _store(world: World) -> Iterator[tuple[str, str, str]]:
    there = frozenset(world.store.names(_STORED))
    for migration in world.migrator.files():
        for path in migration.paths:
            try:
                content = (world.project / path).read_bytes()
            except OSError:
                continue  # listed from the history of git; what is not on disk does not run either
            name = hashlib.sha256(content).hexdigest()
            if name not in there:
                world.store.write(_STORED, name, content)
            yield migration.name, path, name


def armed(
    run: Run, world: World, plan: GuardPlan, slot: SlotMade | None, point: RestorePoint | None, files: Stored
) -> Guard:
    """The record of what stands now."""

    def act(_attempt: Attempt) -> Guard:
        now = world.now()
        return Guard(
            id=plan.guard,
            target=plan.target,
            identity=plan.identity,
            slot=plan.slot,
            slot_lsn=slot.lsn if slot else "",
            failover=plan.failover,
            publications=plan.publications,
            coverage=plan.coverage,
            identities=plan.identities,
            restore_point=point,
            armed_at=now.isoformat(timespec="seconds"),
            expires_at=decide.expiry(now, plan.window_seconds).isoformat(timespec="seconds"),
            wal_cap_bytes=plan.wal_cap_bytes,
            history_table=plan.history_table,
            history_head=plan.history_head,
            history_position=plan.history_position,
            schema_digest=plan.schema_digest,
            schema_digest_armed=files.schema_digest,
            files=tuple(StoredFile(*file) for file in files.files),
            parts=plan.parts,
            unseen=plan.unseen,
            remains=plan.remains,
            slot_snapshot=slot.snapshot if slot else "",
        )

    return run.step("armed", Guard, act)


def demote(run: Run, world: World, guard: Guard, broken: tuple[tuple[int, str], ...], name: str) -> None:
    """Tables that lost their identity go on with inserts only: while their updates are published, those of
    the application fail. What the guard exists for must never stand in its way."""
    every, inserts = guard.publications
    with told(DROP), world.databases.operate(name) as session:
        for oid, table in broken:
            publications.move(session, oid, table, every, inserts, _patience(run, world))
            run.decide(f"demoted.{oid}", {"oid": oid, "table": table})


def _patience(run: Run, world: World) -> Patience:
    return Patience(world.budgets, run.progress, ARM)


# --- and away again


def drop(run: Run, world: World, plan: GuardPlan, reason: str) -> Dropped:
    """Take everything of this guard off the server: slot, publications, identities, origins; look after each.

    Raises `Refused` when the target's name leads to another server by now.
    """
    return run.step("dropped", Dropped, lambda attempt: _drop(run, world, plan, reason, attempt))


def _drop(run: Run, world: World, plan: GuardPlan, reason: str, attempt: Attempt) -> Dropped:
    removed: list[str] = []
    left: list[str] = []
    with (
        _over_the_fence(plan),
        told(DROP),
        open_session(world.databases.snapshot_dsn(), attempt.name) as session,
    ):
        _same_or_refused(session, plan)
        # A statement of a process that died may still be at work on the server.
        end_own_sessions(session, f"backout/{plan.guard}/%")
        if plan.slot and slots.drop(session, plan.slot):
            removed.append(f"slot {plan.slot}")
    with _over_the_fence(plan), told(DROP), world.databases.operate(attempt.name) as session:
        end_own_sessions(session, f"backout/{plan.guard}/%")
        removed += _unpublish(run, world, session, plan.publications, plan.identities)
        for name in origins.ours(session, plan.origin_prefix):
            _drop_origin(session, name, removed, left)
    return Dropped(plan.guard, reason, tuple(removed), tuple(left))


@contextmanager
def _over_the_fence(plan: GuardPlan) -> Iterator[None]:
    """Traffic was moved away from this server: its fence keeps our roles out of the database."""
    try:
        yield
    except NeighbourUnreachable as error:
        if not fenced(error):
            raise
        raise Refused(
            f"the old database of {plan.target} is fenced since traffic was moved away from it",
            where=error.where,
            intact="everything; the guard is where it was, and its slot retains WAL there",
            next="stop that server when nobody needs it any more; or free its WAL, connected to another"
            f" database of it: SELECT pg_drop_replication_slot('{plan.slot}')",
        ) from None


def _unpublish(
    run: Run, world: World, session: Session, names: Sequence[str], before: Sequence[Identity]
) -> Iterator[str]:
    """Publications first: an identity put back under one would stop the application's updates."""
    patience = Patience(world.budgets, run.progress, DROP)
    for name in names:
        if publications.drop(session, name, patience):
            yield f"publication {name}"
    for identity in before:
        done = identities.put_back(session, identity, patience)
        if done:
            yield done


def drop_stranger(run: Run, world: World, stranger: Stranger, reason: str) -> Dropped:
    """Take away a guard that another journal knows, by what the server tells of it."""

    def act(attempt: Attempt) -> Dropped:
        removed: list[str] = []
        with told(DROP), open_session(world.databases.snapshot_dsn(), attempt.name) as session:
            if slots.drop(session, stranger.name):
                removed.append(f"slot {stranger.name}")
        with told(DROP), world.databases.operate(attempt.name) as session:
            removed += _unpublish(run, world, session, stranger.publications, stranger.identities)
        return Dropped(stranger.name, reason, tuple(removed))

    return run.step("dropped", Dropped, act)


def _drop_origin(session: Session, name: str, removed: list[str], left: list[str]) -> None:
    _, refused = attempted(lambda: origins.drop(session, name))
    if refused:
        left.append(f"origin {name}: {refused}")
    else:
        removed.append(f"origin {name}")


def _same_or_refused(session: Session, plan: GuardPlan) -> None:
    if not same_server(session, plan):
        raise Refused(
            f"{plan.target} leads to another database than the one that {plan.guard} was armed in",
            where=str(plan.identity),
            intact="everything; nothing was dropped here",
            next=f"point the target at {plan.identity}, then: backout guard drop {plan.guard}",
        )
