"""All verbs under one roof. Each verb imports what it needs inside, so that the command line is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from backout import __version__
from backout.cli import (
    approve,
    close,
    console,
    contain,
    copies,
    demo,
    doctor,
    init,
    kept,
    postmortem,
    propose,
    rehearse,
    schema,
    show,
    snapshot,
    status,
    verify,
)
from backout.cli import (
    open as open_verb,
)
from backout.cli import (
    run as run_verb,
)

application = typer.Typer(
    name="backout",
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
    console.chosen.color, console.chosen.ascii, console.chosen.quiet = color, ascii, quiet


for _name, _verb in (
    ("init", init.init),
    ("doctor", doctor.doctor),
    ("open", open_verb.open_),
    ("propose", propose.propose),
    ("approve", approve.approve),
    ("reject", approve.reject),
    ("withdraw", approve.withdraw),
    ("run", run_verb.run),
    ("resume", run_verb.resume),
    ("verify", verify.verify),
    ("status", status.status),
    ("show", show.show),
    ("sheet", show.sheet),
    ("diagnose", show.diagnose),
    ("close", close.close),
    ("contain", contain.contain),
    ("release", contain.release),
    ("copies", copies.copies),
    ("rehearse", rehearse.rehearse),
    ("postmortem", postmortem.postmortem),
    ("schema", schema.schema),
    ("demo", demo.demo),
):
    application.command(_name)(_verb)
application.add_typer(snapshot.verbs, name="snapshot")
application.add_typer(kept.verbs, name="kept")
