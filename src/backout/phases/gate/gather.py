"""Read again, right before acting, what the approvals were bound to."""

from __future__ import annotations

from backout.model.plan import PlannedMigration, Proposal
from backout.phases.gate.facts import PresentState
from backout.ports.world import World
from backout.postgres.catalog import portable_digest, read_schema
from backout.postgres.connect import identify
from backout.postgres.marks import is_marked
from backout.records.codec import digest


def present_state(world: World, proposal: Proposal, name: str) -> PresentState:
    """Identity, schema, history, files and configuration as they are now. Only reads."""
    with world.databases.observe(name) as session:
        identity = identify(session)
        history = world.migrator.history(session)
        fingerprint = portable_digest(read_schema(session), frozenset({history.table}))
        is_copy = is_marked(session)
    files = {file.name: file for file in world.migrator.files()}
    positions = {row.name: row.position for row in history.rows}
    known = {m.name for m in proposal.migrations}
    top = proposal.finish.applied if proposal.finish else max(m.position for m in proposal.migrations)
    pending = {m.name for m in proposal.migrations if m.position == 0} & set(files)
    found = []
    for name_ in known & set(positions) | pending:
        file = files.get(name_) or world.migrator.find_missing(name_)
        found.append(PlannedMigration(name_, file.sha256 if file else "", positions.get(name_, 0)))
    return PresentState(
        identity=identity.target,
        is_copy=is_copy,
        schema_fingerprint=fingerprint,
        migrations=tuple(sorted(found, key=lambda m: m.position)),
        newer=tuple(row.name for row in history.rows if row.position > top and row.name not in known),
        tool=world.migrator.version(),
        environment_digest=world.migrator.environment_digest(),
        validation_digest=digest(world.validation),
        allowed_signers_digest=world.people.digest(),
        at=world.now().isoformat(),
    )
