"""kill -9 at random moments of `run`, then `resume`: the same end state, no effect twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from backout.app import incidents
from backout.model.execution import Outcome
from tests.story.harness import World, apply_names, names_world
from tests.story.test_cut_and_resume import EXPECTED, effects, prepared


def backout(made: World, *arguments: str) -> subprocess.Popen[bytes]:
    """The real command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "backout", *arguments, "--config", str(made.root / "backout.toml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ.copy(),
        start_new_session=True,
    )


def took(made: World, incident: str) -> float:
    begun = time.monotonic()
    assert backout(made, "run", incident, "--watch", "0").wait(120) == 0
    return time.monotonic() - begun


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [pytest.param(10, marks=pytest.mark.soak), 3])
def test_killed_at_random_moments_it_ends_the_same(heroes16: World, kills: int):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    usual = took(heroes16, prepared(heroes16))
    assert heroes16.one("SELECT count(*) FROM schema_migrations") == 1
    for number in range(kills):
        with heroes16.connect() as session:
            session.execute(
                "DROP SCHEMA backout_kept CASCADE; DROP TABLE users; DROP TABLE schema_migrations"
            )
        incident = prepared(heroes16)
        moment = dice.uniform(0.3, 1.05) * usual
        process = backout(heroes16, "run", incident, "--watch", "0")
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        ran = incidents.run(heroes16.desk(), incident, {}, 0)
        where = f"seed {seed}, kill {number} after {moment:.2f} of {usual:.2f} s"
        assert ran.execution.outcome is Outcome.BACKED_OUT, where
        assert effects(heroes16, incident) == EXPECTED, where
        with heroes16.server.connect() as admin:
            left = admin.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE %s",
                (f"backout/{incident}/%",),
            ).fetchone()
        assert left == (0,), where


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_proposal_leaves_nothing_that_the_next_command_does_not_find(heroes16: World):
    names_world(heroes16)
    apply_names(heroes16)
    incident = heroes16.open()
    process = backout(heroes16, "propose", incident)
    time.sleep(1.5)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    proposed = incidents.propose(heroes16.desk(), incident)
    assert proposed.rehearsals[0].succeeded
    servers = heroes16.application().servers("heroes")
    names = [
        copy
        for scratch in servers.running()
        for copy in _databases(servers.conninfo(scratch, "postgres"), incident)
    ]
    assert names == [proposed.proof.copy], "the clones of the killed rehearsal are gone"


def _databases(conninfo: str, incident: str) -> list[str]:
    import psycopg

    with psycopg.connect(conninfo) as session:
        rows = session.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s", (f"%{incident.replace('-', '_')}%",)
        ).fetchall()
    return [row[0] for row in rows]
