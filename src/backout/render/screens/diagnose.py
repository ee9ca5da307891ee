"""The screen of `diagnose`: what was captured when a down failed, and whether it came again on a copy."""

from __future__ import annotations

from backout.model.execution import Diagnostics, Execution, Outcome
from backout.render.layout import Place, Style, facts, hanging, page

_OUTPUT_LINES = 20
"""The end of the tool's output is what names the failure."""
_STATE = {
    Outcome.BACKED_OUT: "backed out, whatever the tool said",
    Outcome.UNTOUCHED: "untouched: history and schema are as they were",
    Outcome.IN_DOUBT: "in doubt: history and schema do not agree",
}
_REPRODUCED = {
    True: "yes, the same failure came on a fresh copy",
    False: "no, it did not fail on a fresh copy",
    None: "not tried",
}


def screen(place: Place, incident_id: str, done: Execution, *, style: Style, next: str = "") -> str:
    """The captured facts of a failed execution; no values of rows and no secrets are among them."""
    lines = hanging("", str(place), style)
    rows = [("state", _STATE[done.outcome]), ("tool", f"{done.tool}, exit {done.tool_exit}")]
    found = done.diagnostics
    lines += facts([*rows, *(_captured(found) if found else [("captured", "nothing")])], style, label=13)
    lines += _output(found, style) if found else []
    return page(lines, next or f"backout sheet {incident_id}", style)


def _captured(found: Diagnostics) -> list[tuple[str, str]]:
    return [
        ("SQLSTATE", found.sqlstate or "none"),
        ("message", found.message),
        ("statement", " ".join(found.statement.split())),
        *(("session", session) for session in found.sessions),
        ("reproduced", _REPRODUCED[found.reproduced]),
    ]


def _output(found: Diagnostics, style: Style) -> list[str]:
    told = found.tool_output.rstrip().splitlines()
    if not told:
        return []
    left = len(told) - _OUTPUT_LINES
    lines = [f"  output, the last {_OUTPUT_LINES} of {len(told):,} lines:" if left > 0 else "  output:"]
    for line in told[-_OUTPUT_LINES:]:
        lines += hanging("    ", line.expandtabs(4).rstrip(), style)
    return [line for line in lines if line.strip()]
