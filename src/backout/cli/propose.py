"""`backout propose`: snapshot, proof, rehearsal, and the proposals that people approve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import incident_or_only, now
from backout.cli.console import ActorOption, ConfigOption, JsonOption, emit, say, stop_on_interrupt

WAITS, REFUSED = 4, 3


def propose(
    incident: Annotated[str | None, typer.Argument(help="The incident; default: the only open one.")] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Also write one file for approvers without the database.")
    ] = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove a snapshot, rehearse the ways back on the restored copy, and write the proposals.

    Ends with exit code 4: the gate waits for approvals; with 3 when every way back is refused. Typed again
    after a proposal, it begins a new round; after a stop, it goes on.
    """
    from backout.app import signing
    from backout.app.incidents import propose as advance
    from backout.render.screens import propose_screen

    desk = at_desk(config, by)
    with stop_on_interrupt(desk.ask_to_stop):
        answer = advance(desk, incident_or_only(desk, incident))
    if bundle is not None:
        signing.write_bundle(desk, answer.incident.id, bundle)
        say(f"  wrote {bundle}")
    emit(
        answer,
        lambda style: propose_screen(
            *(answer.incident, answer.triage, answer.proposals, answer.rehearsals, dict(answer.digests)),
            style=style,
            now=now(),
            snapshot=answer.snapshot,
            next=answer.next,
        ),
        as_json=as_json,
        exit_code=WAITS if answer.proposals.proposals else REFUSED,
    )
