"""The project of the people in the demo: migrations, keys, and their backout.toml of a calm day."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from backout.app.enrol import make_demo_key
from backout.demo.place import Place
from backout.demo.world import entrance, node
from backout.demo.world.entrance import Entrance
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
{snapshot}
[target.{target}.migrations]
tool = "node-pg-migrate"
directory = "migrations"
node = "{node}"

[target.{target}.snapshot]
scope = "whole"

{backups}{plan}
[channels]
file = "notices.txt"

[people]
allowed_signers = "allowed_signers"
"{sre}" = {{ roles = ["sre"] }}
"{owner}" = {{ roles = ["owner"] }}
"""


# Base backups of the demo's own, beside the WAL that its production archives.
_SNAPSHOT_DSN = 'snapshot = { file = "backup-url" }\n'
_BACKUPS = """\
[target.{target}.backups]
tool = "base_backup"
store = "{store}"
archive = "{archive}"

"""


@dataclass(frozen=True, slots=True)
class Team:
    """One team and its bad migration. `migrations` names folders beside this file."""

    migrations: tuple[str, ...]
    target: str
    environment: str
    bad: str
    seed: str
    """Rows of a calm day; qualified names."""
    symptom: str = ""
    """What is said when the incident is opened."""
    calm_version: str = ""
    """The application's version on the calm day."""
    safe_version: str = ""
    """The one whose writes succeed on the schema of before the migration, and on the one after it."""
    etl: tuple[str, ...] = ()
    """More words for the ETL."""
    archives: bool = False
    """Production archives its WAL, and a role of its own takes base backups."""
    moves: bool = False
    """The application's traffic can be moved to a restored instance."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The migrations that the team has written, in their order."""
        found = (file for folder in self.migrations for file in (_MIGRATIONS / folder).glob("*.js"))
        return tuple(sorted(found, key=lambda file: file.name))


@dataclass(frozen=True, slots=True)
class Project:
    """The project's directory, and the connection string that its people have."""

    directory: Path
    url: str
    team: Team

    def bring_bad_migration(self) -> None:
        """The reviewed file arrives."""
        name = f"{self.team.bad}.js"
        file = next(file for file in self.team.files if file.name == name)
        shutil.copyfile(file, self.directory / "migrations" / name)

    def deploy_bad_migration(self) -> str:
        """The deploy of that night: the reviewed file arrives and the tool runs `up`; what the tool said."""
        self.bring_bad_migration()
        return node.migrate(self.directory, self.url, "up")


def make(
    place: Place, production: Production, team: Team, checks: str, way_in: Entrance | None = None
) -> Project:
    """Everything that a team has before its bad night: a project, a database brought up to date, rows.

    `checks` is the validation plan as TOML; `way_in` is the application's, where traffic can be moved.
    """
    directory = place.project
    shutil.rmtree(directory, ignore_errors=True)
    place.make()
    (directory / "migrations").mkdir()
    for file in team.files:
        if file.stem != team.bad:
            shutil.copyfile(file, directory / "migrations" / file.name)
    (directory / "package.json").write_text('{"name": "heroes", "private": true}\n')
    node.link_modules(directory, place.root / "node")
    _private(directory / "database-url", production.url)
    if team.archives:
        _private(directory / "backup-url", production.backup_url)
    traffic = ""
    if way_in is not None and way_in.lever:
        traffic = entrance.settings(way_in, production, team.target)
        _private(directory / "application-url", way_in.url)
        if way_in.console_url:
            _private(directory / "console-url", way_in.console_url)
        node.write_script(directory / "migrate", directory)
    _configure(place, production, team, traffic + checks)
    fresh_database(production)
    node.migrate(directory, production.url, "up")
    with production.session() as session:
        session.execute(team.seed.encode())
    return Project(directory, production.url, team)


def _configure(place: Place, production: Production, team: Team, plan: str) -> None:
    lines = [make_demo_key(place.people / name, name) for name in (SRE, OWNER)]
    (place.project / "allowed_signers").write_text("\n".join(lines) + "\n")
    text = _TOML.format(
        target=team.target,
        environment=team.environment,
        node=node.node(),
        snapshot=_SNAPSHOT_DSN if team.archives else "",
        backups=_BACKUPS.format(target=team.target, store=production.store, archive=production.archive)
        if team.archives
        else "",
        plan=plan,
        sre=SRE,
        owner=OWNER,
    )
    (place.project / "backout.toml").write_text(text)


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text + "\n")
