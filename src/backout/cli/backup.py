"""`backout backup`: take, list and prove base backups, to restore both sides of a migration from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.console import ActorOption, ConfigOption, JsonOption, TargetOption, emit, stop_on_interrupt

if TYPE_CHECKING:
    from backout.app.backups import BackupList

verbs = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Base backups of the target's cluster, by the backup tool that is configured.",
)


@verbs.command()
def take(
    full: Annotated[bool, typer.Option("--full", help="Copy everything: stand on no other backup.")] = False,
    target: TargetOption = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a base backup now. With the WAL archived since, every later migration can be restored exactly."""
    from backout.app.backups import take as take_one

    desk = at_desk(config, by)
    with stop_on_interrupt(desk.ask_to_stop):
        _done(take_one(desk, target, full=full), as_json)


@verbs.command()
def prove(
    identifier: Annotated[
        str | None, typer.Argument(metavar="ID", help="Which one; default: the newest.")
    ] = None,
    target: TargetOption = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore a base backup to a new instance, read every row of it, and remove the instance again.

    An incremental one is combined with all that it needs. Exit 0 when it holds, 1 when a check failed.
    """
    from backout.app.backups import prove as prove_one
    from backout.model.check import all_good
    from backout.render.screens import backup_proof_screen

    desk = at_desk(config, by)
    with stop_on_interrupt(desk.ask_to_stop):
        answer = prove_one(desk, target, identifier)
    emit(
        answer,
        lambda style: backup_proof_screen(answer, style=style),
        as_json=as_json,
        exit_code=0 if all_good(answer.checks) else 1,
    )


@verbs.command("list")
def list_(target: TargetOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Every whole base backup, oldest first, and whether the tool can be used now."""
    from backout.app.backups import listing

    _done(listing(at_desk(config), target), as_json)


def _done(answer: BackupList, as_json: bool) -> None:
    from backout.model.check import all_good
    from backout.render.screens import backups_screen

    emit(
        answer,
        lambda style: backups_screen(
            answer.backups, answer.instances, answer.checks, style=style, next=answer.next
        ),
        as_json=as_json,
        exit_code=0 if all_good(answer.checks) else 1,
    )
