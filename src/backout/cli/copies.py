"""`backout copies`: every copy on a scratch server, and their end."""

from __future__ import annotations

from typing import Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import now
from backout.cli.console import ConfigOption, JsonOption, TargetOption, emit


def copies(
    destroy: Annotated[list[str] | None, typer.Option("--destroy", help="Destroy this copy.")] = None,
    expired: Annotated[
        bool, typer.Option("--destroy-expired", help="Destroy all whose lease has ended.")
    ] = False,
    target: TargetOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Every copy that backout holds: size, lease, source. Destroyed ones are looked for again."""
    from backout.app import snapshots
    from backout.render.screens import copies_screen

    desk = at_desk(config)
    if destroy or expired:
        answer = snapshots.destroy_copies(desk, target, tuple(destroy or ()), expired=expired)
    else:
        answer = snapshots.list_copies(desk, target)
    emit(
        answer,
        lambda style: copies_screen(answer.copies, style=style, now=now(), next=answer.next),
        as_json=as_json,
    )
