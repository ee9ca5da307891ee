"""`backout doctor`: is this target fit to be rescued, what may the role do, what is still to be granted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backout.cli.at_work import application
from backout.cli.console import ConfigOption, JsonOption, TargetOption, emit, style

if TYPE_CHECKING:
    from backout.app.readiness import Examined
    from backout.app.results import Doctor
    from backout.render.layout import Place


def doctor(
    can: Annotated[
        bool, typer.Option("--can", help="What the role may do, each right asked from the server.")
    ] = False,
    print_schema_sql: Annotated[
        bool, typer.Option("--print-schema-sql", help="The SQL that an administrator runs once.")
    ] = False,
    target: TargetOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check on a calm day that a back-out would work. Exit 1 when a check failed or is unknown."""
    from backout.app import readiness

    app = application(config)
    if print_schema_sql:
        sql = readiness.schema_script(app, target)
        emit(readiness.Script(sql), lambda _: sql, as_json=as_json)
    if can:
        _show_capabilities(readiness.capabilities(app, target), as_json=as_json)
    _show_checks(readiness.examine(app, target), as_json=as_json)


def _place(found: Doctor) -> Place:
    from backout.render.layout import Place

    return Place(found.target, found.environment, found.identity, found.primary)


def _show_capabilities(found: Examined, *, as_json: bool) -> None:
    from backout.render.screens import capabilities_screen

    answer = found.doctor
    emit(
        answer,
        lambda style: capabilities_screen(
            _place(answer), answer.role, answer.capabilities, answer.sql, style=style, next=answer.next
        ),
        as_json=as_json,
        exit_code=found.exit_code,
    )


def _show_checks(found: Examined, *, as_json: bool) -> None:
    """When the server could not be looked at, the other checks go before the error, which ends it."""
    from backout.render.screens import doctor_screen

    answer = found.doctor
    if found.error is not None and not as_json:
        print(doctor_screen(_place(answer), answer.checks, style=style(), exit_code=found.exit_code))  # noqa: T201
        raise found.error
    emit(
        answer,
        lambda style: doctor_screen(_place(answer), answer.checks, style=style),
        as_json=as_json,
        exit_code=found.exit_code,
    )
