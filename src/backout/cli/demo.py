"""`backout demo`: watch a rescue on a world of its own."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from backout.cli.console import JsonOption


class Story(StrEnum):
    """The stories beside the first."""

    DESTRUCTIVE = "destructive"


class Way(StrEnum):
    """How the destructive night ends."""

    REPAIR = "repair"
    RESTORE = "restore"


def demo(
    story: Annotated[
        Story | None,
        typer.Argument(
            help="destructive: rows and a column are destroyed, and come back beside the writers."
        ),
    ] = None,
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
    strategy: Annotated[
        Way | None,
        typer.Option(
            help="How destructive ends: repair in place (the default), or restore and move traffic there."
        ),
    ] = None,
    no_guard: Annotated[
        bool,
        typer.Option("--no-guard", help="For destructive: nobody armed a guard before the migration."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Rescue a real database from a real bad migration, in a small world that is made for it.

    A demo that was cut goes on with the same incident. With --json everything that people read goes to
    stderr, and stdout ends with one document. Exit code 1 when anything was lost.
    """
    from backout.demo import nights
    from backout.demo.story import Wishes

    asked = nights.Asked(story is not None, second, strategy.value if strategy else "", no_guard)
    raise typer.Exit(nights.tell(asked, Wishes(pause, as_json, fresh, dead_etl)))
