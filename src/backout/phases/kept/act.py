"""Kept values: list them, show them, put them back onto their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backout.errors import ConfigurationError, Refused
from backout.model.execution import KeptColumn
from backout.model.plan import KeepHow
from backout.ports.run import Attempt, Run
from backout.ports.world import Session, World
from backout.postgres import kept
from backout.postgres.activity import ddl_in_progress


@dataclass(frozen=True, slots=True)
class PutBackDone:
    """The result of a put-back; the figures add up to the kept values of the column."""

    column: str
    into: str
    written: int
    row_gone: int
    already_there: int
    overwritten: int


def columns(session: Session, incident: str) -> tuple[KeptColumn, ...]:
    """Every column (or set of whole rows) that is kept for this incident."""
    found = []
    for table in kept.tables(session, incident):
        there = kept.name_today(session, table)
        key = table.key if not there or kept.told_apart(session, table) else ()
        for column, values in kept.values_of(session, table):
            found.append(
                KeptColumn(
                    *(table.relation, column, values, table.rows, key, table.lsn),
                    f"backout_kept.{table.table}",
                    _place_today(session, table, column),
                )
            )
    return tuple(found)


TABLE_GONE, WHOLE_ROWS = "table gone", "whole rows"
"""Places that are no column of today: nothing to write to, or only with the whole row (`--rows`)."""


def _place_today(session: Session, table: kept.KeptTable, column: str) -> str:
    if not kept.name_today(session, table):
        return TABLE_GONE
    if table.how == KeepHow.WHOLE_TABLE or not kept.holding(session, table, column):
        return WHOLE_ROWS
    try:
        return kept.destination(session, table, column).column
    except Refused:
        return "none"


def find(session: Session, incident: str, column: str) -> tuple[kept.KeptTable, str]:
    """The kept table that holds `column` (`table.column` or a bare name that is unique).

    Raises `ConfigurationError` naming what is kept.
    """
    tables = kept.tables(session, incident)
    table_part, _, name = column.rpartition(".")
    fitting = [t for t in tables if name in t.columns and _is_named(t, table_part)]
    # Rows that went before their column did are kept as well: the values of living rows are meant.
    living = [t for t in fitting if kept.holding(session, t, name)]
    fitting = living or fitting[:1]
    if len(fitting) != 1:
        raise ConfigurationError(
            f"{column} is kept of several tables" if fitting else f"nothing called {column} is kept",
            where=incident,
            intact="the kept values",
            next=f"kept are: {_names(living or tables, name if living else '')}",
        )
    kept.must_exist(session, fitting[0])
    if not kept.told_apart(session, fitting[0]):
        raise Refused(
            f"{fitting[0].relation} has no key: values cannot be told back onto their rows",
            where=incident,
            intact="the kept values",
            next=f"backout kept export {incident}",
        )
    return fitting[0], name


def _is_named(table: kept.KeptTable, part: str) -> bool:
    """Whether the part before the column means this table: its name, with or without schema or quotes, or
    that of the kept table itself. Nothing before the column means any."""
    relation = table.relation
    bare = relation.rpartition(".")[2]
    names = (relation, bare, relation.replace('"', ""), bare.replace('"', ""), table.table)
    return not part or part in names


def _names(tables: Sequence[kept.KeptTable], column: str) -> str:
    """What may be typed: `table.column`; the kept table's own name where one table is kept several times."""
    several = len({t.relation for t in tables}) < len(tables) and column
    found = [
        f"{t.table if several else t.relation}.{c}"
        for t in tables
        for c in ((column,) if column else t.columns)
        if c not in t.key
    ]
    return ", ".join(dict.fromkeys(found)) or "nothing"


def look(world: World, incident: str, column: str, into: str, *, overwrite: bool, name: str) -> PutBackDone:
    """The forecast: what `put_back` would do now. Only reads."""
    with world.databases.operate(name) as session:
        table, old = find(session, incident, column)
        to = kept.destination(session, table, into)
        seen = kept.forecast(session, table, old, to, overwrite=overwrite)
    return PutBackDone(
        *(f"{table.relation}.{old}", f"{to.relation}.{to.column}"),
        *(seen.written, seen.row_gone, seen.already_there, seen.overwritten),
    )


def put_back(
    run: Run, world: World, incident: str, column: str, into: str, *, overwrite: bool
) -> PutBackDone:
    """Write the values back; marked batch by batch in the target, so that a resumed one repeats nothing."""
    return run.step(
        "write",
        PutBackDone,
        lambda attempt: _write(run, world, incident, column, into, overwrite, attempt.name, attempt.key),
    )


def _write(
    run: Run, world: World, incident: str, column: str, into: str, overwrite: bool, name: str, mark: str
) -> PutBackDone:
    """What it says was written is what the server counted; the application goes on beside it."""
    expected = look(world, incident, column, into, overwrite=overwrite, name=name)
    written = 0
    with world.databases.operate(name) as session:
        table, old = find(session, incident, column)
        to = kept.destination(session, table, into)
        _watch_out(world, session, incident)
        for done, of, rows in kept.put_back(
            session, table, old, to, overwrite=overwrite, mark=f"{incident}/{mark}"
        ):
            written += rows
            if of > 1:
                run.progress(f"put back: batch {done} of {of}")
    after = look(world, incident, column, into, overwrite=overwrite, name=name)
    values = after.written + after.row_gone + after.already_there
    return replace(
        after,
        written=written,
        already_there=max(0, values - written - after.row_gone),
        overwritten=min(expected.overwritten, written),
    )


def _watch_out(world: World, session: Session, incident: str) -> None:
    """Never write into a column that is about to go again: refuse while another `up` is running."""
    running = ddl_in_progress(session)
    if running:
        raise Refused(
            f"the schema is being changed right now by pid {running[0].pid} ({running[0].who})",
            where=world.target,
            intact="the kept values",
            next=f"backout verify {incident}",
        )


def look_rows(world: World, incident: str, relation: str, name: str) -> PutBackDone:
    """The forecast for whole rows of one table; only reads."""
    with world.databases.operate(name) as session:
        table = _rows_of(session, incident, relation)
        to = kept.live_table(session, table)
        seen = kept.rows_forecast(session, table, to)
    return PutBackDone(f"rows of {table.relation}", to, seen.free, 0, seen.kept - seen.free, 0)


def put_rows_back(run: Run, world: World, incident: str, relation: str) -> PutBackDone:
    """Insert whole rows that the down deleted, where their key is free; once."""

    def write(attempt: Attempt) -> PutBackDone:
        expected = look_rows(world, incident, relation, attempt.name)
        with world.databases.operate(attempt.name) as session:
            table = _rows_of(session, incident, relation)
            _watch_out(world, session, incident)
            to = kept.live_table(session, table)
            written = kept.put_rows_back(session, table, to, f"{incident}/{attempt.key}/rows")
        rows = expected.written + expected.already_there
        return replace(expected, written=written, already_there=rows - written)

    return run.step("write", PutBackDone, write)


def _rows_of(session: Session, incident: str, relation: str) -> kept.KeptTable:
    """The kept table with whole rows of `relation`; raises `ConfigurationError` naming what there is."""
    whole = [t for t in kept.tables(session, incident) if t.how != KeepHow.COLUMNS]
    fitting = [t for t in whole if t.relation in (relation, f"public.{relation}")]
    if len(fitting) != 1:
        there = ", ".join(t.relation for t in whole) or "none"
        raise ConfigurationError(
            f"no whole rows of {relation} are kept",
            where=incident,
            intact="the kept values",
            next=f"rows are kept of: {there}",
        )
    return kept.with_live_key(session, fitting[0])


@dataclass(frozen=True, slots=True)
class KeptDropped:
    """Kept values that are gone for good, and why."""

    tables: int
    values: int
    reason: str


def drop(run: Run, world: World, incident: str, forecast: KeptDropped) -> KeptDropped:
    """Drop the kept tables of an incident, and look that none is left; once."""

    def perform(attempt: Attempt) -> KeptDropped:
        with world.databases.operate(attempt.name) as session:
            kept.drop(session, incident)
        return forecast

    return run.step("drop", KeptDropped, perform)
