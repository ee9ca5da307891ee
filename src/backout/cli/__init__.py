"""The command line: one file per verb."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from backout.errors import BackoutError

USAGE = 2
STOPPED = 5
_USAGE = {
    "error": "usage",
    "what": "the command line is not understood; stderr says why",
    "where": "the command line",
    "intact": "everything; nothing was done",
    "next": "backout --help",
}


def command_line(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code. Never a traceback for a user's mistake."""
    from backout.cli.main import application

    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json = "--json" in ours
    try:
        application(args=list(arguments), prog_name="backout")
    except BackoutError as error:
        from backout.cli.console import fail

        return fail(error, as_json=as_json)
    except KeyboardInterrupt:
        print("stopped; what had begun is looked at first by: backout resume", file=sys.stderr)  # noqa: T201
        return STOPPED
    except SystemExit as ended:
        return _ended(ended, as_json=as_json)
    except Exception as error:  # noqa: BLE001 - the last net: no traceback, no value, a next command
        return _unforeseen(error, as_json=as_json)
    return 0


def _unforeseen(error: Exception, *, as_json: bool) -> int:
    from backout.app.unforeseen import explained, written_down
    from backout.cli.console import fail

    told = explained(error)
    path = written_down(error)
    if path:
        told.add_note(f"the details, for whoever mends it (they may hold values): {path}")
    return fail(told, as_json=as_json)


def _ended(ended: SystemExit, *, as_json: bool) -> int:
    """The parser's own end: the code of the verb, or 2 for a mistake on the command line.

    A verb that ended with a code of its own has printed its document already.
    """
    import typer

    code = ended.code if isinstance(ended.code, int) else 0
    if code == USAGE and as_json and not isinstance(ended.__context__, typer.Exit):
        import json

        print(json.dumps({"exit": USAGE, **_USAGE}))  # noqa: T201
    return code
