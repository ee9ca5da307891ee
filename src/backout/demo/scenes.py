"""The scenes of the demo. Each looks before it acts, so that a demo killed in the middle of one goes on."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from backout.demo.evidence import Evidence, incidents
from backout.demo.place import Place
from backout.demo.progress import Progress
from backout.demo.screen import Screen
from backout.demo.typist import Typist
from backout.demo.world import control, ledger
from backout.demo.world.control import wait_until
from backout.demo.world.entrance import Entrance
from backout.demo.world.processes import Processes
from backout.demo.world.production import Production
from backout.demo.world.project import OPERATOR, OWNER, SRE, Project, Team
from backout.errors import NeighbourUnreachable
from backout.postgres.connect import Session

HEALTHY_SECONDS = 1.0
WATCH = "10s"
_FAILURES = 3


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that a scene uses."""

    place: Place
    production: Production
    entrance: Entrance
    project: Project
    processes: Processes
    screen: Screen
    typist: Typist
    progress: Progress

    @property
    def evidence(self) -> Evidence:
        """What the journal says of this story's incident."""
        return Evidence(self.place, self.progress.incident)

    @property
    def team(self) -> Team:
        """Whose night it is."""
        return self.project.team

    def session(self) -> Session:
        """A session of the application's role on the server to which its writes go now."""
        return self.production.session(self.entrance.side() if self.entrance.lever else 0)

    def tell_ledger(self) -> None:
        """One line: what the application's clients have seen so far."""
        said = control.read(self.place.control / "application.json")
        counts = f"{said.get('acknowledged', 0):,} writes acknowledged, {said.get('reads', 0):,} reads"
        self.screen.remark(f"the application: {counts}, {said.get('client_errors', 0)} client errors")


def start(stage: Stage) -> None:
    """Start application and ETL, unless they still run from a demo that was killed."""
    python = [sys.executable, "-m"]
    environment = {**os.environ, "DATABASE_URL": stage.entrance.url}
    files = str(stage.place.control)
    if not stage.processes.lives("application"):
        served = ("serve", files, str(stage.place.ledger), str(stage.production.http_port))
        stage.processes.start(
            "application", [*python, "backout.demo.world.application", *served], environment
        )
    if not stage.processes.lives("etl"):
        words = ("work", files, *stage.team.etl)
        stage.processes.start("etl", [*python, "backout.demo.world.etl", *words], environment)
    began = time.time()

    def writes() -> bool:
        said = control.read(stage.place.control / "application.json")
        return float(said.get("at", 0)) > began and int(said.get("acknowledged", 0)) > 0

    if not wait_until(writes, 30):
        log = stage.processes.log("application")
        raise NeighbourUnreachable(
            "the demo's application does not write",
            where=str(log),
            intact="everything",
            next=stage.place.command(),
        )


def work(stage: Stage) -> None:
    """A calm day: application and ETL work on the old schema."""
    wait_until(lambda: ledger.first_acknowledged(stage.place.ledger) is not None, 10)
    stage.screen.chapter("A calm day: four clients write, an ETL makes profiles of what they write")
    time.sleep(HEALTHY_SECONDS)
    stage.tell_ledger()


def deploy(stage: Stage) -> None:
    """The deploy of that night, first the migration, then the version that fills its columns."""
    stage.screen.chapter(f"A deploy: the migration {stage.team.bad} passed review")
    migrate(stage)
    stage.typist.script("./deploy", "v42")


def migrate(stage: Stage) -> None:
    """Apply the bad migration, unless it is, and note when it began."""
    stage.screen.typed("npx node-pg-migrate up")
    if not migrated_at(stage):
        said = stage.project.deploy_bad_migration().strip().splitlines()
        stage.screen.said(said[-1])
    stage.progress.migrated_at = migrated_at(stage)


def migrated_at(stage: Stage) -> float:
    """When the tool says that it applied the migration; 0 when it did not."""
    query = """SELECT extract(epoch FROM run_on AT TIME ZONE 'UTC')::float8 FROM public.pgmigrations
               WHERE name = %s"""
    with stage.production.session() as session:
        row = session.execute(query, (stage.team.bad,)).fetchone()
    return float(row[0]) if row else 0.0


def alarm(stage: Stage) -> None:
    """The ETL fails at rows that the new constraint refuses."""

    def failures() -> int:
        said = control.read(stage.place.control / "etl.json")
        return int(said.get("errors", {}).get("23514", 0))

    if not wait_until(lambda: failures() >= _FAILURES, 15):
        raise NeighbourUnreachable(
            "the ETL was meant to fail and does not",
            where=str(stage.processes.log("etl")),
            intact="everything",
            next=stage.place.command("--fresh"),
        )
    stage.screen.chapter("The alert: the ETL fails, and the application writes into the new columns")
    last = stage.processes.log("etl").read_text("utf-8").strip().splitlines()[-1]
    stage.screen.said(f"etl: {last}")


def open_incident(stage: Stage) -> None:
    """Open the incident; one that a killed demo had opened is taken up."""
    if not incidents(stage.place):
        words = ("--last", "1", "--symptom", stage.team.symptom, "--target", stage.team.target)
        stage.typist.verb("open", *words)
    stage.progress.incident = incidents(stage.place)[-1]


def contain(stage: Stage) -> None:
    """Stop what still fails, in the first minute: reversible, recorded, one person."""
    stage.screen.chapter("Stop the bleeding: the ETL is paused, its jobs are kept")
    if not stage.evidence.contained():
        commands = ("--command", "./etl pause", "--back", "./etl continue", "--look", "./etl state")
        stage.typist.verb("contain", stage.progress.incident, "--name", "etl", *commands)
    if stage.progress.dead_etl:
        path = stage.place.control / "etl-wanted.json"
        control.write(path, {**control.read(path), "dead": True})
        stage.screen.remark("--dead-etl: from now on the ETL will say that it runs, and do nothing")


def prove(stage: Stage) -> None:
    """A snapshot, proved by restoring it."""
    stage.screen.chapter("A snapshot, proved: restored to a scratch server and read, row by row")
    if not stage.evidence.proposed():
        stage.typist.verb("snapshot", "prove", stage.progress.incident)


def propose(stage: Stage) -> None:
    """The rehearsal on the proven copy: what exactly would the way back destroy?"""
    stage.screen.chapter("The way back is rehearsed on the proven copy: what would it destroy?")
    if not stage.evidence.proposed():
        stage.typist.verb("propose", stage.progress.incident, expect=(0, 4))
    stage.tell_ledger()


def approve(stage: Stage, *choice: str) -> None:
    """Two keys approve what is recommended, or the `choice`. One machine holds both: that is a demo, and it
    is said."""
    stage.screen.chapter("Two approvals, bound to this evidence")
    stage.screen.remark("A demo is not two people: this machine made both keys and holds both.")
    stage.screen.remark("On your database each person signs with a key that only that person has.")
    for name in (SRE, OWNER):
        words = ("--as", name, "--key", f"../people/{name}", "--confirm", stage.team.target)
        stage.typist.verb("approve", stage.progress.incident, *choice, *words, actor=name)


def revert_application(stage: Stage) -> None:
    """The previous version of the application: its writes succeed on both schemas."""
    safe = stage.team.safe_version
    stage.screen.chapter(f"First the application: {safe} writes to the new schema and to the old one")
    stage.typist.script("./deploy", safe)


def run(stage: Stage) -> None:
    """The down, with everything kept that it destroys."""
    stage.screen.chapter("The way back: every destroyed value is kept in the tool's own transaction")
    carry_out(stage)


def carry_out(stage: Stage, expect: Sequence[int] = (0,)) -> int:
    """What was approved, or what is left of it when a demo was killed in the middle; the exit code."""
    incident = stage.progress.incident
    if stage.evidence.running():
        code = stage.typist.verb("resume", incident, "--watch", WATCH, expect=expect)
    else:
        words = ("--application", stage.team.safe_version, "--confirmed-by", OPERATOR, "--watch", WATCH)
        code = stage.typist.verb("run", incident, *words, expect=expect)
    stage.tell_ledger()
    return code


def release(stage: Stage) -> None:
    """The ETL works again, and works off what it has missed."""
    stage.screen.chapter("The ETL is released; it takes up every job that waited")
    if stage.evidence.contained():
        stage.typist.verb("release", stage.progress.incident)


def verify(stage: Stage) -> None:
    """Every check, now with a marked snapshot that has to come through the ETL."""
    stage.screen.chapter("Verified with a marked snapshot that has to come through the ETL")
    stage.typist.verb("verify", stage.progress.incident)


def kept(stage: Stage) -> None:
    """What was kept, and where it could go back to."""
    stage.screen.chapter("What the way back would have destroyed")
    stage.typist.verb("kept", "list", stage.progress.incident)


def postmortem(stage: Stage) -> None:
    """The record of the incident, from the journal."""
    stage.screen.chapter("The record of the incident")
    stage.typist.verb("postmortem", stage.progress.incident)
