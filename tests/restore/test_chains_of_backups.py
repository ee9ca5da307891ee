"""Chains of base backups as people see them: taken, listed, proven, kept, and what doctor says of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backout.cli import command_line
from tests.physical.world import production
from tests.restore.places import Place, project

pytestmark = pytest.mark.slow  # servers are copied for real


@pytest.fixture
def summarizing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    """A project beside a PostgreSQL 18 that keeps which blocks changed."""
    with (
        production(18, {"summarize_wal": "on"}) as prod,
        project(prod, tmp_path, monkeypatch, capsys) as made,
    ):
        yield made


def taken(place: Place, *options: str) -> tuple[str, str]:
    """(id of a new base backup, what its command told)."""
    time.sleep(1 - time.time() % 1)  # a label holds the second
    code, answer, said = place.typed("backup", "take", *options)
    assert code == 0, (answer, said)
    return answer["backups"][-1]["id"], said


def screen(place: Place, *words: str) -> str:
    place.capsys.readouterr()
    command_line([*words, "--config", str(place.made.root / "backout.toml")])
    return place.capsys.readouterr().out


def test_a_chain_is_taken_listed_and_proven(summarizing: Place):
    full, said = taken(summarizing)
    assert "it is the first one" in said
    summarizing.write(3)
    added, said = taken(summarizing)
    assert f"an incremental backup: only what changed since {full}" in said
    left = summarizing.prod.base / "store" / "backout-heroes-of-a-killed-one.part"
    left.mkdir()

    code, listed, said = summarizing.typed("backup", "list")
    assert code == 0 and [one["needs"] for one in listed["backups"]] == [[], [full]]
    assert listed["backups"][1]["stored_bytes"] < listed["backups"][0]["stored_bytes"]
    assert "removed backout-heroes-of-a-killed-one.part" in said and not left.exists()
    code, proof, said = summarizing.typed("backup", "prove")
    assert code == 0 and (proof["backup"], proof["needs"]) == (added, [full])
    assert "combining 2 backups with pg_combinebackup" in said
    assert [check["name"] for check in proof["checks"]] == ["restored", "read"]
    assert summarizing.instances.all() == () and summarizing.instances.unfinished() == ()

    shown = screen(summarizing, "backup", "list")
    assert f"\n{full}\n" in f"\n{shown}" and f"\n  {added}\n" in shown, "ids are never cut"
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("not proven") == 1 and "\n    incremental on" in shown

    (summarizing.prod.base / "store" / full / "data" / "global" / "1262").unlink()
    code, error, _ = summarizing.typed("backup", "prove")
    assert code == 3 and "in the manifest but not on disk" in error["what"]
    assert screen(summarizing, "backup", "list").count("not proven") == 2, "an older proof holds no more"
    assert summarizing.typed("backup", "prove", "nobody")[0] == 2
    _, said = taken(summarizing)
    assert 'global/1262" is in the manifest but not' in said, "nothing is built upon what is damaged"
    _, said = taken(summarizing, "--full")
    assert "it was asked for" in said


def test_retention_waits_for_the_end_of_an_incident(place16: Place):
    place16.configure("keep = 1")
    before, _ = taken(place16)
    place16.made.applied("20240201000000", "SELECT 1")
    place16.made.open()
    after, _ = taken(place16)
    there = [one["id"] for one in place16.typed("backup", "list")[1]["backups"]]
    assert there == [before, after], "the one from before the migration is what undoes it"


def test_doctor_says_what_summaries_would_save(place: Place):
    checks = {check["name"]: check for check in place.typed("doctor")[1]["checks"]}
    if place.prod.server.layout.binaries.major < 17:
        assert "backups incremental" not in checks
        return
    said = checks["backups incremental"]
    assert said["state"] == "warn" and "summarize_wal is off: `backup take` copies all" in said["detail"]
    assert said["mend"] == "ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf();"
