"""Cut over: make ready, enter only when everything is good, move in one hold, and settle what was left.

The order of the story is `prepare` · `enter` · `move` · `prove.prove`. A command that finds a move in doubt
settles it first: nothing moved, or moved whole; there is no third.
"""

from __future__ import annotations

import contextlib
import secrets
from contextlib import ExitStack
from datetime import UTC

from backout.errors import BackoutError, HandedOver, Refused, Stopped
from backout.model.check import Check, CheckState
from backout.model.cutover import Moved, Prepared, Step, Warrant
from backout.phases.cutover import decide, gather
from backout.phases.cutover.crossing import Crossing
from backout.phases.cutover.facts import Leftover, Readiness
from backout.phases.cutover.ground import Ground, Sessions
from backout.phases.cutover.orders import by_hand, orders, settle
from backout.ports.run import Attempt, Run
from backout.postgres import failures, fence, names, witness
from backout.postgres.canary import canary
from backout.postgres.dead_man import Links
from backout.postgres.dead_man_process import DeadMan, Orders

STEP = "cutover.move"
_CANARY_SECONDS = 5.0
_SLOT_SECONDS = 5.0
_RELEASE_SECONDS = 5.0


def prepare(run: Run, ground: Ground, opened: Sessions) -> Prepared:
    """Make what can be made outside of the pause: the witness on the old side, publications on the new."""
    return run.step("cutover.prepare", Prepared, lambda _: _prepare(run, ground, opened))


def enter(
    run: Run, ground: Ground, opened: Sessions, prepared: Prepared, *, watch: float = decide.LAG_WATCH
) -> Readiness:
    """Judge every precondition; raises `Refused` with the red ones, and nothing was held.

    What an earlier attempt left is settled first. When that completed the move there is nothing to judge.
    """
    left = settle_leftovers(run, ground, prepared, opened.name)
    if left is not None and left.way == "forward":
        return Readiness(())

    def judge() -> Readiness:
        facts = gather.gather(ground, opened, watch_seconds=watch)
        return Readiness(decide.ready(facts, watch=watch))

    found = run.look("cutover.ready", Readiness, judge)
    red = decide.red(found.checks)
    if red:
        raise Refused(
            "; ".join(f"{check.name}: {check.detail}" for check in red[:3]),
            where=ground.target,
            intact="everything; no write was held",
            next=f"{red[0].mend}, then: backout resume {run.incident}".removeprefix(", then: "),
        )
    return found


def move(run: Run, ground: Ground, opened: Sessions, prepared: Prepared) -> Moved:
    """The hold, once. An attempt that is missed leaves everything as it was and may be tried again."""
    return run.step(STEP, Moved, lambda attempt: _move(run, ground, opened, prepared, attempt))


def settle_leftovers(run: Run, ground: Ground, prepared: Prepared, but: str = "") -> Leftover | None:
    """Look for what an earlier attempt left held, and settle it; None when nothing was ever begun.

    Any command may call it, before it opens a session of its own: the undo goes through other databases
    than the fenced one. `but` is the name of sessions that are not the earlier attempt's.
    """
    number, warrant = 0, None
    while (found := run.result(f"cutover.warrant.{number + 1}", Warrant)) is not None:
        number, warrant = number + 1, found
    if warrant is None:
        return None
    made = orders(ground, prepared, warrant, f"backout/{run.incident}/%", but)
    with contextlib.closing(_links(made)) as links:
        way = settle(ground, made, links, silence=True)
    if way == "back":
        _let_go(ground)
    return Leftover(way, number)


# ── before the pause ────────────────────────────────────────────────────────────────────────────────────


def _prepare(run: Run, ground: Ground, opened: Sessions) -> Prepared:
    name = names.cutover(run.incident, run.round)
    database = opened.old.info.dbname
    limit = fence.limit_of(opened.fence, database)
    if limit == 0:
        raise Refused(
            f"{database} is fenced already: somebody else's cutover, or one that was not settled",
            where=ground.target,
            intact="everything; nothing was changed",
            next=f"find out who fenced it, then: {fence.limit_statement(database, -1)}",
        )
    seen_by = names.witness(run.incident, run.round)
    publications, blind = witness.publish(opened.old, seen_by)
    witness.make_slot(opened.old, seen_by, _SLOT_SECONDS)
    way_back = f"{name}_back"
    blind += tuple(table for table in ground.way_back.prepare(way_back) if table not in blind)
    return Prepared(
        token=f"{run.incident}-{secrets.token_hex(4)}",
        database=database,
        limit_before=limit,
        witness_slot=seen_by,
        witness_publications=publications,
        way_back=way_back,
        target_is_fenced=fence.limit_of(opened.new, opened.new.info.dbname) == 0,
        blind=blind,
    )


def _move(run: Run, ground: Ground, opened: Sessions, prepared: Prepared, attempt: Attempt) -> Moved:
    left = settle_leftovers(run, ground, prepared, opened.name)
    if left is not None and left.way == "forward":
        run.progress("traffic was moved by an earlier attempt; what was left of it is completed")
        ground.traffic.release(_RELEASE_SECONDS)
        return _after(ground, opened, prepared, f"{prepared.token}-{left.number}", None)
    if left is not None:  # a slot that a dead process armed holds what was carried over since
        _disarm_way_back(ground, prepared)
    number = left.number + 1 if left else 1
    token = f"{prepared.token}-{number}"
    with ExitStack() as stack:
        ground.traffic.open()
        stack.callback(ground.traffic.close)
        warrant = run.step(
            f"cutover.warrant.{number}", Warrant, lambda _: ground.traffic.prepare(ground.new, token)
        )
        made = orders(ground, prepared, warrant, opened.name)
        links = stack.enter_context(contextlib.closing(_links(made)))
        _warn(run, ground, made)
        ground.told(Step.DEAD_MAN, "before", 0.0)
        guard = DeadMan.start(made, ground.dead_man_command)
        stack.callback(guard.abandon)
        ground.told(Step.DEAD_MAN, "after", 0.0)

        def record() -> None:
            run.decide(f"cutover.switch.{number}", {"token": token, "to": str(ground.new)})

        hold = Crossing(ground, opened, prepared, token, warrant, guard, links, record)
        _cross(ground, hold, made, links)
        return _after(ground, opened, prepared, token, hold)


def _links(made: Orders) -> Links:
    """Our own connections for the undo, opened before anything is held."""
    links = Links(made.document()["links"])
    links.open()
    return links


def _warn(run: Run, ground: Ground, made: Orders) -> None:
    """Where nobody would end the hold after a cut network, say beforehand how a person does."""
    unattended = ground.traffic.price().unattended
    if unattended:
        typed = "\n".join(by_hand(made))
        run.notice("cutover.by_hand", f"WRITE PAUSE: {unattended}. By hand:\n{typed}", "incident")


# ── the pause ───────────────────────────────────────────────────────────────────────────────────────────


def _cross(ground: Ground, hold: Crossing, made: Orders, links: Links) -> None:
    """Steps 1 to 9. What is missed before the switch goes back; from the rename on it is completed."""
    try:
        hold.hold()
        for step, action in (
            (Step.FENCE, hold.fence),
            (Step.WITNESS, hold.witness),
            (Step.DRAIN, hold.drain),
            (Step.DURABLE, hold.durable),
            (Step.SEQUENCES, hold.sequences_),
            (Step.WAY_BACK, hold.way_back),
            (Step.SWITCH, hold.switch),
            (Step.RELEASE, hold.release),
        ):
            hold.run(step, action)
    except failures.EXPECTED as error:
        if settle(ground, made, links) == "back":
            _disarm(hold)
            _let_go(ground)
            raise _went_back(ground, hold, error) from error
        ground.traffic.release(_RELEASE_SECONDS)
    _disarm(hold)


def _let_go(ground: Ground) -> None:
    """Undo a hold that is no statement on a connection: a command of the user's that stops writes."""
    try:
        ground.traffic.let_go()
    except failures.EXPECTED as error:
        raise HandedOver(
            f"the fence is open, but {ground.traffic.name} did not let writes go: {failures.in_words(error)}",
            where=ground.target,
            intact="every acknowledged write; nothing moved",
            next=f"allow writes by hand, then: backout resume {ground.incident}",
        ) from error


def _disarm(hold: Crossing) -> None:
    """Writes go on; the dead-man is not needed any more, and one that hangs is ended."""
    hold.dead_man.disarm()


def _went_back(ground: Ground, hold: Crossing, error: Exception) -> BackoutError:
    """Why nothing moved. The slot of the way back retains WAL for nobody now."""
    with contextlib.suppress(*failures.OF_SERVERS):
        _disarm_way_back(ground, hold.prepared)
    return Stopped(
        f"the cutover was given up: {failures.in_words(error)}",
        where=f"{ground.target}, after {hold.elapsed_ms():.0f} ms",
        intact="every write; the fence is open and traffic goes where it went before",
        next=f"backout resume {ground.incident}",
    )


def _disarm_way_back(ground: Ground, prepared: Prepared) -> None:
    ground.way_back.drop(prepared.way_back)
    ground.way_back.prepare(prepared.way_back)


def _after(ground: Ground, opened: Sessions, prepared: Prepared, token: str, hold: Crossing | None) -> Moved:
    """Look who answers, turn replication round, and say what was done."""
    wrong = canary(opened.new, ground.logins.canary, opened.name, _CANARY_SECONDS)
    ground.drain.stop()
    ground.way_back.follow(prepared.way_back)
    armed = hold.armed if hold else ground.way_back.arm(prepared.way_back, _SLOT_SECONDS)
    ground.told(Step.RELEASE, "canary", hold.elapsed_ms() if hold else 0.0)
    info = opened.fence.info
    return Moved(
        token=token,
        old=f"{info.host}:{info.port}",
        new=f"{ground.new.host}:{ground.new.port}",
        times=tuple(hold.times) if hold else (),
        pause_attempts=hold.pause_attempts if hold else 0,
        sequences=hold.sequences if hold else 0,
        fence_ended=hold.ended if hold else 0,
        way_back=armed.name if armed else "",
        way_back_until=armed.until.astimezone(UTC).isoformat(timespec="seconds") if armed else "",
        canary=Check(
            "canary", CheckState.FAIL if wrong else CheckState.PASS, wrong or "the new side answers"
        ),
        how="moved" if hold else "found done",
    )


def drop_way_back(ground: Ground, prepared: Prepared) -> None:
    """Give the way back up, on a person's word or at its expiry: nothing of it stays on either side."""
    try:
        ground.way_back.drop(prepared.way_back)
    except failures.OF_SERVERS as error:
        raise HandedOver(
            f"the way back {prepared.way_back} could not be removed: {failures.in_words(error)}",
            where=ground.target,
            intact="the data of both sides; its slot retains WAL on the new side",
            next=f"SELECT pg_drop_replication_slot('{prepared.way_back}')",
        ) from None
