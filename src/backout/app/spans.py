"""Spans of time as people type them, read by the same rule as the configuration file."""

from __future__ import annotations

from backout import settings
from backout.errors import ConfigurationError


def seconds(text: str) -> float:
    """`10s`, `30m`, `4h` or `0`, in seconds; raises `ConfigurationError` for anything else."""
    try:
        value = settings.seconds(text)
    except ValueError as error:
        raise ConfigurationError(
            str(error),
            where="the command line",
            intact="everything; nothing was done",
            next="write 10s, 30m or 0",
        ) from None
    assert isinstance(value, float)
    return value
