"""Entry point of the command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from backout.cli import command_line  # noqa: PLC0415 - the bare import stays cheap

    sys.exit(command_line(sys.argv[1:]))


if __name__ == "__main__":
    main()
