"""A world from a seed: its tables, its migration, and the dice of its application."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from random import Random

from tests.lost_writes.kinds import cast
from tests.lost_writes.kinds.catalogue import Kind, chosen
from tests.lost_writes.kinds.migration import Migration, View, views


@dataclass(frozen=True)
class World:
    """One seed, in a namespace schema of its own: many of them live in one database."""

    seed: int
    kinds: tuple[Kind, ...]
    schema: str
    setup: str
    up: str
    down: str
    migration: Migration
    before: dict[str, View]
    """The tables as they were, and are again after the down."""
    random: Random
    counter: list[int] = field(default_factory=lambda: [5000])
    """The last number that the application made a value or a key of."""

    @property
    def after(self) -> dict[str, View]:
        """The tables as the application knows them after the migration."""
        return self.migration.views

    def rewritten(self, table: str) -> bool:
        """Whether the down rewrites this table: then no row tells any more when it was written."""
        rewrites = rf"{self.schema}\.{table} (ALTER \w+ TYPE|ADD \w+ int GENERATED)"
        return re.search(rewrites, self.down) is not None

    @property
    def told(self) -> str:
        """For a report."""
        names = ", ".join(kind.name for kind in self.kinds)
        return f"seed {self.seed}: {names}\n{self.up}\n-- down\n{self.down}"


def world_of(seed: int) -> World:
    """The same for the same seed, always."""
    random = Random(seed)
    schema = f"w{seed}"
    kinds = chosen(seed, random)
    migration = Migration(schema, random)
    for kind in kinds:
        kind.build(migration)
    setup = [cast.setup(schema, random)]
    for table in cast.TABLES:
        generated = table.name == "counted"  # from 18 on FULL would make its updates fail
        if table.key and not generated and random.random() < 0.25:
            setup += [f"ALTER TABLE {name} REPLICA IDENTITY FULL;" for name in _files(table, schema)]
    return World(
        *(seed, kinds, schema, "\n".join(setup), migration.up_text(), migration.down_text()),
        *(migration, views(schema), random),
    )


def _files(table: cast.Table, schema: str) -> list[str]:
    name = cast.place(table, schema)
    return [name, f"{name}_1", f"{name}_2"] if table.name == "events" else [name]
