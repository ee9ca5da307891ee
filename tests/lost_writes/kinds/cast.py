"""The tables of a generated world: every sort of table that the merge has to understand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

Value = str | None
"""In its text form."""
Values = Callable[[Random, int], Value]
"""Makes the value of a column; the number is different in every call."""
Row = Mapping[str, Value]
ROWS = 12


@dataclass(frozen=True)
class Table:
    """One table before the migration. Generated columns are not named: nobody writes them."""

    name: str
    key: tuple[str, ...]
    """Empty = rows have no identity."""
    columns: Mapping[str, Values]
    """What the application writes, beside the key."""
    key_types: tuple[str, ...] = ("int",)
    numbered: bool = False
    """The database gives new rows their key."""
    parents: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Column -> table and column that it refers to."""
    follows: tuple[str, ...] = ()
    """Tables in which a write to this one makes further writes: cascades, triggers."""
    lists: Mapping[str, Values] = field(default_factory=dict)
    """Further columns for new rows, without a write of their own."""


def word(random: Random, n: int) -> Value:
    return None if random.random() < 0.1 else random.choice(["a", "b ", "Ä", f"w{n}", f"it's {n}", ""])


def name(random: Random, n: int) -> Value:
    return f"n{n}"


def small(random: Random, n: int) -> Value:
    return str(random.choice([0, 1, -1, 7, n, n * 3]))


def money(random: Random, n: int) -> Value:
    return f"{n}.{random.choice(['00', '37', '50', '99'])}"


def state(random: Random, n: int) -> Value:
    return random.choice(["open", "paid", "sent"])


def moment(random: Random, n: int) -> Value:
    return f"2026-03-{1 + n % 28:02} {n % 24:02}:{n % 60:02}:00+00"


def document(random: Random, n: int) -> Value:
    return random.choice([f'{{"n": {n}}}', f'{{"a": [1, {n}.0]}}', "[]", f'"{n}"'])


def long(random: Random, n: int) -> Value:
    return None if random.random() < 0.3 else f"{n} " + "x" * 2500


TABLES = (
    Table(
        "people",
        ("id",),
        {"name": word, "motto": word, "email": name, "points": small, "joined": moment},
        follows=("orders", "lines"),
    ),
    Table(
        "orders",
        ("id",),
        {"amount": money, "state": state, "note": word},
        key_types=("bigint",),
        numbered=True,
        parents={"person": ("people", "id")},
        follows=("lines",),
    ),
    Table(
        "lines",
        ("order", "n"),
        {"what": word},
        key_types=("bigint", "int"),
        parents={"order": ("orders", "id")},
    ),
    Table("docs", ("id",), {"title": word, "body": document, "long": long}, numbered=True),
    Table("events", ("id",), {"v": small, "w": word, "at": moment}),
    Table("counted", ("id",), {"a": small, "b": word}),
    Table("seats", ("id",), {"place": lambda _, n: str(n), "color": word}),
    Table("old", ("id",), {"body": word}),
    Table("tokens", ("id",), {"owner": word, "made": moment}, key_types=("uuid",)),
    Table("watched", ("id",), {"v": small, "note": name}, follows=("audit",)),
    Table("audit", ("row", "note"), {}, key_types=("int", "text")),
    Table("log", (), {"at": small, "said": word}),
)
BY_NAME = {table.name: table for table in TABLES}

SETUP = """
CREATE SCHEMA {s};
CREATE TYPE {s}.state AS ENUM ('open', 'paid', 'sent');
CREATE TABLE {s}.people (id int PRIMARY KEY, name text, motto text, email text NOT NULL UNIQUE,
    points int NOT NULL DEFAULT 0, joined timestamptz);
CREATE TABLE {s}.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person int REFERENCES {s}.people ON DELETE CASCADE, amount numeric(10, 2) NOT NULL,
    state {s}.state NOT NULL DEFAULT 'open', note text);
CREATE TABLE {s}.lines ("order" bigint REFERENCES {s}.orders ON DELETE CASCADE, n int, what text,
    PRIMARY KEY ("order", n));
CREATE TABLE {s}.docs (id serial PRIMARY KEY, title text, body jsonb NOT NULL, long text);
ALTER TABLE {s}.docs ALTER long SET STORAGE EXTERNAL;
CREATE TABLE {s}.events (id int PRIMARY KEY, v int, w text, at timestamptz) PARTITION BY RANGE (id);
CREATE TABLE {s}.events_1 PARTITION OF {s}.events FOR VALUES FROM (0) TO (6);
CREATE TABLE {s}.events_2 PARTITION OF {s}.events FOR VALUES FROM (6) TO (100000000);
CREATE TABLE {s}.counted (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, b text);
CREATE TABLE {s}.seats (id int PRIMARY KEY, place int NOT NULL UNIQUE, color text DEFAULT 'red');
CREATE TABLE {s}.old (id int PRIMARY KEY, body text);
CREATE TABLE {s}.tokens (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), owner text, made timestamptz);
CREATE TABLE {s}.audit ("row" int, note text, PRIMARY KEY ("row", note));
CREATE TABLE {s}.watched (id int PRIMARY KEY, v int, note text NOT NULL);
CREATE SCHEMA {s}_keyless;
CREATE TABLE {s}_keyless.log (at int, said text);
"""
WATCH = """
CREATE FUNCTION {s}.tell() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
  INSERT INTO {s}.audit VALUES (NEW.id, NEW.note) ON CONFLICT DO NOTHING; RETURN NEW; END$$;
CREATE TRIGGER tell AFTER UPDATE OF note ON {s}.watched FOR EACH ROW
  WHEN (OLD.note IS DISTINCT FROM NEW.note) EXECUTE FUNCTION {s}.tell();
"""


def key_of_row(table: Table, n: int) -> tuple[str, ...]:
    """The key of the n-th row."""
    if not table.key:
        return ()
    if table.key_types == ("uuid",):
        return (f"00000000-0000-4000-8000-{n:012d}",)
    if table.name == "lines":
        return (str(n), "1")
    return (str(n),)


def place(table: Table, schema: str) -> str:
    """Schema and name for SQL."""
    return f"{schema}{'' if table.key else '_keyless'}.{table.name}"


def setup(schema: str, random: Random) -> str:
    """The tables with their rows."""
    parts = [SETUP.format(s=schema)]
    for table in TABLES:
        if table.name == "audit":
            continue
        for n in range(1, ROWS + 1):
            row: dict[str, Value] = dict(zip(table.key, key_of_row(table, n), strict=True))
            row |= {column: str(n) for column in table.parents if column not in row}
            row |= {column: values(random, n) for column, values in table.columns.items()}
            parts.append(insert(place(table, schema), row))
    for sequenced in ("orders", "docs"):
        parts.append(f"SELECT setval(pg_get_serial_sequence('{schema}.{sequenced}', 'id'), {ROWS});")
    return "\n".join([*parts, WATCH.format(s=schema)])


def insert(where: str, row: Row) -> str:
    """A statement without parameters."""
    names = ", ".join(f'"{column}"' for column in row)
    values = ", ".join(quoted(value) for value in row.values())
    return f"INSERT INTO {where} ({names}) OVERRIDING SYSTEM VALUE VALUES ({values});"


def quoted(value: Value) -> str:
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"
