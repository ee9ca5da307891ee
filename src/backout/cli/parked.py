"""`backout parked`: rows of a repair that need a person; listed, shown, tried again, resolved."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from backout.cli.at_work import at_terminal, incident_or_only
from backout.cli.at_work import desk as at_desk
from backout.cli.console import (
    ConfigOption,
    ConfirmOption,
    JsonOption,
    SignatureOption,
    SignerKeyOption,
    confirm_target,
    emit,
    say,
)

verbs = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Rows of a repair that need a person, with all their versions.",
)
IncidentArgument = Annotated[str | None, typer.Argument(help="The incident; default: the only open one.")]
NumberArgument = Annotated[int, typer.Argument(help="Number of the row, as `parked list` shows it.")]


@verbs.command("list")
def list_(
    incident: IncidentArgument = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Parked rows in families, then what is only listed."""
    from backout.app.parked import listed
    from backout.render.screens import parked_list_screen

    desk = at_desk(config)
    answer = listed(desk, incident_or_only(desk, incident))
    emit(
        answer,
        lambda style: parked_list_screen(answer.incident, answer.rows, style=style, next=answer.next),
        as_json=as_json,
    )


@verbs.command()
def show(
    incident: Annotated[str, typer.Argument(help="The incident.")],
    number: NumberArgument,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show values; recorded in the journal.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """One row before the migration, just after it and now; values by length unless --reveal is given."""
    from backout.app.parked import show as read
    from backout.render.screens import parked_show_screen

    desk = at_desk(config)
    if reveal:
        desk.reveal(incident, "parked show")
    answer = read(desk, incident, number, reveal=reveal)
    states = (("before", answer.before), ("migrated", answer.migrated), ("now", answer.now))
    emit(
        answer,
        lambda style: parked_show_screen(answer.row, states, style=style, next=answer.next),
        as_json=as_json,
    )


@verbs.command()
def retry(
    incident: IncidentArgument = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Try refused rows again, e.g. children whose parent was resolved."""
    from backout.app.parked import retry as try_again
    from backout.render.screens import parked_done_screen

    desk = at_desk(config)
    answer = try_again(desk, incident_or_only(desk, incident))
    emit(
        answer,
        lambda style: parked_done_screen(answer.applied, answer.open, style=style, next=answer.next),
        as_json=as_json,
    )


@verbs.command()
def resolve(
    incident: Annotated[str, typer.Argument(help="The incident.")],
    number: NumberArgument,
    take: Annotated[
        str, typer.Option("--take", help="now: what was written since; before: the old row.")
    ] = "",
    column: Annotated[
        str, typer.Option("--set", help="Instead: this column gets a value, read from stdin.")
    ] = "",
    person: Annotated[str, typer.Option("--as", help="Who signs: a name enrolled in allowed_signers.")] = "",
    key: SignerKeyOption = None,
    signature: SignatureOption = None,
    confirm: ConfirmOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide about one parked row; carried out once. Without --as it shows what would be signed."""
    from backout.app import parked
    from backout.app.signing import How
    from backout.errors import Waiting
    from backout.render.screens import parked_done_screen

    desk = at_desk(config, person or None)
    value = _value() if column and person else None
    asked = parked.ask(desk, incident, number, take, column, value)
    if not person:
        raise Waiting(
            asked.message.strip().splitlines()[-1].strip(),
            where=asked.incident.target,
            intact="everything; nothing was written",
            next=asked.next,
        )
    say(asked.message.rstrip())
    confirm_target(asked.incident.target, confirm)
    answer = parked.resolve(desk, asked, person, How(key, signature))
    emit(
        answer,
        lambda style: parked_done_screen(answer.applied, answer.open, style=style, next=answer.next),
        as_json=as_json,
    )


def _value() -> str:
    """The value for --set: typed unseen, or the whole of stdin; never from the command line."""
    if at_terminal():
        from getpass import getpass

        return getpass("value (hidden): ")
    return sys.stdin.read().removesuffix("\n")
