"""The text that a person signs, and the screen that shows exactly this text before it is signed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from backout.model.loss import DestroyedBy
from backout.model.people import Role
from backout.model.plan import KeepWay, Option, Proposal, Strategy, Verdict
from backout.model.repair import RepairPlan
from backout.render import losses, words
from backout.render.layout import State, Style, hanging, wrap

ROLE_WORDS = {Role.SRE: "SRE", Role.OWNER: "migration owner"}
SHOWN_LINES = 40
"""Lines of captured statements that are printed; the rest is covered by a digest of its own."""
# What is signed must not depend on the terminal: 80 columns, ASCII, no colour, always.
_SIGNED = Style(width=80, unicode=False, colour=False)


def signing_message(proposal: Proposal, digest: str, role: Role, person: str, accepts: Sequence[str]) -> str:
    """The text under the signature: the same bytes for the same arguments, on any terminal, in ASCII.

    `digest` is the hex SHA-256 of the proposal; `accepts` are the losses that this person named. Names
    beyond ASCII and control characters are escaped; statements are wrapped, never cut.
    """
    lines = hanging("", f"You sign {words.short_digest(digest)} as {ROLE_WORDS[role]} ({person}):", _SIGNED)
    lines += hanging("  digest   ", digest, _SIGNED)
    lines += hanging("  incident ", _incident(proposal), _SIGNED)
    for migration in proposal.migrations:
        lines += hanging("  ", f"{_act(proposal)} of {migration.name}", _SIGNED)
        lines += hanging("    file   ", migration.sha256, _SIGNED)
    place = f"{proposal.target_name}  {proposal.environment.upper()}  {proposal.target}"
    lines += hanging("  on ", place, _SIGNED)
    lines += _loss(proposal)
    lines += _accepts(proposal, accepts)
    lines += _statements(proposal)
    lines += hanging("  snapshot ", _snapshot(proposal), _SIGNED)
    lines += hanging("  limits   ", _limits(proposal), _SIGNED)
    return "\n".join(lines) + "\n"


def _incident(proposal: Proposal) -> str:
    asked = f"{proposal.incident}, round {proposal.round}, asked for by {proposal.requested_by}"
    window = f", window {proposal.window}" if proposal.window else ""
    return f"{asked}, void after {words.when(proposal.expires_at)}{window}"


def _act(proposal: Proposal) -> str:
    return {Strategy.A: "down", Strategy.D: "down, then repair in place,"}.get(
        proposal.strategy, proposal.strategy.words
    )


def _loss(proposal: Proposal) -> list[str]:
    down = losses.of(proposal.loss, DestroyedBy.DOWN)
    up = losses.of(proposal.loss, DestroyedBy.UP)
    if not down:
        lines = hanging("  ", "destroys no value", _SIGNED)
    else:
        told = words.figure(losses.values(down))
        kept = "all kept" if all(loss.kept for loss in down) else "NOT all kept"
        where = words.plural(len(down), "column" if all(loss.column for loss in down) else "place")
        lines = hanging("  destroys ", f"{told} values in {where}, {kept}", _SIGNED)
    for loss in down:
        fate = "kept" if loss.kept else "NOT kept"
        told = f"{words.figure(loss.values)} values ({words.basis(loss.values)}), {loss.kind.value}, {fate}"
        lines += hanging("    ", f"{losses.name(loss)}: {told}", _SIGNED)
    for loss in up:
        told = f"{words.figure(loss.values)} values ({words.basis(loss.values)})"
        verb = "brings back" if loss.brought_back else "does not give back"
        lines += hanging(f"  {verb} ", f"{losses.name(loss)}: {told}", _SIGNED)
    before = [words.plain_table(k.table) for k in proposal.keeps if k.way is KeepWay.PRE_COPY]
    if before:
        lines += hanging(
            "  copies before the down ", f"{', '.join(before)}; the rest under its lock", _SIGNED
        )
    return lines + (_repair(proposal.repair) if proposal.repair else [])


def _repair(plan: RepairPlan) -> list[str]:
    """What the repair writes after the down, as rehearsed, and how exact it is."""
    lines = hanging("  repairs ", f"after the down, from {plan.source.snapshot}", _SIGNED)
    if plan.source.label:
        lines += hanging("    every value ", plan.source.label, _SIGNED)
    for seen in plan.forecast:
        told = (
            f"{seen.updated:,} rows updated, {seen.inserted:,} inserted, {seen.deleted:,} deleted, "
            f"{seen.fates.parked:,} parked, {seen.fates.listed:,} listed"
        )
        lines += hanging("    ", f"{words.plain_table(seen.table)}: {told}", _SIGNED)
    if plan.triggers:
        lines += hanging("    triggers that fire: ", ", ".join(plan.triggers), _SIGNED)
    return lines


def _accepts(proposal: Proposal, accepts: Sequence[str]) -> list[str]:
    if not proposal.accept_by_name and not accepts:
        return []
    return hanging("  accepts by name ", ", ".join(accepts) or "nothing", _SIGNED)


def statement_lines(proposal: Proposal) -> list[str]:
    """Every captured statement, wrapped to what is printed; `--full` shows all of them."""
    lines: list[str] = []
    for statement in proposal.statements:
        for line in statement.strip().splitlines():
            lines += ["    " + part for part in wrap(_SIGNED.text(line.expandtabs(4)), 76)]
    return lines


def _statements(proposal: Proposal) -> list[str]:
    number = len(proposal.statements)
    lines = statement_lines(proposal)
    head = f"  runs {words.plural(number, 'statement')}, captured in the rehearsal"
    if len(lines) <= SHOWN_LINES:
        return [f"{head}:" if number else head, *lines]
    rest = "\n".join(lines[SHOWN_LINES:])
    sha256 = hashlib.sha256(rest.encode("ascii")).hexdigest()
    more = f"    ... and {len(lines) - SHOWN_LINES:,} more lines, their SHA-256:"
    return [f"{head} (--full shows them all):", *lines[:SHOWN_LINES], more, f"    {sha256}"]


def _snapshot(proposal: Proposal) -> str:
    snapshot = proposal.snapshot
    proven = "recorded, not proven" if snapshot.scope == "recorded" else f"proven, {snapshot.scope}"
    return f"{snapshot.id}, {proven}, LSN {snapshot.lsn}, {snapshot.sha256}"


def _limits(proposal: Proposal) -> str:
    budgets = proposal.budgets
    tries = (
        f", {words.plural(budgets.lock_attempts, 'try', 'tries')} at most" if budgets.lock_attempts else ""
    )
    disk = f"; {words.size(budgets.disk_bytes)} of disk for kept values" if budgets.disk_bytes else ""
    return (
        f"waits for a lock {words.duration(budgets.lock_timeout)} at a time, "
        f"{words.duration(budgets.lock_patience)} in all{tries}; "
        f"holds it {words.duration(budgets.lock_hold)}; "
        f"a statement {words.duration(budgets.statement_timeout)}{disk}"
    )


def screen(
    proposal: Proposal,
    digest: str,
    role: Role,
    person: str,
    accepts: Sequence[str],
    *,
    style: Style,
    option: Option | None = None,
    full: bool = False,
) -> str:
    """What stands before the question for the target's name: a warning when the strategy is advised
    against, then the signed text byte for byte, then with `full` the statements that it only digests."""
    lines: list[str] = []
    if option is not None and option.verdict is Verdict.ADVISED_AGAINST:
        lines += hanging(f"  {style.symbol(State.FAIL)} advised against: ", option.reason, style)
    lines += signing_message(proposal, digest, role, person, accepts).splitlines()
    rest = statement_lines(proposal)[SHOWN_LINES:] if full else []
    return "\n".join([*lines, "the rest of the statements:", *rest] if rest else lines)
