"""Strategy B killed at every entry of its journal and at random moments: it always ends the same."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backout.app import signing
from backout.errors import Refused
from backout.model.execution import Execution
from backout.model.gate import Proposals
from backout.model.journal import Entry, EntryKind
from backout.model.plan import Proposal
from backout.model.restore import RestoreDone, RestorePlan
from tests.story.anew import ROOT, Shop, Writers, shop
from tests.story.dying import plain
from tests.story.test_restore_and_cut_over import armed, nothing_is_lost, propose

NO_WATCH = ("--watch", "0")
Point = tuple[str, str, str]
"""before or after · kind of an entry · its key (see `plain`)."""


@pytest.fixture
def shop16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with shop(16, tmp_path, monkeypatch) as made:
        yield made


@dataclass
class Story:
    """One incident on its way, and the application beside it."""

    shop: Shop
    incident: str
    writers: Writers

    def type(self, *words: str, at: Point | None = None) -> subprocess.Popen[str]:
        """The real command in a process of its own; with `at` it is killed there."""
        module = ["backout"] if at is None else ["tests.story.dying", *at, "--"]
        config = ["--config", str(self.shop.made.root / "backout.toml"), "--json"]
        command = [sys.executable, "-m", *module, *words, self.incident, *config]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ended(self, *words: str, at: Point | None = None) -> tuple[int, dict[str, Any]]:
        """Its exit code and document; empty when it was killed."""
        process = self.type(*words, at=at)
        out, err = process.communicate(timeout=240)
        if process.returncode == -signal.SIGKILL:
            return process.returncode, {}
        assert out.strip(), err
        return process.returncode, json.loads(out)

    def until(self, *words: str, at: Point | None = None) -> dict[str, Any]:
        """As often as it takes on a loaded machine; empty when it was killed where it was meant to be."""
        told: dict[str, Any] = {}
        for _ in range(12):
            code, told = self.ended(*words, at=at)
            if code == -signal.SIGKILL or code == 0:
                return told
            again = ("lag:", "transactions:", "the cutover was given up")
            assert str(told.get("what", "")).startswith(again), (at, told)
            time.sleep(1)
        raise AssertionError((at, told))

    def entries(self) -> tuple[Entry, ...]:
        return tuple(self.shop.made.application().journal.read(self.incident))


def begun(made: Shop, capsys: pytest.CaptureFixture[str]) -> Story:
    """The migration has run, the application writes on, an incident is open."""
    armed(made.made, capsys)
    writers = Writers(made, pause=0.1)  # what is tried here are deaths: each command has to catch up again
    made.migrate()
    time.sleep(1)
    return Story(made, made.made.open(), writers)


def approved(story: Story) -> None:
    _, of_b = propose(story.shop.made, story.incident)
    story.shop.made.approve(story.incident, strategy="B", accepts=of_b.accept_by_name)


def written(entries: Sequence[Entry]) -> list[Point]:
    """Each entry of the story once, both ways to die at it."""
    seen = dict.fromkeys((e.kind.value, plain(e.key)) for e in entries)
    return [(when, kind, key) for kind, key in seen for when in ("before", "after")]


def ends_well(story: Story) -> None:
    """The verdict: nothing lost, nothing doubled, proved, done once, nothing held."""
    time.sleep(0.5)
    ledger = story.writers.stop()
    assert ledger.errors == []
    made = story.shop.made
    nothing_is_lost(story.shop, ledger)
    done = made.desk().need(story.incident, "restore.done", RestoreDone)
    assert done.proof.complete, done.proof
    assert done.carried.orphans == () and done.carried.fates.parked == 0
    finished = [e.key for e in story.entries() if e.kind is EntryKind.FINISHED]
    assert [key for key in finished if key.endswith(".execution.down")] == [
        finished_in(story, "execution.down")
    ]
    assert made.desk().need(story.incident, "execution.down", Execution).strategy == "B"
    entry = story.shop.pool.entry()
    assert (entry["port"], entry["paused"]) == (str(story.shop.port), "0"), entry
    with story.shop.prod.server.connect() as admin:
        ours = admin.execute(
            "SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE 'backout_inc%'"
        ).fetchall()
    assert ours == [], "no witness retains WAL of the old side"


def finished_in(story: Story, key: str) -> str:
    """The key with the round in front that the incident is in."""
    return f"r{story.shop.made.desk().round(story.incident)}.{key}"


def nothing_is_held(story: Story) -> None:
    """Traffic goes where it went before, and nothing of the move waits on the old side."""
    pool, server = story.shop.pool, story.shop.prod.server
    entry = pool.entry()
    assert (entry["port"], entry["paused"]) == (str(server.port), "0"), entry
    with server.connect() as admin:
        limit = admin.execute(
            "SELECT datconnlimit FROM pg_database WHERE datname = %s", (story.shop.made.database,)
        ).fetchone()
    assert limit == (-1,)


def slots(story: Story) -> list[str]:
    with story.shop.prod.server.connect() as admin:
        rows = admin.execute("SELECT slot_name::text FROM pg_replication_slots ORDER BY 1").fetchall()
    return [row[0] for row in rows]


def leaves_the_new_side(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    """A close destroys what was only restored, and never what serves."""
    code, closed, _ = story.shop.made.cli(capsys, "close", story.incident)
    assert code == 0, closed
    assert f"{story.incident}-new" not in closed["destroyed"]
    assert f"{story.incident}-before" in closed["destroyed"]
    assert closed["serves"] == f"127.0.0.1:{story.shop.port}/{story.shop.made.database}"
    with story.shop.on_new() as session:
        assert session.execute("SELECT 1 FROM users LIMIT 1").fetchone() == (1,)


AROUND: tuple[Point, ...] = (
    ("after", "started", "restore.serving"),
    ("after", "finished", "cutover.prepare"),
    ("before", "decision", "cutover.switch"),
    ("after", "decision", "cutover.switch"),
    ("before", "finished", "cutover.move"),
    ("before", "finished", "cutover.proved"),
    ("before", "finished", "restore.done"),
    ("before", "finished", "execution.down"),
)
"""Each process gets further than the one before it, and is killed there."""


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_killed_again_and_again_around_the_move_it_ends_the_same(shop16: Shop, capsys):
    story = begun(shop16, capsys)
    approved(story)
    killed = [point for point in AROUND if story.until("run", *NO_WATCH, at=point) == {}]
    assert len(killed) == len(AROUND), killed
    story.until("resume", *NO_WATCH)
    ends_well(story)
    leaves_the_new_side(story, capsys)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_new_round_takes_over_what_was_restored_and_is_refused_once_traffic_has_moved(shop16: Shop, capsys):
    story = begun(shop16, capsys)
    approved(story)
    assert story.until("run", *NO_WATCH, at=("after", "finished", "cutover.prepare")) == {}
    first = of_round(story, 1)
    approved(story)
    second = of_round(story, 2)
    assert second.new.instance == first.new.instance
    assert second.forecast.fates.total > first.forecast.fates.total, "it went on, and nothing twice"
    assert [name for name in slots(story) if name.endswith("_w")] == [], "the witness of the round before"
    assert story.until("run", *NO_WATCH, at=("before", "finished", "cutover.move")) == {}
    with pytest.raises(Refused, match="a move of traffic has begun"):
        signing.withdraw(shop16.made.desk(), story.incident, "priya.raman")
    with pytest.raises(Refused, match="a move of traffic has begun"):
        signing.reject(shop16.made.desk(), story.incident, "priya.raman", "no")
    code, told = story.ended("propose")
    assert (code, told["what"]) == (3, "traffic has moved to the new side already"), told
    story.until("resume", *NO_WATCH)
    ends_well(story)
    leaves_the_new_side(story, capsys)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.soak
def test_what_went_missing_since_the_proposal_is_said_before_anything_is_held(shop16: Shop, capsys):
    story = begun(shop16, capsys)
    approved(story)
    new = f"{story.incident}-new"
    with socket.create_server(("127.0.0.1", shop16.port)):
        code, told = story.ended("run", *NO_WATCH)
    assert (code, "cannot listen" in told["what"]) == (3, True), told
    shop16.pool.kill()
    shop16.pool.start()
    assert story.until("run", *NO_WATCH, at=("after", "finished", "cutover.prepare")) == {}
    guard = next(name for name in slots(story) if not name.endswith("_w"))
    with shop16.prod.server.connect() as admin:
        admin.execute("SELECT pg_drop_replication_slot(%s)", (guard,))
    code, told = story.ended("run", *NO_WATCH)
    assert code == 2 and f"no logical slot {guard}" in told["what"], told
    nothing_is_held(story)
    code, closed, _ = shop16.made.cli(capsys, "close", story.incident)
    assert code == 0, closed
    assert {new, f"{story.incident}-before", f"{story.incident}-after"} <= set(closed["destroyed"])
    assert closed["serves"] == ""
    assert slots(story) == []
    with pytest.raises(psycopg.OperationalError):
        shop16.on_new()
    nothing_is_held(story)
    story.writers.stop()


def of_round(story: Story, number: int) -> RestorePlan:
    run = story.shop.made.desk().story(story.incident, f"r{number}")
    proposals = run.result("strategy.propose", Proposals)
    assert proposals is not None
    return next(p.restore for p in proposals.proposals if p.restore is not None)


def killed_at_random(story: Story, kills: int) -> None:
    """Each time `run` is typed it gets a random while; the last one gets as long as it takes."""
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    print(f"seed {seed}")
    for _ in range(kills):
        process = story.type("run", *NO_WATCH)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=dice.uniform(1.0, 9))
        with contextlib.suppress(ProcessLookupError):  # it came to an end of its own
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    story.until("run", *NO_WATCH)
    ends_well(story)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_killed_at_random_moments_it_ends_the_same(shop16: Shop, capsys):
    story = begun(shop16, capsys)
    approved(story)
    killed_at_random(story, 3)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", range(5))
def test_killed_at_random_moments_in_several_stories(shop16: Shop, capsys, number: int):
    story = begun(shop16, capsys)
    approved(story)
    killed_at_random(story, 4)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("verb", ["propose", "run"])
def test_killed_at_every_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
):
    """The entries of a story that nobody disturbs are where the next one is killed, one after the other."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    with shop(16, tmp_path / "whole", monkeypatch) as made:
        points = undisturbed(begun(made, capsys))[verb]
    with shop(16, tmp_path / "killed", monkeypatch) as made:
        story = begun(made, capsys)
        if verb == "propose":
            missed = [point for point in points if story.until("propose", at=point) != {}]
            if not proposals_of(story):
                assert story.ended("propose")[0] == 4
            assert any(p.restore is not None for p in proposals_of(story)), proposed(story)
            accepts = next(p.accept_by_name for p in proposals_of(story) if p.restore is not None)
            made.made.approve(story.incident, strategy="B", accepts=accepts)
        else:
            approved(story)
            missed = [point for point in points if story.until("run", *NO_WATCH, at=point) != {}]
        with capsys.disabled():
            print(f"{verb}: killed at {len(points) - len(missed)} of {len(points)} places, not at {missed}")
        story.until("run", *NO_WATCH)
        ends_well(story)
        leaves_the_new_side(story, capsys)


def undisturbed(story: Story) -> dict[str, list[Point]]:
    """The places at which each verb can be killed. Once there are proposals, `propose` begins a new round."""
    opened = len(story.entries())
    approved(story)
    proposed = len(story.entries())
    story.until("run", *NO_WATCH)
    ends_well(story)
    entries = story.entries()
    of_proposal = written(entries[opened:proposed])
    ends = of_proposal.index(("after", "finished", "strategy.propose"))
    return {"propose": of_proposal[:ends], "run": written(entries[proposed:])}


def proposals_of(story: Story) -> tuple[Proposal, ...]:
    found = proposed(story)
    return found.proposals if found is not None else ()


def proposed(story: Story) -> Proposals | None:
    return story.shop.made.desk().result(story.incident, "strategy.propose", Proposals)
