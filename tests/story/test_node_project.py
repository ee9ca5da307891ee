"""node-pg-migrate, the real tool: a reviewed migration whose down would destroy what was written since."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from backout.app import incidents
from backout.app.results import Ran
from backout.errors import Stopped
from backout.model.execution import Outcome
from tests.migrators.worlds import node_modules
from tests.story.half_applied import wait_for
from tests.story.harness import World, apply_names, in_background, names_world

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
def test_a_pod_that_restarts_all_the_while_is_refused_from_the_down_to_the_end_of_the_watch(
    node_heroes: World, capsys: pytest.CaptureFixture[str]
):
    incident = node_heroes.open()
    incidents.propose(node_heroes.desk(), incident)
    node_heroes.approve(incident)
    tried: list[subprocess.CompletedProcess[str]] = []

    def pod(stop: threading.Event) -> None:
        while not stop.wait(0.3):
            tried.append(up(node_heroes))

    with in_background(pod):
        ran = run_or_resume(node_heroes, incident, 5.0)
        refused = [done for done in tried if "already running" in done.stderr + done.stdout]
        wait_for(node_heroes, "SELECT count(*) = 2 FROM pgmigrations")  # the watch is over, it applies again
    assert ran.watch is not None
    assert ran.watch.came_back is None
    assert len(refused) >= 2, tried
    assert node_heroes.one("SELECT sum(kept_values) FROM backout_kept.manifest") == 1000
    code, _, err = node_heroes.cli(capsys, "kept", "list", incident)
    assert code == 0
    assert "applied again" in err


def run_or_resume(made: World, incident: str, watch: float) -> Ran:
    """The pod may have the tool's lock at the very moment of the down: then it stops safely."""
    for _ in range(5):
        try:
            return incidents.run(made.desk(), incident, {}, watch)
        except Stopped:
            time.sleep(0.1)
    raise AssertionError("the tool's lock was never free")


def test_where_the_tool_has_no_lock_it_is_an_alarm_within_five_seconds(heroes16: World):
    names_world(heroes16)
    apply_names(heroes16)
    incident = heroes16.open()
    incidents.propose(heroes16.desk(), incident)
    heroes16.approve(incident, strategy="A", accepts=("users.full_name",))
    again: list[float] = []

    def pod(stop: threading.Event) -> None:
        wait_for(heroes16, "SELECT count(*) = 1 FROM schema_migrations", tries=3000)
        stop.wait(1.5)
        apply_names(heroes16)
        again.append(time.monotonic())

    with in_background(pod):
        ran = incidents.run(heroes16.desk(), incident, {}, 30.0)
        alarmed = time.monotonic()
    assert ran.watch is not None
    assert ran.watch.came_back is not None
    assert alarmed - again[0] < 5
    assert heroes16.one("SELECT sum(kept_values) FROM backout_kept.manifest") == 1001


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
