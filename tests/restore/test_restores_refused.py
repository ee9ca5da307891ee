"""Restores that are refused, each with the exact reason and before anything is started."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from backout.model.recovery import Lsn
from backout.postgres.manifest import NAME, sha256_of
from backout.postgres.physical.clone import require_space
from backout.postgres.physical.wal import segment_of
from tests.restore.places import BAD, ROWS, Place, count

pytestmark = pytest.mark.slow


def test_a_position_in_the_future_is_no_target(place16: Place):
    place16.take()
    answer = place16.refused("--to", "F/0")
    assert "F/0 lies in the future: the source stands at " in answer["what"]


UNKNOWN = (
    (("--to", "yesterday"), "no WAL position"),
    (("--to-time", "at noon"), "no time"),
    (("--at-backup", "nobody"), "there is no backup 'nobody'"),
    (("--snapshot", "snap-none"), "there is no snapshot snap-none"),
    (("--before-migration", "20990101_later"), "does not list '20990101_later'"),
    (("--to", "0/1", "--snapshot", "x"), "several were given"),
    (("--failed", "rst-none-1", "--reason", "x"), "no restore called 'rst-none-1'"),
)


def test_a_point_that_does_not_exist_is_named(place16: Place):
    place16.take()
    for words, said in UNKNOWN:
        assert said in place16.refused(*words, code=2)["what"]


def test_every_backup_is_newer_than_the_point(place16: Place):
    at = place16.position()
    place16.write(1)
    place16.take()
    answer = place16.refused("--to", at)
    assert "every backup is newer than the target" in answer["what"]


def test_a_backup_of_another_cluster_is_refused_by_both_identifiers(place16: Place):
    identifier = place16.take()
    record = place16.prod.base / "store" / identifier / "backup.json"
    told = json.loads(record.read_text())
    told["backup"]["system_identifier"] = "7301"
    record.write_text(json.dumps(told))
    for words in ((), ("--at-backup", identifier)):
        answer = place16.refused(*words)
        assert "of another cluster" in answer["what"]
        assert "7301" in answer["what"] and place16.prod.line().system_identifier in answer["what"]


def test_a_gap_in_the_wal_is_named_with_the_last_point_before_it_and_what_that_loses(alone16: Place):
    alone16.take()
    alone16.write(7)
    alone16.prod.run("SELECT pg_switch_wal()")
    alone16.write(1)
    alone16.write(1)
    gone = segment_of(1, alone16.prod.position())
    alone16.prod.run("SELECT pg_switch_wal()")
    alone16.write(1)
    at = alone16.position()
    alone16.prod.settle()
    (alone16.prod.archive / gone).unlink()
    answer = alone16.refused("--to", at)
    assert f"WAL segment {gone} is missing" in answer["what"]
    assert "(inexact)" in answer["what"] and "loses at most " in answer["what"]
    assert answer["next"].endswith(f"backout restore --target heroes --to {at} --inexact")
    inexact = alone16.restored("--to", at, "--inexact")
    assert count(inexact, "issues") == ROWS + 7
    lost = inexact["choice"]["shortfall"]["lost"]
    assert lost["basis"] == "at_most" and 3 <= lost["count"] < 30, lost
    assert inexact["choice"]["shortfall"]["missing"] == gone


@pytest.mark.soak
def test_wal_without_a_single_commit_ends_with_the_backup_itself(alone16: Place):
    identifier = alone16.take()
    alone16.prod.settle()
    alone16.prod.run("SELECT pg_switch_wal()")
    gone = segment_of(1, alone16.prod.position())
    alone16.write(4)
    at = alone16.position()
    alone16.prod.settle()
    for name in alone16.prod.archive.iterdir():
        if name.name >= gone and len(name.name) == 24:
            name.unlink()
    answer = alone16.restored("--to", at, "--inexact")
    assert count(answer, "issues") == ROWS
    assert answer["choice"]["shortfall"]["reached"].startswith(("the end of backup", "just after the commit"))
    assert answer["choice"]["backup"] == identifier


def test_files_of_an_extension_are_missed_before_anything_is_copied(alone16: Place):
    alone16.take()
    with alone16.prod.server.connect(alone16.made.database) as admin:
        admin.execute("SET allow_system_table_mods = on")
        admin.execute(
            "INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)"
            " VALUES (99999, 'postgis', 10, 2200, false, '3.4')"
        )
    answer = alone16.refused()
    assert "files of extensions are not on this machine: postgis" in answer["what"]
    assert answer["next"].startswith("apt-get install postgresql-16-postgis-3; then: backout restore")


def test_a_role_that_the_dump_does_not_list_is_named_before_anything_is_made(place16: Place):
    identifier = place16.snapshot()
    root = place16.made.state / "store" / "snapshots"
    manifest = root / identifier / NAME
    told = json.loads(manifest.read_text())
    told["origin"]["roles"] = [role for role in told["origin"]["roles"] if role["name"] != "t_owner"]
    manifest.write_text(json.dumps(told))
    _recorded_anew(root / f"{identifier}.snapshot.json", manifest)
    answer = place16.refused("--snapshot", identifier)
    assert answer["what"].startswith(
        "the dump has objects of t_owner, and its list of roles has no such role"
    )


def _recorded_anew(record: Path, manifest: Path) -> None:
    told = json.loads(record.read_text())
    told["data"]["manifest_sha256"] = sha256_of(manifest)
    record.write_text(json.dumps(told))


def test_a_dump_that_was_changed_is_not_restored(place16: Place):
    identifier = place16.snapshot()
    (dumped,) = (place16.made.state / "store" / "snapshots" / identifier).glob("dump/toc.dat")
    dumped.write_bytes(dumped.read_bytes() + b"x")
    assert "differs from its manifest" in place16.refused("--snapshot", identifier)["what"]


def test_an_id_that_a_person_recorded_is_restored_by_its_provider(place16: Place):
    assert place16.typed("snapshot", "record", "rds:x-1")[0] == 0
    answer = place16.refused("--snapshot", "rds:x-1")
    assert "its provider restores it" in answer["what"]


def test_a_disk_that_does_not_take_it_is_said_before(place16: Place):
    identifier = place16.take()
    record = place16.prod.base / "store" / identifier / "backup.json"
    told = json.loads(record.read_text())
    told["backup"]["size_bytes"] = 10**15
    record.write_text(json.dumps(told))
    told = place16.refused(code=5)["what"]
    assert told.startswith("the restored instance needs 10000") and told.endswith(" are free")


def test_what_stopped_is_gone_on_with_by_the_same_command(place16: Place, monkeypatch: pytest.MonkeyPatch):
    """`resume` is for incidents: here it would lead nowhere."""
    place16.take()
    settled = "backout.postgres.physical.backups.require_space"
    monkeypatch.setattr(settled, lambda *_: require_space(place16.made.root, 10**18, 0))
    answer = place16.refused(code=5)
    assert answer["next"].endswith("then: backout restore --target heroes"), answer
    (story,) = (i for i in place16.made.desk().app.journal.incidents() if i.startswith("rst-"))
    code, told, _ = place16.typed("close", story)
    assert (code, told["what"]) == (2, f"{story} is an exercise or a restore, not an incident")


@pytest.mark.soak
def test_a_migration_whose_wal_is_gone_is_told_apart_from_one_that_never_was(alone16: Place):
    alone16.take()
    alone16.made.applied("20240201000000", BAD)
    gone = segment_of(1, alone16.prod.position())
    alone16.prod.settle()
    alone16.write(1)
    alone16.prod.settle()
    (alone16.prod.archive / gone).unlink()
    answer = alone16.refused("--before-migration", "20240201000000")
    assert "the migration is not found in the WAL" in answer["what"]


def test_nothing_of_a_production_is_written(place16: Place):
    place16.take()
    with psycopg.connect(place16.made.dsn) as session:
        before = session.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
    place16.restored("--to", str(Lsn.parse(place16.position())))
    with psycopg.connect(place16.made.dsn) as session:
        after = session.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
    assert before is not None and after == (before[0] + 1,)
