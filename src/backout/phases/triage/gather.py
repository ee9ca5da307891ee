"""Read what the decisions of triage need; every session is read-only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from backout.model.loss import Figure
from backout.model.migration import DownKind, FoundIn, History, MigrationFile
from backout.model.statement import Statement
from backout.model.triage import Blocker, Committed, EffectSeen, InvalidIndex, Touched
from backout.phases.triage.facts import Captured, Ground, PendingMigration, Scene
from backout.ports.world import Session, World
from backout.postgres import activity
from backout.postgres.catalog import Schema, Table, dependants, read_schema, table_sizes
from backout.postgres.connect import identify
from backout.postgres.presence import find_table, seen
from backout.sql.effects import effects
from backout.sql.names import split_qualified

# A worktree may be many releases ahead; only the next few can have been half applied.
PENDING_LOOKED_AT = 3
_RATE_SECONDS = 0.5


def ground(world: World, captured_up: Sequence[tuple[str, Captured]], name: str) -> Ground:
    """History, files, pending migrations with their traces, activity: one look.

    `captured_up` holds, per pending migration, the statements of its up as a copy saw them.
    """
    with world.databases.observe(name) as session:
        history = world.migrator.history(session)
        schema = read_schema(session)
        invalid = activity.invalid_indexes(session)
        running = activity.ddl_in_progress(session)
        return Ground(
            identity=identify(session),
            database_bytes=activity.database_size(session),
            history=history,
            files=world.migrator.files(),
            pending=_pending(world, history, schema, invalid, running, dict(captured_up)),
            blockers=activity.blockers(session),
            invalid_indexes=invalid,
            tables=sum(table.has_rows for table in schema.tables),
        )


def pending_files(world: World, history: History) -> tuple[MigrationFile, ...]:
    """The next files that the history does not know."""
    known = {row.name for row in history.rows}
    return tuple(f for f in world.migrator.files() if f.name not in known)[:PENDING_LOOKED_AT]


def _pending(
    world: World,
    history: History,
    schema: Schema,
    invalid: tuple[InvalidIndex, ...],
    running: tuple[Blocker, ...],
    captured: dict[str, Captured],
) -> tuple[PendingMigration, ...]:
    found = []
    for file in pending_files(world, history):
        if file.name in captured and captured[file.name].up:
            statements = captured[file.name].up
            traces = seen((e for s in statements for e in effects(s.text)), schema, invalid)
            busy = tuple(b for b in running if _names_one_of(b.detail, statements))
        else:
            traces = _mentioned(_text(world, file), invalid)
            busy = ()
        found.append(PendingMigration(file, traces, busy))
    return tuple(found)


def _names_one_of(query: str, statements: Sequence[Statement]) -> bool:
    words = {split_qualified(name)[-1] for s in statements for name in s.objects if name}
    return any(word in query for word in words)


def _mentioned(text: str, invalid: tuple[InvalidIndex, ...]) -> tuple[EffectSeen, ...]:
    """Without a copy: an invalid index whose name stands in the file is a trace of it."""
    return tuple(
        EffectSeen(index.table, f"CREATE INDEX {index.name}", True, "invalid")
        for index in invalid
        if split_qualified(index.name)[-1] in text
    )


def _text(world: World, file: MigrationFile) -> str:
    parts = []
    for path in file.paths:
        try:
            parts.append(Path(world.project, path).read_text("utf-8", errors="replace"))
        except OSError:
            continue
    return "\n".join(parts)


def files_of(world: World, names: Sequence[str], files: Sequence[MigrationFile]) -> tuple[MigrationFile, ...]:
    """The file of each migration: on disk, else in the git history, else nowhere (and said so)."""
    by_name = {file.name: file for file in files}
    return tuple(by_name.get(name) or _elsewhere(world, name) for name in names)


def _elsewhere(world: World, name: str) -> MigrationFile:
    found = world.migrator.find_missing(name)
    return found or MigrationFile(name, (), "", DownKind.MISSING, None, FoundIn.NOWHERE)


def scene(world: World, history: History, offending: str, captured: Captured, name: str) -> Scene:
    """What the offending migration touched, and what goes on there."""
    with world.databases.observe(name) as session:
        committed = _committed(session, history, offending)
        schema = read_schema(session)
        tables = _tables(captured, schema)
        oids = tuple(table.oid for table in tables)
        sizes = table_sizes(session, oids)
        touched = tuple(
            _touched(
                session, table.oid, table.qualified, sizes[table.oid].rows, sizes[table.oid].bytes, committed
            )
            for table in tables
            if table.oid in sizes
        )
        words = tuple(table.name for table in tables)
        affected, note = activity.statements_naming(session, words) if words else ((), "nothing was captured")
        rate = _rate(session, oids) if oids else None
    return Scene(committed, "", touched, affected, note, rate)


def _committed(session: Session, history: History, offending: str) -> Committed:
    row = history.find(offending)
    if row is None:
        return Committed(None, None, None, "unknown")
    exact = activity.commit_time(session, row.xid) if row.xid else None
    if exact is not None:
        return Committed(exact, row.xid, None, "commit timestamp")
    return Committed(row.applied_at, row.xid, None, "history row" if row.applied_at else "unknown")


def _tables(captured: Captured, schema: Schema) -> tuple[Table, ...]:
    names = [name for s in (*captured.up, *captured.down) for name in s.objects]
    found: dict[int, Table] = {}
    for name in names:
        table = find_table(name, schema)
        if table is not None and table.kind in ("r", "p"):
            found[table.oid] = table
    return tuple(found.values())


def _touched(session: Session, oid: int, name: str, rows: int, size: int, committed: Committed) -> Touched:
    depends = dependants(session, oid)
    keys = [d for d in depends if d.kind == "foreign key"]
    since = activity.changed_since(session, name, committed.xid) if committed.xid else Figure.unknown()
    return Touched(
        table=name,
        rows=activity.row_count(session, name) if rows < 0 else rows,
        bytes=size,
        foreign_keys=len(keys),
        cascades=sum("cascade" in d.detail for d in keys),
        views=sum(d.kind == "view" for d in depends),
        functions=sum(d.kind == "function" for d in depends),
        written_since=since,
    )


def _rate(session: Session, oids: tuple[int, ...]) -> float | None:
    before, begun = activity.write_counter(session, oids), time.monotonic()
    time.sleep(_RATE_SECONDS)
    after = activity.write_counter(session, oids)
    return round((after - before) / (time.monotonic() - begun), 1)
