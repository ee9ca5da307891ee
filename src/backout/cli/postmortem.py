"""`backout postmortem`: the record of the incident, rendered from the journal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import incident_or_only
from backout.cli.console import ConfigOption, JsonOption, emit


def postmortem(
    incident: Annotated[str | None, typer.Argument(help="The incident; default: the only open one.")] = None,
    to: Annotated[Path, typer.Option("--to", help="Directory for the .md and .html files.")] = Path(
        "postmortem"
    ),
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the postmortem as Markdown and as one self-contained HTML page."""
    from backout.app.postmortems import write_postmortem
    from backout.app.results import Written
    from backout.render.screens import postmortem_screen

    desk = at_desk(config)
    answer = write_postmortem(desk, incident_or_only(desk, incident), to)
    emit(
        Written(answer.paths, "nothing"),
        lambda style: postmortem_screen(answer.document, answer.paths, style=style),
        as_json=as_json,
    )
