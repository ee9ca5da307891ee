"""`backout init`: write a first backout.toml by looking at the project and its database."""

from __future__ import annotations

from typing import Annotated

import typer

from backout.cli.console import JsonOption, emit


def init(
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="Name of the target; default: from the database.")
    ] = None,
    dsn_env: Annotated[
        str | None,
        typer.Option(
            "--dsn-env", help="Variable with the connection string; default: the likeliest there is."
        ),
    ] = None,
    directory: Annotated[str, typer.Option("--dir", help="The project.")] = ".",
    force: Annotated[bool, typer.Option("--force", help="Write over a backout.toml.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write backout.toml from what is found here. The project and the database are only read."""
    from pathlib import Path

    from backout.app.adoption import Asked, initialise
    from backout.render.screens import init_screen
    from backout.render.screens.init import rows

    done = initialise(Asked(Path(directory), target, dsn_env, force))
    found = rows(
        tool=done.tool,
        history=done.history,
        target=done.target,
        database=done.database,
        dsn_env=done.dsn_env,
        todo=[(item.what, item.line) for item in done.todo],
        rough=done.rough,
    )
    emit(
        done,
        lambda style: init_screen(
            done.looked_at, found, Path(done.path).name, done.lines,
            read=bool(done.database), style=style, next=done.next,
        ),
        as_json=as_json,
    )  # fmt: skip
