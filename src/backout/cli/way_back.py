"""`backout way-back`: after a restore, back to the old side with everything written since, or give it up."""

from __future__ import annotations

from typing import Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import incident_or_only
from backout.cli.console import (
    ConfigOption,
    ConfirmOption,
    JsonOption,
    SignatureOption,
    SignerKeyOption,
    confirm_target,
    emit,
    say,
    stop_on_interrupt,
)

verbs = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="After a restore: traffic back to the old side, with every write made since.",
)
IncidentArgument = Annotated[str | None, typer.Argument(help="The incident; default: the only open one.")]


@verbs.command()
def status(
    incident: IncidentArgument = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Until when it is armed, and how much WAL the new side retains for it."""
    from backout.app.way_back import state
    from backout.render.screens import way_back_screen

    desk = at_desk(config)
    answer = state(desk, incident_or_only(desk, incident))
    emit(
        answer,
        lambda style: way_back_screen(answer.state, style=style, next=answer.next),
        as_json=as_json,
        exit_code=0 if answer.state.armed and answer.state.health != "lost" else 1,
    )


@verbs.command()
def use(
    incident: IncidentArgument = None,
    person: Annotated[str, typer.Option("--as", help="Who signs: a name enrolled in allowed_signers.")] = "",
    key: SignerKeyOption = None,
    signature: SignatureOption = None,
    confirm: ConfirmOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move traffic back. The migration is live again then. Without --as it shows what would be signed."""
    from backout.app import way_back
    from backout.app.signing import How
    from backout.errors import Waiting
    from backout.model.check import all_good
    from backout.render.screens import went_back_screen

    desk = at_desk(config, person or None)
    asked = way_back.ask(desk, incident_or_only(desk, incident))
    if not person:
        raise Waiting(
            asked.message.strip().splitlines()[-1].strip(),
            where=asked.incident.target,
            intact="everything; traffic stays where it is",
            next=asked.next,
        )
    say(asked.message.rstrip())
    confirm_target(asked.incident.target, confirm)
    with stop_on_interrupt(desk.ask_to_stop):
        answer = way_back.use(desk, asked, person, How(key, signature))
    emit(
        answer,
        lambda style: went_back_screen(answer.went, style=style, next=answer.next),
        as_json=as_json,
        exit_code=0 if all_good(answer.went.proof.checks) else 1,
    )


@verbs.command()
def drop(incident: IncidentArgument = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Give it up: the new side retains no WAL for it any more. It cannot be armed again."""
    from backout.app.way_back import drop as give_up
    from backout.render.screens import way_back_screen

    desk = at_desk(config)
    answer = give_up(desk, incident_or_only(desk, incident))
    emit(
        answer,
        lambda style: way_back_screen(answer.state, style=style, next=answer.next),
        as_json=as_json,
    )
