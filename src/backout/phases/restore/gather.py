"""Read both sides before a restore is offered; nothing is changed."""

from __future__ import annotations

from contextlib import closing

from backout.model.restore import NewSide
from backout.phases.restore.facts import Ground
from backout.ports.world import NewPlace, Session, World
from backout.postgres import standing_around
from backout.postgres.catalog import portable_digest, read_schema
from backout.postgres.connect import elsewhere, open_session
from backout.postgres.stage import copy_dsn


def gather(world: World, place: NewPlace, new: NewSide, name: str) -> Ground:
    """The old side with what stands around it, the restored one, and the lever."""
    restored = copy_dsn(world, new.database, new.instance)
    lever = place.traffic(new.database, elsewhere(restored, new.database))
    with closing(lever), world.databases.observe(name) as old, open_session(restored, name) as there:
        history = world.migrator.history(there)
        return Ground(
            standbys=standing_around.standbys(old),
            synchronous=standing_around.setting(old, "synchronous_standby_names"),
            archiving=standing_around.setting(old, "archive_mode") in ("on", "always"),
            slots=standing_around.foreign_slots(old),
            subscriptions=standing_around.subscriptions(there),
            preloaded=standing_around.preloaded(old),
            cron_jobs=standing_around.cron_jobs(old),
            schema=_schema(world, old),
            lever=lever.checks(),
            extensions_missing=standing_around.extensions_without_files(there),
            new_schema=_schema(world, there),
            history=tuple(row.name for row in history.rows),
        )


def _schema(world: World, session: Session) -> str:
    return portable_digest(read_schema(session), frozenset({world.migrator.history(session).table}))
