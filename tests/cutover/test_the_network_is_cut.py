"""Every packet between the operator's host and everything is dropped, at each step of the hold.

Operator and dead-man are gone together then: the commonest death at 3 a.m. is a VPN or a laptop's lid. What
was said before anything is held has to be true, and once the network is back nobody has to act.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.cutover import operating
from tests.cutover.cut_network import operators_host
from tests.cutover.sides import OWNER, SECRET, Pooler, Sides, pooler
from tests.cutover.test_deaths_in_the_hold import AT, SWITCHED, is_whole, reached
from tests.cutover.writers import writing

GONE_SECONDS = 4.0
BACK_SECONDS = 20.0
"""For TCP to try again, and for whoever settles."""
MAY_MOVE = {*SWITCHED, ("SWITCH", "before"), ("DEAD_MAN", "before")}
"""The one rename that decides needs no network; and before the dead-man watches nothing is held: the operator
waits for it, and goes on."""
_ALWAYS = (("DRAIN", "before"), ("SWITCH", "after"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def every_step() -> list[Any]:
    """Both roles at each step; the ordinary run tries two."""
    return [
        pytest.param(step, when, role, id=f"{step}-{when}-{role}", marks=marks)
        for step, when in AT
        for role in ("postgres", OWNER)
        for marks in ([] if (step, when) in _ALWAYS and role == OWNER else [pytest.mark.soak],)
    ]


def config(sides: Sides, pool: Pooler, directory: Path, role: str, **more: Any) -> dict[str, Any]:
    made = operating.config(sides, pool, directory, **more)
    if role != "postgres":
        made["follow"] = None  # a subscription of PostgreSQL's own wants more than an owner has
        for name in ("old", "old_elsewhere"):
            database = sides.database if name == "old" else "postgres"
            made["logins"][name] = sides.old.dsn(database, role, SECRET)
    return made


def writes_go_on(ledger: Any, since: float, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if ledger.since(since) > 20:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(("step", "when", "role"), every_step())
@pytest.mark.proves(
    claim="A cut network at any step leaves the target whole on one side, and no write is lost",
    on="two servers, PgBouncer, the operator in a network namespace of its own",
    rights="superuser; plain owner",
    versions="16",
    size="20 writers; packets dropped for 4 s",
)
def test_the_price_has_said_so_and_nobody_has_to_act_when_the_network_is_back(
    pair: Sides, tmp_path: Path, step: str, when: str, role: str
):
    with pooler(pair) as pool:
        ports = (pair.old.port, pair.new.port, pool.port)
        with operators_host(ports) as host, writing(pool.dsn()) as ledger:
            hurt = {"step": step, "when": when, "how": "cut", "command": host.cut}
            made = config(pair, pool, tmp_path, role, hurt=hurt, enter=False)
            made = host.seen_from(made, ports)
            made["new"]["host"] = "127.0.0.1"  # as the pooler reaches it
            for _ in range(20):  # a loaded machine misses deadlines, and then nothing has moved
                operator = operating.start(made, host.command)
                if reached(made, operator):
                    break
                operator.said()
            assert "WRITE PAUSE: until a person acts" in Path(made["notices"]).read_text()
            time.sleep(GONE_SECONDS)
            host.heal()
            healed = time.monotonic()
            assert writes_go_on(ledger, healed, BACK_SECONDS), ledger.told()
            answer = operator.said(60)
            moved = "moved" in answer
            assert moved or answer["error"]["kind"] in ("Stopped", "NeighbourUnreachable"), answer
            assert not moved or (step, when) in MAY_MOVE, answer
        live = pair.new if pool.entry()["port"] == str(pair.new.port) else pair.old
        is_whole(pair, pool, live is pair.new)
        assert not ledger.errors, ledger.told()
        assert ledger.missing_on(live, pair.database) == set()
