"""kill -9 of the applying process, crashes of the target: nothing lost, nothing doubled, nothing parked."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backout.postgres import servers
from tests.decoding import fire
from tests.decoding.world import World

ROOT = Path(__file__).parent.parent.parent


def start(world: World) -> subprocess.Popen[str]:
    settings = {
        "source": world.source_dsn,
        "target": world.target_dsn,
        "slot": world.slot,
        "directory": str(world.directory),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.decoding.apply_process"],
        cwd=ROOT,
        env={**os.environ, "APPLY": json.dumps(settings)},
        stdout=subprocess.PIPE,
        text=True,
    )


def ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> int:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    return process.returncode


def finish(world: World) -> None:
    """Processes one after the other until one says that it has read the end."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        process = start(world)
        first = ready(process)
        code = process.wait(timeout=120) if first == "ready" else None
        end(process)
        if code == 0:
            return
        time.sleep(0.1)  # the server has not noticed yet that the last one is dead
    raise AssertionError("the end was not reached")


def transactions(world: World) -> int:
    (row,) = world.rows("SELECT tx FROM backout.progress", target=True)
    assert isinstance(row[0], int)
    return row[0]


def sweep(world: World, kills: int, stops: int, seed: int) -> str:
    dice = random.Random(seed)
    world.on_both(*fire.MADE)
    world.prepare_target(world.arm(*fire.TABLES))
    plan = ["kill"] * kills + ["stop"] * stops
    dice.shuffle(plan)
    done = 0
    with fire.under_fire(world.source_dsn, world.directory) as ledgers:
        while plan:
            process = start(world)
            if ready(process) == "ready":
                time.sleep(dice.uniform(0.05, 0.8))
                if plan.pop() == "stop":
                    servers.stop(world.target.layout, mode="immediate")
                    servers.start(world.target.layout)
                done += 1
            end(process)
    world.mark_end()
    finish(world)
    assert world.parked() == []
    assert fire.differences(world.source_dsn, ledgers) == []
    assert fire.differences(world.target_dsn, ledgers) == []
    assert fire.contents(world.target_dsn) == fire.contents(world.source_dsn)
    told = fire.acknowledged(ledgers)
    assert transactions(world) >= len([act for act, *_ in told if act != "nothing"])
    return f"{done} kills and stops, {len(told)} acknowledged transactions"


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_whoever_is_killed(world: World, major: int):
    print(sweep(world, kills=8, stops=4, seed=major))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_soak_killed_at_random(world: World, seed: int):
    print(sweep(world, kills=25, stops=12, seed=1000 + seed))
