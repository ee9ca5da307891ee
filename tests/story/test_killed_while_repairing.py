"""Strategy D killed at random moments while the application writes: the same verdict, nothing done twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess

import psycopg
import pytest

from backout.app import incidents
from backout.model.execution import Execution, Outcome, Verification
from backout.model.repair import RepairDone
from tests.story.harness import World
from tests.story.test_killed import backout
from tests.story.test_twin_restore import BAD, Writer, _nothing_is_lost, _until, archived16

__all__ = ["archived16"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def stories() -> list[object]:
    """Twenty kills in five stories; the ordinary run has one of them."""
    return [pytest.param(number, marks=[pytest.mark.soak] if number else []) for number in range(5)]


@pytest.mark.parametrize("number", stories())
@pytest.mark.proves(
    claim="kill -9 at random moments of D: the same verdict of the same ledger",
    on="base backup and archived WAL, one machine, loopback",
    rights="plain owner; superuser for the WAL switch",
    versions="16",
    size="4 writers, 4,600 rows; 20 kills in five stories",
)
def test_killed_again_and_again_no_write_is_lost_and_no_row_comes_back_twice(archived16, capsys, number: int):
    made, _ = archived16
    assert made.cli(capsys, "backup", "take", "--target", "heroes")[0] == 0
    writers = [Writer(made, one) for one in range(4)]
    for writer in writers:
        writer.start()
    _until(lambda: all(len(writer.issues) > 10 for writer in writers))
    migrate(made, writers)
    incident = made.open()
    incidents.propose(made.desk(), incident)
    made.approve(incident, strategy="D")
    kill(made, incident, 4)
    incidents.run(made.desk(), incident, {}, 0)
    for writer in writers:
        writer.over.set()
        writer.join(30)
    assert [error for writer in writers for error in writer.errors] == []
    _nothing_is_lost(made, writers)
    desk = made.desk()
    assert desk.need(incident, "execution.down", Execution).outcome is Outcome.BACKED_OUT
    repaired = desk.need(incident, "lost_writes.repair", RepairDone)
    assert (repaired.wrong, repaired.fates.parked) == (0, 0)
    checks = {check.name: check for check in desk.need(incident, "verification.checks", Verification).checks}
    assert checks["repaired"].good, checks["repaired"]
    with made.server.connect() as admin:
        left = admin.execute(
            "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE %s",
            (f"backout/{incident}/%",),
        ).fetchall()
    assert left == []


def migrate(made: World, writers: list[Writer]) -> None:
    """The bad migration. It and the application may meet each other's locks the other way round, and either
    of them is ended then: what it did to the writers is not the repair's."""
    for _ in range(10):
        with contextlib.suppress(psycopg.errors.DeadlockDetected):
            made.applied("20240201000000", BAD)
            break
    written = {writer: len(writer.issues) for writer in writers}
    _until(lambda: all(len(writer.issues) > written[writer] for writer in writers))
    for writer in writers:
        writer.errors.clear()


def kill(made: World, incident: str, times: int) -> None:
    """Each time `run` is typed it gets a random while from its first entry on; where it died is printed."""
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    print(f"seed {seed}")
    journal = made.application().journal
    for _ in range(times):
        before = len(journal.read(incident))
        process = backout(made, "run", incident, "--watch", "0")
        _until(lambda: len(journal.read(incident)) > before or process.poll() is not None)  # noqa: B023
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(dice.uniform(0, 2.5))
        with contextlib.suppress(ProcessLookupError):  # it came to an end of its own
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        newest = journal.read(incident)[-1]
        print(f"after {newest.kind.value} {newest.key}, exit {process.returncode}")
