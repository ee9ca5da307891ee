"""Alembic: the contract, and the ways in which env.py may take its connection."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backout.adapters.migrator import alembic_scripts
from backout.adapters.migrator.alembic import Alembic, from_settings
from backout.errors import ConfigurationError, NeighbourUnreachable
from backout.model.check import CheckState
from backout.model.migration import DownKind
from backout.testing.migrator_contract import (
    SECONDS,
    MigratorContract,
    MigratorWorld,
    commit_everything,
    listening,
)
from backout.testing.servers import RealServer
from tests.migrators.worlds import project_of, world_of

NAMES = ("1f0a", "0b7c", "9d3e", "4c21")
COMMAND = [sys.executable, "-m", "alembic"]
VERSIONS = "migrations/versions"


def make(project: Path, **more: object) -> Alembic:
    return from_settings(project, {"command": COMMAND, **more})


@pytest.fixture
def world(
    pg18: RealServer, tmp_path: Path, bytecode: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MigratorWorld]:
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(bytecode))
    project = project_of("alembic_project", tmp_path)
    with world_of(
        pg18,
        project,
        tmp_path / "private",
        names=NAMES,
        configuration="alembic.ini",
        line="# another line",
        make=make,
    ) as made:
        yield made


class TestContract(MigratorContract):
    """Everything that holds for every tool."""


def test_each_file_says_what_it_is(world: MigratorWorld):
    files = world.make().files()
    assert [file.down for file in files] == [DownKind.PRESENT] * 4
    assert [file.transactional for file in files] == [True, True, False, True]
    assert files[0].header == "create users\nOwner: profiles team"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("def downgrade():\n    pass", DownKind.EMPTY),
        ('def downgrade() -> None:\n    """Nothing."""', DownKind.EMPTY),
        ("def downgrade():\n    raise NotImplementedError('irreversible')", DownKind.REFUSED),
        ("def upgrade(): pass", DownKind.MISSING),
        ("def downgrade():\n    op.drop_table('a')", DownKind.PRESENT),
    ],
)
def test_the_way_back_of_a_revision(body: str, kind: DownKind):
    revision = alembic_scripts.parse("a.py", f"revision = 'a'\n{body}\n".encode())
    assert revision is not None
    assert revision.down is kind


def test_the_head_carries_the_transaction_that_wrote_it(world: MigratorWorld):
    migrator = world.make()
    world.apply(migrator, 2)
    with world.connect() as session:
        rows = migrator.history(session).rows
        xmin = session.execute("SELECT xmin::text FROM alembic_version").fetchone()
    assert xmin is not None
    assert [row.xid for row in rows] == [None, xmin[0]]


def test_the_chain_is_known_when_the_newest_files_are_gone(world: MigratorWorld):
    migrator = world.make()
    world.apply(migrator, 4)
    for name in ("9d3e_index_hero_snapshots.py", "4c21_split_names.py"):
        (world.project / VERSIONS / name).unlink()
    commit_everything(world.project, "Roll the image back")
    assert world.history(migrator) == NAMES
    result = migrator.unapply(1, world.environment(migrator), SECONDS)
    assert "Can't locate revision" in result.output
    assert world.history(migrator) == NAMES


def test_branches_are_refused_with_their_names(world: MigratorWorld):
    (world.project / VERSIONS / "aaaa_other.py").write_text("revision = 'aaaa'\ndown_revision = '9d3e'\n")
    with pytest.raises(ConfigurationError, match="4c21 and aaaa both follow 9d3e"):
        world.make().files()
    (world.project / VERSIONS / "bbbb_merge.py").write_text(
        "revision = 'bbbb'\ndown_revision = ('aaaa', '4c21')\n"
    )
    with pytest.raises(ConfigurationError, match="not one straight line"):
        world.make().files()
    checks = {check.name: check for check in world.make().checks()}
    assert checks["migration files"].state is CheckState.FAIL


def test_a_revision_missing_in_the_middle_is_named(world: MigratorWorld):
    (world.project / VERSIONS / "0b7c_create_hero_snapshots.py").unlink()
    with pytest.raises(ConfigurationError, match="revision 0b7c is missing"):
        world.make().files()


def test_an_ini_with_the_url_is_replaced_by_a_private_one(world: MigratorWorld):
    env = world.project / "migrations/env.py"
    env.write_text(
        env.read_text()
        .replace('create_engine(os.environ["HEROES_DATABASE_URL"], ', "engine_from_config(SECTION, ")
        .replace("create_engine, pool", "engine_from_config, pool")
        .replace("engine = ", "SECTION = context.config.get_section('alembic')\nengine = ")
    )
    before = (world.project / "alembic.ini").read_text()
    migrator = world.make()
    environment = world.environment(migrator)
    assert environment.arguments == ("-c", str(world.private / "alembic.ini"))
    assert (world.private / "alembic.ini").stat().st_mode & 0o777 == 0o600
    world.apply(migrator, 1)
    assert (world.project / "alembic.ini").read_text() == before


def test_a_connection_in_parts_is_redirected(world: MigratorWorld):
    env = world.project / "migrations/env.py"
    env.write_text(
        env.read_text()
        .replace(
            'create_engine(os.environ["HEROES_DATABASE_URL"]',
            'create_engine(URL.create("postgresql+psycopg", os.environ["DB_USER"], os.getenv("DB_PASSWORD"), '
            'os.environ["DB_HOST"], int(os.environ.get("DB_PORT", 5432)), os.environ["DB_NAME"])',
        )
        .replace("import create_engine", "import URL, create_engine")
    )
    world.apply(world.make(), 1)


def test_a_connection_written_into_env_py_does_not_reach_production(world: MigratorWorld):
    env = world.project / "migrations/env.py"
    with listening() as production:
        env.write_text(
            env.read_text().replace(
                'os.environ["HEROES_DATABASE_URL"]',
                f'"postgresql+psycopg://owner@127.0.0.9:{production.port}/app"',
            )
        )
        migrator = world.make()
        result = migrator.probe(world.environment(migrator), SECONDS)
    assert result is not None
    assert result.exit_code != 0
    checks = {check.name: check for check in migrator.checks()}
    assert checks["migration connection"].state is CheckState.UNKNOWN


def test_an_ini_of_several_databases_is_refused(world: MigratorWorld):
    env = world.project / "migrations/env.py"
    env.write_text(env.read_text() + "\n# context.config.get_section\n")
    ini = world.project / "alembic.ini"
    ini.write_text(ini.read_text() + "\n[other]\nsqlalchemy.url = postgresql://localhost/other\n")
    with pytest.raises(ConfigurationError, match="names several databases"):
        world.environment(world.make())


def test_pyproject_may_hold_the_settings(world: MigratorWorld):
    (world.project / "alembic.ini").unlink()
    (world.project / "pyproject.toml").write_text('[tool.alembic]\nscript_location = "%(here)s/migrations"\n')
    migrator = make(world.project, url_scheme="postgresql+psycopg")
    world.apply(migrator, 1)
    assert world.history(migrator) == NAMES[:1]


def test_a_version_table_of_another_name_is_found(world: MigratorWorld):
    env = world.project / "migrations/env.py"
    env.write_text(
        env.read_text().replace("connection=connection", 'connection=connection, version_table="done"')
    )
    migrator = world.make()
    world.apply(migrator, 1)
    with world.connect() as session:
        assert migrator.history(session).table == "public.done"


def test_a_command_that_is_not_alembic_is_said(world: MigratorWorld):
    with pytest.raises(NeighbourUnreachable, match="did not answer as Alembic does"):
        make(world.project, command=["/bin/echo"]).version()


def test_what_a_downgrade_really_does(world: MigratorWorld):
    migrator = world.make()
    assert migrator.explain(("downgrade", "-1")) is None
    assert (
        migrator.explain(("downgrade", "0b7c"))
        == "it reverts everything above 0b7c; 0b7c itself stays applied"
    )
    assert migrator.explain(("downgrade", "-1", "--sql")) == "`--sql` only prints SQL; nothing is reverted"
