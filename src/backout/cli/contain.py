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
    workers: Annotated[
        str,
        typer.Option("--workers", help="Steps of the release, e.g. 1,4,16; {workers} in --back is replaced."),
    ] = "",
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
    ends, starts, looks = (tuple(shlex.split(text)) for text in (command, back, look))
    named = job(name, ends, starts, looks, workers)
    _done(stop(desk, incident_or_only(desk, incident), named), as_json)


def release(
    incident: Annotated[str | None, typer.Argument(help="The incident; default: the only open one.")] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="What to release; default: the only one.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--all", help="All workers at once, whatever steps were named.")
    ] = False,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a contained job again, by the recorded way back; the next step of it, where there are steps."""
    from backout.app.containment import release as start

    desk = at_desk(config, by)
    _done(start(desk, incident_or_only(desk, incident), name, whole=whole), as_json)


def _done(answer: Contained, as_json: bool) -> None:
    from backout.render.screens import contain_screen

    emit(
        answer,
        lambda style: contain_screen(answer.name, answer.state, answer.detail, style=style, next=answer.next),
        as_json=as_json,
    )
