"""Put kept values back onto their rows: forecast, one signature, then batch by batch."""

from __future__ import annotations

from backout.phases.kept.act import PutBackDone
from backout.phases.kept.act import put_back as write
from backout.phases.kept.act import put_rows_back as insert
from backout.ports.run import Run
from backout.ports.world import World


def put_back(run: Run, world: World, column: str, into: str, *, overwrite: bool) -> PutBackDone:
    """The story after the signature; typed again after a stop it goes on where it was."""
    return write(run, world, run.incident, column, into, overwrite=overwrite)


def put_rows_back(run: Run, world: World, relation: str) -> PutBackDone:
    """The same for whole rows that the down deleted."""
    return insert(run, world, run.incident, relation)
