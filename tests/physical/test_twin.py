"""The twin: the last state without the migration and the first with all of it, from one restore."""

from __future__ import annotations

from pathlib import Path

import pytest

from backout.errors import Refused
from backout.model.recovery import BadMigration, twin_after, twin_before
from backout.postgres.physical.first_bad import find_first_bad
from backout.postgres.physical.wal import WalDirectories
from tests.physical.world import Production, value

pytestmark = pytest.mark.slow  # a server is restored or read for real

KEYLESS = "SELECT tableoid, ctid::text, xmin::text, id FROM log ORDER BY ctid"


def migrated(source: Production) -> BadMigration:
    """A write before, one that is under way while the migration runs, the migration, then more writes."""
    source.run(
        "CREATE TABLE history (id int, run_on timestamptz DEFAULT now())",
        "CREATE TABLE t (id int PRIMARY KEY, gone text)",
        "CREATE TABLE log (id int)",
        "INSERT INTO log SELECT generate_series(1, 5)",
    )
    source.backups.take("old")
    source.run("INSERT INTO t VALUES (1, 'before')", "DELETE FROM log WHERE id = 2")
    with source.connect() as other, source.connect() as tool:
        other.execute("BEGIN; INSERT INTO t VALUES (2, 'meanwhile')")
        tool.execute("BEGIN; CREATE TABLE made (r float8, at timestamptz, id uuid)")
        tool.execute("INSERT INTO made SELECT random(), now(), gen_random_uuid() FROM generate_series(1, 3)")
        other.execute("COMMIT")
        tool.execute("ALTER TABLE t DROP COLUMN gone; SAVEPOINT s; INSERT INTO history VALUES (1); COMMIT")
    source.run("INSERT INTO t VALUES (3)", "INSERT INTO log VALUES (6)", "DELETE FROM log WHERE id = 3")
    source.backups.take("too_new")
    source.settle()
    xid = int(str(source.ask("SELECT xmin FROM history")))
    wal = WalDirectories((source.archive,))
    migration = find_first_bad(wal, source.server.layout.binaries, source.line(), [xid])
    assert isinstance(migration, BadMigration)
    return migration


def test_one_side_has_nothing_of_the_migration_and_the_other_all_of_it(source: Production):
    migration = migrated(source)
    twin = source.backups.restore_twin(twin_before(migration), twin_after(migration), "twin")
    before, after = twin.before, twin.after
    assert (before.backup, after.backup) == ("old", "old")
    assert after.made_by in ("copy", "reflink")
    assert source.rows(before, "SELECT id, gone FROM t ORDER BY id") == [(1, "before"), (2, "meanwhile")]
    assert source.rows(before, "SELECT to_regclass('made'), count(*) FROM history") == [(None, 0)]
    assert source.rows(after, "SELECT * FROM t ORDER BY id") == [(1,), (2,)]
    assert source.rows(after, "SELECT count(*) FROM history") == [(1,)]
    with source.connect() as production:
        made = production.execute("SELECT r, at, id FROM made ORDER BY r").fetchall()
        live = production.execute(KEYLESS.encode()).fetchall()
    assert source.rows(after, "SELECT r, at, id FROM made ORDER BY r") == made
    old, new = source.rows(before, KEYLESS), source.rows(after, KEYLESS)
    assert old == new
    assert set(old) - set(live) == {row for row in old if row[3] == 3}, "only the row deleted since differs"
    assert [row[3] for row in set(live) - set(old)] == [6]
    assert "recovery stopping before commit of transaction" in before.reached.log_line
    assert "recovery stopping after commit of transaction" in after.reached.log_line
    assert source.backups.restore_twin(twin_before(migration), twin_after(migration), "twin") == twin


def test_both_sides_can_be_written_and_neither_reaches_the_other(source16: Production):
    migration = migrated(source16)
    twin = source16.backups.restore_twin(twin_before(migration), twin_after(migration), "twin")
    for side in (twin.before, twin.after):
        with source16.server.connect(host=side.host, port=str(side.port)) as connection:
            connection.execute("INSERT INTO log VALUES (100)")
            assert value(connection, "SELECT count(*) FROM log WHERE id = 100") == 1
            assert value(connection, "SELECT current_setting('cluster_name')") == f"backout-{side.name}"
        of_source = Path(side.data_directory) / "pg_hba.conf.of_source"
        assert "127.0.0.1" in of_source.read_text(), "ours was not put aside over the source's"
    assert source16.ask("SELECT count(*) FROM log WHERE id = 100") == 0


def test_a_twin_whose_second_side_cannot_be_reached_is_refused_before_anything_starts(source16: Production):
    migration = migrated(source16)
    before, after = twin_before(migration), twin_after(migration)
    with pytest.raises(Refused, match="this is no twin"):
        source16.backups.restore_twin(
            type(before)(before.line, type(before.commit)(1, after.commit.lsn)),
            type(after)(after.line, type(after.commit)(2, source16.backups.list()[0].stop)),
            "twin",
        )
    assert not list((source16.base / "instances").glob("*/server.json"))
