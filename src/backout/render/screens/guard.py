"""The screens of `guard`: the plan with what each part needs, what stands, how it stands, what is gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

from backout.model.guard import CommandRun, Dropped, Guard, GuardHealth, GuardPlan, Part, Reach, TableCoverage
from backout.render import words
from backout.render.layout import State, Step, Style, checks, hanging, page, steps
from backout.render.tables import Column, table

_SHOWN = 8
"""Tables that are named with what they lack; of more there is a count."""


class GuardRow(Protocol):
    """One row of `guard list`."""

    @property
    def id(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def armed_at(self) -> str: ...
    @property
    def expires_at(self) -> str: ...
    @property
    def command(self) -> str: ...


class GuardsAnswer(Protocol):
    """`guard list`."""

    @property
    def guards(self) -> Sequence[GuardRow]: ...
    @property
    def next(self) -> str: ...


def plan_lines(plan: GuardPlan, style: Style) -> list[str]:
    """What will be done, and by which right; what will not, and what is lost by that."""
    lines = hanging("", f"guard {plan.guard} of {plan.target}: {plan.identity}", style)
    lines += steps([_part(part) for part in plan.parts], style)
    lines += list(_lacking(plan.coverage, style))
    for warning in plan.warnings:
        lines += hanging(f"  {style.symbol(State.WARN)} ", warning, style)
    lines += hanging("not captured: ", "; ".join(plan.unseen), style)
    return [*lines, *hanging("possible then: ", plan.remains, style)]


def _part(part: Part) -> Step:
    state = State.TO_COME if part.possible else State.SKIPPED
    text = f"[{part.needs.value}] {part.what}"
    return Step(state, part.name, text, more=() if part.possible else (f"not here: {part.without}",))


def _lacking(coverage: Sequence[TableCoverage], style: Style) -> Iterator[str]:
    noted = [table for table in coverage if table.note and table.note != "there is no slot"]
    for found in noted[:_SHOWN]:
        state = State.WARN if found.reach is not Reach.EVERY else State.TO_COME
        yield from hanging(
            f"  {style.symbol(state)} ", f"{words.plain_table(found.table)}: {found.note}", style
        )
    if len(noted) > _SHOWN:
        yield from hanging("    ", f"and {len(noted) - _SHOWN:,} more: --json names them", style)


def plan_screen(plan: GuardPlan, *, style: Style, next: str) -> str:
    """`guard plan`."""
    return page(plan_lines(plan, style), next, style)


def armed_screen(guard: Guard, *, style: Style, now: datetime, next: str) -> str:
    """`guard arm`."""
    return page([*_head(guard, style, now), *_point(guard, style), *_promise(guard, style)], next, style)


def _head(guard: Guard, style: Style, now: datetime) -> list[str]:
    name = guard.slot or (guard.restore_point.name if guard.restore_point else guard.id)
    head = f"{name}, armed {words.when(guard.armed_at, now)}"
    return hanging("", f"{head} on top of {guard.history_head or 'an empty history'}", style)


def _point(guard: Guard, style: Style) -> list[str]:
    rows = []
    if guard.slot:
        every, some = guard.covered(Reach.EVERY), guard.covered(Reach.INSERTS)
        also = f", {some} with inserts only" if some else ""
        text = f"{every} of {len(guard.coverage)} tables with every write{also}, from {guard.slot_lsn}"
        rows.append(Step(State.PASS, "capture", text))
    if guard.restore_point is not None:
        point = guard.restore_point
        state = State.PASS if point.archived == "archived" else State.WARN
        rows.append(Step(state, "restore point", f"{point.name} at {point.lsn}; {point.archived}"))
    rows.append(Step(State.PASS, "files", f"{words.plural(len(guard.files), 'file')} of migrations stored"))
    return steps(rows, style)


def _promise(guard: Guard, style: Style) -> list[str]:
    until = words.when(guard.expires_at)
    if not guard.slot:
        return hanging("", f"Until {until}, possible: {guard.remains}.", style)
    every, total = guard.covered(Reach.EVERY), len(guard.coverage)
    what = "every write" if every == total else f"every write of {every} of {total} tables"
    return hanging("", f"Until {until} the log holds {what} for a back-out.", style)


def ran_screen(guard: Guard, command: CommandRun, dropped: Dropped | None, *, style: Style, next: str) -> str:
    """`guard run`: how the command ended, what the proxy saw, whether the guard stays."""
    state = State.PASS if command.exit_code == 0 else State.FAIL
    sessions = words.plural(command.sessions, "session")
    seen = f"{words.plural(len(command.xids), 'transaction')} committed in {sessions}"
    rows = [Step(state, command.program, f"exit {command.exit_code}, {seen}", took=command.seconds)]
    if command.past_us:
        rows.append(
            Step(
                State.FAIL,
                "past us",
                "the database changed and no session came through the proxy: no transaction is marked; "
                "the slot and the restore point hold all the same",
            )
        )
    lines = steps(rows, style)
    if dropped is not None:
        return page([*lines, *_gone(dropped, style)], next, style)
    if command.exit_code != 0:
        what = "it had committed something" if command.changed else "it could not be dropped yet"
        lines += hanging("", f"The guard stays, because {what}.", style)
    return page([*lines, *_promise(guard, style)], next, style)


def _gone(dropped: Dropped, style: Style) -> list[str]:
    lines = hanging("", f"Guard {dropped.guard} dropped: {dropped.reason}.", style)
    rows = [Step(State.PASS, "removed", what) for what in dropped.removed]
    rows += [Step(State.WARN, "left", what) for what in dropped.left]
    return [*lines, *(steps(rows, style) if rows else hanging("  ", "nothing was left on the server", style))]


def dropped_screen(dropped: Dropped, *, style: Style, next: str) -> str:
    """`guard drop`."""
    return page(_gone(dropped, style), next, style)


def status_screen(
    guard: Guard, health: GuardHealth, dropped: Dropped | None, *, style: Style, now: datetime, next: str
) -> str:
    """`guard status`."""
    lines = [*_head(guard, style, now), *checks(health.checks, style)]
    if dropped is not None:
        return page([*lines, *_gone(dropped, style)], next, style)
    good = all(check.good for check in health.checks)
    lines += _promise(guard, style) if good else hanging("", "Later writes are not held any more.", style)
    return page(lines, next, style)


_HEADS = (
    Column("GUARD"),
    Column("TARGET", names=True),
    Column("STATE", names=True),
    Column("ARMED"),
    Column("UNTIL"),
    Column("COMMAND", names=True),
)


def list_screen(answer: GuardsAnswer, *, style: Style, now: datetime) -> str:
    """`guard list`."""
    if not answer.guards:
        return page(["No guard is armed."], answer.next, style)
    rows = [
        (
            *(row.id, row.target, row.state, words.when(row.armed_at, now) if row.armed_at else "-"),
            *(words.when(row.expires_at, now) if row.expires_at else "-", row.command or "-"),
        )
        for row in answer.guards
    ]
    return page(table(_HEADS, rows, style), answer.next, style)
