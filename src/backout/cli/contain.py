"""`backout contain` and `release`: stop a job that still writes, reversibly."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import incident_or_only
from backout.cli.console import ActorOption, ConfigOption, JsonOption, emit

if TYPE_CHECKING:
    from backout.app.results import Contained


def contain(
    incident: Annotated[str | None, typer.Argument(help="The incident; default: the only open one.")] = None,
    name: Annotated[str, typer.Option("--name", help="What is contained, e.g. etl.")] = "job",
    command: Annotated[str, typer.Option("--command", help="The command that stops it.")] = "",
    back: Annotated[str, typer.Option("--back", help="The command that starts it again.")] = "",
    look: Annotated[str, typer.Option("--look", help="A command that says what state it is in.")] = "",
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop one job by a command, recorded with its way back. One person, no approval; jobs are not lost."""
    from backout.app.containment import contain as stop
    from backout.app.containment import job
    from backout.errors import ConfigurationError

    if not command or not back:
        raise ConfigurationError(
            "containment is reversible: give --command and --back",
            where="the command line",
            intact="everything",
            next='backout contain --name etl --command "..." --back "..."',
        )
    desk = at_desk(config, by)
    words = (tuple(shlex.split(text)) for text in (command, back, look))
    _done(stop(desk, incident_or_only(desk, incident), job(name, *words)), as_json)


def release(
    incident: Annotated[str | None, typer.Argument(help="The incident; default: the only open one.")] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="What to release; default: the only one.")
    ] = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a contained job again, by the way back that was recorded."""
    from backout.app.containment import release as start

    desk = at_desk(config, by)
    _done(start(desk, incident_or_only(desk, incident), name), as_json)


def _done(answer: Contained, as_json: bool) -> None:
    from backout.render.screens import contain_screen

    emit(
        answer,
        lambda style: contain_screen(answer.name, answer.state, answer.detail, style=style, next=answer.next),
        as_json=as_json,
    )
