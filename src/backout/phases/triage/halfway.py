"""See all statements of a migration although a part of it has happened already.

On a copy of such a database the tool stops at the first thing that is there (or gone) already. So that
thing is taken out of the way on the copy, which holds no row, and the tool is started again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backout.model.migration import History, MigrationFile
from backout.model.statement import Statement
from backout.model.triage import InvalidIndex
from backout.phases.triage.capture import DEADLINE, Bench
from backout.phases.triage.facts import Captured, Half
from backout.ports.migrator import MarksDirty, ToolEnvironment, ToolResult
from backout.postgres.catalog import Schema
from backout.postgres.names import quoted
from backout.postgres.presence import TAKES, find_index, happened, seen, tellable
from backout.postgres.remedies import inverse
from backout.sql.effects import effects
from backout.sql.facts import Effect, EffectKind
from backout.sql.names import qualified, split_qualified

_TRIES = 25
_STUB = "backout_stub"
# duplicate_table (and index), _column, _object; undefined_table, _column, _object
_IN_THE_WAY = frozenset({"42P07", "42701", "42710", "42P01", "42703", "42704"})

_Verb = Callable[[ToolEnvironment], ToolResult]


def pending_ups(
    at: Bench, pending: Sequence[MigrationFile], history: History
) -> tuple[tuple[str, Captured], ...]:
    """The statements of the next migrations' ups, each after the one before it; ends at the first that
    cannot be run to its end even on the copy (the statement that fails is its last)."""
    _settle(at, history)
    found = []
    for file in pending:
        statements, moved = _next_up(at)
        found.append((file.name, Captured(statements, (), "captured on a schema-only copy")))
        if not moved:
            break
    return tuple(found)


def _next_up(at: Bench) -> tuple[tuple[Statement, ...], bool]:
    before = len(at.applied())
    statements, _ = _until(at, lambda: _apply(at, 1), lambda: len(at.applied()) > before)
    return statements, len(at.applied()) > before


def down_of(at: Bench, captured: Captured, history: History) -> Captured:
    """The same capture with the statements of the pending migration's down: what the up took away can be
    made again only with their help."""
    if not any(e.kind in TAKES for s in captured.up for e in effects(s.text)):
        return captured
    _settle(at, history)
    before = len(at.applied())
    if not _next_up(at)[1]:
        return captured
    down, _ = _until(at, lambda: _unapply(at, 1), lambda: len(at.applied()) == before)
    return Captured(captured.up, down, captured.how)


def up_and_down(at: Bench, count: int) -> Captured:
    """The statements of the newest `count` migrations: down first, then up again."""
    before = len(at.applied())
    remain = before - count
    down, stuck = _until(
        at, lambda: _unapply(at, len(at.applied()) - remain), lambda: len(at.applied()) <= remain
    )
    if len(at.applied()) > remain:
        return Captured(
            (), down, "down captured on a schema-only copy; it failed there, so the up is unknown", stuck
        )
    up, _ = _until(at, lambda: _apply(at, count), lambda: len(at.applied()) >= before)
    return Captured(up, down, "captured on a schema-only copy", stuck, len(at.applied()) >= before)


def half_of(captured: Captured, schema: Schema, invalid: Sequence[InvalidIndex]) -> Half:
    """What the catalog shows of one applied migration whose statements are known.

    It broke off when its down does not run as things are because something it takes is gone.
    """
    effects_of_up = [e for s in captured.up for e in effects(s.text)]
    gone = [e for e in tellable(effects_of_up, schema) if not happened(e, schema)]
    names = {index.name: index for index in invalid}
    built = [find_index(e, schema) for e in effects_of_up if e.kind is EffectKind.CREATE_INDEX]
    damaged = [names.get(qualified(f[0].schema, f[1].name)) for f in built if f is not None]
    return Half(
        seen(effects_of_up, schema, invalid),
        bool(captured.stuck and gone),
        tuple(index for index in damaged if index is not None),
    )


def _settle(at: Bench, history: History) -> None:
    """Take the dirty mark off on the copy, so that the tool runs there at all."""
    head = history.head
    if head is None or not head.dirty or not isinstance(at.world.migrator, MarksDirty):
        return
    remaining = history.rows[-2].name if len(history.rows) > 1 else None
    with at.session() as session:
        statement = at.world.migrator.settle(session, remaining)
    at.prepare((statement,) if statement else ())


def _apply(at: Bench, count: int) -> _Verb:
    return lambda environment: at.world.migrator.apply(count, environment, DEADLINE)


def _unapply(at: Bench, count: int) -> _Verb:
    return lambda environment: at.world.migrator.unapply(count, environment, DEADLINE)


def _until(
    at: Bench, verb: Callable[[], _Verb], moved: Callable[[], bool]
) -> tuple[tuple[Statement, ...], tuple[str, ...]]:
    """Start the tool until the history has moved or nothing more can be taken out of its way.

    Returns the statements of the last start (with the failing one, if it failed), and the statements that
    something stood in the way of.
    """
    out_of_the_way: dict[str, None] = {}
    stuck: dict[str, None] = {}
    while True:
        at.prepare(tuple(out_of_the_way))
        ran = at.drive(verb())
        statements = ran.writing(at.history_table)
        error = ran.first_error()
        if moved() or error is None:
            return statements, tuple(stuck)
        more = dict.fromkeys(_clearing(at, error.statement)) if error.sqlstate in _IN_THE_WAY else {}
        if not more.keys() - out_of_the_way.keys() or len(stuck) >= _TRIES:
            return (*statements, error.statement), tuple(stuck)
        out_of_the_way |= more
        stuck[error.statement.text] = None


def _clearing(at: Bench, statement: Statement) -> tuple[str, ...]:
    schema = at.schema()
    steps: list[str] = []
    for effect in effects(statement.text):
        if effect.kind in TAKES:
            steps += _stand_in(effect) if happened(effect, schema) else ()
        elif happened(effect, schema):
            steps.append(inverse(effect, schema))
    return tuple(step for step in steps if step)


def _stand_in(taken: Effect) -> tuple[str, ...]:
    """Something of that name on a copy without rows, so that it can be dropped there."""
    match taken.kind:
        case EffectKind.DROP_INDEX:
            schema = (*split_qualified(taken.table)[:-1], "public")[0]
            stub = f"{quoted(schema)}.{_STUB}"
            return (
                f"CREATE TABLE IF NOT EXISTS {stub} (id int)",
                f"CREATE INDEX {quoted(taken.other)} ON {stub} (id)",
            )
        case EffectKind.DROP_COLUMN:
            return (f"ALTER TABLE {taken.table} ADD COLUMN {quoted(taken.column)} text",)
        case EffectKind.DROP_CONSTRAINT:
            return (f"ALTER TABLE {taken.table} ADD CONSTRAINT {quoted(taken.other)} CHECK (true)",)
        case EffectKind.DROP_TABLE:
            return (f"CREATE TABLE {taken.table} ()",)
        case EffectKind.DROP_VIEW:
            return (f"CREATE VIEW {taken.table} AS SELECT 1 AS stub",)
        case EffectKind.DROP_TYPE:
            return (f"CREATE TYPE {taken.table} AS ENUM ()",)
        case _:
            return ()
