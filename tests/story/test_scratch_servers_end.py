"""Scratch servers end by a verb: those that nobody holds, with proof; the others stay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backout.adapters.servers.local import LocalServers
from backout.app import incidents, lock
from backout.postgres import scratch, servers
from backout.testing.servers import RealServer
from tests.story import harness


@pytest.fixture
def alone(pg16: RealServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[harness.World]:
    """A project whose scratch server is its own."""
    with harness.world(pg16, tmp_path, monkeypatch) as made:
        harness.names_world(made)
        harness.apply_names(made)
        yield made
        left = LocalServers(made.state)
        for found in (*left.running(), *left.stopped()):
            left.destroy(found)


def lives(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not fetched by its parent does not."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def rehearsed(made: harness.World) -> tuple[str, Path]:
    """An incident with a copy on a scratch server; its id and the data directory of that server."""
    incident = made.open()
    incidents.propose(made.desk(), incident)
    (server,) = LocalServers(made.state).running()
    return incident, Path(server.data_directory)


def test_after_close_the_verb_that_it_names_stops_the_server_with_proof(
    alone: harness.World, capsys: pytest.CaptureFixture[str]
):
    incident, data = rehearsed(alone)
    pid = int((data / "postmaster.pid").read_text().splitlines()[0])
    code, held, _ = alone.cli(capsys, "copies", "--stop")
    assert (code, held["stopped"]) == (0, [])  # the copy of the incident is leased
    assert held["servers"][0]["held_until"]
    assert held["next"] == "nothing"
    _, closed, _ = alone.cli(capsys, "close", incident)
    assert closed["next"] == "backout copies --stop"
    code, ended, _ = alone.cli(capsys, *closed["next"].split()[1:])
    assert (code, len(ended["stopped"])) == (0, 1)
    assert (ended["servers"], ended["copies"], ended["next"]) == ([], [], "nothing")
    assert not lives(pid)
    assert not data.exists()
    assert not list((alone.state / "copies").glob("*/server.json"))


def test_a_server_that_sleeps_is_removed_once_no_incident_is_open(
    alone: harness.World, capsys: pytest.CaptureFixture[str]
):
    incident, data = rehearsed(alone)
    (record,) = scratch.Registry(alone.state / "copies").records()
    servers.stop(scratch.layout_of(record))
    _, kept, _ = alone.cli(capsys, "copies", "--stop")
    assert (kept["stopped"], kept["servers"][0]["running"]) == ([], False)
    assert data.exists()
    alone.cli(capsys, "close", incident)
    _, ended, _ = alone.cli(capsys, "copies", "--stop")
    assert ended["stopped"] == [record.name]
    assert not data.exists()


def test_an_exercise_that_is_over_holds_no_server(alone: harness.World, capsys: pytest.CaptureFixture[str]):
    code, _, err = alone.cli(capsys, "snapshot", "prove")
    assert code == 0, err
    _, listed, _ = alone.cli(capsys, "copies")
    assert (len(listed["copies"]), listed["next"]) == (1, "backout copies --stop")
    _, ended, _ = alone.cli(capsys, "copies", "--stop")
    assert (len(ended["stopped"]), ended["servers"]) == (1, [])


def test_nothing_ends_under_a_command_that_is_at_work(
    alone: harness.World, capsys: pytest.CaptureFixture[str]
):
    _, data = rehearsed(alone)
    with lock.worker(alone.state, "propose", "mara.okafor"):
        for option in ("--stop", "--destroy-expired"):
            code, refused, _ = alone.cli(capsys, "copies", option)
            assert (code, refused["error"]) == (3, "Busy"), option
    assert data.exists()


def test_a_server_that_the_user_named_is_not_ours_to_stop(
    alone: harness.World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SCRATCH_DSN", alone.server.dsn())
    config = alone.root / "backout.toml"
    scope = 'scope = "whole"'
    config.write_text(config.read_text().replace(scope, f'{scope}\nscratch.env = "SCRATCH_DSN"'))
    code, refused, _ = alone.cli(capsys, "copies", "--stop")
    assert (code, refused["next"]) == (3, "backout copies --destroy-expired")
    _, listed, _ = alone.cli(capsys, "copies")
    assert [(s["ours"], s["running"]) for s in listed["servers"]] == [(False, True)]
