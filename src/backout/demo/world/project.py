"""The project of the people in the demo: migrations, keys, and their backout.toml of a calm day."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from backout.app.enrol import make_demo_key
from backout.demo.place import Place
from backout.demo.world import node
from backout.demo.world.production import Production, fresh_database

OPERATOR = "mara.okafor"
SRE = "jonas.lind"
OWNER = "priya.raman"
_MIGRATIONS = Path(__file__).parent / "migrations"

_TOML = """\
[target.{target}]
environment = "{environment}"
allow_writes = true

[target.{target}.dsn]
operate = {{ file = "database-url" }}

[target.{target}.migrations]
tool = "node-pg-migrate"
directory = "migrations"
node = "{node}"

[target.{target}.snapshot]
scope = "whole"

{checks}
[channels]
file = "notices.txt"

[people]
allowed_signers = "allowed_signers"
"{sre}" = {{ roles = ["sre"] }}
"{owner}" = {{ roles = ["owner"] }}
"""


@dataclass(frozen=True, slots=True)
class Team:
    """One team and its bad migration. `migrations` names a folder beside this file."""

    migrations: str
    target: str
    environment: str
    bad: str
    seed: str
    """Rows of a calm day; qualified names."""

    @property
    def files(self) -> Path:
        """The migrations that the team has written."""
        return _MIGRATIONS / self.migrations


@dataclass(frozen=True, slots=True)
class Project:
    """The project's directory, and the connection string that its people have."""

    directory: Path
    url: str
    team: Team

    def deploy_bad_migration(self) -> str:
        """The deploy of that night: the reviewed file arrives and the tool runs `up`; what the tool said."""
        name = f"{self.team.bad}.js"
        shutil.copyfile(self.team.files / name, self.directory / "migrations" / name)
        return node.migrate(self.directory, self.url, "up")


def make(place: Place, production: Production, team: Team, checks: str) -> Project:
    """Everything that a team has before its bad night: a project, a database brought up to date, rows.

    `checks` is the validation plan as TOML.
    """
    directory = place.project
    shutil.rmtree(directory, ignore_errors=True)
    place.make()
    (directory / "migrations").mkdir()
    for file in sorted(team.files.glob("*.js")):
        if file.stem != team.bad:
            shutil.copyfile(file, directory / "migrations" / file.name)
    (directory / "package.json").write_text('{"name": "heroes", "private": true}\n')
    node.link_modules(directory, place.root / "node")
    _private(directory / "database-url", production.url)
    _configure(place, team, checks)
    fresh_database(production)
    node.migrate(directory, production.url, "up")
    with production.session() as session:
        session.execute(team.seed.encode())
    return Project(directory, production.url, team)


def _configure(place: Place, team: Team, checks: str) -> None:
    lines = [make_demo_key(place.people / name, name) for name in (SRE, OWNER)]
    (place.project / "allowed_signers").write_text("\n".join(lines) + "\n")
    text = _TOML.format(
        target=team.target,
        environment=team.environment,
        node=node.node(),
        checks=checks,
        sre=SRE,
        owner=OWNER,
    )
    (place.project / "backout.toml").write_text(text)


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text + "\n")
