"""Decide whether to cut over, what a missed step means, and when the move is complete; touches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from backout.model.check import Check, CheckState, all_good
from backout.model.cutover import CutoverBudget, Step
from backout.phases.cutover.facts import Facts, LagSample

LAG_SECONDS = 0.3
LAG_BYTES = 64 * 1024
LAG_WATCH = 5.0
TRANSACTION_SECONDS = 1.0
PAUSE_ATTEMPTS = 3


class Miss(StrEnum):
    """What follows when a step is not through in time."""

    NO_START = "nothing begins"
    AGAIN = "let go, name who is in the way, try again"
    ABORT = "open the fence, let go, nothing moved"
    FORWARD = "complete it"
    ALARM = "visibly not complete"


def on_miss(step: Step, attempt: int = PAUSE_ATTEMPTS) -> Miss:
    """The rule of each step: before the switch everything goes back, from the switch on only forward."""
    if step is Step.DEAD_MAN:
        return Miss.NO_START
    if step is Step.HOLD and attempt < PAUSE_ATTEMPTS:
        return Miss.AGAIN
    if step is Step.PROVE:
        return Miss.ALARM
    return Miss.FORWARD if step.number >= Step.RELEASE.number else Miss.ABORT


def allowance(budget: CutoverBudget, step: Step, elapsed_ms: float) -> float:
    """Seconds that `step` may still take; 0 = it is late already."""
    return max(0.0, budget.latest(step) - elapsed_ms) / 1000


def may_enter(samples: Sequence[LagSample], *, watch: float = LAG_WATCH) -> Check:
    """Enter only when the new side was close behind for the whole watch: the drain is the backlog then."""
    if not samples:
        return Check("lag", CheckState.UNKNOWN, "nothing was measured")
    span = samples[-1].at - samples[0].at
    worst = max(sample.seconds for sample in samples)
    backlog = samples[-1].bytes
    told = f"at most {worst:.1f} s over {span:.0f} s, {backlog:,} bytes behind"
    if span < watch * 0.9:
        return Check("lag", CheckState.UNKNOWN, f"{told}: watched for less than {watch:.0f} s")
    good = worst < LAG_SECONDS and backlog < LAG_BYTES
    mend = "" if good else "wait until the new side has caught up"
    return Check("lag", CheckState.PASS if good else CheckState.FAIL, told, mend)


def ready(facts: Facts, *, watch: float = LAG_WATCH) -> tuple[Check, ...]:
    """Every precondition of the pause; one that is not good, and nothing is held."""
    return (
        *facts.lever,
        *facts.drain,
        may_enter(facts.lag, watch=watch),
        _fence_stands(facts),
        _rights(facts),
        _application(facts),
        _superusers(facts),
        _prepared(facts),
        _transactions(facts),
        _lasting(facts),
        _statistics(facts),
        _sequences(facts),
        _blind(facts),
    )


def red(checks: Sequence[Check]) -> tuple[Check, ...]:
    """Those that stop it."""
    return () if all_good(checks) else tuple(check for check in checks if not check.good)


def _check(name: str, good: bool, detail: str, mend: str, state: CheckState = CheckState.FAIL) -> Check:
    return Check(name, CheckState.PASS if good else state, detail, "" if good else mend)


def _fence_stands(facts: Facts) -> Check:
    told = "no fence stands" if facts.limit else "the old side is fenced already"
    return _check("fence", facts.limit != 0, told, "let the command settle what an earlier one left")


def _rights(facts: Facts) -> Check:
    told = facts.fence_rights or "fence and unfence proved on the database itself, from another one"
    mend = "let the owner of the database act, connected to another database of the same cluster"
    return _check("unfence", not facts.fence_rights, told, mend)


def _application(facts: Facts) -> Check:
    if facts.application_is_superuser:
        mend = "give the application a role without superuser: no connection limit stops this one"
        return Check("application", CheckState.FAIL, "its role is a superuser", mend)
    refused = facts.application_enters_new or facts.canary
    told = refused or "its login is let into the new side, and through the lever"
    mend = "bring role, password and pg_hba.conf over to the new side"
    return _check("application", not refused, told, mend)


def _superusers(facts: Facts) -> Check:
    told = facts.superusers[0] if facts.superusers else "no superuser is on the old database"
    mend = "end that session: the fence cannot keep a superuser out"
    return _check("superusers", not facts.superusers, told, mend, CheckState.WARN)


def _prepared(facts: Facts) -> Check:
    count = facts.prepared_transactions
    mend = "COMMIT PREPARED or ROLLBACK PREPARED them: they survive every fence"
    return _check("prepared", count == 0, f"{count} prepared transactions", mend)


def _transactions(facts: Facts) -> Check:
    told = f"longest transaction {facts.longest_transaction:.1f} s"
    late = facts.longest_transaction >= TRANSACTION_SECONDS
    detail = f"{told}: {facts.longest_who}" if late else told
    return _check("transactions", not late, detail, "end it, or wait for it: the hold waits behind it")


def _lasting(facts: Facts) -> Check:
    settings = dict(facts.new_settings)
    wanted = {"fsync": "on", "full_page_writes": "on", "wal_level": "logical"}
    wrong = [
        f"{name} = {settings.get(name, '?')}" for name, value in wanted.items() if settings.get(name) != value
    ]
    if settings.get("synchronous_commit") == "off":
        wrong.append("synchronous_commit = off")
    told = ", ".join(wrong) or "an acknowledged write lasts on the new side"
    mend = "set the durable settings on the new side and restart it"
    return _check("durable settings", not wrong, told, mend)


def _statistics(facts: Facts) -> Check:
    told = f"{facts.unanalyzed} tables of the new side without statistics"
    return _check("statistics", facts.unanalyzed == 0, told, "ANALYZE on the new side")


def _sequences(facts: Facts) -> Check:
    names = ", ".join(facts.missing_sequences[:3])
    told = f"not on the new side: {names}" if names else "every sequence is on the new side"
    return _check("sequences", not names, told, "nothing, when its column is gone there", CheckState.WARN)


def _blind(facts: Facts) -> Check:
    names = ", ".join(facts.blind[:3])
    told = f"no replica identity: {names}" if names else "every table has a replica identity"
    mend = "give it one: witness and way back see only its inserts"
    return _check("identity", not names, told, mend, CheckState.WARN)
