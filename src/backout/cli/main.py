"""All verbs under one roof. Each is imported when it is called, so that the command line is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from backout import __version__
from backout.cli.lazy import Verb, group_of

VERBS = (
    Verb("init", "init:init", "Write backout.toml from what is found here."),
    Verb("doctor", "doctor:doctor", "Check on a calm day that a back-out would work."),
    Verb("open", "open:open_", "Begin an incident: what is the migration, what did it touch."),
    Verb("propose", "propose:propose", "Rehearse the ways back on a proven copy, and propose."),
    Verb("approve", "approve:approve", "Sign exactly what is printed, with your own SSH key."),
    Verb("reject", "approve:reject", "Say no to the proposals of this round."),
    Verb("withdraw", "approve:withdraw", "Take your own approval back; only before the run."),
    Verb("run", "run:run", "Carry out the approved plan; every destroyed value is kept."),
    Verb("resume", "run:resume", "Go on after a stop: looks first, and never repeats an effect."),
    Verb("verify", "verify:verify", "Check history, schema, kept values and the validation plan."),
    Verb("status", "status:status", "What is happening, who acts, what is safe, what is next."),
    Verb("update", "update:update", "Tell stakeholders how it stands, now or when it is due."),
    Verb("show", "show:show", "The runbook's condensed checklist with its evidence."),
    Verb("sheet", "show:sheet", "The hand-over sheet: what holds, and the plain commands."),
    Verb("diagnose", "show:diagnose", "What was captured when the down failed."),
    Verb("close", "close:close", "Close an incident and destroy its copies; kept values stay."),
    Verb("contain", "contain:contain", "Stop one job by a command, recorded with its way back."),
    Verb("release", "contain:release", "Start a contained job again, by the recorded way back."),
    Verb("copies", "copies:copies", "Every copy that backout holds: size, lease, source."),
    Verb("rehearse", "rehearse:rehearse", "If this had to be backed out tonight: what would be lost."),
    Verb("restore", "restore:restore", "Restore a backup to a new instance, tested and handed over."),
    Verb("postmortem", "postmortem:postmortem", "Write the postmortem: Markdown and one HTML page."),
    Verb("schema", "schema:schema", "Print a JSON Schema."),
    Verb("demo", "demo:demo", "Rescue a real database from a real bad migration."),
    Verb("guard", "guard:verbs", "Before a migration: a restore point, and later writes held."),
    Verb("snapshot", "snapshot:verbs", "Backup snapshots, and the proof that they restore."),
    Verb("backup", "backup:verbs", "Base backups, to restore to just before a migration."),
    Verb("kept", "kept:verbs", "What a down destroyed, and its way back."),
    Verb("way-back", "way_back:verbs", "After a restore: back to the old side, nothing lost."),
    Verb("parked", "parked:verbs", "Rows of a repair that need a person, with all versions."),
)

application = typer.Typer(
    name="backout",
    cls=group_of(VERBS),
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Back out a bad PostgreSQL migration without losing one acknowledged write.\n\n"
    "The usual order: init, doctor, open, propose, approve (two people), run, verify, postmortem.",
    epilog="Exit codes: 0 done, 1 a check failed or is unknown, 2 usage or configuration, 3 refused, "
    "4 waits for a person, 5 stopped safely (resume goes on), 6 handed over, 7 a neighbour is unreachable.",
)


def _version(asked: bool) -> None:
    if asked:
        print(f"backout {__version__}")  # noqa: T201
        raise typer.Exit


@application.callback()
def _options(
    color: Annotated[str, typer.Option(help="never, always or auto; NO_COLOR is respected.")] = "auto",
    ascii: Annotated[bool, typer.Option("--ascii", help="ASCII symbols only.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    from backout.cli import console

    console.chosen.color, console.chosen.ascii, console.chosen.quiet = color, ascii, quiet
