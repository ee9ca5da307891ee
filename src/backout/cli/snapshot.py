"""`backout snapshot`: take, prove, record, list, drop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import now
from backout.cli.console import ActorOption, ConfigOption, JsonOption, TargetOption, emit, stop_on_interrupt

if TYPE_CHECKING:
    from backout.app.results import SnapshotAnswer

verbs = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Backup snapshots, and the proof that they restore."
)


@verbs.command()
def take(
    target: TargetOption = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Dump the target and read the dump back to its last row. Taken is not proven."""
    from backout.app import snapshots

    desk = at_desk(config, by)
    with stop_on_interrupt(desk.ask_to_stop):
        _done(snapshots.take(desk, target, prove=False), as_json)


@verbs.command()
def prove(
    incident: Annotated[
        str | None, typer.Argument(help="For this incident; without one: an exercise.")
    ] = None,
    target: TargetOption = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a snapshot, restore it to a scratch server, and read every table of the copy."""
    from backout.app import snapshots

    desk = at_desk(config, by)
    with stop_on_interrupt(desk.ask_to_stop):
        if incident is not None:
            _done(snapshots.prove_for_incident(desk, incident), as_json)
        _done(snapshots.take(desk, target, prove=True), as_json)


@verbs.command()
def record(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The provider's ID of the snapshot.")],
    taken_at: Annotated[str, typer.Option("--taken-at", help="RFC 3339; default: now.")] = "",
    kind: Annotated[str, typer.Option("--kind", help="Only `provider`.")] = "provider",
    target: TargetOption = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write down the ID of a snapshot that somebody else holds; it proves nothing by itself."""
    from backout.app import snapshots
    from backout.errors import ConfigurationError

    if kind != "provider":
        raise ConfigurationError(
            f"unknown kind {kind!r}",
            where="the command line",
            intact="everything; nothing was done",
            next="--kind provider",
        )
    _done(snapshots.record(at_desk(config, by), target, identifier, taken_at), as_json)


@verbs.command()
def adopt(
    file: Annotated[
        Path, typer.Argument(help="A dump of pg_dump: plain (.gz, .zst too), custom, directory.")
    ],
    taken_at: Annotated[str, typer.Option("--taken-at", help="RFC 3339; default: by its contents.")] = "",
    target: TargetOption = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in a backup that somebody else made: restored, read, and kept where it lies."""
    from backout.app import snapshots

    desk = at_desk(config, by)
    with stop_on_interrupt(desk.ask_to_stop):
        _done(snapshots.adopt(desk, target, file, taken_at), as_json)


@verbs.command("list")
def list_(target: TargetOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """All snapshots of a target, newest first, and which of them are proven."""
    from backout.app import snapshots
    from backout.render.screens import snapshots_screen

    answer = snapshots.listing(at_desk(config), target)
    emit(
        answer,
        lambda style: snapshots_screen(
            answer.snapshots, answer.proven, style=style, now=now(), next=answer.next
        ),
        as_json=as_json,
    )


@verbs.command()
def drop(
    identifier: Annotated[str, typer.Argument(metavar="ID")],
    target: TargetOption = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a snapshot; refused while an open incident stands on it."""
    from backout.app import snapshots
    from backout.render.screens import snapshots_screen

    answer = snapshots.drop(at_desk(config, by), target, identifier)
    emit(
        answer,
        lambda style: snapshots_screen(
            answer.snapshots, answer.proven, style=style, now=now(), next=answer.next
        ),
        as_json=as_json,
    )


def _done(answer: SnapshotAnswer, as_json: bool) -> None:
    from backout.render.screens import snapshot_screen

    emit(
        answer,
        lambda style: snapshot_screen(
            answer.snapshot, answer.proof, style=style, now=now(), next=answer.next
        ),
        as_json=as_json,
    )
