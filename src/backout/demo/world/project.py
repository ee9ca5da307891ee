"""The project of the people in the demo: migrations, scripts, and their backout.toml of a calm day."""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from backout.app.enrol import make_demo_key
from backout.demo.place import Place
from backout.demo.world import node
from backout.demo.world.production import Production, fresh_database

TARGET = "heroes-production"
OPERATOR = "mara.okafor"
SRE = "jonas.lind"
OWNER = "priya.raman"
BAD = "1795314660000_hero-snapshots-v2"
_FILES = Path(__file__).parent / "migrations"

_SEED = """
INSERT INTO public.teams (name) SELECT 'team ' || n FROM generate_series(1, 20) n;
INSERT INTO public.users (team_id, name) SELECT 1 + n % 20, 'hero ' || n FROM generate_series(1, 2000) n;
INSERT INTO public.hero_snapshots (user_id, taken_at, payload, power, processed_at)
  SELECT 1 + n % 2000, now() - n * interval '1 minute',
         jsonb_build_object('power', n % 9999, 'pose', 'heroic', 'note', repeat('x', n % 60)), n % 9999, now()
  FROM generate_series(1, 20000) n;
INSERT INTO public.profile_summaries (user_id, snapshots, total_power)
  SELECT user_id, count(*), sum(power) FROM public.hero_snapshots GROUP BY user_id;
INSERT INTO public.badges (user_id, name) SELECT n, 'early bird' FROM generate_series(1, 500) n;
"""

_TOML = """\
[target.{target}]
environment = "production"
allow_writes = true

[target.{target}.dsn]
operate = {{ file = "database-url" }}

[target.{target}.migrations]
tool = "node-pg-migrate"
directory = "migrations"
{node}
[target.{target}.snapshot]
scope = "whole"

[target.{target}.checks.users]
sql = "SELECT count(*) FROM users"
expect = ">= 2000"

[target.{target}.checks.hero_snapshots]
sql = "SELECT count(*) FROM hero_snapshots"
expect = ">= 20000"

[target.{target}.checks.regclass]
regclass = "public.hero_snapshots"
expect = "present"

[target.{target}.checks.health]
http = "http://127.0.0.1:{http_port}/api/health"
expect = 200

[target.{target}.checks.profile]
http = "http://127.0.0.1:{http_port}/api/profile/1"
expect = "200 user_id=1"
smoke = "read"

[target.{target}.checks.etl]
smoke = "write"
settle = "{settle}s"
insert = '''INSERT INTO hero_snapshots (user_id, payload)
  VALUES (1, '{{"power": 1, "smoke": true}}') RETURNING id'''
processed = "SELECT processed_at IS NOT NULL FROM hero_snapshots WHERE id = %(key)s"
remove = "DELETE FROM hero_snapshots WHERE id = %(key)s"

[channels]
file = "notices.txt"

[people]
allowed_signers = "allowed_signers"
"{sre}" = {{ roles = ["sre"] }}
"{owner}" = {{ roles = ["owner"] }}
"""


@dataclass(frozen=True, slots=True)
class Project:
    """The project's directory, and the connection string that its people have."""

    directory: Path
    url: str

    def deploy_bad_migration(self) -> str:
        """The deploy of that night: the reviewed file arrives and the tool runs `up`; what the tool said."""
        shutil.copyfile(_FILES / f"{BAD}.js", self.directory / "migrations" / f"{BAD}.js")
        return node.migrate(self.directory, self.url, "up")


def make(place: Place, production: Production, settle_seconds: float) -> Project:
    """Everything that a team has before its bad night: a project, a database brought up to date, rows."""
    directory = place.project
    shutil.rmtree(directory, ignore_errors=True)
    place.make()
    (directory / "migrations").mkdir()
    for file in sorted(_FILES.glob("*.js")):
        if file.stem != BAD:
            shutil.copyfile(file, directory / "migrations" / file.name)
    (directory / "package.json").write_text('{"name": "heroes", "private": true}\n')
    node.link_modules(directory, place.root / "node")
    _private(directory / "database-url", production.url)
    _configuration(place, production, settle_seconds)
    _scripts(place)
    fresh_database(production)
    node.migrate(directory, production.url, "up")
    with production.session() as session:
        session.execute(_SEED)
    return Project(directory, production.url)


def _configuration(place: Place, production: Production, settle_seconds: float) -> None:
    lines = [make_demo_key(place.people / name, name) for name in (SRE, OWNER)]
    (place.project / "allowed_signers").write_text("\n".join(lines) + "\n")
    text = _TOML.format(
        target=TARGET,
        http_port=production.http_port,
        settle=f"{settle_seconds:g}",
        sre=SRE,
        owner=OWNER,
        node=f'node = "{node.node()}"\n',
    )
    (place.project / "backout.toml").write_text(text)


def _scripts(place: Place) -> None:
    """What this team types: one command stops and starts the ETL, one deploys a version."""
    control = shlex.quote(str(place.control))
    python = shlex.quote(sys.executable)
    for name, words in (
        ("etl", f'backout.demo.world.etl "$1" {control}'),
        ("deploy", f'backout.demo.world.application deploy "$1" {control}'),
    ):
        script = place.project / name
        script.write_text(f"#!/bin/sh\nexec {python} -m {words}\n")
        script.chmod(0o755)


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text + "\n")
