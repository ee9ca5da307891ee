"""Projects that are rough in every way that real ones are: said on one line each, never fallen over."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.migrators.worlds import FIXTURES, node_modules
from tests.readiness.world import Place

SCRIPTS = """{"name": "rough", "scripts": {
 "migrate:down": "node-pg-migrate down --count 1 --config database/migration-config.js --env production",
 "migrate:all": "node-pg-migrate up"}}
"""


@pytest.fixture
def rough(here: Place) -> Place:
    """Like the project whose runbook this is, and a little worse; the tool is not installed."""
    shutil.rmtree(here.project / "db")
    shutil.copytree(FIXTURES / "node_project", here.project, dirs_exist_ok=True)
    (here.project / "package.json").write_text(SCRIPTS)
    migrations = here.project / "database/migrations"
    first = sorted(migrations.iterdir())[0]
    first.write_text("exports.up = (pgm) => { pgm.createTrigger(; throw new Error('never ran') }")
    (migrations / "README").write_text("no migration\n")
    (migrations / "notes.js").write_text("\x00\x01 not even text")
    (here.project / "schema.sql").write_text("CREATE TABLE users (id serial PRIMARY KEY,,);\n")
    (here.project / ".env.example").write_text("DATABASE_URL=\nexport BROKEN\n=\n")
    return here


def test_init_says_so_on_one_line_each(rough: Place):
    done = rough.type("init", "--json")
    assert done.exit_code == 0, done.err
    said = done.document["rough"]
    for words in (
        "script migrate:down: `--count` is ignored",
        "throws when a variable is not set",
        "schema.sql: holds a statement that is no PostgreSQL",
        "notes.js",
    ):
        assert [line for line in said if words in line], (words, said)
    assert not [line for line in said if "\n" in line]


def test_doctor_says_what_stands_in_the_way(rough: Place):
    rough.type("init")
    done = rough.type("doctor", "--json")
    assert done.exit_code == 1
    assert [c for c in done.document["checks"] if c["name"].startswith("migration") and c["state"] == "fail"]
    assert "Traceback" not in rough.type("doctor").err


def test_with_the_tool_installed_it_is_looked_at_and_not_believed(rough: Place):
    (rough.project / "node_modules").symlink_to(node_modules())
    document = rough.type("init", "--json").document
    assert document["tool"].startswith("node-pg-migrate ")
    done = rough.type("doctor", "--json")
    assert "is ignored" in done.check("migration command")["detail"]
    assert done.check("command")["state"] == "skipped"


def test_a_configuration_that_cannot_be_read_is_one_error(here: Place):
    (here.project / "backout.toml").write_text("[target.x]\nenvironment = \n")
    done = here.type("doctor")
    assert (done.exit_code, "line 2" in done.err) == (2, True)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[]", b'{"scripts": 3}'])
def test_an_unreadable_package_json_is_no_obstacle(here: Place, content: bytes):
    (here.project / "package.json").write_bytes(content)
    assert here.type("init").exit_code == 0


def test_a_directory_with_nothing_in_it(here: Place, tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    here.monkeypatch.chdir(empty)
    done = here.type("init", "--json")
    assert done.exit_code == 0
    assert "no migration tool was recognised here" in done.document["rough"]
    assert "migration tool" in [item["what"] for item in done.document["todo"]]
    assert here.type("doctor").exit_code in (1, 2)
