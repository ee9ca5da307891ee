"""What the loss report costs: against a dump of the same table, and beside tables that nobody touched."""

from __future__ import annotations

from benchmarks.cpu import Cost, server_seconds
from benchmarks.dumps import plain_dump
from benchmarks.table import Line
from benchmarks.work import cost_of
from benchmarks.world import DOWN, World, heroes

_QUIET_TABLES = 20
_TOUCHED_GB, _UNTOUCHED_GB = 2, 50

_WORST = {
    "all rows changed in place": "UPDATE public.heroes SET score = score + 1",
    "table rewritten": "ALTER TABLE public.heroes ALTER COLUMN score TYPE bigint",
    "all rows deleted": "DELETE FROM public.heroes",
}


def large(world: World, database: str, rows: int, floor: Cost) -> tuple[list[Line], Cost]:
    """The report on one large table, a column of it dropped and one row in a hundred changed."""
    before = server_seconds(world.server)
    world.clone(database, "large_after")
    clone = server_seconds(world.server) - before
    world.run("large_after", DOWN)
    cost, told = cost_of(world, "loss", before=world.dsn(database), after=world.dsn("large_after"))
    if f"first_name {rows}" not in told:
        raise RuntimeError(f"the report is wrong: {told}")
    world.drop("large_after")
    lines = [
        Line(
            f"loss report, {rows:,} rows, column dropped, 1 % changed",
            cost.cpu,
            "CPU s",
            floor.cpu,
            "pg_dump to /dev/null",
            1.3,
        ),
        Line("  the clone it needs", clone, "CPU s", floor.cpu, "pg_dump to /dev/null"),
    ]
    return lines, cost


def small(world: World, database: str, rows: int, quiet_rows: int, times: int) -> tuple[list[Line], Cost]:
    """The report on a small table: alone, beside large ones that nobody touched, and at its worst."""
    alone = _report(world, database, DOWN, times)
    floor = plain_dump(world, database)
    lines = [
        Line(
            f"  at its worst, {rows:,} rows: {name}",
            _report(world, database, change, 1).cpu,
            "CPU s",
            floor.cpu,
            "pg_dump to /dev/null",
        )
        for name, change in _WORST.items()
    ]
    touched = world.bytes_of(database)
    world.clone(database, "beside")
    each = quiet_rows // _QUIET_TABLES
    for number in range(_QUIET_TABLES):
        world.run("beside", heroes(f"public.quiet_{number}", 1, each), f"VACUUM public.quiet_{number}")
    untouched = world.bytes_of("beside") - touched
    beside = _report(world, "beside", DOWN, times)
    world.drop("beside")
    return [*lines, *_untouched(alone, beside, touched, untouched)], alone


def _report(world: World, database: str, change: str, times: int) -> Cost:
    """The middle one of several reports on a fresh clone after a change."""
    after = f"{database}_after"
    world.clone(database, after)
    world.run(after, change)
    costs = [
        cost_of(world, "loss", before=world.dsn(database), after=world.dsn(after))[0] for _ in range(times)
    ]
    world.drop(after)
    return sorted(costs, key=lambda cost: cost.cpu)[times // 2]


def _untouched(alone: Cost, beside: Cost, touched: int, untouched: int) -> list[Line]:
    """Twenty untouched tables as measured, and 2 GB touched beside 50 GB untouched by the same rates."""
    share = untouched / touched
    rate_touched = alone.cpu / touched
    rate_untouched = max(0.0, beside.cpu - alone.cpu) / untouched
    giga = 1 << 30
    two = rate_touched * _TOUCHED_GB * giga
    return [
        Line(
            f"loss report beside {_QUIET_TABLES} untouched tables, {share:.0f} x its size",
            beside.cpu,
            "CPU s",
            alone.cpu,
            "without them",
            1.1,
        ),
        Line(
            f"  {_TOUCHED_GB} GB touched beside {_UNTOUCHED_GB} GB untouched (extrapolated)",
            two + rate_untouched * _UNTOUCHED_GB * giga,
            "CPU s",
            two,
            f"{_TOUCHED_GB} GB alone",
            1.3,
        ),
    ]
