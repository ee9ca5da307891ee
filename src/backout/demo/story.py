"""Tells one night, scene by scene. It survives `kill -9`: the next demo goes on with the same incident."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from backout.demo import ending, progress, scenes
from backout.demo.ending import Ending
from backout.demo.place import Place
from backout.demo.progress import Progress
from backout.demo.scenes import Stage
from backout.demo.screen import Screen
from backout.demo.typist import Typist, VerbEnded
from backout.demo.world import control, entrance, heroes, ledger, production, project, scratch
from backout.demo.world.entrance import Entrance
from backout.demo.world.processes import Processes
from backout.demo.world.production import Production
from backout.demo.world.project import Project, Team
from backout.errors import ConfigurationError

Scenes = tuple[tuple[str, Callable[[Stage], None]], ...]
_HEARTBEAT_SECONDS = 5.0
_PROCESSES = ("application", "etl", entrance.POOLER)
"""In the order in which they are ended: who uses the pooler goes first."""
_WAYS = {
    entrance.POOLER: "The application reaches it through PgBouncer, in transaction mode.",
    entrance.LIST: "No PgBouncer on this machine: the application lists both hosts, the new one first.",
}
_APPROVED_AGAIN = ("propose", "approve")
"""What is done again when `run` finds that the approvals no longer hold, e.g. after a night."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """The options of `backout demo`."""

    pause: bool = False
    as_json: bool = False
    fresh: bool = False
    dead_etl: bool = False
    remarks: tuple[str, ...] = ()
    """What is said of the options before anything happens."""


@dataclass(frozen=True, slots=True)
class Night:
    """One story: whose night it is, where it is played, its scenes in order, and how its end is counted."""

    team: Team
    checks: Callable[[int], str]
    """The validation plan as TOML, for a port of the API."""
    where: Callable[[], Place]
    scenes: Scenes
    end: Callable[[Stage], Ending]


def check(wishes: Wishes, where: Place) -> None:
    """Raises `ConfigurationError` where Enter is to be waited for and nobody can press it."""
    if wishes.pause and not sys.stdin.isatty():
        raise ConfigurationError(
            "--pause waits for Enter, and there is no terminal",
            where="standard input",
            intact="everything; nothing was started",
            next=where.command(),
        )


def tell(night: Night, wishes: Wishes) -> int:
    """Tell the story, or the rest of it; 0 when nothing was lost and everything was verified."""
    where = night.where()
    check(wishes, where)
    screen = Screen(wishes.as_json, lambda: ledger.first_acknowledged(where.ledger))
    where.make()
    for remark in wishes.remarks:
        screen.remark(remark)
    with where.alone(), _alive(where):
        stage = _set_stage(night, where, screen, wishes)
        try:
            return _play(night, stage, wishes)
        finally:
            _clear_stage(stage)


@contextmanager
def _alive(where: Place) -> Iterator[None]:
    """Tell application and ETL that somebody watches; without it they end by themselves."""
    over = threading.Event()

    def beat() -> None:
        while True:
            control.say_alive(where.control)
            if over.wait(_HEARTBEAT_SECONDS):
                return

    thread = threading.Thread(target=beat, name="alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _set_stage(night: Night, where: Place, screen: Screen, wishes: Wishes) -> Stage:
    """Take up the story that was cut, or begin a new one in a new database."""
    processes = Processes(where.processes)
    typist = Typist(where, processes, screen)
    if typist.end_orphan():
        screen.remark("A verb of a demo that was killed was still at work; it has been ended.")
    found = None if wishes.fresh else progress.load(where.story)
    if found is not None:
        screen.remark("Going on where the last demo was cut (--fresh begins anew).")
        running = production.start(where, archives=night.team.archives, moves=night.team.moves)
        scratch.start_serving(where)
        way_in = entrance.find(where, running)
        entrance.start(way_in, processes, where)
        team = project.Project(where.project, running.url, night.team)
        return Stage(where, running, way_in, team, processes, screen, typist, found)
    for name in _PROCESSES:
        processes.end(name)
    screen.remark("Setting up: a PostgreSQL server, a project with migrations, two people's keys ...")
    running, way_in, team = _new_world(night, where)
    entrance.start(way_in, processes, where)
    begun = Progress(where.story, dead_etl=wishes.dead_etl)
    begun.save()
    stage = Stage(where, running, way_in, team, processes, screen, typist, begun)
    _introduce(stage)
    return stage


def _new_world(night: Night, where: Place) -> tuple[Production, Entrance, Project]:
    """Nothing of the last story; then everything that is there on a calm day."""
    where.story.unlink(missing_ok=True)
    for file in (where.ledger, *where.control.glob("*.json")):
        file.unlink(missing_ok=True)
    scratch.forget(where)
    running = production.start(where, archives=night.team.archives, moves=night.team.moves)
    if night.team.archives:
        production.forget_backups(running)
    checks = night.checks(running.http_port)
    way_in = entrance.make(where, running)
    team = project.make(where, running, night.team, checks, way_in)
    heroes.write_scripts(where)
    control.write(where.control / "deployed.json", {"version": night.team.calm_version})
    return running, way_in, team


def _introduce(stage: Stage) -> None:
    place_ = stage.place
    stage.screen.remark(f"Production is PostgreSQL on 127.0.0.1:{stage.production.port}, its role owns its")
    if stage.entrance.lever:
        stage.screen.remark("database, may make replication slots and end sessions, and nothing else.")
        stage.screen.remark(_WAYS[stage.entrance.lever])
        stage.screen.remark("Look around while it runs, in another terminal:")
    else:
        stage.screen.remark("schema and nothing else. Look around while it runs, in another terminal:")
    stage.screen.typed(f"cd '{place_.project}' && export BACKOUT_STATE='{place_.state}'")


def _play(night: Night, stage: Stage, wishes: Wishes) -> int:
    scenes.start(stage)
    for name, scene in night.scenes:
        if name in stage.progress.steps:
            continue
        try:
            _scene(night, stage, name, scene)
        except VerbEnded as ended:
            if name != "verify" or ended.exit_code != 1:
                raise
            stage.progress.verified = False
            stage.screen.remark("The verification failed, and the demo fails with it.")
        stage.progress.note(name)
        if wishes.pause:
            input("\n[Enter] ")
    for process in ("application", "etl"):
        stage.processes.end(process)
    reached = night.end(stage)
    ending.show(stage, reached)
    stage.progress.finished = True
    stage.progress.save()
    code = 0 if reached.good else 1
    if wishes.as_json:
        print(ending.document(reached, code), flush=True)  # noqa: T201
    return code


def _scene(night: Night, stage: Stage, name: str, scene: Callable[[Stage], None]) -> None:
    """One scene; when the approvals of `run` no longer hold, they are asked for once more."""
    try:
        scene(stage)
    except VerbEnded as ended:
        if name != "run" or ended.exit_code != 3:
            raise
        stage.screen.remark("The approvals no longer hold; the evidence is made and approved anew.")
        for again in _APPROVED_AGAIN:
            dict(night.scenes)[again](stage)
        scene(stage)


def _clear_stage(stage: Stage) -> None:
    """End what was started; the server's files stay for the next demo."""
    for name in _PROCESSES:
        stage.processes.end(name)
    production.stop(stage.production)
    scratch.stop(stage.place)
