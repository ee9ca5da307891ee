"""What `init` sees in a project, rough ones included."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from backout.adapters.migrator.detect import Detected, detect
from tests.migrators.worlds import FIXTURES


@pytest.mark.parametrize(
    ("fixture", "expected"),
    [
        ("node_project", ("node-pg-migrate", "database/migrations", "database/migration-config.js")),
        ("rough_node_project", ("node-pg-migrate", "db/changes", "config/migrate.js")),
        ("dbmate_project", ("sql", "db/migrations", "")),
        ("golang_project", ("sql", "migrations", "")),
        ("alembic_project", ("alembic", "migrations/versions", "alembic.ini")),
    ],
)
def test_the_tool_of_a_project_is_found(fixture: str, expected: tuple[str, str, str]):
    (found,) = detect(FIXTURES / fixture)
    assert (found.tool, found.directory, found.config) == expected


def test_ignored_flags_and_rough_configurations_are_said_in_one_line_each():
    (found,) = detect(FIXTURES / "node_project")
    assert found.options == {"table": "pgmigrations"}
    assert found.warnings == (
        "package.json: script migrate:back: `--config` is ignored (it is `--config-file`)",
        "package.json: script migrate:back: `--env` is ignored (it is `--envPath FILE`)",
        "database/migration-config.js: throws when a variable is not set, even for --help",
        "database/migration-config.js: demands TLS; the proxy speaks it and brings its own authority",
    )


def test_a_directory_beside_the_configuration_is_put_together(tmp_path: Path):
    project = tmp_path / "project"
    shutil.copytree(FIXTURES / "rough_node_project", project)
    config = project / "config" / "migrate.js"
    joined = config.read_text().replace(
        "path.join('db', 'changes')", "join(__dirname, '..', 'db', 'changes')"
    )
    config.write_text(joined)
    (found,) = detect(project)
    assert found.directory == "db/changes"
    assert not any("no such directory" in warning for warning in found.warnings)


def test_files_tell_the_tool_where_the_dependency_stands_above(tmp_path: Path):
    (tmp_path / "migrations").mkdir()
    (tmp_path / "package.json").write_text('{"name": "one-of-many"}')
    (tmp_path / "migrations" / "1700000000001_first.js").write_text("exports.up = (pgm) => {};")
    (found,) = detect(tmp_path)
    assert (found.tool, found.directory) == ("node-pg-migrate", "migrations")


def test_the_variable_of_env_py_is_found():
    (found,) = detect(FIXTURES / "alembic_project")
    assert found.options == {"database_url_variable": "HEROES_DATABASE_URL"}
    assert found.warnings == ()


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"package.json": "{ not json"},
        {"package.json": "[]", "alembic.ini": "no section here"},
        {"package.json": '{"scripts": [1], "dependencies": {"node-pg-migrate": 9}}'},
        {"package.json": '{"dependencies": {"node-pg-migrate": "9"}}', "migrations/README.md": ""},
        {"package.json": '{"scripts": {"m": "node-pg-migrate up -f gone.js"}}'},
        {"alembic.ini": "[alembic]\nscript_location = gone\n"},
        {"alembic.ini": "[alembic]\nscript_location = m\n", "m/env.py": "def ("},
        {"pyproject.toml": "[tool.alembic]\nscript_location = 3"},
        {"pyproject.toml": "[tool.alembic"},
        {"migrations/1_x.up.sql": "", "migrations/1_y.up.sql": "\x00"},
        {"db/migrations/x.sql": "SELECT"},
    ],
)
def test_nothing_rough_makes_it_fall_over(tmp_path: Path, files: dict[str, str]):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert all(isinstance(found, Detected) for found in detect(tmp_path))


def test_two_tools_in_one_project_are_both_named(tmp_path: Path):
    shutil.copytree(FIXTURES / "node_project", tmp_path, dirs_exist_ok=True)
    shutil.copytree(FIXTURES / "dbmate_project", tmp_path, dirs_exist_ok=True)
    assert [found.tool for found in detect(tmp_path)] == ["node-pg-migrate", "sql"]


def test_a_quoted_word_of_a_script_is_one_word_without_its_quotes(tmp_path: Path):
    (tmp_path / "own dir").mkdir()
    (tmp_path / "own dir" / "1_a.js").write_text("exports.up = () => {}")
    script = 'node-pg-migrate -m "own dir" --migrations-table "Mig Log"'
    described = {"scripts": {"migrate": script}, "dependencies": {"node-pg-migrate": "8"}}
    (tmp_path / "package.json").write_text(json.dumps(described))
    (found,) = detect(tmp_path)
    assert (found.directory, found.options["table"]) == ("own dir", "Mig Log")
