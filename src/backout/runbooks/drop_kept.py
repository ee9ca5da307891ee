"""Drop kept values that nobody wants any more: a reason, one signature of an owner, then they are gone."""

from __future__ import annotations

from backout.phases.kept.act import KeptDropped
from backout.phases.kept.act import drop as drop_tables
from backout.ports.run import Run
from backout.ports.world import World


def drop_kept(run: Run, world: World, forecast: KeptDropped) -> KeptDropped:
    """The story after the signature; typed again after a stop it goes on where it was."""
    return drop_tables(run, world, run.incident, forecast)
