"""`backout open`: begin an incident; triage only reads."""

from __future__ import annotations

from typing import Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import now
from backout.cli.console import ActorOption, ConfigOption, JsonOption, TargetOption, emit, stop_on_interrupt


def open_(
    migration: Annotated[
        list[str] | None,
        typer.Option("--migration", "-m", help="The offending migration, or a unique part of its name."),
    ] = None,
    last: Annotated[
        int,
        typer.Option("--last", min=1, help="The newest N of the history; refused while one is half applied."),
    ] = 1,
    symptom: Annotated[
        str, typer.Option("--symptom", "-s", help="What is going wrong, in a few words.")
    ] = "",
    target: TargetOption = None,
    alert: Annotated[str, typer.Option(help="The alert's URL or ID.")] = "",
    ticket: Annotated[str, typer.Option(help="The ticket's URL or ID.")] = "",
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin an incident: find the offending migration and what it touched. Only reads the database."""
    from backout.app.incidents import Asked, open_incident
    from backout.render.screens import open_screen

    desk = at_desk(config, by)
    with stop_on_interrupt(desk.ask_to_stop):
        opened = open_incident(desk, Asked(target, tuple(migration or ()), last, symptom, alert, ticket))
    emit(
        opened,
        lambda style: open_screen(
            opened.incident,
            opened.triage,
            style=style,
            now=now(),
            next=opened.next,
            also_open=opened.also_open,
        ),
        as_json=as_json,
    )
