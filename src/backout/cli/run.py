"""`backout run` and `resume`: carry out what was approved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import incident_or_only, seconds
from backout.cli.console import ActorOption, ConfigOption, JsonOption, emit, stop_on_interrupt

if TYPE_CHECKING:
    from backout.app.results import Ran

WatchOption = Annotated[
    str | None,
    typer.Option(
        "--watch", help="Hold and watch the migration this long; default 30m in production, 0 ends at once."
    ),
]


CanaryOption = Annotated[
    str | None,
    typer.Option("--canary", help="Strategy B: canary reads for this long instead of the plan's; 0 = none."),
]


def run(
    incident: Annotated[str | None, typer.Argument(help="The incident; default: the only open one.")] = None,
    application: Annotated[
        str, typer.Option("--application", help="The application's version that will run on the old schema.")
    ] = "",
    confirmed_by: Annotated[str, typer.Option("--confirmed-by", help="Who confirmed that it does.")] = "",
    watch: WatchOption = None,
    canary: CanaryOption = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Carry out the approved plan: fresh snapshot, down with every destroyed value kept, verification."""
    from backout.app.incidents import canary_for
    from backout.app.incidents import run as advance

    desk = at_desk(config, by)
    named = incident_or_only(desk, incident)
    canary_for(desk, named, seconds(canary))
    go = {"application": application, "confirmed_by": confirmed_by}
    with stop_on_interrupt(desk.ask_to_stop):
        answer = advance(desk, named, go, seconds(watch))
    _done(answer, as_json)


def resume(
    incident: Annotated[str | None, typer.Argument(help="The incident; default: the only open one.")] = None,
    watch: WatchOption = None,
    canary: CanaryOption = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on after a stop: looks first, and never repeats an effect."""
    from backout.app.incidents import canary_for
    from backout.app.incidents import resume as advance

    desk = at_desk(config, by)
    named = incident_or_only(desk, incident)
    canary_for(desk, named, seconds(canary))
    with stop_on_interrupt(desk.ask_to_stop):
        answer = advance(desk, named, seconds(watch))
    _done(answer, as_json)


def _done(answer: Ran, as_json: bool) -> None:
    from backout.model.check import all_good
    from backout.render.screens import run_screen

    came_back = answer.watch is not None and answer.watch.came_back is not None
    good = all_good(answer.verification.checks) and not came_back
    emit(
        answer,
        lambda style: run_screen(
            *(answer.execution, answer.verification, answer.watch),
            style=style,
            next=answer.next,
            repaired=answer.repaired,
            anew=answer.anew,
            again=answer.again,
        ),
        as_json=as_json,
        exit_code=0 if good else 1,
    )
