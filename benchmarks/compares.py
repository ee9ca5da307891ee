"""Two tables compared by fingerprints of all their rows, against one dump of one of them."""

from __future__ import annotations

from benchmarks.cpu import Cost
from benchmarks.table import Judged, Line
from benchmarks.work import cost_of
from benchmarks.world import World

_AFTER = "rewritten"
_CHANGE = (
    "UPDATE public.heroes SET score = score + 1 WHERE id % 100 = 0",
    "VACUUM FULL public.heroes",
    "VACUUM (FREEZE, ANALYZE) public.heroes",
    "CHECKPOINT",
)
"""The rest is for nobody to pay later for what the change left behind."""


def lines(world: World, database: str, rows: int, floor: Cost) -> list[Line]:
    """All rows fingerprinted on both sides and merged, one in a hundred changed.

    The second table lies in a file of its own, as after a restore: no row can be passed over by its place.
    """
    world.clone(database, _AFTER)
    world.run(_AFTER, *_CHANGE)
    cost, told = cost_of(world, "loss", before=world.dsn(database), after=world.dsn(_AFTER))
    world.drop(_AFTER)
    if f"score {rows // 100}" not in told:
        raise RuntimeError(f"the comparison is wrong: {told}")
    what = f"compare two tables of {rows:,} rows, 1 % changed"
    return [
        Line(what, cost.cpu, "CPU s", floor.cpu, "one pg_dump to /dev/null", 1.3),
        Line("  its client", cost.client, "CPU s", cost.server, "its server", 0.1),
        Line("  memory of its client", cost.peak_mib, "MiB", limit=200, judged=Judged.MEASURED),
    ]
