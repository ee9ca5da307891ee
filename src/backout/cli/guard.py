"""`backout guard`: plan, arm, run, list, status, watch, drop; and `backout guard -- COMMAND`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from backout.cli import console
from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import now, seconds
from backout.cli.console import ActorOption, ConfigOption, JsonOption, TargetOption, emit, stop_on_interrupt

if TYPE_CHECKING:
    from typer._click import Context

    from backout.app.results import GuardStatus
    from backout.model.guard import GuardPlan, Wishes

TablesOption = Annotated[
    str, typer.Option("--tables", help="Only these tables, separated by commas; default: all.")
]
FullOption = Annotated[
    list[str] | None,
    typer.Option("--full", help="Approve REPLICA IDENTITY FULL for this table; may be repeated."),
]
OriginOption = Annotated[
    bool, typer.Option("--origin", help="A replication origin for each session too, not the marker alone.")
]
KeptOption = Annotated[
    bool, typer.Option("--slot-is-kept", help="Your word that Patroni's ignore_slots names our slot.")
]
ProvenOption = Annotated[
    str | None,
    typer.Option(
        "--require-proven-snapshot",
        metavar="AGE",
        help="Refuse without a snapshot proven within this time, e.g. 24h.",
    ),
]
GuardArgument = Annotated[str | None, typer.Argument(help="Id of the guard; default: the newest.")]
DropArgument = Annotated[
    str | None,
    typer.Argument(help="Id of the guard, or the name of a slot of ours; default: the newest guard."),
]


class _CommandBehind(TyperGroup):
    """`guard [OPTIONS] -- COMMAND...` is `guard run [OPTIONS] -- COMMAND...`."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        head = args[: args.index("--")] if "--" in args else args
        if "--" in args and not any(word in self.commands for word in head):
            args = ["run", *args]
        return super().parse_args(ctx, args)


verbs = typer.Typer(
    cls=_CommandBehind,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Before a migration: a restore point, and every later write held in a slot.\n\n"
    "`backout guard [OPTIONS of run] -- COMMAND...` arms, runs the command and keeps the guard.",
)


@verbs.command()
def plan(
    tables: TablesOption = "",
    full: FullOption = None,
    origin: OriginOption = False,
    slot_is_kept: KeptOption = False,
    target: TargetOption = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """What arming would do here, what each part needs, what is not captured. Only reads."""
    from backout.app import guard
    from backout.render.screens import guard_plan_screen

    answer = guard.plan(at_desk(config, by), target, _wishes(tables, full, origin, slot_is_kept))
    emit(
        answer,
        lambda style: guard_plan_screen(answer.plan, style=style, next=answer.next),
        as_json=as_json,
    )


@verbs.command()
def arm(
    tables: TablesOption = "",
    full: FullOption = None,
    origin: OriginOption = False,
    slot_is_kept: KeptOption = False,
    proven: ProvenOption = None,
    target: TargetOption = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Arm before a migration: old rows whole, publication, slot, restore point, files, in this order."""
    from backout.app import guard
    from backout.render.screens import guard_armed_screen

    desk = at_desk(config, by)
    wishes = _wishes(tables, full, origin, slot_is_kept)
    with stop_on_interrupt(desk.ask_to_stop):
        answer = guard.arm(desk, target, wishes, _show, seconds(proven))
    emit(
        answer,
        lambda style: guard_armed_screen(answer.guard, style=style, now=now(), next=answer.next),
        as_json=as_json,
    )


@verbs.command()
def run(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="Behind `--`.")],
    tables: TablesOption = "",
    full: FullOption = None,
    origin: OriginOption = False,
    slot_is_kept: KeptOption = False,
    proven: ProvenOption = None,
    target: TargetOption = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Arm, then run a command through the proxy: each of its transactions begins with our marker.

    The exit code is the command's. What backout itself says goes to stderr.
    """
    from backout.app import guard
    from backout.render.screens import guard_ran_screen

    desk = at_desk(config, by)
    wishes = _wishes(tables, full, origin, slot_is_kept)
    with stop_on_interrupt(desk.ask_to_stop):
        answer = guard.run_under(
            desk, target, wishes, tuple(command), _show, seconds(proven), quiet_stdout=as_json
        )
    code = answer.command.exit_code
    if as_json:
        emit(answer, lambda _style: "", as_json=True, exit_code=code)
    style = console.style("stderr")
    screen = guard_ran_screen(answer.guard, answer.command, answer.dropped, style=style, next=answer.next)
    typer.echo(screen, err=True)
    raise typer.Exit(code)


@verbs.command("list")
def list_(target: TargetOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Every guard of the journal, and those on the servers that another machine armed."""
    from backout.app import guard
    from backout.render.screens import guard_list_screen

    answer = guard.listing(at_desk(config), target)
    emit(answer, lambda style: guard_list_screen(answer, style=style, now=now()), as_json=as_json)


@verbs.command()
def status(
    name: GuardArgument = None,
    target: TargetOption = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at a guard on the server: slot, WAL held back, tables, window. Exit 1 when it is not good."""
    from backout.app import guard

    _status(guard.status(at_desk(config, by), name, target), as_json)


@verbs.command()
def watch(
    name: GuardArgument = None,
    every: Annotated[str, typer.Option("--every", help="How often to look.")] = "30s",
    target: TargetOption = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look again and again: ends with exit 1 as soon as the guard is not good, with 0 at its end."""
    from backout.app import guard

    desk = at_desk(config, by)
    with stop_on_interrupt(desk.ask_to_stop):
        answer = guard.watch(desk, name, target, seconds(every) or 0.0)
    _status(answer, as_json)


def _status(answer: GuardStatus, as_json: bool) -> None:
    from backout.model.check import all_good
    from backout.render.screens import guard_status_screen

    emit(
        answer,
        lambda style: guard_status_screen(
            answer.guard, answer.health, answer.dropped, style=style, now=now(), next=answer.next
        ),
        as_json=as_json,
        exit_code=0 if all_good(answer.health.checks) else 1,
    )


@verbs.command()
def drop(
    name: DropArgument = None,
    target: TargetOption = None,
    by: ActorOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a guard off the server: slot, publications, origins; identities as they were."""
    from backout.app import guard
    from backout.app.results import GuardDropped
    from backout.render.screens import guard_dropped_screen

    answer = GuardDropped(guard.drop(at_desk(config, by), name, target), "nothing")
    emit(
        answer,
        lambda style: guard_dropped_screen(answer.dropped, style=style, next=answer.next),
        as_json=as_json,
    )


def _wishes(tables: str, full: list[str] | None, origin: bool, slot_is_kept: bool) -> Wishes:
    from backout.model.guard import Wishes

    names = tuple(part for word in tables.split(",") if (part := word.strip()))
    return Wishes(names, tuple(full or ()), origin, slot_is_kept)


def _show(planned: GuardPlan) -> None:
    """The plan stands on stderr before anything of it happens."""
    from backout.render.screens import guard_plan_lines

    for line in guard_plan_lines(planned, console.style("stderr")):
        console.say(line)
