"""What `doctor --can` asks from the server, and that its scripts do what they say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg import Connection, sql

from backout.model.readiness import Standing
from backout.phases.readiness.capabilities import CAPABILITIES, table
from backout.phases.readiness.grants import Asker, Dialect, dialect_of, grant_for, schema_sql, script
from backout.postgres.capabilities import Right, ask_rights, may_stream
from backout.postgres.connect import open_session
from backout.testing.servers import RealServer
from tests.readiness.world import Place, role_of

OWNERS_OWN = {
    "run the down", "kept values", "marker in the log", "session locks", "fate of a commit",
    "read every table", "read past policies", "publication", "connection limit",
}  # fmt: skip
"""What the owner of a database has by that alone."""


def rights(server: RealServer, database: str, role: str) -> dict[str, bool | None]:
    dsn = server.dsn(database, role)
    with open_session(dsn, "backout/test/0") as session:
        found = (*ask_rights(session), may_stream(dsn))
    assert {right.name for right in found} == set(CAPABILITIES)
    return {right.name: right.held for right in found}


def objects(session: Connection) -> list[tuple[object, ...]]:
    """Everything that an attempt could have left behind."""
    return session.execute(
        """SELECT 'class', relname::text FROM pg_class UNION ALL SELECT 'schema', nspname FROM pg_namespace
           UNION ALL SELECT 'role', rolname FROM pg_roles UNION ALL SELECT 'slot', slot_name
           FROM pg_replication_slots UNION ALL SELECT 'publication', pubname FROM pg_publication
           UNION ALL SELECT 'origin', roname FROM pg_replication_origin
           UNION ALL SELECT 'trigger', evtname FROM pg_event_trigger
           UNION ALL SELECT 'extension', extname FROM pg_extension
           UNION ALL SELECT 'limit', datname || datconnlimit FROM pg_database ORDER BY 1, 2"""
    ).fetchall()


def test_a_plain_owner_has_what_strategy_a_needs_and_no_more(anywhere: Place):
    with anywhere.admin() as session:
        before = objects(session)
    held = rights(anywhere.server, anywhere.database, anywhere.role)
    assert {name for name, has in held.items() if has} == OWNERS_OWN
    with anywhere.admin() as session:
        assert objects(session) == before


def test_a_superuser_has_them_all_but_what_the_server_is_not_set_up_for(anywhere: Place):
    with anywhere.admin() as session:
        before = objects(session)
    held = rights(anywhere.server, anywhere.database, "postgres")
    lacking = {name for name, has in held.items() if not has}
    assert lacking <= {"commit times", "page checks", "base backup"}
    with anywhere.admin() as session:
        assert objects(session) == before


def test_a_role_with_nothing(anywhere: Place):
    held = rights(anywhere.server, anywhere.database, role_of(anywhere.server))
    assert not any(held[name] for name in ("run the down", "kept values", "read every table"))


def test_the_table_says_what_is_lost_and_ends_in_a_script(here: Place):
    here.type("init", "--target", "heroes")
    stranger = role_of(here.server)
    here.as_role(stranger)
    done = here.type("doctor", "--can")
    assert done.exit_code == 1
    assert "A is refused: what the down destroys could not be kept" in " ".join(done.out.split())
    assert f"CREATE SCHEMA IF NOT EXISTS backout_kept AUTHORIZATION {stranger};" in done.out.splitlines()
    document = here.type("doctor", "--can", "--json").document
    assert [row["name"] for row in document["capabilities"]] == list(CAPABILITIES)
    assert document["exit"] == 1


def test_the_script_of_a_superuser_gives_what_it_names(anywhere: Place):
    anywhere.type("init", "--target", "heroes")
    stranger = role_of(anywhere.server)
    anywhere.as_role(stranger)
    text = anywhere.type("doctor", "--can", "--json").document["sql"]
    optional = [line.removeprefix("--   ") for line in text.splitlines() if line.startswith("--   ")]
    wanted = [
        line for line in optional if not line.startswith(("ALTER SYSTEM", "CREATE EXTENSION", "CREATE ROLE"))
    ]
    wanted = [line for line in wanted if "backout_observe" not in line]
    with anywhere.admin() as session:
        session.execute(text.encode())
        for line in wanted:
            session.execute(line.encode())
    held = rights(anywhere.server, anywhere.database, stranger)
    lacking = {name for name, has in held.items() if not has}
    assert lacking <= {"commit times", "page checks", "base backup", "event trigger"}
    with anywhere.admin() as session:  # the owner of the database is its role again, for the clean-up
        name = sql.Identifier(anywhere.database)
        session.execute(sql.SQL("ALTER DATABASE {} OWNER TO postgres").format(name))


@pytest.fixture
def administrator(anywhere: Place) -> Iterator[str]:
    """Somebody who may create roles and owns the database, and is no superuser."""
    name = role_of(anywhere.server, "LOGIN CREATEROLE CREATEDB")
    with anywhere.admin() as session:
        database = sql.Identifier(anywhere.database)
        session.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, sql.Identifier(name)))
    yield name


def test_the_schemas_can_be_made_by_an_administrator_without_superuser(anywhere: Place, administrator: str):
    with anywhere.server.connect(anywhere.database, user=administrator) as session:
        session.execute("CREATE ROLE managed_by_hand LOGIN")
        asker = Asker("managed_by_hand", anywhere.database, anywhere.server.major, Dialect.CREATEROLE)
        session.execute(schema_sql(asker).encode())
        owners = session.execute(
            "SELECT nspname::text, nspowner::regrole::text FROM pg_namespace"
            " WHERE nspname ~ '^backout' ORDER BY 1"
        ).fetchall()
    assert owners == [("backout", "managed_by_hand"), ("backout_kept", "managed_by_hand")]
    assert rights(anywhere.server, anywhere.database, "managed_by_hand")["kept values"]
    with anywhere.admin() as session:
        session.execute("DROP OWNED BY managed_by_hand; DROP ROLE managed_by_hand")


def test_print_schema_sql_prints_sql_and_nothing_else(here: Place):
    here.type("init")
    done = here.type("doctor", "--print-schema-sql")
    with here.admin() as session:
        session.execute(done.out.encode())
    assert here.type("doctor", "--json").states["our schemas"] == "pass"


def test_the_wording_follows_who_administers_the_server():
    assert dialect_of(("postgres", "rds_superuser"), superuser=False, creates_roles=True) is Dialect.RDS
    assert dialect_of(("cloudsqlsuperuser",), superuser=False, creates_roles=True) is Dialect.CLOUD_SQL
    assert dialect_of(("supabase_admin",), superuser=False, creates_roles=True) is Dialect.SUPABASE
    assert dialect_of((), superuser=False, creates_roles=True) is Dialect.CREATEROLE
    assert dialect_of((), superuser=False, creates_roles=False) is Dialect.SUPERUSER


@pytest.mark.parametrize(
    ("dialect", "name", "words"),
    [
        (Dialect.RDS, "replication slot", "rds_replication"),
        (Dialect.CLOUD_SQL, "replication slot", "ALTER USER app WITH REPLICATION"),
        (Dialect.SUPABASE, "replication slot", "ALTER ROLE app REPLICATION"),
        (Dialect.SUPERUSER, "replication slot", "ALTER ROLE app REPLICATION"),
        (Dialect.RDS, "named restore point", ""),
        (Dialect.CLOUD_SQL, "silence triggers", ""),
        (Dialect.CREATEROLE, "see other sessions", ""),
        (Dialect.SUPERUSER, "event trigger", ""),
    ],
)
def test_a_grant_in_the_dialect_or_none(dialect: Dialect, name: str, words: str):
    found = grant_for(name, Asker("app", "heroes", 16, dialect))
    assert words in found if words else found == ""


def test_what_could_not_be_asked_is_unknown_and_gets_no_grant():
    asker = Asker("app", "heroes", 16, Dialect.SUPERUSER)
    (row,) = table((Right("kept values", None, "tried", "cannot execute in a read-only transaction"),), asker)
    assert (row.standing, row.grant) == (Standing.UNKNOWN, "")
    assert "kept values" not in script((row,), asker)


def test_a_role_with_a_strange_name_is_quoted():
    asker = Asker('a"b c', "heroes", 16, Dialect.SUPERUSER)
    assert 'AUTHORIZATION "a""b c"' in schema_sql(asker)
