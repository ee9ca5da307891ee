"""The screens of a cutover: ready, the WRITE PAUSE while it lasts and after, and what each lever costs."""

from __future__ import annotations

from collections.abc import Sequence

from backout.model.check import CheckState
from backout.model.cutover import ClientView, CutoverProof, Moved, Price, StepTime
from backout.model.cutover import Step as Protocol
from backout.render import words
from backout.render.layout import State, Step, Style, hanging, page, steps

_BAR = 8
_SHOWN = (Protocol.HOLD, Protocol.FENCE, Protocol.DRAIN, Protocol.SWITCH)


def ready_line(lag: float, longest: float, budget_ms: int, style: Style) -> list[str]:
    """What was measured right before writes are held."""
    told = f"lag {lag:.1f} s, longest transaction {longest:.1f} s, dead-man {budget_ms} ms"
    return steps([Step(State.PASS, "ready", told)], style)


def live(times: Sequence[StepTime], at_ms: float, budget_ms: int, old: str, *, style: Style) -> str:
    """One frame while writes are held; it has no `next:`, because nothing is to be typed."""
    done = min(_BAR, round(_BAR * at_ms / budget_ms)) if budget_ms else _BAR
    through = ", ".join(f"{time.step.value} {time.at_ms:.0f}" for time in times if time.step in _SHOWN)
    bar = "#" * done + "." * (_BAR - done)
    told = f"{at_ms:.0f} ms  {bar}" + (f"  {through}" if through else "")
    safe = f"at {budget_ms} ms writes return to {old} by themselves"
    if any(time.step is Protocol.SWITCH for time in times):
        safe = "traffic is switched; it is only completed from here"
    return "\n".join([*_line(State.RUNNING, told, style), *hanging("safe: ", safe, style)])


def screen(
    moved: Moved,
    proof: CutoverProof | None,
    clients: ClientView | None,
    *,
    style: Style,
    next: str,
) -> str:
    """The pause as the clients saw it, and whether the move is complete; a hold is not a pause."""
    lines = _line(State.PASS if clients and not clients.errors else State.WARN, _pause(moved, clients), style)
    if moved.canary.state is not CheckState.PASS:
        lines += steps([Step(State.FAIL, "canary", moved.canary.detail)], style)
    lines += _witness(moved, proof, style)
    if proof is None or not proof.complete:
        lines += hanging("", f"Visibly not complete: {_open(proof)}.", style)
    return page(lines, next, style)


def prices(rows: Sequence[Price], style: Style) -> list[str]:
    """What a move of traffic costs by each lever; each line is that lever's own figure."""
    lines: list[str] = []
    for row in rows:
        needs = f"needs: {', '.join(row.needs)}"
        cut_off = (f"WRITE PAUSE: {row.unattended}",) if row.unattended else ()
        state = State.WARN if row.unattended else State.TO_COME
        lines += steps(
            [Step(state, row.lever, f"{row.promise.value}; {row.pause}", more=(needs, *cut_off))], style
        )
    return lines


def _line(state: State, told: str, style: Style) -> list[str]:
    return hanging(f"  {style.symbol(state)} WRITE PAUSE ", told, style)


def _pause(moved: Moved, clients: ClientView | None) -> str:
    if clients is None:
        held = f"held {moved.hold_ms:.0f} ms" if moved.times else "held for a time that is not known"
        return f"?, {held}; clients were not measured"
    return (
        f"{clients.longest_silence_ms:.0f} ms, client errors {clients.errors:,}, "
        f"slowest write {clients.slowest_write_ms:.0f} ms"
    )


def _witness(moved: Moved, proof: CutoverProof | None, style: Style) -> list[str]:
    back = f"way back armed to {moved.way_back_until[:10]}" if moved.way_back else "no way back"
    if proof is None:
        return steps([Step(State.UNKNOWN, "witness", f"not looked at yet; {back}")], style)
    stale = len(proof.stale)
    told = words.plural(stale, "stale write") if stale else "no stale writer"
    row = Step(State.FAIL if stale else State.PASS, "witness", f"{told} on {_host(moved)}; {back}")
    rest = [
        Step(State.FAIL if check.state is CheckState.FAIL else State.UNKNOWN, check.name, check.detail)
        for check in proof.checks
        if check.state is not CheckState.PASS and check.name != "witness"
    ]
    return steps([row, *rest], style)


def _host(moved: Moved) -> str:
    """The old side; with its port only where the host does not tell the two apart."""
    old, new = (place.rpartition(":")[0] for place in (moved.old, moved.new))
    return moved.old if old == new else old


def _open(proof: CutoverProof | None) -> str:
    if proof is None:
        return "nobody has looked yet"
    return "; ".join(f"{c.name}: {c.detail}" for c in proof.checks if c.state is not CheckState.PASS)
