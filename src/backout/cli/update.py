"""`backout update`: tell the stakeholders how it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import incident_or_only
from backout.cli.console import ActorOption, ConfigOption, JsonOption, emit

if TYPE_CHECKING:
    from backout.app.results import Updates


def update(
    incident: Annotated[str | None, typer.Argument(help="The incident; default: the only open one.")] = None,
    say: Annotated[
        str, typer.Option("--say", help="What happens now, in your words; default: as `status` has it.")
    ] = "",
    if_due: Annotated[
        bool, typer.Option("--if-due", help="Only what is due, of every open incident; made for cron.")
    ] = False,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a status update: what happens, who acts, what is safe, what is next, when more comes."""
    from backout.app.updates import update as tell
    from backout.app.updates import updates_due
    from backout.errors import ConfigurationError

    if if_due and (incident or say):
        raise ConfigurationError(
            "--if-due takes neither an incident nor --say: it looks at every open one",
            where="the command line",
            intact="everything; nothing was sent",
            next="backout update --if-due",
        )
    desk = at_desk(config, by)
    answer = updates_due(desk) if if_due else tell(desk, incident_or_only(desk, incident), say)
    emit(answer, lambda _style: _screen(answer), as_json=as_json)


def _screen(answer: Updates) -> str:
    told = "\n\n".join(one.text.rstrip() for one in answer.told) or "No update is due."
    return f"{told}\nnext: {answer.next}"
