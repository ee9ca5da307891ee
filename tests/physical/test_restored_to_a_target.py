"""A restore ends exactly at its target, or is refused with the reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backout.errors import Refused
from backout.model.check import CheckState
from backout.model.recovery import FirstRecord, ForReplay, Lsn, NamedPoint
from backout.postgres.connect import open_session
from backout.postgres.marks import require_marker
from tests.physical.world import DATABASE, Production

pytestmark = pytest.mark.slow  # a server is restored or read for real


def prepared(source: Production) -> NamedPoint:
    """A backup with 50 rows, 50 more, a restore point, then everything deleted; all archived."""
    source.run("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 50)")
    source.backups.take("first")
    source.run("INSERT INTO t SELECT generate_series(51, 100)")
    point = source.point("before_it")
    source.run("DELETE FROM t")
    source.settle()
    return point


def test_a_named_restore_point_is_reached_exactly(source: Production):
    point = prepared(source)
    instance = source.backups.restore_new(ForReplay(source.line(), point), "one")
    assert source.rows(instance, "SELECT count(*) FROM t") == [(100,)]
    assert 'recovery stopping at restore point "before_it"' in instance.reached.log_line
    assert instance.reached.replayed_to == point.lsn
    assert not instance.reached.in_recovery
    assert instance.reached.timeline == 2
    with open_session(source.backups.conninfo(instance, DATABASE), "backout/test/0") as session:
        assert require_marker(session).copy_id == "one"
    assert source.ask("SELECT to_regclass('backout.copy_marker')") is None
    again = source.backups.restore_new(ForReplay(source.line(), point), "one")
    assert again == instance
    assert source.backups.instances() == (instance,)
    source.backups.destroy("one")
    source.backups.destroy("one")
    assert source.backups.instances() == ()


def test_a_restore_that_was_killed_is_listed_and_made_anew(source16: Production, tmp_path: Path):
    point = prepared(source16)
    program = (
        "from pathlib import Path; from backout.adapters.backups.base_backup import BaseBackups;"
        "from backout.postgres.physical import recovery;"
        "from backout.model.recovery import *; from backout.ports.backups import Surroundings;"
        "import os, sys, backout.postgres.physical.backups as b;"
        "b.recover = lambda *a, **k: os.kill(os.getpid(), 9);"
        "base = Path(sys.argv[1]);"
        "backups = BaseBackups(base / 'store', (base / 'archive',), Surroundings(base / 'instances', base));"
        "point = NamedPoint('before_it', Lsn.parse(sys.argv[2]));"
        "backups.restore_new(ForReplay(Line(sys.argv[3], 1), point), 'one')"
    )
    arguments = (str(source16.base), str(point.lsn), source16.line().system_identifier)
    done = subprocess.run([sys.executable, "-c", program, *arguments], check=False, cwd=tmp_path)
    assert done.returncode == -9
    assert source16.backups.instances() == ()
    assert source16.backups.unfinished() == ("one",)
    instance = source16.backups.restore_new(ForReplay(source16.line(), point), "one")
    assert source16.rows(instance, "SELECT count(*) FROM t") == [(100,)]
    assert source16.backups.unfinished() == ()


def test_a_backup_is_compared_with_its_manifest_when_it_is_taken(source: Production):
    backup = source.backups.take("first")
    assert [backup] == list(source.backups.list())
    (check,) = backup.checks
    if source.server.major == 18:  # the pg_verifybackup of the wheel dies; Debian's would not
        assert check.state is CheckState.WARN
        assert "died (signal 11)" in check.detail
        assert "SHA-256" in check.detail
    else:
        assert check.state is CheckState.PASS
    assert source.backups.take("first") == backup


def test_the_first_record_is_not_in_the_restore(source16: Production):
    source16.run("CREATE TABLE t (id int)")
    source16.backups.take("first")
    source16.run("INSERT INTO t VALUES (1)", "CHECKPOINT")
    at = source16.position()
    source16.run("INSERT INTO t VALUES (2)")
    source16.settle()
    instance = source16.backups.restore_new(ForReplay(source16.line(), FirstRecord(at)), "one")
    assert source16.rows(instance, "SELECT id FROM t") == [(1,)]
    assert "recovery stopping before WAL location" in instance.reached.log_line


def test_a_position_inside_a_record_is_no_target(source16: Production):
    point = prepared(source16)
    inside = FirstRecord(Lsn(point.lsn.position - 3))
    with pytest.raises(Refused, match="the server stopped elsewhere"):
        source16.backups.restore_new(ForReplay(source16.line(), inside), "one")
    assert source16.backups.instances() == ()
    assert not list((source16.base / "instances").glob("*/server.json"))
