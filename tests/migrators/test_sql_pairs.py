"""Plain SQL migrations: the contract for both layouts, and where the tools that we stand in for differ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backout.adapters.migrator.sql_pairs import SqlPairs, from_settings
from backout.errors import ConfigurationError, NeighbourUnreachable, Refused
from backout.model.migration import DownKind
from backout.testing.migrator_contract import SECONDS, MigratorContract, MigratorWorld
from backout.testing.servers import RealServer
from tests.migrators.worlds import project_of, world_of

DBMATE = ("20240101000000", "20240102000000", "20240103000000", "20240104000000")
GOLANG = ("1", "2", "3", "10")
OTHER_TABLE = "DBMATE_MIGRATIONS_TABLE=elsewhere"


def dbmate_project(project: Path) -> SqlPairs:
    return from_settings(project, {"directory": "db/migrations"})


def golang_project(project: Path) -> SqlPairs:
    return from_settings(project, {"directory": "migrations"})


@pytest.fixture
def dbmate(pg18: RealServer, tmp_path: Path) -> Iterator[MigratorWorld]:
    project = project_of("dbmate_project", tmp_path)
    with world_of(
        pg18,
        project,
        tmp_path / "private",
        names=DBMATE,
        configuration=".env",
        line=OTHER_TABLE,
        make=dbmate_project,
    ) as made:
        yield made


@pytest.fixture
def golang(pg16: RealServer, tmp_path: Path) -> Iterator[MigratorWorld]:
    project = project_of("golang_project", tmp_path)
    with world_of(
        pg16,
        project,
        tmp_path / "private",
        names=GOLANG,
        configuration=".env",
        line=OTHER_TABLE,
        make=golang_project,
    ) as made:
        yield made


class TestDbmateContract(MigratorContract):
    @pytest.fixture
    def world(self, dbmate: MigratorWorld) -> MigratorWorld:
        return dbmate


class TestGolangMigrateContract(MigratorContract):
    @pytest.fixture
    def world(self, golang: MigratorWorld) -> MigratorWorld:
        return golang


def rows(world: MigratorWorld, query: str) -> list[tuple[object, ...]]:
    with world.connect() as session:
        return list(session.execute(query.encode()).fetchall())


def test_dbmate_files_say_what_they_are(dbmate: MigratorWorld):
    files = dbmate.make().files()
    assert [file.transactional for file in files] == [True, True, False, True]
    assert all(file.down is DownKind.PRESENT for file in files)
    assert dbmate.make().history_is_in_down_transaction


def test_golang_files_say_what_they_are(golang: MigratorWorld):
    files = golang.make().files()
    assert [file.transactional for file in files] == [True, True, False, True]
    assert [len(file.paths) for file in files] == [2, 2, 2, 2]
    assert files[1].header == "Owner: profiles team"
    assert not golang.make().history_is_in_down_transaction


def test_dbmate_keeps_script_and_row_in_one_transaction(dbmate: MigratorWorld):
    migrator = dbmate.make()
    dbmate.apply(migrator, 4)
    with dbmate.connect() as session:
        session.execute(
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'kept'; END $$"
        )
        session.execute("CREATE TRIGGER k BEFORE DELETE ON schema_migrations EXECUTE FUNCTION keep()")
    before = dbmate.schema()
    result = migrator.unapply(1, dbmate.environment(migrator), SECONDS)
    assert result.exit_code == 1
    assert "kept" in result.output
    assert (dbmate.history(migrator), dbmate.schema()) == (DBMATE, before)


def test_a_commit_that_only_rolls_back_is_no_success(dbmate: MigratorWorld):
    migrator = dbmate.make()
    dbmate.apply(migrator, 1)
    with dbmate.connect() as session:
        session.execute("CREATE TABLE parent (id int PRIMARY KEY)")
        session.execute("CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
        session.execute("GRANT ALL ON child TO PUBLIC")
    path = dbmate.project / "db/migrations/20240101000000_create_users.sql"
    path.write_text("-- migrate:up\n-- migrate:down\nINSERT INTO child VALUES (1);\n")
    result = migrator.unapply(1, dbmate.environment(migrator), SECONDS)
    assert result.exit_code == 1
    assert dbmate.history(migrator) == DBMATE[:1]


def test_outside_a_transaction_each_statement_stands_alone(dbmate: MigratorWorld):
    migrator = dbmate.make()
    dbmate.apply(migrator, 3)
    result = migrator.unapply(1, dbmate.environment(migrator), SECONDS)
    assert result.output.count("DROP INDEX") == 2
    assert rows(dbmate, "SELECT indexname FROM pg_indexes WHERE tablename = 'hero_snapshots'") == [
        ("hero_snapshots_pkey",)
    ]
    assert dbmate.history(migrator) == DBMATE[:2]


def test_golang_marks_a_half_done_script_dirty(golang: MigratorWorld):
    migrator = golang.make()
    golang.apply(migrator, 3)
    path = golang.project / "migrations/000003_index_hero_snapshots.down.sql"
    path.write_text("DROP INDEX CONCURRENTLY never_was_there;")
    result = migrator.unapply(1, golang.environment(migrator), SECONDS)
    assert result.exit_code == 1
    assert rows(golang, "SELECT version, dirty FROM schema_migrations") == [(2, True)]
    with golang.connect() as session:
        assert migrator.history(session).rows[-1].dirty
    with pytest.raises(ConfigurationError, match="left the database dirty"):
        migrator.unapply(1, golang.environment(migrator), SECONDS)


def test_a_script_that_was_rolled_back_leaves_no_mark(golang: MigratorWorld):
    migrator = golang.make()
    golang.apply(migrator, 4)
    path = golang.project / "migrations/000010_split_names.down.sql"
    before = golang.schema()
    for script in (
        "ALTER TABLE users ADD COLUMN x text; SELECT 1 / 0;",
        "BEGIN; DROP TABLE users; SELECT 1/0; COMMIT;",
    ):
        path.write_text(script)
        result = migrator.unapply(1, golang.environment(migrator), SECONDS)
        assert result.exit_code == 1
        assert rows(golang, "SELECT version, dirty FROM schema_migrations") == [(10, False)], result.output
        assert golang.schema() == before


def test_golang_forgets_the_last_version_wholly(golang: MigratorWorld):
    migrator = golang.make()
    golang.apply(migrator, 2)
    migrator.unapply(5, golang.environment(migrator), SECONDS)
    assert rows(golang, "SELECT * FROM schema_migrations") == []
    assert golang.history(migrator) == ()


def test_a_run_of_golang_migrate_keeps_us_out(golang: MigratorWorld):
    migrator = golang.make()
    golang.apply(migrator, 1)
    with golang.connect() as session:
        row = session.execute("SELECT current_database()").fetchone()
        assert row is not None
        # What `migrate -database postgres://…/NAME` computes.
        from zlib import crc32

        key = crc32(f"/{row[0]}\0public\0schema_migrations".encode()) * 1486364155 % 2**32
        session.execute("SELECT pg_advisory_lock(%s)", (key,))
        with pytest.raises(NeighbourUnreachable, match="holds its lock"):
            migrator.unapply(1, golang.environment(migrator), SECONDS)
    assert golang.history(migrator) == GOLANG[:1]


def test_without_a_history_only_a_copy_of_ours_is_touched(golang: MigratorWorld):
    migrator = golang.make()
    golang.apply(migrator, 4)
    with golang.connect() as session:
        session.execute("DROP TABLE schema_migrations")
        assert migrator.history(session).table == ""
    with pytest.raises(Refused, match="rehearsed, not run"):
        migrator.unapply(1, golang.environment(migrator), SECONDS)
    with golang.connect() as session:
        session.execute("CREATE SCHEMA backout CREATE TABLE copy_marker (copy_id text)")
    result = migrator.unapply(1, golang.environment(migrator), SECONDS)
    assert result.exit_code == 0
    assert rows(golang, "SELECT attname FROM pg_attribute WHERE attrelid = 'users'::regclass AND attnum > 1 AND NOT attisdropped") == [("full_name",)]  # fmt: skip # noqa: E501


def test_a_table_of_your_own_is_kept(golang: MigratorWorld):
    history = {"table": "public.changes", "version_column": "change", "applied_at_column": "at"}
    migrator = from_settings(golang.project, {"directory": "migrations", "history": history})
    golang.apply(migrator, 4)
    with golang.connect() as session:
        session.execute("UPDATE changes SET change = '000010_split_names' WHERE change = '10'")
        read = migrator.history(session)
    assert (read.table, [row.name for row in read.rows]) == ("public.changes", list(GOLANG))
    assert all(row.applied_at and row.xid for row in read.rows)
    migrator.unapply(2, golang.environment(migrator), SECONDS)
    assert golang.history(migrator) == GOLANG[:2]


def test_a_column_that_is_not_there_is_said(golang: MigratorWorld):
    golang.apply(golang.make(), 1)
    history = {"table": "schema_migrations", "version_column": "change"}
    migrator = from_settings(golang.project, {"directory": "migrations", "history": history})
    with (
        golang.connect() as session,
        pytest.raises(ConfigurationError, match="schema_migrations has no column change"),
    ):
        migrator.history(session)


def test_psql_commands_are_refused_before_anything_is_sent(dbmate: MigratorWorld):
    migrator = dbmate.make()
    dbmate.apply(migrator, 4)
    path = dbmate.project / "db/migrations/20240103000000_index_hero_snapshots.sql"
    path.write_text(path.read_text() + "\\! touch /tmp/never\n")
    before = dbmate.schema()
    with pytest.raises(ConfigurationError, match=r"uses \\!, a command of psql"):
        migrator.unapply(2, dbmate.environment(migrator), SECONDS)
    assert (dbmate.history(migrator), dbmate.schema()) == (DBMATE, before)
    assert [check.name for check in migrator.checks() if not check.good] == ["migration downs"]


def test_a_down_that_is_missing_stops_before_the_first(dbmate: MigratorWorld):
    migrator = dbmate.make()
    dbmate.apply(migrator, 4)
    (dbmate.project / "db/migrations/20240103000000_index_hero_snapshots.sql").unlink()
    with pytest.raises(ConfigurationError, match="migration 20240103000000 has no file"):
        migrator.unapply(2, dbmate.environment(migrator), SECONDS)
    assert dbmate.history(migrator) == DBMATE


def test_two_files_with_one_version_are_refused(golang: MigratorWorld):
    (golang.project / "migrations/1_again.up.sql").write_text("SELECT 1;")
    with pytest.raises(ConfigurationError, match="version 1 is given to several files"):
        golang.make().files()
