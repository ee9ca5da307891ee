"""A migration under construction: its statements, its down, and the tables as the application sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from tests.lost_writes.kinds.cast import BY_NAME, TABLES, Table, Value, Values, place


@dataclass(frozen=True)
class Converted:
    """A column of another type: values in the new form, each with what it means in the old one."""

    values: Values
    back: Callable[[Value], Value]
    forth: str
    """SQL: what the old form of `{v}` is in the new one, as text. Two old forms may be one new form."""


@dataclass
class View:
    """One table as the application knows it."""

    table: Table
    place: str
    """Schema and name; empty = the table is gone."""
    names: dict[str, str]
    """Column before -> column now, without those that are gone."""
    converted: dict[str, Converted] = field(default_factory=dict)
    """By the column before."""
    added: dict[str, Values] = field(default_factory=dict)
    """Columns without a place in the old schema."""
    more: dict[str, Values] = field(default_factory=dict)
    """Values that some columns may take now and could not before."""

    def values(self, column: str) -> Values:
        """How the application makes a value of this column (named as before), in its present form."""
        if column in self.converted:
            return self.converted[column].values
        return self.more.get(column, self.table.columns[column])

    def before(self, column: str, value: Value) -> Value:
        """What a value in its present form means in the old schema."""
        return self.converted[column].back(value) if column in self.converted else value


def views(schema: str) -> dict[str, View]:
    """Everything as it was."""
    return {
        table.name: View(
            table,
            place(table, schema),
            {c: c for c in (*table.key, *table.columns, *table.parents, *table.lists)},
        )
        for table in TABLES
    }


@dataclass
class Migration:
    """What the kinds of a world have put together."""

    schema: str
    random: Random
    views: dict[str, View] = field(init=False)
    ups: list[str] = field(default_factory=list)
    downs: list[list[str]] = field(default_factory=list)
    made: dict[str, Mapping[str, Values]] = field(default_factory=dict)
    """Tables of the migration's own, and their columns; the first is the key."""
    followed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Further tables in which a write makes writes since."""

    def __post_init__(self) -> None:
        self.views = views(self.schema)

    def up(self, *statements: str) -> None:
        """Statements of the migration; `{s}` is the schema."""
        self.ups += [self._in_schema(statement) for statement in statements]

    def down(self, *statements: str) -> None:
        """What undoes the kind that is being built; the last kind is undone first."""
        self.downs.append([self._in_schema(statement) for statement in statements])

    def some(self, column: str = "id") -> str:
        """A condition that some rows meet, or all."""
        r = self.random
        return r.choice(
            [
                "true",
                f"{column} % 2 = 0",
                f"{column} % 3 = 1",
                f"{column} <= {r.randint(3, 9)}",
                f"{column} > 6",
            ]
        )

    def gone(self, table: str, *columns: str) -> None:
        """Columns that the application no longer sees."""
        for column in columns:
            del self.views[table].names[column]

    def up_text(self) -> str:
        """The migration, with savepoints here and there and attempts that it takes back."""
        parts = []
        for statement in self.ups:
            dice = self.random.random()
            if dice < 0.15:
                statement = f"SAVEPOINT a; {statement}; RELEASE a"
            elif dice < 0.25:
                counted = f"{self.schema}.counted"
                undone = f"DELETE FROM {counted} WHERE a > 3; UPDATE {counted} SET a = 99"
                parts.append(f"SAVEPOINT b; {undone}; ROLLBACK TO b; RELEASE b")
            parts.append(statement)
        return ";\n".join(parts)

    def down_text(self) -> str:
        return ";\n".join(statement for some in reversed(self.downs) for statement in some)

    def follows(self, table: str) -> tuple[str, ...]:
        """Places in which writes to this table make further ones."""
        mine = [self.views[name].place for name in BY_NAME[table].follows]
        return (*(where for where in mine if where), *self.followed.get(table, ()))

    def _in_schema(self, statement: str) -> str:
        return statement.replace("{s}", self.schema)
