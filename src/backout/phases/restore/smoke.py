"""Smoke tests of a restored instance that need no configuration: schema, counts, consistency."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from backout.errors import BackoutError
from backout.model.check import Check
from backout.model.restored import Choice, Restored, Smoked
from backout.model.snapshot import Snapshot, SnapshotKind
from backout.phases.restore import judge
from backout.phases.restore.databases import NewDatabases
from backout.ports.run import Run
from backout.ports.world import Session, World
from backout.postgres import consistency, manifest, standing_around
from backout.postgres.activity import invalid_indexes


def test(
    run: Run,
    world: World,
    choice: Choice,
    made: Restored,
    there: NewDatabases,
    snapshot: Snapshot | None,
    agreed: Callable[[str], tuple[Check, ...]],
) -> Smoked:
    """Every smoke test, once an instance; `agreed` runs the checks of the validation plan on the copy."""

    def act(name: str) -> Smoked:
        begun = time.monotonic()
        run.progress("smoke tests: schema, every row, keys, parents, sequences")
        with there.snapshot(name) as session:
            checks = (
                *_of_schema(world, choice, session),
                *_of_contents(world, choice, session, snapshot, name),
            )
        return Smoked((*checks, *agreed(name)), round(time.monotonic() - begun, 1))

    return run.step("restore.smoke", Smoked, lambda attempt: act(attempt.name))


test.__test__ = False  # type: ignore[attr-defined]


def _of_schema(world: World, choice: Choice, session: Session) -> tuple[Check, ...]:
    history = world.migrator.history(session)
    names = tuple(row.name for row in history.rows)
    missing = standing_around.extensions_without_files(session)
    return (judge.schema(choice, names, history.table), judge.extensions(missing))


def _of_contents(
    world: World, choice: Choice, session: Session, snapshot: Snapshot | None, name: str
) -> tuple[Check, ...]:
    counted = tuple(consistency.count(session, table) for table in consistency.tables(session))
    expected, exact = _expected(world, snapshot, name)
    parents, orphans = consistency.orphans(session)
    unique, twice = consistency.duplicates(session)
    owned, late = consistency.behind(session)
    in_source = _behind_in_source(world, name) if late else ()
    return (
        *judge.counts(counted, expected, exact=exact),
        *judge.orphans(parents, orphans, consistency.not_validated(session)),
        judge.duplicates(unique, twice),
        judge.indexes(tuple(index.name for index in invalid_indexes(session))),
        judge.sequences(owned, late, in_source),
    )


def _expected(world: World, snapshot: Snapshot | None, name: str) -> tuple[dict[str, int], bool]:
    """Rows by table: of our dump exactly, else as the source's statistics have them now."""
    if snapshot is not None and snapshot.kind is SnapshotKind.DUMP:
        whole = manifest.read(Path(snapshot.directory))
        contents = (table.contents for table in whole.contents.tables)
        return {one.table: one.rows for one in contents}, True
    if snapshot is not None:
        return {one.table: one.rows for one in snapshot.tables}, True
    try:
        with world.databases.observe(name) as session:
            return consistency.estimates(session), False
    except BackoutError:
        return {}, False


def _behind_in_source(world: World, name: str) -> tuple[str, ...]:
    """Sequences that stand behind their columns in the source too; none when it does not answer."""
    try:
        with world.databases.observe(name) as session:
            return tuple(one.name for one in consistency.behind(session)[1] if one.count)
    except BackoutError:
        return ()
