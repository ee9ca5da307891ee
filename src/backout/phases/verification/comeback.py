"""Nobody re-applies it: look every few seconds whether the migration came back, and say who did it.

A pod that restarts runs the tool's `up` again, over values that were just put back. So until the watch
ends the history table and the schema are polled, at most five seconds apart.
"""

from __future__ import annotations

import time

from backout.errors import BackoutError
from backout.model.execution import Watch, WatchSample
from backout.model.plan import Proposal
from backout.ports.run import Run
from backout.ports.world import World
from backout.postgres.activity import writers_of
from backout.postgres.catalog import portable_digest, read_schema

EVERY_SECONDS = 2.0


def watch(run: Run, world: World, proposal: Proposal, seconds: float) -> Watch:
    """Look until `seconds` have passed or the migration is back; Ctrl-C ends it early."""
    begun = time.monotonic()
    samples = 0
    last_said = begun
    while (left := seconds - (time.monotonic() - begun)) > 0:
        sample = run.look("sample", WatchSample, lambda: _look(world, proposal, run.incident))
        samples += 1
        if sample.history_has_it:
            return _alarm(run, sample, time.monotonic() - begun, samples)
        if time.monotonic() - last_said >= 30:
            last_said = time.monotonic()
            run.progress(f"watching: {proposal.migrations[-1].name} stays out, {left:.0f} s left")
        time.sleep(min(EVERY_SECONDS, max(left, 0.05)))
        if run.stopping:
            run.progress("the watch ends here: nobody holds the migration now")
            return Watch(round(time.monotonic() - begun, 1), samples, None, stopped_early=True)
    return Watch(round(time.monotonic() - begun, 1), samples, None, stopped_early=False)


def _alarm(run: Run, sample: WatchSample, seconds: float, samples: int) -> Watch:
    run.notice(
        "comeback",
        f"ALARM: the migration was applied again {sample.came_back_by or 'by somebody'} at {sample.at}. "
        "Kept values are untouched; nothing is put back into columns that may go again.",
        "responders",
    )
    return Watch(round(seconds, 1), samples, sample, stopped_early=False)


def _look(world: World, proposal: Proposal, incident: str) -> WatchSample:
    try:
        return look_once(world, proposal, f"backout/{incident}/watch")
    except BackoutError:
        return WatchSample("", history_has_it=False, schema_equal=False, came_back_by="")


def look_once(world: World, proposal: Proposal, name: str) -> WatchSample:
    """One look; raises what a session raises. `at` is set only when the migration is back, so that a
    quiet watch is one observation in the journal and not hundreds."""
    planned = {m.name for m in proposal.migrations}
    with world.databases.observe(name) as session:
        history = world.migrator.history(session)
        listed = [row for row in history.rows if row.name in planned]
        back = [] if proposal.lists_after else listed
        schema = portable_digest(read_schema(session), frozenset({history.table}))
        who = writers_of(session, back[0].xid) if back else ""
    at = world.now().isoformat(timespec="seconds") if back else ""
    return WatchSample(at, bool(back), schema == proposal.expected_schema, who)
