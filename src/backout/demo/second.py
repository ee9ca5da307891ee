"""The second example: a lossy way back on which migration tools are silent, and how 1,001 values come back.

The migration copies `full_name` into `first_name` and drops it; its down adds `full_name` back, empty, and
drops `first_name`. A snapshot from before the migration tells what the migration itself destroyed.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

from backout.app.results import DemoSecond
from backout.demo import evidence, place
from backout.demo.place import Place
from backout.demo.screen import Screen
from backout.demo.story import Wishes, check
from backout.demo.typist import Typist
from backout.demo.world import production, project, scratch
from backout.demo.world.processes import Processes
from backout.demo.world.production import Production
from backout.demo.world.project import OWNER, Project, Team
from backout.errors import NeighbourUnreachable

TARGET = "heroes-staging"
ROWS, EDITED, INSERTED = 1_000, 50, 1

NAMES = Team(
    ("names",),
    TARGET,
    "staging",
    "1700000100000_split-names",
    "INSERT INTO public.users (full_name) SELECT 'Hero Number ' || n FROM generate_series(1, 1000) n",
)
_CHECKS = """\
[target.heroes-staging.checks.users]
sql = "SELECT count(*) FROM users"
expect = ">= 1000"
"""


def _good(counted: DemoSecond) -> bool:
    """Whether every value came back onto its row."""
    return counted.rows == counted.values_kept == counted.names_back == ROWS + INSERTED


@dataclass(frozen=True, slots=True)
class _Stage:
    production: Production
    project: Project
    screen: Screen
    typist: Typist
    pause: bool

    def chapter(self, text: str) -> None:
        """The next step; with --pause after Enter."""
        if self.pause:
            input("\n[Enter] ")
        self.screen.chapter(text)

    def names(self, column: str) -> dict[int, str]:
        """Every name that is there, by the row's key."""
        query = f"SELECT id, {column} FROM public.users WHERE {column} IS NOT NULL"  # noqa: S608 - ours
        with self.production.session() as session:
            return dict(session.execute(query.encode()).fetchall())


def _where() -> Place:
    return place.find("second", "--second")


def tell(wishes: Wishes) -> int:
    """Tell it from the beginning; 0 when all 1,001 values are back on their rows."""
    where = _where()
    check(wishes, where)
    where.make()
    began = time.time()
    screen = Screen(wishes.as_json, lambda: began)
    screen.remark("Setting up: a PostgreSQL server, a project with two migrations, 1,000 users ...")
    with where.alone():
        counted = _rescue(where, screen, wishes.pause, began)
    return _end(screen, counted, wishes.as_json)


def _rescue(where: place.Place, screen: Screen, pause: bool, began: float) -> DemoSecond:
    server = production.start(where)
    try:
        typist = Typist(where, Processes(where.processes), screen)
        typist.end_orphan()
        scratch.forget(where)
        team = project.make(where, server, NAMES, _CHECKS)
        stage = _Stage(server, team, screen, typist, pause)
        wanted = _bad_night(stage)
        typist.verb("open", "--last", "1", "--symptom", "profiles show no full name", "--target", TARGET)
        incident = evidence.incidents(where)[-1]
        return _way_back(stage, incident, wanted, began)
    finally:
        production.stop(server)
        scratch.stop(where)


def _bad_night(stage: _Stage) -> dict[int, str]:
    """A snapshot on a calm day, the migration, then 51 writes; the names as last written, by key."""
    stage.chapter("A calm day: a snapshot, taken and proved before anything happens")
    stage.typist.verb("snapshot", "prove", "--target", TARGET)
    stage.chapter("The migration: first_name takes over from full_name, which is dropped")
    stage.screen.typed("npx node-pg-migrate up")
    stage.screen.said(stage.project.deploy_bad_migration().strip().splitlines()[-1])
    with stage.production.session() as session:
        session.execute("UPDATE public.users SET first_name = 'Edited ' || id WHERE id <= %s", (EDITED,))
        session.execute("INSERT INTO public.users (first_name) VALUES ('Newcomer')")
    stage.screen.remark(f"The application edits {EDITED} rows and inserts {INSERTED}.")
    return stage.names("first_name")


def _way_back(stage: _Stage, incident: str, wanted: dict[int, str], began: float) -> DemoSecond:
    typist = stage.typist
    stage.chapter("What would the down destroy, and what does it not give back?")
    typist.verb("propose", incident, expect=(0, 4))
    stage.chapter("Chosen all the same, by naming what it does not give back")
    signed = ("--as", OWNER, "--key", f"../people/{OWNER}", "--confirm", TARGET)
    typist.verb("approve", incident, "--strategy", "A", "--accept", "users.full_name", *signed, actor=OWNER)
    typist.verb("run", incident, "--watch", "0", expect=(0, 1))
    without = len(stage.names("full_name"))
    stage.chapter(f"The tool's own down leaves {without} of {len(wanted):,} names. These were kept:")
    typist.verb("kept", "list", incident)
    stage.chapter("And they come back, each onto its row")
    typist.verb("kept", "put-back", incident, "--column", "first_name=full_name", *signed, actor=OWNER)
    there = stage.names("full_name")
    back = sum(there.get(key) == name for key, name in wanted.items())
    done = evidence.Evidence(_where(), incident).execution()
    if done is None:
        raise NeighbourUnreachable(
            "the run left no record in the journal",
            where=str(_where().root),
            intact="the demo's own server and files",
            next=_where().command(),
        )
    return DemoSecond(round(time.time() - began, 1), len(wanted), done.values_kept, without, back, incident)


def _end(screen: Screen, counted: DemoSecond, as_json: bool) -> int:
    screen.chapter(f"{counted.names_back:,} of {counted.rows:,} names are what the application last wrote")
    screen.said(f"  kept {counted.values_kept:,}, left by the down alone {counted.names_without_backout:,}")
    screen.said(f"next: {place.command('destructive')}")
    code = 0 if _good(counted) else 1
    if as_json:
        print(json.dumps({"exit": code, **asdict(counted)}), flush=True)  # noqa: T201
    return code
