"""The same team with one more feature, seasons; the night on which a reviewed migration empties it.

The rows of the calm day follow a formula, here once as SQL and once as Python: so what comes back is compared
with something that no copy and no counter of backout has touched.
"""

from __future__ import annotations

from dataclasses import replace

from backout.demo.world import heroes
from backout.demo.world.etl import RECORD_POWER
from backout.demo.world.project import Team
from backout.demo.world.writes import SEASONS, USERS

SNAPSHOTS = 20_000
CHEERS = 3_000
EMPTIED = ("seasons", "hero_snapshots", "cheers", "records")
"""What TRUNCATE … CASCADE takes: the table that is named, and what hangs on it."""

_SEED = f"""
INSERT INTO public.seasons (name) SELECT 'season ' || n FROM generate_series(1, {SEASONS}) n;
{heroes.SEED}
UPDATE public.users SET motto = 'motto of hero ' || id;
UPDATE public.hero_snapshots SET season_id = 1 + id % {SEASONS};
INSERT INTO public.cheers (snapshot_id, nonce) SELECT n, 'seed ' || n FROM generate_series(1, {CHEERS}) n;
INSERT INTO public.records (user_id, snapshot_id, power)
  SELECT DISTINCT ON (user_id) user_id, id, power FROM public.hero_snapshots WHERE power >= {RECORD_POWER}
  ORDER BY user_id, power DESC, id;
"""  # noqa: S608 - numbers of ours

_CHECKS = """\

[target.{target}.checks.seasons]
sql = "SELECT count(*) FROM seasons"
expect = ">= {seasons}"

[target.{target}.checks.mottos]
sql = "SELECT count(motto) FROM users"
expect = ">= {users}"
"""

SEASONS_TEAM = Team(
    ("heroes", "seasons"),
    heroes.TARGET,
    "production",
    "1797000000000_empty-seasons",
    _SEED,
    "snapshots and cheers are gone",
    "v43",
    "v44",
    ("records",),
    archives=True,
)
MOVING_TEAM = replace(SEASONS_TEAM, moves=True)
"""The same, behind a way in that can be led to another server."""


def checks(http_port: int) -> str:
    """The validation plan of the team, with two lines more."""
    more = _CHECKS.format(target=heroes.TARGET, seasons=SEASONS, users=USERS)
    return heroes.checks(http_port) + more


def season(key: int) -> tuple[str]:
    """The name of a season of the calm day."""
    return (f"season {key}",)


def motto(user: int) -> str:
    """The motto of a user of the calm day."""
    return f"motto of hero {user}"


def snapshot(key: int) -> tuple[int, int, int]:
    """User, power and season of a snapshot of the calm day."""
    return 1 + key % USERS, key % 9_999, 1 + key % SEASONS


def cheer(key: int) -> tuple[int, str]:
    """Snapshot and nonce of a cheer of the calm day."""
    return key, f"seed {key}"
