"""The hold, step by step: each looks before it acts, and what is missed goes back or, once switched, forward.

Invariant: writes are either released onto the old side with its fence open and nothing moved, or onto the
new side which has every acknowledged write. Which of the two is decided by one rename of one file; the
switch and every undo need that rename, so they exclude each other, whoever was stopped, killed or cut off.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from backout.errors import Stopped
from backout.model.cutover import Prepared, Step, StepTime, Warrant
from backout.phases.cutover import decide
from backout.phases.cutover.ground import Ground, Sessions
from backout.phases.cutover.orders import open_target
from backout.ports.handover import Armed
from backout.postgres import fence, sequences, sides, witness
from backout.postgres.dead_man import Links, perform
from backout.postgres.dead_man_process import DeadMan


@dataclass
class Crossing:
    """One hold. Its steps are run in order by `act`; what they found is left in the fields."""

    ground: Ground
    sessions: Sessions
    prepared: Prepared
    token: str
    warrant: Warrant
    dead_man: DeadMan
    links: Links
    """Connections of the undo, open since before the hold."""
    record_switch: Callable[[], None]
    """Journals that the switch comes next; durable when it returns."""
    began: float = 0.0
    times: list[StepTime] = field(default_factory=list)
    pause_attempts: int = 0
    ended: int = 0
    token_lsn: str = ""
    sequences: int = 0
    armed: Armed | None = None

    def elapsed_ms(self) -> float:
        return (time.monotonic() - self.began) * 1000 if self.began else 0.0

    def left(self, step: Step) -> float:
        """Seconds that the step may take; raises when it is late, or when the dead-man was there first."""
        if self.dead_man.has_acted():
            raise _stopped("the dead-man gave writes back: the budget was over")
        if step is not Step.RELEASE and not self.dead_man.alive:
            raise _stopped("the dead-man is gone: without it nobody would end this hold")
        seconds = decide.allowance(self.ground.budget, step, self.elapsed_ms())
        if seconds <= 0:
            raise _stopped(f"out of time before this step: {step.value}")
        return seconds

    def through(self, step: Step) -> None:
        """A step is through."""
        at = round(self.elapsed_ms(), 1)
        self.times.append(StepTime(step, at))
        self.ground.told(step, "after", at)

    def run(self, step: Step, action: Callable[[float], None]) -> None:
        """Run one step with what time it has; a step that took longer than that is a miss."""
        self.ground.told(step, "before", round(self.elapsed_ms(), 1))
        action(self.left(step))
        late = step is not Step.RELEASE and decide.allowance(self.ground.budget, step, self.elapsed_ms()) <= 0
        if late and step is not Step.SWITCH:
            raise _stopped(f"this step took too long: {step.value}")
        self.through(step)

    # ── the steps ──────────────────────────────────────────────────────────────────────────────────────

    def hold(self) -> None:
        """Step 1, at most three times; between two tries writes go on."""
        for number in range(1, decide.PAUSE_ATTEMPTS + 1):
            self.pause_attempts = number
            self.times.clear()
            self.ground.told(Step.HOLD, "before", 0.0)
            self.began = time.monotonic()
            self.dead_man.hold()
            held = self.ground.traffic.hold(self.left(Step.HOLD))
            if held.held:
                self.through(Step.HOLD)
                return
            self.ground.traffic.let_go()
            self.dead_man.rest()
            if decide.on_miss(Step.HOLD, number) is not decide.Miss.AGAIN:
                who = "; ".join(held.blockers[:3]) or "nobody was seen in the way"
                raise _stopped(f"writes could not be held in {number} tries: {who}")
            time.sleep(0.2 * number)

    def fence(self, seconds: float) -> None:
        """Step 2: closed, emptied, and tried."""
        database = self.prepared.database
        session = self.sessions.fence
        fence.set_limit(session, database, 0)
        self.ended = fence.sweep_out(session, database, self._spare(), seconds)
        if sides.prepared_transactions(session, database):
            raise _stopped("a prepared transaction stands behind the fence and can be committed by anybody")
        crossed = fence.cross(self.ground.logins.old_application)
        if crossed:
            raise _stopped(f"the fence can be crossed: {crossed}")

    def witness(self, seconds: float) -> None:
        """Step 3: the token; whatever commits on the old side behind it is a stale write."""
        self.token_lsn = witness.say_token(self.sessions.old, self.token)

    def drain(self, seconds: float) -> None:
        """Step 4: the new side has everything before the token."""
        if not self.ground.drain.consumed(self.sessions.old, self.token, self.token_lsn, seconds):
            raise _stopped("the new side did not catch up in time")

    def durable(self, seconds: float) -> None:
        """Step 5: and it lasts there. A commit of our own behind it flushes everything before it."""
        session = self.sessions.new
        row = session.execute("SELECT pg_catalog.pg_current_wal_insert_lsn()::text").fetchone()
        assert row is not None
        witness.say_token(session, self.token)
        flushed = session.execute(
            "SELECT pg_catalog.pg_current_wal_flush_lsn() >= %s::pg_catalog.pg_lsn", (row[0],)
        ).fetchone()
        if flushed != (True,):
            raise _stopped("the new side has not flushed what it has")

    def sequences_(self, seconds: float) -> None:
        """Step 6: the numbers that the new side gives are free on both sides."""
        self.sequences = sequences.carry(self.sessions.old, self.sessions.new, self.ground.margin)

    def way_back(self, seconds: float) -> None:
        """Step 7: from here on the new side retains what is written to it."""
        self.armed = self.ground.way_back.arm(self.prepared.way_back, seconds)

    def switch(self, seconds: float) -> None:
        """Step 8, the point of no return: journalled, then one rename."""
        if not self.dead_man.answers(seconds):
            raise _stopped("the dead-man does not answer: without it nobody would end this hold")
        self.record_switch()
        self.ground.traffic.switch(self.warrant, max(seconds, 0.02))

    def release(self, seconds: float) -> None:
        """Step 9: writes go on, on the new side; going back, its own fence of the first move is opened."""
        for act in open_target(self.ground, self.prepared):
            perform(asdict(act), self.links)
        self.ground.traffic.release(seconds)

    def _spare(self) -> tuple[int, ...]:
        return (*self.sessions.ours_on_old, *self.ground.drain.spare())


def _stopped(what: str) -> Stopped:
    """Why a hold ends before anything has moved."""
    return Stopped(
        what,
        where="the write hold",
        intact="every write; traffic goes back to where it was",
        next="backout status",
    )
