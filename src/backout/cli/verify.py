"""`backout verify`: all checks again, as they are now."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import incident_or_only, seconds
from backout.cli.console import ActorOption, ConfigOption, JsonOption, emit, say, stop_on_interrupt

_PAUSE_SECONDS = 10.0


def verify(
    incident: Annotated[str | None, typer.Argument(help="The incident; default: the only open one.")] = None,
    watch: Annotated[str, typer.Option("--watch", help="Afterwards hold and watch this long.")] = "0",
    wait: Annotated[str, typer.Option("--wait", help="Repeat until all is known and good, this long.")] = "0",
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check history, schema, kept values and the validation plan. Exit 1: a check failed or is unknown."""
    from backout.app.incidents import verify as look
    from backout.model.check import all_good
    from backout.render.screens import verify_screen

    desk = at_desk(config, by)
    deadline = time.monotonic() + (seconds(wait) or 0.0)
    with stop_on_interrupt(desk.ask_to_stop):
        incident_id = incident_or_only(desk, incident)
        answer = look(desk, incident_id, 0.0)
        while not all_good(answer.verification.checks) and time.monotonic() + _PAUSE_SECONDS < deadline:
            say("  not all good yet; looking again in 10 s")
            time.sleep(_PAUSE_SECONDS)
            answer = look(desk, incident_id, 0.0)
        if seconds(watch):
            answer = look(desk, incident_id, seconds(watch) or 0.0)
    came_back = answer.watch is not None and answer.watch.came_back is not None
    good = all_good(answer.verification.checks) and not came_back
    emit(
        answer,
        lambda style: verify_screen(answer.verification, answer.watch, style=style, next=answer.next),
        as_json=as_json,
        exit_code=0 if good else 1,
    )
