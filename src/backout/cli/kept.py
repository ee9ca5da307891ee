"""`backout kept`: what a down destroyed, listed, shown, exported, put back, dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import incident_or_only, now
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
    no_args_is_help=True, rich_markup_mode=None, help="What a down destroyed, and its way back."
)
IncidentArgument = Annotated[str | None, typer.Argument(help="The incident; default: the only open one.")]


@verbs.command("list")
def list_(
    incident: IncidentArgument = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Every kept column: how many values, since when, and where they would go today."""
    from backout.app.kept import columns
    from backout.render.screens import kept_list_screen

    desk = at_desk(config)
    answer = columns(desk, incident_or_only(desk, incident))
    emit(
        answer,
        lambda style: kept_list_screen(
            answer.incident, answer.columns, style=style, next=answer.next, age=answer.age, now=now()
        ),
        as_json=as_json,
    )


@verbs.command()
def show(
    incident: IncidentArgument = None,
    limit: Annotated[int, typer.Option(help="Rows per kept table.")] = 10,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show values; recorded in the journal.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Some kept rows; values are described by type and length unless --reveal is given."""
    from backout.app.kept import show as read
    from backout.render.layout import Style

    desk = at_desk(config)
    incident_id = incident_or_only(desk, incident)
    if reveal:
        desk.reveal(incident_id, "kept show")
    answer = read(desk, incident_id, limit, reveal=reveal)

    def screen(style: Style) -> str:
        lines = []
        for table in answer.tables:
            lines += [style.text(f"{table.table}  {', '.join(table.names)}")]
            lines += [style.text("  " + "  ".join(row)) for row in table.rows]
        return "\n".join([*lines, f"next: {answer.next}"])

    emit(answer, screen, as_json=as_json)


@verbs.command()
def export(
    incident: IncidentArgument = None,
    to: Annotated[
        Path,
        typer.Option("--to", help="The CSV files go to a private folder in it, named after the incident."),
    ] = Path("kept"),
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write every kept table as CSV."""
    from backout.app.kept import export as write

    desk = at_desk(config)
    incident_id = incident_or_only(desk, incident)
    desk.reveal(incident_id, "kept export")
    answer = write(desk, incident_id, to)
    emit(
        answer,
        lambda _style: "\n".join([*(f"  wrote {p}" for p in answer.paths), f"next: {answer.next}"]),
        as_json=as_json,
    )


@verbs.command("put-back")
def put_back(
    incident: IncidentArgument = None,
    column: Annotated[str, typer.Option("--column", help="OLD=NEW: the kept column and the live one.")] = "",
    rows: Annotated[
        str, typer.Option("--rows", help="Instead: whole rows of this table that were deleted.")
    ] = "",
    person: Annotated[str, typer.Option("--as", help="Who signs: a name enrolled in allowed_signers.")] = "",
    key: SignerKeyOption = None,
    signature: SignatureOption = None,
    confirm: ConfirmOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also replace live values.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write kept values back onto their rows. Without --as it shows the forecast and writes nothing."""
    from backout.app import kept
    from backout.app.signing import How
    from backout.render.screens import put_back_forecast_screen, put_back_screen

    desk = at_desk(config, person or None)
    incident_id = incident_or_only(desk, incident)
    if rows:
        asked = kept.ask_rows(desk, incident_id, rows)
    else:
        asked = kept.ask(desk, incident_id, column, overwrite=overwrite)
    if not person:
        forecast = asked.forecast
        emit(
            forecast,
            lambda style: put_back_forecast_screen(forecast, style=style),
            as_json=as_json,
            exit_code=4,
        )
    say(asked.message.rstrip())
    confirm_target(asked.incident.target, confirm)
    answer = kept.put_back(desk, asked, person, How(key, signature))
    emit(answer, lambda style: put_back_screen(answer, style=style), as_json=as_json)


@verbs.command()
def drop(
    incident: Annotated[str, typer.Argument(help="The incident; it has to be closed.")],
    reason: Annotated[str, typer.Option("--reason", help="Why nobody needs the values any more.")] = "",
    early: Annotated[bool, typer.Option("--early", help="Also before their retention is over.")] = False,
    person: Annotated[str, typer.Option("--as", help="Who signs: a name enrolled as owner.")] = "",
    key: SignerKeyOption = None,
    signature: SignatureOption = None,
    confirm: ConfirmOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Drop the kept values of a closed incident for good. Without --as it shows what would go."""
    from backout.app import dropping
    from backout.app.signing import How
    from backout.render.screens import kept_drop_screen

    desk = at_desk(config, person or None)
    asked = dropping.ask_drop(desk, incident, reason, early=early)
    answer = asked.forecast
    if person:
        say(asked.message.rstrip())
        confirm_target(asked.incident.target, confirm)
        answer = dropping.drop(desk, asked, person, How(key, signature))
    emit(
        answer,
        lambda style: kept_drop_screen(answer, style=style, now=now()),
        as_json=as_json,
        exit_code=0 if answer.dropped else 4,
    )
