"""`backout demo`: watch a rescue on a world of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from backout.cli.console import JsonOption


def demo(
    pause: Annotated[bool, typer.Option("--pause", help="Stop at each step until Enter is pressed.")] = False,
    second: Annotated[
        bool, typer.Option("--second", help="The second example: 1,001 values, and how they come back.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew, also when a demo was cut in the middle.")
    ] = False,
    dead_etl: Annotated[
        bool, typer.Option("--dead-etl", help="A variant that has to fail: the ETL never works again.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Rescue a real database from a real bad migration, in a small world that is made for it.

    A demo that was cut goes on with the same incident. With --json everything that people read goes to
    stderr, and stdout ends with one document. Exit code 1 when anything was lost.
    """
    from backout.demo.second import tell as tell_second
    from backout.demo.story import Wishes, tell

    wishes = Wishes(pause, as_json, fresh, dead_etl)
    raise typer.Exit(tell_second(wishes) if second else tell(wishes))
