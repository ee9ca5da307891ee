"""A demo's world for tests: its server is the demo's own, in a directory of the test session."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backout.demo.place import Place
from backout.demo.world import control, production
from backout.demo.world.heroes import HEROES
from backout.demo.world.processes import Processes
from backout.demo.world.production import Production, fresh_database
from backout.demo.world.project import Team

# The schema as the migrations of the demo leave it; the end-to-end tests run the migrations themselves.
SCHEMA = """
CREATE TABLE teams (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE users (id serial PRIMARY KEY, team_id integer NOT NULL REFERENCES teams, name text NOT NULL,
  seen bigint NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE hero_snapshots (id serial PRIMARY KEY, user_id integer NOT NULL REFERENCES users,
  taken_at timestamptz NOT NULL DEFAULT now(), payload jsonb NOT NULL, power integer NOT NULL DEFAULT 0,
  processed_at timestamptz);
CREATE TABLE profile_summaries (user_id integer PRIMARY KEY REFERENCES users,
  snapshots integer NOT NULL DEFAULT 0, total_power bigint NOT NULL DEFAULT 0,
  updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE badges (user_id integer NOT NULL REFERENCES users, name text NOT NULL,
  given_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (user_id, name));
"""
SEASONS = """
CREATE TABLE cheers (id serial PRIMARY KEY, snapshot_id integer NOT NULL REFERENCES hero_snapshots,
  nonce text NOT NULL);
CREATE TABLE records (user_id integer PRIMARY KEY REFERENCES users,
  snapshot_id integer NOT NULL REFERENCES hero_snapshots, power integer NOT NULL);
CREATE TABLE seasons (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
ALTER TABLE users ADD COLUMN motto text;
ALTER TABLE hero_snapshots ADD COLUMN season_id integer REFERENCES seasons;
"""
UP = """
ALTER TABLE hero_snapshots RENAME COLUMN power TO strength;
ALTER TABLE hero_snapshots ADD COLUMN source text, ADD COLUMN confidence real;
ALTER TABLE hero_snapshots ADD CONSTRAINT confidence_present
  CHECK (processed_at IS NULL OR confidence IS NOT NULL) NOT VALID;
"""
DOWN = """
ALTER TABLE hero_snapshots DROP CONSTRAINT confidence_present;
ALTER TABLE hero_snapshots DROP COLUMN source, DROP COLUMN confidence;
ALTER TABLE hero_snapshots RENAME COLUMN strength TO power;
"""


def remove(server: Production) -> None:
    """Stop the server and remove its files, wherever its account made them lie."""
    production.stop(server)
    data = Path(server.data)
    shutil.rmtree(data.parent if data.parent.name.startswith("backout-demo-") else data, ignore_errors=True)
    shutil.rmtree(server.sockets, ignore_errors=True)


def execute(production: Production, text: str) -> list[tuple[object, ...]]:
    """Run SQL as the team's role, in its own schema."""
    with production.session() as session:
        session.execute("SELECT pg_catalog.set_config('search_path', 'public', false)")
        cursor = session.execute(text.encode())
        return list(cursor.fetchall()) if cursor.description else []


def populate(production: Production, more: str = "", team: Team = HEROES) -> None:
    """An empty database with the schema (and more of it) and the rows of a calm day."""
    fresh_database(production)
    execute(production, SCHEMA + more)
    execute(production, team.seed)


@contextmanager
def at_work(place: Place, production: Production, *names: str) -> Iterator[Processes]:
    """Application and ETL (or one of them) as processes of their own."""
    control.say_alive(place.control)
    for file in (place.ledger, *place.control.glob("*.json")):
        file.unlink(missing_ok=True)
    processes = Processes(place.processes)
    environment = {**os.environ, "DATABASE_URL": production.url}
    directory = str(place.control)
    commands = {
        "application": ("application", "serve", directory, str(place.ledger), str(production.http_port)),
        "etl": ("etl", "work", directory),
    }
    try:
        for name in names:
            module, *words = commands[name]
            processes.start(name, [sys.executable, "-m", f"backout.demo.world.{module}", *words], environment)
        yield processes
    finally:
        for name in names:
            processes.end(name)


def say(*words: str) -> subprocess.CompletedProcess[str]:
    """Type a command of the demo's team."""
    command = [sys.executable, "-m", "backout.demo.world.operate", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def wait_for(directory: Path, document: str, key: str, at_least: int) -> None:
    """Wait until a process has said that it did something at least so often."""
    path = directory / document
    assert control.wait_until(lambda: int(control.read(path).get(key, 0)) >= at_least, 20), path.read_text()
