"""The command line: one file per verb."""

from __future__ import annotations

from collections.abc import Sequence


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code."""
    raise NotImplementedError(arguments)
