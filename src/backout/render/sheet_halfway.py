"""The steps of the hand-over sheet for a half-applied migration: what to look at, what to send, in words
and SQL. The history is written by the tool alone."""

# ruff: noqa: S608 - the SQL below is printed for people and never executed from here

from __future__ import annotations

from collections.abc import Sequence

from backout.model.plan import Finish, ToolVerb

_INVALID = (
    "SELECT indexrelid::regclass AS index, indisvalid AS valid, indisready AS ready"
    " FROM pg_index WHERE NOT indisvalid;"
)


def look(plan: Finish, names: str, history: str) -> tuple[str, list[str]]:
    """How to see how far it came."""
    end = "lists" if plan.lists_after else "does not list"
    title = (
        f"How far did it come? It is done when the history {end} {names} and no index is invalid. "
        "If it is, leave out step 3."
    )
    return title, [_INVALID, *([f"SELECT * FROM {history};"] if history else [])]


def finish(plan: Finish, keeps: Sequence[str]) -> tuple[str, list[str]]:
    """The approved statements of ours, then the tool. `keeps` copies what they destroy, first."""
    title = (
        "To go on by hand: each statement alone, outside a transaction; leave out what is done already, and "
        "never drop an index that has become valid."
    )
    if plan.verb is ToolVerb.UP:
        title += " Then run the migration tool's own up, for this one migration."
    return title, [*keeps, *(f"{step.rstrip().rstrip(';')};" for step in plan.steps)]
