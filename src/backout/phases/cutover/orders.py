"""What an undo and a completion consist of, as data: for dead-man, abort, and the command after a kill."""

from __future__ import annotations

import time

from backout.errors import HandedOver
from backout.model.cutover import Prepared, Warrant
from backout.phases.cutover.ground import Ground
from backout.ports.traffic import Act
from backout.postgres import dead_man, failures, fence
from backout.postgres.dead_man import Links
from backout.postgres.dead_man_process import Orders

_PATIENCE = 10.0


def orders(ground: Ground, prepared: Prepared, warrant: Warrant, silenced: str, but: str = "") -> Orders:
    """Everything that undoes or completes. `silenced` (LIKE) names the sessions of who may wake up late,
    `but` the one that is not meant."""
    links = {**ground.links, **ground.traffic.links()}
    return Orders(
        warrant=warrant,
        links=links,
        back=(_limit("old", prepared.database, prepared.limit_before), *ground.traffic.back()),
        forward=(*open_target(ground, prepared), *ground.traffic.forward(ground.new)),
        silence=(_silence(silenced, but),),
        proofs=(Act("old", fence.limit_statement(prepared.database, prepared.limit_before)),),
        budget_ms=ground.budget.total,
    )


def by_hand(made: Orders) -> tuple[str, ...]:
    """The statements that undo a hold by hand, each with where to say it; no secrets."""
    return tuple(
        f"{made.links[act.on].host}:{made.links[act.on].port}/{made.links[act.on].database}  {act.say}"
        for act in made.back
    )


def settle(ground: Ground, made: Orders, links: Links, *, silence: bool = False) -> str:
    """Undo or complete, with patience; `back` or `forward`. Raises `HandedOver` with what to type by hand."""
    document = made.document()
    before = document["silence"] if silence else ()
    until = time.monotonic() + _PATIENCE
    why = ""
    while time.monotonic() < until:
        try:
            return dead_man.settle(document, links, *before)
        except failures.OF_SERVERS as error:  # two who settle at once may meet on one row: then again
            why = failures.in_words(error)
            time.sleep(0.02)
    raise HandedOver(
        f"writes may still be held: {why}",
        where=ground.target,
        intact="every acknowledged write; nothing was released onto the wrong side",
        next="; ".join(by_hand(made)),
    )


def _limit(on: str, database: str, limit: int) -> Act:
    look = fence.limit_question(database)
    return Act(on, fence.limit_statement(database, limit), look, {}, "value", str(limit))


def open_target(ground: Ground, prepared: Prepared) -> tuple[Act, ...]:
    """On the way back the side that traffic goes to stands fenced from the first time."""
    if not prepared.target_is_fenced:
        return ()
    return (_limit("new", ground.new.database, prepared.limit_before),)


def _silence(pattern: str, but: str) -> Act:
    """End the sessions of an operator that was stopped: a woken one must not go on where it was."""
    return Act(
        "old", fence.ending_statement(pattern, but), fence.ending_question(pattern, but), {}, "value", "0"
    )
