"""`backout show`: the runbook's condensed checklist of one incident, live."""

from __future__ import annotations

from typing import Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import incident_or_only, now
from backout.cli.console import ConfigOption, JsonOption, emit


def show(
    incident: Annotated[str | None, typer.Argument(help="The incident; default: the only open one.")] = None,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="The hand-over sheet: plain commands, no backout.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """The checklist with its evidence; with --sheet what a person needs to finish by hand."""
    from backout.app.postmortems import known
    from backout.render.screens import show_screen
    from backout.render.sheet import sheet as sheet_page

    desk = at_desk(config)
    facts = known(desk, incident_or_only(desk, incident))
    emit(
        facts,
        lambda style: (
            sheet_page(facts, style=style, now=now()) if sheet else show_screen(facts, style=style, now=now())
        ),
        as_json=as_json,
    )
