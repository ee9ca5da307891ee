"""The kinds of migration, each with its down and with what it changes for the application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from random import Random

from tests.lost_writes.kinds import cast
from tests.lost_writes.kinds.migration import Converted, Migration

Build = Callable[[Migration], None]


@dataclass(frozen=True)
class Kind:
    """One kind of migration."""

    name: str
    claims: frozenset[str]
    """What it changes, `table.column`, `table.rows` or `table.*`: no other kind of the same world does."""
    build: Build
    last: bool
    """It gives tables another name or identity: others are applied before it."""

    def meets(self, claimed: frozenset[str]) -> bool:
        """Whether another kind has claimed the same."""
        whole = {one.partition(".")[0] for one in claimed if one.endswith("*")}
        tables = {one.partition(".")[0] for one in claimed}
        return bool(
            self.claims & claimed
            or any(one.partition(".")[0] in (tables if one.endswith("*") else whole) for one in self.claims)
        )


KINDS: list[Kind] = []


def kind(*claims: str, last: bool = False) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        KINDS.append(Kind(build.__name__, frozenset(claims), build, last))
        return build

    return register


@kind("people.motto")
def drop_column(m: Migration) -> None:
    m.up("ALTER TABLE {s}.people DROP motto")
    m.down("ALTER TABLE {s}.people ADD motto text")
    m.gone("people", "motto")


@kind("docs.long")
def drop_toasted_column(m: Migration) -> None:
    m.up("ALTER TABLE {s}.docs DROP long")
    m.down("ALTER TABLE {s}.docs ADD long text")
    m.gone("docs", "long")


@kind("people.motto")
def drop_and_add_column(m: Migration) -> None:
    m.up("ALTER TABLE {s}.people DROP motto", "ALTER TABLE {s}.people ADD motto text DEFAULT 'none'")
    m.down("ALTER TABLE {s}.people DROP motto", "ALTER TABLE {s}.people ADD motto text")
    m.gone("people", "motto")
    m.views["people"].added["motto"] = cast.name


@kind("people.name")
def rename_column(m: Migration) -> None:
    m.up("ALTER TABLE {s}.people RENAME name TO full_name")
    m.down("ALTER TABLE {s}.people RENAME full_name TO name")
    m.views["people"].names["name"] = "full_name"


@kind("people.name", "people.motto")
def swap_columns(m: Migration) -> None:
    swap = [
        "ALTER TABLE {s}.people RENAME name TO other",
        "ALTER TABLE {s}.people RENAME motto TO name",
        "ALTER TABLE {s}.people RENAME other TO motto",
    ]
    m.up(*swap)
    m.down(*swap)
    m.views["people"].names |= {"name": "motto", "motto": "name"}


@kind("people.email")
def drop_column_that_must_be_there(m: Migration) -> None:
    m.up("ALTER TABLE {s}.people DROP email")
    m.down("ALTER TABLE {s}.people ADD email text UNIQUE")
    m.gone("people", "email")


@kind("people.*", last=True)
def rename_table(m: Migration) -> None:
    m.up("ALTER TABLE {s}.people RENAME TO folk", f"UPDATE {{s}}.folk SET points = 1 WHERE {m.some()}")
    m.down("ALTER TABLE {s}.folk RENAME TO people")
    m.views["people"].place = f"{m.schema}.folk"


@kind("seats.id")
def rename_key(m: Migration) -> None:
    m.up("ALTER TABLE {s}.seats RENAME id TO number")
    m.down("ALTER TABLE {s}.seats RENAME number TO id")
    m.views["seats"].names["id"] = "number"


@kind("people.plan")
def add_column(m: Migration) -> None:
    m.up("ALTER TABLE {s}.people ADD plan text DEFAULT 'free'")
    m.down("ALTER TABLE {s}.people DROP plan")
    m.views["people"].added["plan"] = cast.name


@kind("docs.seen")
def add_column_with_volatile_default(m: Migration) -> None:
    m.up("ALTER TABLE {s}.docs ADD seen timestamptz DEFAULT clock_timestamp()")
    m.down("ALTER TABLE {s}.docs DROP seen")
    m.views["docs"].added["seen"] = cast.moment


@kind("people.points")
def widen_integer(m: Migration) -> None:
    m.up("ALTER TABLE {s}.people ALTER points TYPE bigint")
    m.down("ALTER TABLE {s}.people ALTER points TYPE int")


@kind("people.joined")
def timestamp_to_date(m: Migration) -> None:
    m.up("ALTER TABLE {s}.people ALTER joined TYPE date USING (joined AT TIME ZONE 'UTC')::date")
    m.down("ALTER TABLE {s}.people ALTER joined TYPE timestamptz USING joined::timestamp AT TIME ZONE 'UTC'")
    m.views["people"].converted["joined"] = Converted(
        lambda _, n: f"2026-04-{1 + n % 28:02}",
        lambda v: None if v is None else f"{v} 00:00:00+00",
        "({v}::timestamptz AT TIME ZONE 'UTC')::date::text",
    )


@kind("orders.amount")
def number_rounded(m: Migration) -> None:
    m.up("ALTER TABLE {s}.orders ALTER amount TYPE int USING round(amount)")
    m.down("ALTER TABLE {s}.orders ALTER amount TYPE numeric(10, 2)")
    m.views["orders"].converted["amount"] = Converted(
        lambda _, n: str(n), lambda v: None if v is None else f"{v}.00", "round({v}::numeric)::int::text"
    )


@kind("orders.amount")
def number_to_cents(m: Migration) -> None:
    m.up("ALTER TABLE {s}.orders ALTER amount TYPE bigint USING (amount * 100)::bigint")
    m.down("ALTER TABLE {s}.orders ALTER amount TYPE numeric(10, 2) USING amount / 100.0")
    m.views["orders"].converted["amount"] = Converted(
        lambda _, n: str(n),
        lambda v: None if v is None else str((Decimal(v) / 100).quantize(Decimal("0.01"))),
        "({v}::numeric * 100)::bigint::text",
    )


@kind("orders.state")
def enum_to_text(m: Migration) -> None:
    m.up(
        "ALTER TABLE {s}.orders ALTER state DROP DEFAULT",
        "ALTER TABLE {s}.orders ALTER state TYPE text",
    )
    m.down(
        "ALTER TABLE {s}.orders ALTER state TYPE {s}.state USING state::{s}.state",
        "ALTER TABLE {s}.orders ALTER state SET DEFAULT 'open'",
    )


@kind("docs.title")
def text_shortened(m: Migration) -> None:
    m.up("ALTER TABLE {s}.docs ALTER title TYPE varchar(1) USING left(title, 1)")
    m.down("ALTER TABLE {s}.docs ALTER title TYPE text")
    m.views["docs"].converted["title"] = Converted(
        lambda random, _: random.choice(["q", "r", ""]), lambda v: v, "left({v}, 1)"
    )


@kind("people.points")
def dollars_to_cents_in_place(m: Migration) -> None:
    m.up("UPDATE {s}.people SET points = points * 100")
    m.down()


@kind("people.motto")
def split_table(m: Migration) -> None:
    m.up(
        "CREATE TABLE {s}.mottos (person int PRIMARY KEY, motto text)",
        "INSERT INTO {s}.mottos SELECT id, motto FROM {s}.people",
        "ALTER TABLE {s}.people DROP motto",
    )
    m.down("ALTER TABLE {s}.people ADD motto text", "DROP TABLE {s}.mottos")
    m.gone("people", "motto")
    m.made["mottos"] = {"person": lambda _, n: str(n), "motto": cast.word}


@kind("people.name", "people.motto")
def merge_columns(m: Migration) -> None:
    m.up(
        "ALTER TABLE {s}.people ADD label text",
        "UPDATE {s}.people SET label = concat_ws(' ', name, motto)",
        "ALTER TABLE {s}.people DROP name, DROP motto",
    )
    m.down("ALTER TABLE {s}.people ADD name text, ADD motto text", "ALTER TABLE {s}.people DROP label")
    m.gone("people", "name", "motto")
    m.views["people"].added["label"] = cast.name


@kind("old.*")
def drop_table(m: Migration) -> None:
    m.up("DROP TABLE {s}.old")
    m.down("CREATE TABLE {s}.old (id int PRIMARY KEY, body text)")
    m.views["old"].place = ""


@kind("old.rows")
def truncate(m: Migration) -> None:
    m.up("TRUNCATE {s}.old")
    m.down()


@kind("people.rows", "orders.rows", "lines.rows")
def truncate_cascade(m: Migration) -> None:
    m.up("TRUNCATE {s}.people CASCADE")
    m.down()


@kind("docs.rows")
def truncate_restart_identity(m: Migration) -> None:
    m.up("TRUNCATE {s}.docs RESTART IDENTITY")
    m.down()


@kind("docs.rows")
def delete_rows(m: Migration) -> None:
    m.up(f"DELETE FROM {{s}}.docs WHERE {m.some()}")
    m.down()


@kind("people.rows", "orders.rows", "lines.rows")
def delete_parents(m: Migration) -> None:
    m.up(f"DELETE FROM {{s}}.people WHERE {m.some()}")
    m.down()


@kind("people.points")
def update(m: Migration) -> None:
    m.up(f"UPDATE {{s}}.people SET points = {m.random.choice(['0', '7', 'points + 1'])} WHERE {m.some()}")
    m.down()


@kind("docs.body")
def update_jsonb(m: Migration) -> None:
    made = m.random.choice(["jsonb_build_object('v', 2, 'was', body)", "'{}'", "jsonb_build_array(body)"])
    m.up(f"UPDATE {{s}}.docs SET body = {made} WHERE {m.some()}")
    m.down()


@kind("events.v", "events.w")
def update_partitioned(m: Migration) -> None:
    m.up(f"UPDATE {{s}}.events SET v = 0, w = upper(w) WHERE {m.some()}")
    m.down()


@kind("events.*")
def drop_partition(m: Migration) -> None:
    m.up("DROP TABLE {s}.events_1")
    m.down("CREATE TABLE {s}.events_1 PARTITION OF {s}.events FOR VALUES FROM (0) TO (6)")


@kind("people.name")
def set_not_null(m: Migration) -> None:
    m.up(
        "UPDATE {s}.people SET name = 'unknown' WHERE name IS NULL",
        "ALTER TABLE {s}.people ALTER name SET NOT NULL",
    )
    m.down("ALTER TABLE {s}.people ALTER name DROP NOT NULL")
    m.views["people"].more["name"] = cast.name


@kind("seats.*", last=True)
def recreate_table(m: Migration) -> None:
    m.up(
        """CREATE TABLE {s}.seats_new (color text DEFAULT 'red', id int PRIMARY KEY,
             place int NOT NULL UNIQUE)""",
        f"INSERT INTO {{s}}.seats_new SELECT color, id, place FROM {{s}}.seats WHERE {m.some()}",
        "DROP TABLE {s}.seats",
        "ALTER TABLE {s}.seats_new RENAME TO seats",
    )
    m.down()


@kind("people.made", "people.email", "people.name")
def insert_rows(m: Migration) -> None:
    m.up(
        "INSERT INTO {s}.people (id, name, email)"
        " SELECT i, 'm', 'made' || i FROM generate_series(9001, 9003) i",
    )
    m.down()


@kind("docs.made")
def insert_by_sequence(m: Migration) -> None:
    m.up("INSERT INTO {s}.docs (title, body) SELECT 'm', '{}' FROM generate_series(1, 3)")
    m.down()


@kind("tokens.made")
def insert_by_uuid(m: Migration) -> None:
    m.up("INSERT INTO {s}.tokens (owner) SELECT 'm' || i FROM generate_series(1, 3) i")
    m.down()


@kind("tokens.owner")
def update_by_chance(m: Migration) -> None:
    m.up("UPDATE {s}.tokens SET made = clock_timestamp(), owner = md5(random()::text)")
    m.down()


@kind("log.rows", "log.said")
def update_keyless(m: Migration) -> None:
    m.up(f"UPDATE {{s}}_keyless.log SET said = 'm' WHERE {m.some('at')}")
    m.down()


@kind("log.said")
def drop_column_of_keyless(m: Migration) -> None:
    m.up("ALTER TABLE {s}_keyless.log DROP said")
    m.down("ALTER TABLE {s}_keyless.log ADD said text")
    m.gone("log", "said")


@kind("log.rows", "log.said")
def deduplicate_keyless(m: Migration) -> None:
    m.up(
        """DELETE FROM {s}_keyless.log a USING {s}_keyless.log b
           WHERE a.ctid > b.ctid AND a.at IS NOT DISTINCT FROM b.at"""
    )
    m.down()


@kind("seats.color")
def change_default(m: Migration) -> None:
    m.up("ALTER TABLE {s}.seats ALTER color SET DEFAULT 'blue'", "UPDATE {s}.seats SET color = 'blue'")
    m.down("ALTER TABLE {s}.seats ALTER color SET DEFAULT 'red'")


@kind("seats.place")
def drop_unique_constraint(m: Migration) -> None:
    m.up("ALTER TABLE {s}.seats DROP CONSTRAINT seats_place_key")
    m.down()
    m.views["seats"].more["place"] = lambda random, n: str(random.choice([1, 2, n]))


@kind("orders.state")
def add_enum_label(m: Migration) -> None:
    m.up("ALTER TYPE {s}.state ADD VALUE 'void'")
    m.down()
    m.views["orders"].more["state"] = lambda random, _: random.choice(["void", "paid"])


@kind("orders.id")
def identity_by_default(m: Migration) -> None:
    m.up(
        "ALTER TABLE {s}.orders ALTER id SET GENERATED BY DEFAULT",
        f"UPDATE {{s}}.orders SET note = 'm' WHERE {m.some()}",
    )
    m.down("ALTER TABLE {s}.orders ALTER id SET GENERATED ALWAYS")


@kind("seats.id")
def widen_key(m: Migration) -> None:
    m.up("ALTER TABLE {s}.seats ALTER id TYPE bigint")
    m.down("ALTER TABLE {s}.seats ALTER id TYPE int")


@kind("counted.id")
def key_to_text(m: Migration) -> None:
    m.up("ALTER TABLE {s}.counted ALTER id TYPE text")
    m.down("ALTER TABLE {s}.counted ALTER id TYPE int USING id::int")


@kind("seats.id", "seats.rows")
def shift_keys(m: Migration) -> None:
    m.up("UPDATE {s}.seats SET id = id + 1000")
    m.down()


@kind("seats.id", "seats.key")
def replace_key(m: Migration) -> None:
    m.up(
        "ALTER TABLE {s}.seats DROP CONSTRAINT seats_pkey",
        "ALTER TABLE {s}.seats ADD PRIMARY KEY (place)",
        f"UPDATE {{s}}.seats SET color = 'gone' WHERE {m.some()}",
    )
    m.down("ALTER TABLE {s}.seats DROP CONSTRAINT seats_pkey", "ALTER TABLE {s}.seats ADD PRIMARY KEY (id)")


@kind("seats.place", "seats.key")
def exchange_unique_values(m: Migration) -> None:
    m.up("UPDATE {s}.seats SET place = -place", "UPDATE {s}.seats SET place = 13 + place")
    m.down()


@kind("tokens.trigger")
def add_trigger(m: Migration) -> None:
    m.up(
        "CREATE TABLE {s}.trail (id bigserial PRIMARY KEY, said text)",
        """CREATE FUNCTION {s}.follow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
             INSERT INTO {s}.trail (said) VALUES (TG_OP); RETURN NULL; END$$""",
        """CREATE TRIGGER follow AFTER INSERT OR UPDATE OR DELETE ON {s}.tokens
             FOR EACH ROW EXECUTE FUNCTION {s}.follow()""",
    )
    m.down("DROP TRIGGER follow ON {s}.tokens", "DROP FUNCTION {s}.follow", "DROP TABLE {s}.trail")
    m.followed["tokens"] = (f"{m.schema}.trail",)


@kind("watched.v", "watched.note")
def update_under_a_trigger(m: Migration) -> None:
    m.up(f"UPDATE {{s}}.watched SET v = 0, note = note || ' m' WHERE {m.some()}")
    m.down()


@kind("counted.twice")
def generated_column_made_plain(m: Migration) -> None:
    m.up("ALTER TABLE {s}.counted ALTER twice DROP EXPRESSION", "UPDATE {s}.counted SET twice = 0")
    m.down(
        "ALTER TABLE {s}.counted DROP twice",
        "ALTER TABLE {s}.counted ADD twice int GENERATED ALWAYS AS (a * 2) STORED",
    )
    m.views["counted"].added["twice"] = cast.small


@kind("counted.a")
def update_beneath_a_generated_column(m: Migration) -> None:
    m.up(f"UPDATE {{s}}.counted SET a = 5 WHERE {m.some()}")
    m.down()


@kind("old.rows")
def rows_stored_anew(m: Migration) -> None:
    m.up(
        f"DELETE FROM {{s}}.old WHERE {m.some()}",
        "INSERT INTO {s}.old SELECT i, 'anew' FROM generate_series(1, 12, 2) i ON CONFLICT DO NOTHING",
    )
    m.down()


@kind("old.rows")
def move_rows(m: Migration) -> None:
    m.up(
        "CREATE TABLE {s}.archive (id int PRIMARY KEY, body text)",
        f"WITH gone AS (DELETE FROM {{s}}.old WHERE {m.some()} RETURNING *)"
        " INSERT INTO {s}.archive SELECT * FROM gone",
    )
    m.down("DROP TABLE {s}.archive")
    m.made["archive"] = {"id": lambda _, n: str(n), "body": cast.word}


@kind("people.tier")
def add_reference(m: Migration) -> None:
    m.up(
        "CREATE TABLE {s}.tiers (id int PRIMARY KEY, name text)",
        "INSERT INTO {s}.tiers VALUES (1, 'one'), (2, 'two')",
        "ALTER TABLE {s}.people ADD tier int REFERENCES {s}.tiers DEFAULT 1",
    )
    m.down("ALTER TABLE {s}.people DROP tier", "DROP TABLE {s}.tiers")
    m.views["people"].added["tier"] = lambda random, _: random.choice(["1", "2", None])
    m.made["tiers"] = {"id": lambda _, n: str(n), "name": cast.word}


@kind("docs.long")
def update_toasted(m: Migration) -> None:
    m.up(f"UPDATE {{s}}.docs SET long = {m.random.choice(['NULL', 'left(long, 5)'])} WHERE {m.some()}")
    m.down()


def chosen(seed: int, random: Random) -> tuple[Kind, ...]:
    """The kinds of a world: two in turn, so that few seeds have all of them, and some others beside."""
    found: list[Kind] = []
    turn = [KINDS[seed % len(KINDS)], KINDS[(seed + len(KINDS) // 2) % len(KINDS)]]
    for kind in (*turn, *random.sample(KINDS, random.choice([0, 0, 1, 2, 4]))):
        if not kind.meets(frozenset(claim for one in found for claim in one.claims)):
            found.append(kind)
    return tuple(sorted(found, key=lambda one: one.last))
