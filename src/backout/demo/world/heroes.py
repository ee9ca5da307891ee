"""The team of the demo: its people, its rows, its validation plan, and the two commands that it types."""

from __future__ import annotations

import shlex
import sys

from backout.demo.place import Place
from backout.demo.world.project import Team

TARGET = "heroes-production"
SETTLE_SECONDS = 8
"""How long the smoke test of `verify` waits for the ETL."""

SEED = """
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

_CHECKS = """\
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
"""

HEROES = Team(
    ("heroes", "v2"),
    TARGET,
    "production",
    "1795314660000_hero-snapshots-v2",
    SEED,
    "ETL fails with 23514",
    "v41",
    "v41",
)


def checks(http_port: int) -> str:
    """The validation plan, as it stands in backout.toml."""
    return _CHECKS.format(target=TARGET, http_port=http_port, settle=SETTLE_SECONDS)


def write_scripts(place: Place) -> None:
    """What this team types: one command stops and starts the ETL, one deploys a version."""
    control = shlex.quote(str(place.control))
    python = shlex.quote(sys.executable)
    for name in ("etl", "deploy"):
        script = place.project / name
        command = f'{python} -m backout.demo.world.operate {name} "$1" {control}'
        script.write_text(f"#!/bin/sh\nexec {command}\n")
        script.chmod(0o755)
