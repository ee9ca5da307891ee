"""A command of the user's under the guard: through the proxy, each of its transactions marked and noted."""

from __future__ import annotations

from backout.model.guard import CommandRun, Guard
from backout.ports.migrator import Verb
from backout.ports.run import Attempt, Run
from backout.ports.world import World
from backout.postgres.capture.patience import told
from backout.postgres.catalog import digest, read_schema
from backout.postgres.proxy.policy import Policy
from backout.postgres.through_proxy import ToolRun, drive
from backout.render.words import clean

_STATEMENTS = 500
_LENGTH = 2_000


def run_command(
    run: Run, world: World, guard: Guard, program: str, launch: Verb, origin_prefix: str
) -> CommandRun:
    """Run it once. `launch` starts it in the environment that it is given and waits for its end.

    The xid of each transaction is journalled before its COMMIT goes on, so a killed command leaves them.
    """

    def act(attempt: Attempt) -> CommandRun:
        mark: dict[str, str | int] = {
            "incident": run.incident,
            "round": 1,
            "step": "migration",
            "kind": "migration",
        }
        policy = Policy(
            mark=mark,
            origin_prefix=origin_prefix,
            on_commit=lambda xid: run.decide(f"committed.{xid}", {"xid": xid}),
        )
        ran = drive(world.migrator, launch, world.databases.operate_dsn(), policy, attempt.name)
        return _judged(world, guard, program, ran, attempt.name)

    return run.step("command", CommandRun, act)


def _judged(world: World, guard: Guard, program: str, ran: ToolRun, name: str) -> CommandRun:
    with told("backout guard status"), world.databases.observe(name) as session:
        history = world.migrator.history(session)
        schema = digest(read_schema(session))
    head = history.head.name if history.head else ""
    moved = (head, len(history.rows)) != (guard.history_head, guard.history_position)
    moved = moved or schema != guard.schema_digest_armed
    writing = tuple(clean(s.text)[:_LENGTH] for s in ran.writing(history.table)[:_STATEMENTS])
    return CommandRun(
        *(program, ran.result.exit_code, ran.result.seconds, len(ran.sessions)),
        *(tuple(commit.xid for commit in ran.commits), writing, head),
        changed=moved or bool(ran.commits and writing),
        past_us=moved and not ran.sessions,
    )
