"""Step 10: prove that the move is complete, for as long as the window says; until then it is not."""

from __future__ import annotations

import time
from dataclasses import replace

from backout.model.cutover import CutoverProof, Moved, Prepared
from backout.phases.cutover.ground import Ground, Sessions
from backout.ports.run import Run
from backout.postgres import fence, witness
from backout.postgres.canary import canary

_EVERY = 1.0
_CANARY_SECONDS = 2.0


def prove(
    run: Run, ground: Ground, opened: Sessions, prepared: Prepared, moved: Moved, *, window: float = 900.0
) -> CutoverProof:
    """Look again and again for `window` seconds: sessions on the old side, writes that nobody replicated,
    clients that are led elsewhere. Ends early when it is red, for red does not become complete by waiting."""
    began = time.monotonic()
    while True:
        seen = run.look("cutover.proof", CutoverProof, lambda: look(ground, opened, prepared, moved))
        watched = time.monotonic() - began
        if watched >= window or seen.stale or run.stopping:
            return replace(seen, watched_seconds=round(watched, 1))
        time.sleep(min(_EVERY, window - watched))


def look(ground: Ground, opened: Sessions, prepared: Prepared, moved: Moved) -> CutoverProof:
    """One look. What the witness shows is not consumed, so a later look shows it again."""
    spare = (*opened.ours_on_old, *ground.drain.spare())
    inside = fence.inside(opened.fence, prepared.database, spare)
    seen = _witness(opened, prepared, moved)
    led = ground.traffic.read_back()
    wrong = canary(opened.new, ground.logins.canary, opened.name, _CANARY_SECONDS)
    elsewhere = [f"{one.who} leads to {one.now}" for one in led if one.now not in (None, ground.new)]
    unknown = [f"{one.who} cannot be known" for one in led if one.now is None]
    if seen is None:
        unknown.append(
            "the fence keeps our roles from the witness: nobody saw whether the old side was written"
        )
    elif not seen.token_lsn:
        unknown.append("the witness has not seen the token")
    return CutoverProof(
        sessions=tuple(map(str, inside)),
        stale=seen.stale[:100] if seen else (),
        elsewhere=(*elsewhere, *([f"a write through {ground.traffic.name}: {wrong}"] if wrong else [])),
        unknown=tuple(unknown),
        watched_seconds=0.0,
    )


def _witness(opened: Sessions, prepared: Prepared, moved: Moved) -> witness.Seen | None:
    """None: a process that died had fenced it, and no role of ours gets over the fence."""
    if opened.inside is None:
        return None
    return witness.look(opened.old, prepared.witness_slot, prepared.witness_publications, moved.token, "")


def end(opened: Sessions, prepared: Prepared) -> None:
    """The window is over: the witness is removed, so that its slot retains no WAL. Its publications stay
    where a fence keeps us from them. Idempotent."""
    if opened.inside is None:
        witness.drop(opened.fence, prepared.witness_slot, ())
    else:
        witness.drop(opened.old, prepared.witness_slot, prepared.witness_publications)
