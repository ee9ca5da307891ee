"""What to do after a tool died in the middle of a down."""

from __future__ import annotations

from backout.ports.migrator import Observation, Recovery


def judge(seen: Observation, *, history_in_transaction: bool) -> Recovery:
    """Decide from history and schema alone.

    When the history row goes in the down's own transaction, the row alone tells whether it committed;
    a schema that disagrees with it is for people. When both schemas look alike (a down that only
    changes rows), only such a row can be believed.
    """
    if not seen.history_has_it:
        return Recovery.DONE if seen.schema_is_after else Recovery.UNKNOWN
    if seen.schema_is_before and (history_in_transaction or not seen.schema_is_after):
        return Recovery.REPEAT
    if seen.schema_is_after and not seen.schema_is_before:
        return Recovery.FINISH_HISTORY
    return Recovery.UNKNOWN
