"""`backout restore`: a backup or snapshot to a new instance, without an incident."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import now
from backout.cli.console import ActorOption, ConfigOption, JsonOption, TargetOption, emit, stop_on_interrupt

if TYPE_CHECKING:
    from backout.model.restored import Wanted


def restore(
    to: Annotated[str | None, typer.Option("--to", metavar="LSN", help="A WAL position.")] = None,
    before_migration: Annotated[
        str | None, typer.Option("--before-migration", metavar="NAME", help="Just before its commit.")
    ] = None,
    at_backup: Annotated[
        str | None, typer.Option("--at-backup", metavar="ID", help="The end of this base backup.")
    ] = None,
    snapshot: Annotated[
        str | None, typer.Option("--snapshot", metavar="ID", help="A dump: taken or adopted.")
    ] = None,
    to_time: Annotated[
        str | None, typer.Option("--to-time", metavar="TIME", help="The last commit up to this time.")
    ] = None,
    inexact: Annotated[
        bool, typer.Option("--inexact", help="Take the last reachable point when WAL is missing.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be restored.")] = False,
    failed: Annotated[
        str | None, typer.Option("--failed", metavar="COPY", help="Record why this copy failed.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="For --failed.")] = "",
    target: TargetOption = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore to a NEW instance, isolated; test it; hand it over. Never over production, which is only read.

    Without a point: the newest state that backups and WAL reach. Exit 0 when it is handed over, 1 when its
    smoke tests failed: then the copy is kept.
    """
    from backout.app import restores
    from backout.render.screens import restore_screen

    wanted = _wanted(to, before_migration, at_backup, snapshot, to_time, inexact=inexact)
    desk = at_desk(config, by)
    with stop_on_interrupt(desk.ask_to_stop):
        if failed is not None:
            answer = restores.explain(desk, target, failed, reason)
        elif plan:
            answer = restores.plan(desk, target, wanted)
        else:
            answer = restores.restore(desk, target, wanted)
    emit(
        answer,
        lambda style: restore_screen(answer, style=style, now=now()),
        as_json=as_json,
        exit_code=1 if answer.outcome == "failed" else 0,
    )


def _wanted(
    to: str | None,
    before_migration: str | None,
    at_backup: str | None,
    snapshot: str | None,
    to_time: str | None,
    *,
    inexact: bool,
) -> Wanted:
    """The one point that was asked for; raises `ConfigurationError` for several."""
    from backout.errors import ConfigurationError
    from backout.model.restored import PointKind, Wanted

    asked = {
        PointKind.POSITION: to,
        PointKind.MIGRATION: before_migration,
        PointKind.BACKUP: at_backup,
        PointKind.SNAPSHOT: snapshot,
        PointKind.TIME: to_time,
    }
    given = [(kind, value) for kind, value in asked.items() if value is not None]
    if len(given) > 1:
        raise ConfigurationError(
            "a restore ends at one point, and several were given",
            where="the command line",
            intact="everything; nothing was done",
            next="name one of them; without any it is the newest state: backout restore --plan",
        )
    kind, value = given[0] if given else (PointKind.NEWEST, "")
    return Wanted(kind, value, inexact)
