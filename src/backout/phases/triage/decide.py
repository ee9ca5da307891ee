"""Name the offending migration from history, files and catalog together; pure.

Invariant: a migration that the history calls applied is never proposed while another one is partly
applied or running, unless a person named it. The history has no row for what failed half-way, so "the
last one" would be the healthy migration before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backout.errors import ConfigurationError, Refused, UnknownName
from backout.model.migration import History, HistoryRow, MigrationFile
from backout.model.triage import Applied, Candidate
from backout.phases.triage.facts import Ground, Half, PendingMigration


@dataclass(frozen=True, slots=True)
class Named:
    """The migrations to undo, newest first, and how far the offending one came."""

    names: tuple[str, ...]
    partly: bool
    collateral: tuple[str, ...]


def candidates(ground: Ground) -> tuple[Candidate, ...]:
    """What may be the offending migration: partly applied and running ones first, then the newest applied."""
    doubtful = [
        Candidate(p.file.name, p.applied, _evidence(p), p.effects)
        for p in ground.pending
        if p.applied is not Applied.PENDING
    ]
    applied = [
        Candidate(row.name, Applied.APPLIED, _applied_evidence(ground, row))
        for row in reversed(ground.history.rows[-3:])
        if not row.dirty
    ]
    return (*doubtful, *applied)


def _applied_evidence(ground: Ground, row: HistoryRow) -> str:
    place = f"row {row.position} of {len(ground.history.rows)} in {ground.history.table}"
    notes = [f"but its index {i.name} is {i.note}" for name, i in ground.damaged if name == row.name]
    return ", ".join([place, *notes])


def halved(known: Sequence[Candidate], name: str, half: Half) -> tuple[Candidate, ...]:
    """The candidates with what the catalog shows of an applied migration, once its statements are known."""
    if not half.broke_off and not half.damaged:
        return tuple(known)
    there = sum(effect.present for effect in half.effects)
    if half.broke_off:
        evidence = f"the history lists it, but only {there} of {len(half.effects)} effects are in the catalog"
    else:
        evidence = "applied, but " + ", ".join(
            f"its index {index.name} is {index.note}" for index in half.damaged
        )
    state = Applied.PARTLY if half.broke_off else Applied.APPLIED
    mine = Candidate(name, state, evidence, half.effects)
    return tuple(mine if candidate.name == name else candidate for candidate in known)


def _evidence(pending: PendingMigration) -> str:
    if pending.running:
        session = pending.running[0]
        return f"pid {session.pid} ({session.who}) is running it for {session.seconds:.0f} s"
    seen = sum(effect.present for effect in pending.effects)
    counted = f"{seen} of {len(pending.effects)} effects are in the catalog"
    how = "the tool marked it dirty;" if pending.dirty else "no row in the history, but"
    return f"{how} {counted}"


def name_offending(ground: Ground, asked: Sequence[str], last: int) -> Named:
    """The migrations to undo.

    `asked` are names (a unique part of a name will do); otherwise the newest `last` of the history.
    Raises `Refused` when `last` was asked for while a candidate is partly applied or running,
    `ConfigurationError` when the history lists fewer than `last`, and `UnknownName` for a name that neither
    history nor files know.
    """
    doubtful = [p for p in ground.pending if p.applied is not Applied.PENDING]
    if asked:
        return _by_name(ground, asked, doubtful)
    if doubtful:
        raise _ask_for_the_name(doubtful[0].file.name, _doubt(doubtful[0]), ground.history)
    _refuse_if_older_is_damaged(ground, max(1, last))
    if not ground.history.rows:
        raise Refused(
            "the history is empty: there is no applied migration to back out",
            where=ground.history.table or "no history table found",
            intact="everything; the database was only read",
            next="backout doctor",
        )
    there = len(ground.history.rows)
    if last > there:
        raise ConfigurationError(
            f"--last {last}: the history lists {there}",
            where=ground.history.table,
            intact="everything; the database was only read",
            next=f"--last N with N from 1 to {there}",
        )
    names = tuple(row.name for row in reversed(ground.history.rows[-max(1, last) :]))
    return Named(names, False, names[:-1] if last <= 1 else ())


def refuse_in_progress(running: Sequence[PendingMigration], history: History) -> None:
    """A migration whose transaction holds its tables: nothing can be read of them until it ends, and what
    the history calls the last one may be the healthy one before it. Raises `Refused`."""
    for migration in running:
        session = migration.running[0]
        raise Refused(
            f"{migration.file.name} is {_doubt(migration)}, {session.state}, {session.detail}; the last one "
            f"in the history is {_last_clean(history, migration.file.name)}, which may be healthy",
            where=history.table,
            intact="everything; the database was only read",
            next=f"let it end, or SELECT pg_terminate_backend({session.pid}); then: backout open",
        )


def _last_clean(history: History, name: str) -> str:
    clean = [row.name for row in history.rows if not row.dirty and row.name != name]
    return clean[-1] if clean else "nothing"


def _by_name(ground: Ground, asked: Sequence[str], doubtful: Sequence[PendingMigration]) -> Named:
    known = [row.name for row in ground.history.rows] + [p.file.name for p in ground.pending]
    full = [_resolve(name, known) for name in asked]
    half = {p.file.name for p in doubtful}
    if half & set(full):
        return Named(tuple(full), True, ())
    applied = [row.name for row in ground.history.rows]
    for name in full:
        if name not in applied:
            raise Refused(
                f"{name} is not applied, and nothing of it is in the catalog",
                where=ground.history.table,
                intact="everything; the database was only read",
                next="backout open --last 1",
            )
    lowest = min(applied.index(name) for name in full)
    names = tuple(reversed(applied[lowest:]))
    return Named(names, False, tuple(name for name in names if name not in full))


def _resolve(name: str, known: Sequence[str]) -> str:
    if name in known:
        return name
    stem = name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    found = sorted({k for k in known if stem in k})
    if len(found) == 1:
        return found[0]
    what = f"{name!r} names several migrations" if found else f"no migration {name!r} in history or on disk"
    near = found or list(known[-3:])
    raise UnknownName(
        what,
        where="the history and the migrations directory",
        intact="everything; the database was only read",
        next=f"backout open --migration NAME, with one of: {', '.join(near) or 'none is known'}",
    )


def _doubt(pending: PendingMigration) -> str:
    return f"{pending.applied.value}: {_evidence(pending)}"


def _refuse_if_older_is_damaged(ground: Ground, last: int) -> None:
    """An older migration than the ones asked for has left an invalid index: the newest may be healthy."""
    newest = {row.name for row in ground.history.rows[-last:]}
    for name, index in ground.damaged:
        if name not in newest:
            doubt = f"applied, but its index {index.name} is {index.note}"
            raise _ask_for_the_name(name, doubt, ground.history)


def _ask_for_the_name(name: str, doubt: str, history: History) -> Refused:
    return Refused(
        f"{name} is {doubt}; the last one in the history is {_last_clean(history, name)}, "
        "which may be healthy",
        where=history.table,
        intact="everything; the database was only read",
        next=f"backout open --migration {name}",
    )


def files_of(names: Sequence[str], files: Sequence[MigrationFile]) -> tuple[MigrationFile | None, ...]:
    """The file of each name, or None where there is none."""
    by_name = {file.name: file for file in files}
    return tuple(by_name.get(name) for name in names)
