"""`backout show` and `sheet`: one incident whole, live from the journal; and what people need without us."""

from __future__ import annotations

from typing import Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import incident_or_only, now
from backout.cli.console import ConfigOption, JsonOption, emit

IncidentArgument = Annotated[str | None, typer.Argument(help="The incident; default: the only open one.")]


def show(incident: IncidentArgument = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The runbook's condensed checklist with its evidence."""
    from backout.app.postmortems import known
    from backout.render.screens import show_screen

    desk = at_desk(config)
    facts = known(desk, incident_or_only(desk, incident))
    emit(facts, lambda style: show_screen(facts, style=style, now=now()), as_json=as_json)


def sheet(
    incident: IncidentArgument = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """What has happened, what holds, and the plain commands that finish it by hand, without backout."""
    from backout.app.postmortems import known
    from backout.render.sheet import sheet as page

    desk = at_desk(config)
    facts = known(desk, incident_or_only(desk, incident))
    emit(facts, lambda style: page(facts, style=style, now=now()), as_json=as_json)


def diagnose(
    incident: IncidentArgument = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """What was captured when the down failed: the server's words, the statement, who else was there."""
    from backout.app.postmortems import known
    from backout.errors import Refused
    from backout.render.layout import Place
    from backout.render.screens import diagnose_screen

    desk = at_desk(config)
    facts = known(desk, incident_or_only(desk, incident))
    done = facts.execution
    if done is None:
        raise Refused(
            "nothing was carried out yet",
            where=facts.incident.target,
            intact="everything",
            next=f"backout status {facts.incident.id}",
        )
    place = Place(facts.incident.target, facts.incident.environment)
    emit(done, lambda style: diagnose_screen(place, facts.incident.id, done, style=style), as_json=as_json)
