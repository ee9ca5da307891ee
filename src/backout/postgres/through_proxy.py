"""Run the user's migration tool through our proxy, and tell what it really did."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from backout.errors import BackoutError
from backout.model.statement import Statement
from backout.ports.migrator import Migrator, ToolResult, Verb
from backout.ports.world import World
from backout.postgres.proxy.policy import Policy
from backout.postgres.proxy.seen import Refusal, SeenCommit, SeenSession, SeenStatement
from backout.postgres.proxy.server import Proxy
from backout.postgres.proxy.upstream import Upstream


@dataclass(frozen=True, slots=True)
class ToolRun:
    """One run of the tool: what it said, and what the proxy saw. Success is decided elsewhere."""

    result: ToolResult
    sessions: tuple[SeenSession, ...]
    refusals: tuple[Refusal, ...]

    @property
    def refusal(self) -> Refusal | None:
        """What the proxy refused last. A visitor that would not have our certificate counts only where nobody
        came in: many clients try without TLS then."""
        counted = [r for r in self.refusals if r.what != "tls" or not self.sessions]
        return counted[-1] if counted else None

    @property
    def commits(self) -> tuple[SeenCommit, ...]:
        """Commits that had a transaction id, in order."""
        return tuple(commit for session in self.sessions for commit in session.commits)

    @property
    def ran(self) -> tuple[SeenStatement, ...]:
        """All statements in order of time."""
        seen = [statement for session in self.sessions for statement in session.statements]
        return tuple(sorted(seen, key=lambda s: s.started_at))

    def writing(self, history_table: str) -> tuple[Statement, ...]:
        """The statements that changed something, without the tool's own book-keeping."""
        bare = _bare(history_table)
        return tuple(
            seen.statement
            for seen in self.ran
            if seen.statement.writes and not seen.sqlstate and not _book_keeping(seen.statement, bare)
        )

    @property
    def transactions(self) -> int:
        """Transactions in which something was written."""
        return len(
            {
                (session.number, seen.transaction)
                for session in self.sessions
                for seen in session.statements
                if seen.statement.writes and not seen.sqlstate
            }
        )

    def first_error(self) -> SeenStatement | None:
        """The first statement that the server refused."""
        return next((seen for seen in self.ran if seen.sqlstate), None)


def _bare(table: str) -> str:
    return table.rsplit(".", 1)[-1].strip('"').lower()


def _book_keeping(statement: Statement, history: str) -> bool:
    """Writes to the history table alone, and the tool's `CREATE SCHEMA IF NOT EXISTS` beside it."""
    names = {_bare(name) for name in statement.objects}
    if history and names == {history}:
        return True
    return statement.tag == "CREATE SCHEMA" and "if not exists" in statement.text.lower()


def drive_on_copy(world: World, verb: Verb, dsn: str, policy: Policy, application_name: str) -> ToolRun:
    """The same as `drive` on a copy: towards the tool there is TLS if production speaks it, whatever the
    server of the copy does. So a tool that insists on it is tried as it will run."""
    tls = _speaks_tls(world, application_name)
    return drive(world.migrator, verb, dsn, policy, application_name, tls=tls)


def _speaks_tls(world: World, name: str) -> bool:
    try:
        with world.databases.operate(name) as session:
            return session.pgconn.ssl_in_use
    except BackoutError:
        return False  # a copy can be worked on while production is not there


def drive(
    migrator: Migrator,
    verb: Verb,
    dsn: str,
    policy: Policy,
    application_name: str,
    *,
    tls: bool | None = None,
) -> ToolRun:
    """Open the proxy towards `dsn`, point the tool at it, run `verb`, close everything.

    `tls` says whether there is TLS towards the tool; None = if the server speaks it. `verb` gets the
    environment and is one of the adapter's verbs. Raises what a login or the start of the tool raises; a
    tool that fails is a result, not an error.
    """
    with (
        tempfile.TemporaryDirectory(prefix="backout-tool-") as private,
        Proxy(policy, Upstream(dsn, application_name), tls=tls) as proxy,
    ):
        environment = migrator.redirect(proxy.endpoint, Path(private))
        result = verb(environment)
        proxy.close()
        return ToolRun(result, proxy.sessions, proxy.refusals)
