"""A project beside a production with a WAL archive and base backups, and what tests ask of both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backout.adapters.servers.local import LocalServers
from backout.ports.backups import Surroundings
from backout.postgres.physical.instances import Instances
from tests.physical.world import Production
from tests.story.harness import World, world

FIRST = """
CREATE TABLE users (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE issues (id bigserial PRIMARY KEY, author bigint NOT NULL REFERENCES users, title text NOT NULL);
"""
BAD = "TRUNCATE issues; ALTER TABLE users ADD COLUMN motto text;"
ROWS = 500


@dataclass
class Place:
    """The project (`made`), the production's server with its archive (`prod`), and how the verb is typed."""

    made: World
    prod: Production
    capsys: pytest.CaptureFixture[str]

    def typed(self, *words: str) -> tuple[int, dict[str, Any], str]:
        return self.made.cli(self.capsys, *words)

    def restored(self, *words: str) -> dict[str, Any]:
        """`restore` that hands over; its document."""
        code, answer, err = self.typed("restore", *words)
        assert code == 0, (answer, err)
        assert answer["outcome"] == "handed over"
        return answer

    def refused(self, *words: str, code: int = 3) -> dict[str, Any]:
        """`restore` that is refused; nothing was made for it."""
        before = self.instances.all(), self.instances.unfinished()
        found, answer, err = self.typed("restore", *words)
        assert found == code, (answer, err)
        assert (self.instances.all(), self.instances.unfinished()) == before, "never 'started'"
        return answer

    @property
    def instances(self) -> Instances:
        return Instances(Surroundings(self.made.state / "instances", self.made.root))

    def write(self, rows: int) -> None:
        with self.made.connect() as session:
            session.execute(
                """INSERT INTO issues (author, title)
                   SELECT 1 + i %% 50, 'issue ' || i FROM generate_series(1, %s) i""",
                (rows,),
            )

    def position(self) -> str:
        return str(self.prod.position())

    def take(self) -> str:
        """A base backup; its id."""
        code, taken, err = self.typed("backup", "take")
        assert code == 0, (taken, err)
        return str(taken["backups"][-1]["id"])

    def snapshot(self) -> str:
        code, taken, err = self.typed("snapshot", "take")
        assert code == 0, (taken, err)
        return str(taken["snapshot"]["id"])

    def configure(self, more: str) -> None:
        with (self.made.root / "backout.toml").open("a") as file:
            file.write(f"\n{more}\n")


def count(answer: dict[str, Any], table: str) -> int:
    """Rows of a table of the restored database, through the connection that was handed over."""
    with psycopg.connect(answer["handed"]["connection"]) as session:
        row = session.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def checks(answer: dict[str, Any], part: str = "smoked") -> dict[str, str]:
    """Check -> state."""
    return {check["name"]: check["state"] for check in answer[part]["checks"]}


@contextmanager
def project(
    prod: Production, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    """A database with two tables and one migration; nothing of a restore is left behind."""
    prod.clear()
    with world(prod.server, root, monkeypatch) as made:
        monkeypatch.chdir(root)
        monkeypatch.setenv("HEROES_ADMIN", prod.server.dsn(made.database))
        place = Place(made, prod, capsys)
        _fill(made, prod)
        try:
            yield place
        finally:
            for instance in place.instances.all():
                place.instances.destroy(instance.name)
            for name in place.instances.unfinished():
                place.instances.destroy(name)
            servers = LocalServers(made.state)  # of a snapshot that was adopted
            for scratch in servers.running():
                servers.destroy(scratch)


def _fill(made: World, prod: Production) -> None:
    made.migration("20240101000000_first", FIRST, "SELECT 1;")
    made.migration("20240201000000_bad", BAD, "ALTER TABLE users DROP COLUMN motto;")
    with made.connect() as session:
        session.execute("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)")
    made.applied("20240101000000", FIRST)
    with made.connect() as session:
        session.execute("INSERT INTO users (name) SELECT 'user ' || i FROM generate_series(1, 100) i")
        session.execute(
            """INSERT INTO issues (author, title)
               SELECT 1 + i %% 50, 'old ' || i FROM generate_series(1, %s) i""",
            (ROWS,),
        )
    made.write_config()
    config = made.root / "backout.toml"
    operate = 'dsn.operate.env = "HEROES_DSN"'
    text = config.read_text().replace(operate, f'{operate}\ndsn.snapshot.env = "HEROES_ADMIN"')
    where = f'store = "{prod.base}/store"\narchive = "{prod.archive}"\n'
    config.write_text(f'{text}\n[target.heroes.backups]\ntool = "base_backup"\n{where}')
