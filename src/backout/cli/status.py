"""`backout status`: every incident in one table, from the journal alone."""

from __future__ import annotations

from typing import Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import now
from backout.cli.console import ConfigOption, JsonOption, emit


def status(
    incident: Annotated[str | None, typer.Argument(help="Only this incident.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """What is happening, who acts, what is safe, what is next, when the next update is due."""
    from backout.app.reading import line
    from backout.app.reading import status as read
    from backout.app.results import StatusList
    from backout.render.screens import status_screen

    desk = at_desk(config)
    if incident is None:
        answer = read(desk)
    else:
        one = line(desk, desk.incident(incident).id)
        answer = StatusList((one,), (), one.next)
    emit(answer, lambda style: status_screen(answer, style=style, now=now()), as_json=as_json)
