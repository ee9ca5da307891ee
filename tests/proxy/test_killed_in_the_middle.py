"""kill -9 of the proxy or of the tool: untouched with nothing of ours left, or done with everything kept."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from backout.postgres.proxy.server import Proxy
from backout.postgres.proxy.upstream import Upstream
from tests.proxy import fire
from tests.proxy.test_kept_under_fire import KEEPING

ROOT = Path(__file__).parent.parent.parent


def start(module: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def settle(dsn: str) -> None:
    """Wait until the server has noticed, as the next command of ours would."""
    deadline = time.monotonic() + 10
    with psycopg.connect(dsn, autocommit=True) as direct:
        while time.monotonic() < deadline:
            left = direct.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'backout/fire/9'"
            ).fetchone()
            if left == (0,):
                return
            time.sleep(0.02)
    raise AssertionError("a session of the killed run is still there")


def verdict(dsn: str) -> str:
    """`untouched` or `done`; anything in between fails."""
    with psycopg.connect(dsn, autocommit=True) as direct:
        ours = direct.execute(
            "SELECT (SELECT count(*) FROM backout_kept.manifest), (SELECT count(*) FROM pg_class WHERE"
            " relnamespace = 'backout_kept'::regnamespace AND relkind = 'r') - 1,"
            " (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal),"
            " to_regclass('dropped_table') IS NULL"
        ).fetchone()
    assert ours in ((0, 0, 0, False), (5, 5, 0, True)), ours
    return "untouched" if ours[0] == 0 else "done"


def kill_the_proxy(dsn: str, delay: float) -> str:
    fire.make(dsn)
    with fire.under_fire(dsn) as writers:
        process = start("tests.proxy.proxy_process", PROXY_DSN=dsn)
        try:
            settings = line(process)
            tool = start("tests.proxy.tool_process", TOOL_SETTINGS=settings)
            line(tool)
            time.sleep(delay)
        finally:
            end(process)
        tool.wait(timeout=30)
        end(tool)
        settle(dsn)
    found = verdict(dsn)
    assert fire.lost(dsn, writers) == []
    return found


def kill_the_tool(dsn: str, delay: float) -> str:
    fire.make(dsn)
    with fire.under_fire(dsn) as writers, Proxy(KEEPING, Upstream(dsn, "backout/fire/9")) as proxy:
        place = proxy.endpoint
        parts = {"host": place.host, "port": place.port, "dbname": place.database}
        settings = json.dumps({**parts, "user": place.user, "password": place.password})
        tool = start("tests.proxy.tool_process", TOOL_SETTINGS=settings)
        line(tool)
        time.sleep(delay)
        end(tool)
        settle(dsn)
    found = verdict(dsn)
    assert fire.lost(dsn, writers) == []
    return found


@pytest.mark.parametrize("delay", [0.02])
def test_a_killed_proxy_leaves_nothing_or_everything(dsn: str, delay: float):
    kill_the_proxy(dsn, delay)


def test_a_killed_tool_leaves_nothing_or_everything(dsn: str):
    kill_the_tool(dsn, 0.02)


@pytest.mark.soak
@pytest.mark.parametrize("run", range(15))
def test_soak_killed_at_random(dsn: str, run: int):
    delay = random.Random(run).uniform(0, 0.12)
    found = (kill_the_proxy if run % 2 else kill_the_tool)(dsn, delay)
    print(f"killed the {'proxy' if run % 2 else 'tool'} after {delay * 1000:.0f} ms: {found}")
