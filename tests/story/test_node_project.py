"""node-pg-migrate, the real tool: a reviewed migration whose down would destroy what was written since."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backout.app import incidents
from backout.model.execution import Outcome
from tests.migrators.worlds import node_modules
from tests.story.harness import World, in_background

FIRST = """exports.up = (pgm) => {
  pgm.createTable('users', { id: 'id', name: { type: 'text', notNull: true } });
  pgm.createTable('hero_snapshots', {
    id: 'id', user_id: { type: 'integer', references: 'users', onDelete: 'CASCADE' }, power: 'integer' });
  pgm.createTable('audit', { id: 'id', note: 'text' });
};
exports.down = (pgm) => { pgm.dropTable('audit'); pgm.dropTable('hero_snapshots'); pgm.dropTable('users'); };
"""
BAD = """exports.up = (pgm) => {
  pgm.renameColumn('hero_snapshots', 'power', 'strength');
  pgm.addColumns('hero_snapshots', { source: 'text', confidence: 'real' });
};
exports.down = (pgm) => {
  pgm.dropColumns('hero_snapshots', ['source', 'confidence']);
  pgm.renameColumn('hero_snapshots', 'strength', 'power');
};
"""


@pytest.fixture
def node_heroes(heroes: World) -> World:
    modules = node_modules()
    (heroes.root / "node_modules").symlink_to(modules)
    (heroes.root / "package.json").write_text(json.dumps({"name": "heroes", "private": True}))
    directory = heroes.root / "migrations"
    directory.mkdir()
    (directory / "1700000000001_first.js").write_text(FIRST)
    (directory / "1700000000002_hero-snapshots-v2.js").write_text(BAD)
    heroes.tool = "node-pg-migrate"
    heroes.write_config()
    up(heroes)
    with heroes.connect() as session:
        session.execute("INSERT INTO users (name) SELECT 'u' || i FROM generate_series(1, 20) i")
        session.execute(
            "INSERT INTO hero_snapshots (user_id, strength, source, confidence)"
            " SELECT 1 + i % 20, i, 'api', 0.5 FROM generate_series(1, 500) i"
        )
        session.execute(
            "INSERT INTO hero_snapshots (user_id, strength) SELECT 1, 1 FROM generate_series(1, 100)"
        )
    return heroes


def up(made: World, dsn: str = "") -> subprocess.CompletedProcess[str]:
    """The user's own `up`, as a pod runs it at start."""
    program = made.application().world("heroes").migrator._program()  # type: ignore[attr-defined]
    return subprocess.run(
        [*program.command, "up"],
        cwd=made.root,
        env={**os.environ, "DATABASE_URL": dsn or made.dsn},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.node
def test_the_down_runs_through_the_real_tool_and_every_value_is_kept(node_heroes: World):
    incident = node_heroes.open()
    proposed = incidents.propose(node_heroes.desk(), incident)
    assert proposed.triage.offending == ("1700000000002_hero-snapshots-v2",)
    assert proposed.proposals.recommended == "A", proposed.proposals.options
    counts = {loss.column: loss.values.count for loss in proposed.rehearsals[0].losses}
    assert counts == {"source": 500, "confidence": 500}
    node_heroes.approve(incident)
    ran = incidents.run(node_heroes.desk(), incident, {"application": "v41", "confirmed_by": "jonas"}, 0)
    assert ran.execution.outcome is Outcome.BACKED_OUT
    assert (ran.execution.values_destroyed, ran.execution.values_kept) == (1000, 1000)
    assert all(check.good for check in ran.verification.checks), ran.verification.checks
    assert node_heroes.one("SELECT count(power) FROM hero_snapshots") == 600


@pytest.mark.node
def test_nobody_applies_it_again_while_the_watch_lives(node_heroes: World):
    incident = node_heroes.open()
    incidents.propose(node_heroes.desk(), incident)
    node_heroes.approve(incident)
    tried: list[subprocess.CompletedProcess[str]] = []

    def pod(stop: object) -> None:
        time.sleep(2)
        tried.append(up(node_heroes))

    with in_background(pod):
        ran = incidents.run(node_heroes.desk(), incident, {}, 8.0)
    assert ran.watch is not None
    refused = tried[0].returncode != 0 and "already running" in tried[0].stderr + tried[0].stdout
    assert refused or ran.watch.came_back is not None, (tried[0], ran.watch)
    assert node_heroes.one("SELECT sum(kept_values) FROM backout_kept.manifest") == 1000


@pytest.mark.node
def test_a_migration_that_came_back_after_the_watch_is_said_by_the_next_command(
    node_heroes: World, capsys: pytest.CaptureFixture[str]
):
    incident = node_heroes.open()
    incidents.propose(node_heroes.desk(), incident)
    node_heroes.approve(incident)
    incidents.run(node_heroes.desk(), incident, {}, 0)
    assert up(node_heroes).returncode == 0
    code, document, err = node_heroes.cli(capsys, "status")
    assert code == 0
    assert "applied again" in document["warnings"][0]
    assert "ALARM" in err


def test_the_path_of_this_python_runs_the_module(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "backout", "--version"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
