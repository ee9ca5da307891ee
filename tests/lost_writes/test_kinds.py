"""Migrations of every kind, an application after them, and an oracle: no cell differs without being told.

A seed is a world: tables, a migration, writes. Many worlds live side by side in one database, are migrated in
one transaction and brought back together, by each strategy with the product's own code. To repeat one seed:

    BACKOUT_KINDS_FIRST=SEED BACKOUT_KINDS_SEEDS=1 ./run test --soak tests/lost_writes/test_kinds.py
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from backout.merge import rows
from backout.merge.cells import Cell, Outcome, Write, merge
from backout.model.fates import Fate, Fates, Reason
from backout.model.mapping import Mapping
from backout.phases.lost_writes import from_states
from backout.testing.servers import RealServer
from tests.lost_writes.kinds import gather, rescue
from tests.lost_writes.kinds.application import Client, Ledger, run
from tests.lost_writes.kinds.catalogue import KINDS
from tests.lost_writes.kinds.rescue import Night, night
from tests.lost_writes.kinds.worlds import World, world_of
from tests.lost_writes.test_from_log import logical

assert logical is not None, "the fixture of this module's servers"
TOGETHER = 16
"""Worlds in one database."""
ORDINARY = {16: range(TOGETHER), 18: range(TOGETHER, 2 * TOGETHER)}
"""The seeds of an ordinary run, by major version."""
SEEDS = int(os.environ.get("BACKOUT_KINDS_SEEDS", "1000"))
FIRST = int(os.environ.get("BACKOUT_KINDS_FIRST", "1000"))


@dataclass
class Told:
    """What a night has shown."""

    worlds: Sequence[World]
    faults: dict[int, list[str]] = field(default_factory=dict)
    """By seed."""
    fates: Fates = field(default_factory=Fates)
    """Of the writes, from the log."""
    ledgers: dict[int, Ledger] = field(default_factory=dict)

    def add(self, strategy: str, found: Callable[[World], Iterator[str]]) -> None:
        """What breaks the promise, world by world."""
        for world in self.worlds:
            if lines := list(found(world)):
                self.faults.setdefault(world.seed, []).extend([f"  {strategy}:", *lines])

    def judge(self, strategy: str, scene: gather.Scene) -> None:
        """The same, for the end of one strategy."""
        self.add(strategy, lambda world: scene.faults(world, self.ledgers[world.seed]))

    def report(self) -> str:
        """Each seed that broke the promise, with its migration."""
        return "\n\n".join(
            "\n".join([world.told, *self.faults[world.seed][:8]])
            for world in self.worlds
            if world.seed in self.faults
        )


def told_of(server: RealServer, directory: Path, seeds: Sequence[int]) -> Told:
    """A whole night: migration, application, and every strategy."""
    worlds = [world_of(seed) for seed in seeds]
    told = Told(worlds, ledgers={world.seed: Ledger() for world in worlds})
    with night(server, worlds, directory) as n:
        for _ in range(2):  # the second half is carried by a process that knows only what is durable
            _write(n, told, 8, undone=False)
            told.fates = n.log.replay()
            acknowledged = sum(ledger.acknowledged for ledger in told.ledgers.values())
            assert told.fates.total == acknowledged, (told.fates, acknowledged)
        _restored(n, told)
        _in_place(n, told)
    return told


def _restored(n: Night, told: Told) -> None:
    """Strategy B, from the log and from the states."""
    rescue.merge_states(n)
    blind = from_states.without_identity(rescue.schema_of(n, n.migrated), frozenset())
    assert {f"{world.schema}_keyless.log" for world in n.worlds} <= set(blind), "told by name"
    oracle = gather.snapshot(n, n.twin, undone=True)
    written = gather.snapshot(n, n.live, undone=False)
    told.judge("log", gather.Scene(n, n.log.target, n.migrated, oracle, written, blind=False))
    told.judge("states", gather.Scene(n, n.states, n.migrated, oracle, written))
    told.add("log", lambda world: _keyless(n, world))


def _in_place(n: Night, told: Told) -> None:
    """Strategy D: the down, some more writes, the repair."""
    rescue.end_log(n)
    marks, undone = rescue.horizon(n), rescue.schema_of(n, n.live)
    down = rescue.undo(n)
    _write(n, told, 3, undone=True)
    oracle = gather.snapshot(n, n.twin, undone=True)
    written = gather.snapshot(n, n.live, undone=True, generated=False)
    reach = rescue.repair(n, marks, down, undone)
    assert {f"{world.schema}_keyless.log" for world in n.worlds} <= set(reach.without_key), "told by name"
    told.judge("in place", gather.Scene(n, n.live, n.undone, oracle, written, undone=True))


def _keyless(n: Night, world: World) -> Iterator[str]:
    """New rows without a key go over."""
    where = f"{world.schema}_keyless.log"
    with n.server.connect(n.log.target) as one, n.server.connect(n.twin) as other:
        found, wanted = gather.bag(one, where), gather.bag(other, where)
    if found != wanted:
        yield f"  {where}: {found}, and not {wanted}"


def _write(n: Night, told: Told, transactions: int, *, undone: bool) -> None:
    with ExitStack() as stack:
        clients = [
            Client(*(stack.enter_context(n.server.connect(name)) for name in (n.live, n.twin)))
            for _ in range(2)
        ]
        for client in clients:
            for session in (client.live, client.twin):
                session.execute("SET timezone = 'UTC'; SET lock_timeout = '5s'")
        for world in n.worlds:
            run(clients, world, told.ledgers[world.seed], transactions, undone=undone)


def holds(server: RealServer, directory: Path, seeds: Sequence[int]) -> Told:
    told = told_of(server, directory, seeds)
    assert not told.faults, f"{len(told.faults)} of {len(seeds)} worlds\n\n{told.report()}"
    return told


@pytest.mark.slow
@pytest.mark.proves(
    claim="B (log and states) and D: no cell differs from a twin without the migration, unless it is told",
    on="generated worlds, 55 kinds of migrations, two interleaved sessions; one machine, loopback",
    rights="superuser",
    versions="16, 18",
    size="32 seeds, 12 tables each; thousands with --soak",
)
def test_no_cell_differs_without_being_told(logical: RealServer, tmp_path: Path):
    told = holds(logical, tmp_path, ORDINARY[logical.major])
    assert min(told.fates.carried, told.fates.archived, told.fates.parked, told.fates.listed) > 0
    acts = sum((ledger.acts for ledger in told.ledgers.values()), Counter[str]())
    assert len(acts) > 10, acts


@pytest.mark.soak
@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, TOGETHER))
def test_soak_no_cell_differs_without_being_told(logical: RealServer, tmp_path: Path, first: int):
    holds(logical, tmp_path, range(first, min(first + TOGETHER, FIRST + SEEDS)))


def test_the_seeds_of_an_ordinary_run_have_every_kind_and_combine_them():
    worlds = [world_of(seed) for seeds in ORDINARY.values() for seed in seeds]
    assert {kind.name for world in worlds for kind in world.kinds} == {kind.name for kind in KINDS}
    assert sum(len(world.kinds) > 1 for world in worlds) > len(worlds) / 2
    assert any("SAVEPOINT" in world.up for world in worlds)
    assert world_of(7).up == world_of(7).up


def _coincident_writes_untold(cell: Cell) -> Outcome:
    outcome = merge(cell)
    return Outcome(outcome.write) if outcome.reason is Reason.COINCIDENT else outcome


def _the_migration_wins(cell: Cell) -> Outcome:
    outcome = merge(cell)
    return replace(outcome, write=Write.BEFORE) if outcome.reason is Reason.BOTH_WROTE else outcome


def _its_values_leak(cell: Cell) -> Outcome:
    leak = cell.mapping is Mapping.SAME and cell.now == cell.migrated
    return Outcome(Write.NOW, Fate.CARRIED) if leak else merge(cell)


def _added_values_vanish(cell: Cell) -> Outcome:
    return Outcome(Write.NOTHING) if cell.mapping is Mapping.ADDED else merge(cell)


@pytest.mark.slow
@pytest.mark.parametrize("logical", [16], indirect=True)
@pytest.mark.parametrize(
    "rule", [_coincident_writes_untold, _the_migration_wins, _its_values_leak, _added_values_vanish]
)
def test_a_broken_rule_of_the_merge_is_found(
    logical: RealServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: Callable[[Cell], Outcome]
):
    monkeypatch.setattr(rows, "merge", rule)
    assert told_of(logical, tmp_path, (5, 7)).faults, "nobody has noticed"
