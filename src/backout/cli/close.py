"""`backout close`: the end of an incident."""

from __future__ import annotations

from typing import Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import incident_or_only
from backout.cli.console import ActorOption, ConfigOption, JsonOption, emit


def close(
    incident: Annotated[str | None, typer.Argument(help="The incident; default: the only open one.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why it ends.")] = "resolved",
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close an incident and destroy its copies; kept values, snapshots and the journal stay."""
    from backout.app.closing import close as end

    desk = at_desk(config, by)
    answer = end(desk, incident_or_only(desk, incident), reason)
    copies = ", ".join(answer.destroyed) or "none"
    stays = f"\n  stays, it serves  {answer.serves}" if answer.serves else ""
    emit(
        answer,
        lambda _style: (
            f"{answer.incident} closed: {answer.reason}\n  copies destroyed  {copies}{stays}\n"
            f"next: {answer.next}"
        ),
        as_json=as_json,
    )
