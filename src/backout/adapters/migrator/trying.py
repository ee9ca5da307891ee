"""Checks that never raise: rough projects are the rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from backout.errors import BackoutError
from backout.model.check import Check, CheckState

Named = tuple[str, Callable[[], Check]]


def all_of(checks: Iterable[Named]) -> tuple[Check, ...]:
    """The answers of all checks, in order."""
    return tuple(tried(name, check) for name, check in checks)


def tried(name: str, check: Callable[[], Check]) -> Check:
    """The check's answer; `fail` for what backout explains, `unknown` for everything else."""
    try:
        return check()
    except BackoutError as error:
        return Check(name, CheckState.FAIL, error.what, error.next)
    except Exception as error:  # noqa: BLE001 - a check never raises: rough projects are the rule
        return Check(name, CheckState.UNKNOWN, f"{type(error).__name__} while looking")
