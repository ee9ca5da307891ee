"""`backout copies`: every copy on a scratch server, their end, and that of the servers."""

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
    stop: Annotated[
        bool,
        typer.Option(
            "--stop", help="Stop private servers that hold no living lease, and remove their files."
        ),
    ] = False,
    target: TargetOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Every copy that backout holds: size, lease, source. Destroyed ones are looked for again."""
    from backout.app import copies as at_copies
    from backout.render.screens import copies_screen

    desk = at_desk(config)
    answer = None
    if destroy or expired:
        answer = at_copies.destroy(desk, target, tuple(destroy or ()), expired=expired)
    if stop:
        answer = at_copies.stop(desk, target)
    shown = answer or at_copies.listing(desk, target)
    emit(shown, lambda style: copies_screen(shown, style=style, now=now()), as_json=as_json)
