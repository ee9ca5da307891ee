"""Read what the decisions of triage need; every session is read-only."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from backout.model.loss import Figure
from backout.model.migration import DownKind, FoundIn, History, MigrationFile
from backout.model.statement import Statement
from backout.model.triage import Blocker, Committed, EffectSeen, InvalidIndex, Touched
from backout.phases.triage import halfway
from backout.phases.triage.facts import Captured, Ground, Half, PendingMigration, Scene
from backout.ports.world import Session, World
from backout.postgres import activity
from backout.postgres.catalog import Schema, Table, dependants, read_schema, table_sizes
from backout.postgres.connect import identify
from backout.postgres.following import rows_reached
from backout.postgres.presence import find_table, seen
from backout.sql.effects import effects
from backout.sql.names import split_qualified
from backout.sql.parse import statements as parsed
from backout.sql.scripts import split_dbmate

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
            damaged=_damaged(world, history, invalid),
            blockers=activity.blockers(session),
            invalid_indexes=invalid,
            tables=sum(table.has_rows for table in schema.tables),
        )


def pending_files(world: World, history: History) -> tuple[MigrationFile, ...]:
    """The next files that the history does not know, or knows as broken off."""
    known = {row.name for row in history.rows if not row.dirty}
    return tuple(f for f in world.migrator.files() if f.name not in known)[:PENDING_LOOKED_AT]


def in_progress(world: World, history: History, name: str) -> tuple[PendingMigration, ...]:
    """The next migration whose file names a table that a session is changing right now.

    Such a table cannot be read, nor can a copy of the schema be made; so this asks locks and files only.
    """
    with world.databases.observe(name) as session:
        holders = activity.changing(session)
    for file in pending_files(world, history) if holders else ():
        text = _text(world, file)
        theirs = [h for h in holders if any(re.search(rf"\b{re.escape(t)}\b", text) for t in h.tables)]
        if theirs:
            busy = tuple(
                Blocker(h.pid, h.who, h.state, round(h.seconds, 1), f"holds {', '.join(h.tables)}")
                for h in theirs
            )
            return (PendingMigration(file, (), busy),)
    return ()


def _pending(
    world: World,
    history: History,
    schema: Schema,
    invalid: tuple[InvalidIndex, ...],
    running: tuple[Blocker, ...],
    captured: dict[str, Captured],
) -> tuple[PendingMigration, ...]:
    found = []
    dirty = {row.name for row in history.rows if row.dirty}
    for file in pending_files(world, history):
        text = _text(world, file)
        statements = captured[file.name].up if file.name in captured else _read(file, text)
        traces = seen((e for s in statements for e in effects(s.text)), schema, invalid)
        if not statements:
            traces = _mentioned(text, invalid)
        busy = tuple(
            b for b in running if _is_one_of(b.detail, statements) or b.detail in " ".join(text.split())
        )
        found.append(PendingMigration(file, traces, busy, file.name in dirty))
    return tuple(found)


def _is_one_of(query: str, statements: Sequence[Statement]) -> bool:
    """Whether a running query is one of these statements: it names what one of them makes or takes."""
    made = (e for s in statements for e in effects(s.text) if e.table)
    words = {e.other or e.column or split_qualified(e.table)[-1] for e in made}
    return any(re.search(rf"\b{re.escape(word)}\b", query) for word in words)


def _read(file: MigrationFile, text: str) -> tuple[Statement, ...]:
    """The up of a plain SQL file, where no copy could run it."""
    if not file.paths or not all(path.endswith(".sql") for path in file.paths):
        return ()
    up = split_dbmate(text).up
    return parsed(up or text) if len(file.paths) == 1 else ()


def _damaged(
    world: World, history: History, invalid: tuple[InvalidIndex, ...]
) -> tuple[tuple[str, InvalidIndex], ...]:
    """The newest applied migrations whose files name an index that is invalid: their run left it so."""
    files = {file.name: file for file in world.migrator.files()} if invalid else {}
    newest = [row.name for row in history.rows[-PENDING_LOOKED_AT:] if not row.dirty and row.name in files]
    return tuple(
        (name, index)
        for name in newest
        for index in invalid
        if split_qualified(index.name)[-1] in _text(world, files[name])
    )


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


def half(world: World, captured: Captured, migrations: int, name: str) -> Half:
    """How whole the offending migration is; told only when it alone is to be backed out."""
    if migrations != 1 or not captured.up:
        return Half()
    with world.databases.observe(name) as session:
        return halfway.half_of(captured, read_schema(session), activity.invalid_indexes(session))


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
    """Those that up and down name, then those that go along with what the up empties or deletes."""
    names = [name for s in (*captured.up, *captured.down) for name in s.objects]
    names += sorted(rows_reached((s.text for s in captured.up), schema))
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
