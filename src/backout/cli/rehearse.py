"""`backout rehearse`: the rehearsal without an incident, for a calm Tuesday and for CI."""

from __future__ import annotations

from typing import Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import now
from backout.cli.console import ActorOption, ConfigOption, JsonOption, TargetOption, emit, stop_on_interrupt


def rehearse(
    last: Annotated[int, typer.Option("--last", min=1, help="The newest N of the history.")] = 1,
    migration: Annotated[
        list[str] | None, typer.Option("--migration", "-m", help="Named ones instead.")
    ] = None,
    target: TargetOption = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """If this had to be backed out tonight: what it would lose and cost. Production is only read.

    Exit 0 when a way back is recommended, 1 when none is.
    """
    from backout.app.exercises import rehearse as exercise
    from backout.render.layout import Place
    from backout.render.screens import rehearse_screen

    desk = at_desk(config, by)
    with stop_on_interrupt(desk.ask_to_stop):
        answer = exercise(desk, target, last, tuple(migration or ()))
    identity = answer.triage.identity
    place = Place(
        *(desk.app.target_name(target), answer.environment, identity.target, not identity.in_recovery)
    )
    emit(
        answer,
        lambda style: rehearse_screen(
            *(answer.id, place, answer.triage, answer.proposals, answer.rehearsals),
            style=style,
            now=now(),
            snapshot=answer.snapshot,
            next=answer.next,
        ),
        as_json=as_json,
        exit_code=0 if answer.proposals.recommended else 1,
    )
