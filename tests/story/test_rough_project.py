"""A project that was not written for this: TypeScript, JavaScript and SQL mixed, a schema and a history table
of its own, a first migration without a down; adopted and rescued by typing what the README says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from backout.adapters.people.keys import allowed_signers_line, make_key
from backout.cli import command_line
from tests.migrators.worlds import FIXTURES, node_modules, node_on_path
from tests.story.harness import PEOPLE, World

BAD = "1733000000003_grind.ts"


@pytest.fixture
def grinder(heroes16: World, monkeypatch: pytest.MonkeyPatch) -> World:
    node_on_path(monkeypatch)
    project = FIXTURES / "rough_node_project"
    shutil.copytree(project, heroes16.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(BAD))
    (heroes16.root / "node_modules").symlink_to(node_modules())
    npm_run_migrate_up(heroes16)
    with heroes16.connect() as session:
        session.execute(
            "INSERT INTO shop.orders (bean, grams, note)"
            " SELECT 1 + i % 2, 100 + i, CASE WHEN i % 3 = 0 THEN 'gift' END FROM generate_series(1, 800) i"
        )
    return heroes16


def npm_run_migrate_up(made: World) -> None:
    done = subprocess.run(
        ["node", "node_modules/node-pg-migrate/bin/node-pg-migrate.js", "-f", "config/migrate.js", "up"],
        cwd=made.root,
        env={**os.environ, "DATABASE_URL": made.dsn},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def initialise(made: World, capsys: pytest.CaptureFixture[str]) -> None:
    """`init`, the two people, and nothing else by hand."""
    asked = ("--dir", str(made.root), "--target", "heroes", "--dsn-env", "HEROES_DSN", "--json")
    assert command_line(["init", *asked]) == 0
    rough = json.loads(capsys.readouterr().out)["rough"]
    assert not [line for line in rough if "no such directory" in line]
    file = made.root / "backout.toml"
    text = file.read_text().replace('environment = "development"', 'environment = "production"')
    lines = [f'"{name}" = {{ roles = ["{role}"] }}' for name, role in PEOPLE.items()]
    file.write_text("\n".join([text, *lines, ""]))
    for name in PEOPLE:
        made.keys[name] = made.root / f"{name}.key"
        line = allowed_signers_line(name, make_key(made.keys[name], name))
        with (made.root / "allowed_signers").open("a") as signers:
            signers.write(f"{line}\n")


@pytest.mark.node
@pytest.mark.proves(
    claim="Strategy A on a project that was not written for it, by the README alone",
    on="node-pg-migrate, TypeScript migrations, one machine, loopback",
    rights="plain owner",
    versions="16",
    size="3,202 rows",
)
def test_the_readme_is_enough(
    grinder: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(grinder.root)
    initialise(grinder, capsys)
    code, document, _ = grinder.cli(capsys, "doctor")
    assert code == 0, [check for check in document["checks"] if check["state"] == "fail"]
    shutil.copy(FIXTURES / "rough_node_project" / "db" / "changes" / BAD, grinder.root / "db" / "changes")
    npm_run_migrate_up(grinder)
    with grinder.connect() as session:
        session.execute("ALTER TABLE shop.orders DISABLE TRIGGER touch_orders")
        session.execute("INSERT INTO shop.orders (bean, grams, grind) VALUES (1, 250, 'fine')")
        session.execute("UPDATE shop.orders SET tip_cents = 50 WHERE id % 4 = 0")
    code, document, _ = grinder.cli(capsys, "open", "--symptom", "23514: espresso")
    assert (code, document["triage"]["offending"]) == (0, [BAD.removesuffix(".ts")])
    incident = document["incident"]["id"]
    code, document, _ = grinder.cli(capsys, "propose")
    assert (code, document["proposals"]["recommended"]) == (4, "A")
    for person, key in grinder.keys.items():
        signed = ("--as", person, "--key", str(key), "--confirm", "heroes")
        assert grinder.cli(capsys, "approve", *signed)[0] == 0
    code, document, err = grinder.cli(capsys, "run", "--application", "v41", "--watch", "0s")
    assert code == 0, err
    assert (document["execution"]["values_destroyed"], document["execution"]["values_kept"]) == (1602, 1602)
    assert grinder.cli(capsys, "verify")[0] == 0
    code, document, _ = grinder.cli(capsys, "postmortem")
    assert code == 0
    assert (grinder.root / "postmortem" / f"{incident}.html").is_file()
    assert grinder.cli(capsys, "close")[0] == 0
    assert grinder.one("SELECT count(*) FROM shop.per_bean") == 2
