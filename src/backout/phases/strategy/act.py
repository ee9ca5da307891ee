"""Write the proposals: one document per strategy that people may approve."""

from __future__ import annotations

from datetime import timedelta

from backout.model.gate import Proposals
from backout.model.loss import DestroyedBy
from backout.model.plan import PlannedMigration, Proposal, Rehearsal, SnapshotRef
from backout.model.snapshot import Snapshot
from backout.model.triage import Triage
from backout.phases.strategy import candidates, decide
from backout.ports.run import Run
from backout.ports.world import World
from backout.records.codec import digest

SCHEMA_VERSION = 1


def propose(
    run: Run,
    world: World,
    found: Triage,
    rehearsals: tuple[Rehearsal, ...],
    snapshot: Snapshot,
    no_restore: str,
    no_backup: str,
) -> Proposals:
    """The strategy table and the proposals, once a round; digests are computed from them. `no_restore` says
    why no restore was rehearsed, `no_backup` why the base backups were of no use."""
    return run.step(
        "strategy.propose",
        Proposals,
        lambda _attempt: _write(run, world, found, rehearsals, snapshot, no_restore, no_backup),
    )


def _write(
    run: Run,
    world: World,
    found: Triage,
    rehearsals: tuple[Rehearsal, ...],
    snapshot: Snapshot,
    no_restore: str,
    no_backup: str,
) -> Proposals:
    rows = decide.options(found, rehearsals, world.budgets, candidates.why_not(found), no_restore, no_backup)
    by_strategy = {rehearsal.strategy: rehearsal for rehearsal in rehearsals}
    proposals = tuple(
        _proposal(run, world, found, by_strategy[row.strategy], snapshot)
        for row in rows
        if decide.choosable(row)
    )
    return Proposals(rows, proposals, decide.recommended(rows))


def _proposal(run: Run, world: World, found: Triage, rehearsed: Rehearsal, snapshot: Snapshot) -> Proposal:
    positions = {row.name: row.position for row in found.history.rows}
    half = rehearsed.finish is not None
    planned = sorted(
        (
            PlannedMigration(f.name, f.sha256, positions.get(f.name, 0))
            for f in (found.files[-1:] if half else found.files)
        ),
        key=lambda m: m.position,
    )
    accept = decide.accept_by_name(rehearsed)
    expires = world.now() + timedelta(hours=world.policy.proposal_hours)
    return Proposal(
        schema_version=SCHEMA_VERSION,
        incident=run.incident,
        round=run.round,
        target=found.identity.target,
        target_name=world.target,
        environment=world.environment,
        migrations=tuple(planned),
        strategy=rehearsed.strategy,
        statements=tuple(statement.text for statement in rehearsed.statements),
        schema_fingerprint=rehearsed.schema_now,
        expected_schema=rehearsed.schema_after,
        loss=tuple(sorted(rehearsed.losses, key=lambda loss: (loss.by is DestroyedBy.DOWN, loss.key))),
        keeps=rehearsed.keeps,
        attributes_after=rehearsed.attributes_after,
        rewrites=rehearsed.rewrites,
        finish=rehearsed.finish,
        repair=rehearsed.repair,
        restore=rehearsed.restore,
        untouched_tables=rehearsed.untouched_tables,
        accept_by_name=accept,
        snapshot=SnapshotRef(snapshot.id, snapshot.manifest_sha256, snapshot.lsn, snapshot.scope.value),
        rehearsal_copy=rehearsed.copy,
        tool=rehearsed.tool,
        environment_digest=rehearsed.environment_digest,
        validation_digest=digest(world.validation),
        allowed_signers_digest=world.people.digest(),
        budgets=world.budgets,
        window="",
        expires_at=expires.isoformat(timespec="seconds"),
        requested_by=run.actor,
    )
