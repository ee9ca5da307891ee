"""Somebody dies, or is stopped, at each step of the hold: writes go on, and no acknowledged one is lost.

`kill` ends the operator, `stop` freezes it (a hung machine; woken later), `kill dead-man` ends the one that
watches. What counts is what the clients see.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cutover import operating
from tests.cutover.sides import Pooler, Sides, pooler
from tests.cutover.writers import Ledger, writing

pytestmark = pytest.mark.slow

BEFORE = ("HOLD", "FENCE", "WITNESS", "DRAIN", "DURABLE", "SEQUENCES", "WAY_BACK", "SWITCH")
AT = [
    ("DEAD_MAN", "before"),
    ("DEAD_MAN", "after"),
    *((step, "before") for step in BEFORE),
    ("SWITCH", "after"),
    ("RELEASE", "before"),
    ("RELEASE", "after"),
    ("RELEASE", "canary"),
]
SWITCHED = {("SWITCH", "after"), ("RELEASE", "before"), ("RELEASE", "after"), ("RELEASE", "canary")}
PROMISE_MS = 1000
SHARED_RUNNER_MS = 1000
DEAD_MAN_LIVES = AT[1:-1]
"""After the release it has ended by itself."""


def kept_its_promise(ledger: Ledger, config: dict[str, Any]) -> None:
    """Less than a second, beside what a write took on this machine before anything was held.

    Beside other test processes nobody can promise that: there only a hang is a failure.
    """
    died = float(Path(config["mark"]).read_text())
    alone = "PYTEST_XDIST_WORKER" not in os.environ and os.getloadavg()[0] <= (os.cpu_count() or 1)
    shared = 0 if alone else SHARED_RUNNER_MS
    allowed = PROMISE_MS + shared + ledger.slowest_until_ms(died - 1.0)
    assert ledger.longest_silence_ms < allowed, (ledger.told(), allowed)


def limit(sides: Sides) -> int:
    with sides.old.connect() as admin:
        row = admin.execute(
            "SELECT datconnlimit FROM pg_database WHERE datname = %s", (sides.database,)
        ).fetchone()
    assert row is not None
    return int(row[0])


def is_whole(sides: Sides, pool: Pooler, moved: bool) -> None:
    """Either everything is on the old side and its fence is open, or everything is on the new side."""
    entry = pool.entry()
    assert entry["paused"] == "0"
    assert [r["value"] for r in pool.ask("SHOW CONFIG") if r["key"] == "max_db_connections"] == ["0"]
    side = sides.new if moved else sides.old
    assert entry["port"] == str(side.port)
    assert limit(sides) == (0 if moved else -1)


def nothing_is_lost(ledger: Ledger, sides: Sides, moved: bool) -> None:
    assert not ledger.errors, ledger.told()
    live = sides.new if moved else sides.old
    assert ledger.missing_on(live, sides.database) == set()


def reached(config: dict[str, Any], operator: operating.Operator, seconds: float = 60) -> bool:
    """Wait until the step of the death was reached; False when a loaded machine had given up before."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if Path(config["mark"]).exists():
            return True
        if operator.process.poll() is not None:
            return False
        time.sleep(0.01)
    raise AssertionError("the operator hangs")


def begin(sides: Sides, pool: Pooler, directory: Path, step: str, when: str, how: str):
    """Start operators until one reaches the step; each is a new process over the same journal."""
    wanted = {"step": step, "when": when, "how": how}
    config = operating.config(sides, pool, directory, hurt=wanted, enter=False)
    for _ in range(20):  # a loaded machine misses deadlines, and then nothing has moved
        operator = operating.start(config)
        if reached(config, operator):
            return config, operator
        operator.said()
        time.sleep(0.5)
    raise AssertionError("no operator came as far as the step")


_ALWAYS = (("FENCE", "before"), ("DRAIN", "before"), ("SWITCH", "before"), ("RELEASE", "before"))
"""What the ordinary run tries; the whole sweep is one of the long ones."""


def sweep(places: Sequence[tuple[str, str]]) -> list[Any]:
    return [
        pytest.param(*place, id="-".join(place), marks=[] if place in _ALWAYS else [pytest.mark.soak])
        for place in places
    ]


@pytest.mark.parametrize(("step", "when"), sweep(AT))
@pytest.mark.proves(
    claim="Killed at any step of the hold, writes go on and none is lost",
    on="two servers, PgBouncer, one machine, loopback",
    rights="superuser",
    versions="16",
    size="20 writers",
)
def test_the_operator_is_killed(pair: Sides, tmp_path: Path, step: str, when: str):
    with pooler(pair) as pool:
        with writing(pool.dsn()) as ledger:
            config, operator = begin(pair, pool, tmp_path, step, when, "kill")
            died = time.monotonic()
            operator.process.wait(10)
            time.sleep(2.0)
            moved = (step, when) in SWITCHED
            is_whole(pair, pool, moved)
            assert ledger.since(died + 1.5) > 0
            kept_its_promise(ledger, config)
        nothing_is_lost(ledger, pair, moved)
        done = operating.cut_over(operating.config(pair, pool, tmp_path))
        assert done["moved"]["how"] == ("found done" if moved else "moved")
        assert done["complete"], done["proof"]
        is_whole(pair, pool, True)
        assert ledger.missing_on(pair.new, pair.database) == set()


@pytest.mark.parametrize(("step", "when"), sweep(AT[1:]))
def test_the_operator_is_stopped_and_wakes_up_late(pair: Sides, tmp_path: Path, step: str, when: str):
    with pooler(pair) as pool:
        with writing(pool.dsn()) as ledger:
            config, operator = begin(pair, pool, tmp_path, step, when, "stop")
            time.sleep(2.0)
            moved = (step, when) in SWITCHED
            if when != "canary" and step != "DEAD_MAN":
                is_whole(pair, pool, moved)
            os.kill(operator.process.pid, signal.SIGCONT)
            answer = operator.said()
            moved = "moved" in answer
            assert moved or answer["error"]["kind"] == "Stopped", answer
            assert moved or (step, when) not in SWITCHED
            time.sleep(1.0)
            is_whole(pair, pool, moved)
            kept_its_promise(ledger, config)
        nothing_is_lost(ledger, pair, moved)


@pytest.mark.parametrize(("step", "when"), sweep(DEAD_MAN_LIVES))
def test_the_dead_man_is_killed(pair: Sides, tmp_path: Path, step: str, when: str):
    with pooler(pair) as pool:
        with writing(pool.dsn()) as ledger:
            config, operator = begin(pair, pool, tmp_path, step, when, "kill dead-man")
            answer = operator.said()
            moved = "moved" in answer
            assert moved is ((step, when) in SWITCHED), answer
            time.sleep(0.5)
            is_whole(pair, pool, moved)
            kept_its_promise(ledger, config)
        nothing_is_lost(ledger, pair, moved)


@pytest.mark.parametrize(("step", "when"), [("FENCE", "before"), ("DRAIN", "before"), ("RELEASE", "before")])
def test_operator_and_dead_man_both_die_and_the_next_command_settles(
    pair: Sides, tmp_path: Path, step: str, when: str
):
    with pooler(pair) as pool:
        with writing(pool.dsn()) as ledger:
            config, operator = begin(pair, pool, tmp_path, step, when, "kill dead-man and us")
            operator.process.wait(10)
            moved = (step, when) in SWITCHED
            answer = operating.start({**config, "hurt": None, "settle": True}).said()
            assert answer["left"] == ("forward" if moved else "back")
            time.sleep(0.5)
            is_whole(pair, pool, moved)
        nothing_is_lost(ledger, pair, moved)
