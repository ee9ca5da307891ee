"""Capture what explains a failed down: the server's words, the statement, who else was there."""

from __future__ import annotations

from backout.model.execution import Diagnostics
from backout.ports.world import World
from backout.postgres import activity
from backout.postgres.through_proxy import ToolRun

_OUTPUT = 4000


def of(world: World, ran: ToolRun, name: str) -> Diagnostics:
    """Diagnostics of one failed run; no bind values, no secrets."""
    error = ran.first_error()
    with world.databases.observe(name) as session:
        sessions = tuple(
            f"pid {b.pid} {b.who} {b.state} {b.seconds:.0f} s"
            for b in activity.blockers(session, longer_than=0.0)
        )
    return Diagnostics(
        tool_output=ran.result.output[-_OUTPUT:],
        sqlstate=error.sqlstate if error else "",
        message=message(ran),
        statement=error.statement.text if error else "",
        sessions=sessions,
    )


def message(ran: ToolRun) -> str:
    """Why it failed, in a line: the proxy's refusal, the server's error, or the tool's last words."""
    if ran.refusal is not None:
        return ran.refusal.detail
    error = ran.first_error()
    if error is not None:
        return error.error
    lines = [line.strip() for line in ran.result.output.splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"the tool ended with {ran.result.exit_code} and said nothing"
