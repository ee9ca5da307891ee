"""The command line: one file per verb."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click


def command_line(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code. Never a traceback for a user's mistake."""
    from backout.cli.main import application
    from backout.errors import BackoutError

    as_json = "--json" in arguments
    try:
        code = application(args=list(arguments), prog_name="backout", standalone_mode=False)
    except BackoutError as error:
        from backout.cli.console import fail

        return fail(error, as_json=as_json)
    except KeyboardInterrupt:
        print("stopped; what had begun is looked at first by: backout resume", file=sys.stderr)  # noqa: T201
        return 5
    except click.exceptions.Abort:
        return 5
    except click.ClickException as error:
        return _usage(error)
    return int(code or 0)


def _usage(error: click.ClickException) -> int:
    """A mistake on the command line, in two lines."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "backout"
    print(f"error (exit 2): {error.format_message()}", file=sys.stderr)  # noqa: T201
    print(f"next: {path} --help", file=sys.stderr)  # noqa: T201
    return 2
