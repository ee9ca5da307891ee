"""Read what a guard has to know: before it is planned, and at every look at it."""

from __future__ import annotations

from collections.abc import Collection

from backout.errors import Refused
from backout.model.guard import Guard, GuardPlan
from backout.phases.guard.facts import GuardFacts, Sight
from backout.ports.world import Session, World
from backout.postgres import standing_around
from backout.postgres.capabilities import ask_capture_rights
from backout.postgres.capture import leftovers, platforms, publications, slots, tables
from backout.postgres.capture.leftovers import Stranger
from backout.postgres.capture.patience import told
from backout.postgres.catalog import digest, read_schema
from backout.postgres.connect import identify, open_session
from backout.postgres.marks import refuse_marker


def facts(world: World, name: str) -> GuardFacts:
    """Everything the plan is made from. Raises `Refused` on a standby and on a copy of ours."""
    with (
        told("backout doctor"),
        world.databases.operate(name) as owner,
        open_session(world.databases.snapshot_dsn(), name) as log,
    ):
        refuse_marker(owner)
        seen = identify(owner)
        if seen.in_recovery:
            raise Refused(
                "this is a standby: a migration runs on the primary, and so does its guard",
                where=str(seen.target),
                intact="everything; it was only read",
                next="correct the DSN of the target, then: backout doctor",
            )
        return GuardFacts(
            identity=seen.target,
            owner_rights=ask_capture_rights(owner),
            log_rights=ask_capture_rights(log),
            wal_level=standing_around.setting(owner, "wal_level"),
            keep_limit_bytes=_keep_limit(owner),
            has_failover=slots.has_failover(log),
            standbys=slots.standbys(log),
            tables=tables.read_tables(owner),
            unseen=tables.unseen_kinds(owner),
            platform=platforms.recognise(log),
            history=world.migrator.history(owner),
            schema_digest=digest(read_schema(owner)),
        )


def _keep_limit(session: Session) -> int:
    """In bytes; the server counts it in megabytes of 2^20."""
    row = session.execute(
        "SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size'"
    ).fetchone()
    return -1 if row is None or row[0] < 0 else int(row[0]) * 2**20


def sight(world: World, guard: Guard, name: str) -> Sight:
    """One look at the server."""
    with told("backout doctor"), world.databases.observe(name) as session:
        covered = [table.oid for table in guard.coverage]
        there = session.execute(
            "SELECT oid::bigint FROM pg_catalog.pg_class WHERE oid = ANY(%s::oid[])", (covered,)
        ).fetchall()
        return Sight(
            slots.look(session, guard.slot) if guard.slot else None,
            same_server(session, guard),
            publications.members(session, guard.publications),
            sum(publications.exists(session, publication) for publication in guard.publications),
            tables.without_identity(session, guard.publications),
            frozenset(row[0] for row in there),
            tables.detached(session, tuple(leaf for table in guard.coverage for leaf in table.leaves)),
            slots.standbys(session),
        )


def strangers(world: World, known: Collection[str], name: str) -> tuple[Stranger, ...]:
    """Guards on the server that are not among `known` slots."""
    with told("backout doctor"), world.databases.observe(name) as session:
        return leftovers.strangers(session, known)


def same_server(session: Session, guard: Guard | GuardPlan) -> bool:
    """Whether this is the database in which it was armed; a failover changes host and timeline only."""
    here = identify(session).target
    there = guard.identity
    return (here.system_identifier, here.database_oid) == (there.system_identifier, there.database_oid)
