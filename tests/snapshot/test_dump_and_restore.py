"""A dump is whole or not there; what it holds comes back, and is proved byte for byte."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from backout.errors import LockNotGranted, Refused, Stopped
from backout.model.check import CheckState
from backout.postgres import dump, manifest
from backout.postgres.binaries import installations
from backout.postgres.connect import open_session
from backout.postgres.dump_files import discard, unfinished
from backout.postgres.dump_preflight import preflight
from tests.snapshot.helpers import NAME, Bench


@pytest.fixture
def limited(bench: Bench, awkward: str) -> Iterator[str]:
    """A role that may log in and nothing else."""
    with bench.source.connect(awkward) as admin:
        admin.execute("DROP ROLE IF EXISTS limited_dumper")
        admin.execute("CREATE ROLE limited_dumper LOGIN")
    yield "limited_dumper"
    with bench.source.connect(awkward) as admin:
        admin.execute("DROP OWNED BY limited_dumper")
        admin.execute("DROP ROLE limited_dumper")


def test_everything_awkward_comes_back_and_is_proved(bench: Bench, awkward: str, tmp_path: Path):
    result, taken = bench.take(awkward, tmp_path / "s-1")
    restored = bench.restore(tmp_path / "s-1")
    proof = bench.prove(tmp_path / "s-1", taken, restored.database)
    assert proof.holds, proof
    assert proof.tables_equal == proof.tables_total == 12
    assert restored.bytes_per_second > 0
    assert (restored.not_valid, restored.notes) == ((), ())
    with psycopg.connect(bench.servers.conninfo(bench.scratch, restored.database)) as copy:
        row = copy.execute("SELECT b, (SELECT count(*) FROM pg_publication) FROM made WHERE a = 7").fetchone()
        assert row == (14, 0)
        owner = copy.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'plain'").fetchone()
        assert owner == ("snapshot_owner",)
        roles = copy.execute(
            "SELECT rolcanlogin, pg_has_role('snapshot_reader', 'snapshot_owner', 'member')"
            " FROM pg_roles WHERE rolname = 'snapshot_reader'"
        ).fetchone()
        assert roles == (False, True)
    assert result.globals_note == ""
    assert "PASSWORD" not in (tmp_path / "s-1" / "globals.sql").read_text()


def test_one_changed_value_in_the_copy_is_seen(bench: Bench, awkward: str, tmp_path: Path):
    _, taken = bench.take(awkward, tmp_path / "s-1")
    restored = bench.restore(tmp_path / "s-1")
    with psycopg.connect(bench.servers.conninfo(bench.scratch, restored.database), autocommit=True) as copy:
        copy.execute("UPDATE plain SET ratio = ratio + 2e-14 WHERE id = 250")
        copy.execute("SELECT setval('plain_id_seq', 9)")
        copy.execute("SELECT lo_put(oid, 3, 'x') FROM pg_largeobject_metadata")
        copy.execute("DELETE FROM parted WHERE id = 1")
    proof = bench.prove(tmp_path / "s-1", taken, restored.database)
    assert not proof.holds
    assert proof.tables_equal == proof.tables_total - 2
    assert proof.differing == (
        "public.parted_1: 212 rows in the copy, 213 in the dump",
        "public.plain: the same number of rows, other contents",
    )
    failed = [check.name for check in proof.checks if check.state is CheckState.FAIL]
    assert failed == ["contents", "sequences", "large objects"]


def test_rows_in_another_order_are_the_same_rows(bench: Bench, awkward: str, tmp_path: Path):
    _, taken = bench.take(awkward, tmp_path / "s-1")
    restored = bench.restore(tmp_path / "s-1")
    with psycopg.connect(bench.servers.conninfo(bench.scratch, restored.database), autocommit=True) as copy:
        copy.execute("CREATE TEMP TABLE kept AS TABLE gaps")
        copy.execute("TRUNCATE gaps")
        copy.execute("INSERT INTO gaps SELECT * FROM kept ORDER BY id DESC")
    proof = bench.prove(tmp_path / "s-1", taken, restored.database)
    assert proof.holds
    assert "public.gaps" in next(check.detail for check in proof.checks if check.name == "row order")


def test_the_moment_belongs_to_the_dump(bench: Bench, awkward: str, tmp_path: Path):
    result, taken = bench.take(awkward, tmp_path / "s-1")
    origin = taken.origin
    with bench.source.connect(awkward) as admin:
        admin.execute("INSERT INTO empty_one VALUES (1)")
        row = admin.execute(
            "SELECT pg_current_wal_insert_lsn() > %s::pg_lsn,"
            " pg_visible_in_snapshot(pg_current_xact_id(), %s),"
            " (SELECT system_identifier::text FROM pg_control_system())",
            (origin.lsn, origin.snapshot),
        ).fetchone()
    assert row == (True, False, origin.system_identifier)
    assert origin.begun_at.endswith("Z")
    assert taken.history_head == "0001_init"
    assert result.compression == dump.probe_compression(bench.binaries)
    assert manifest.read(tmp_path / "s-1") == taken


def test_money_and_settings_of_the_database_come_back(bench: Bench, awkward: str, tmp_path: Path):
    with bench.source.connect() as admin:
        name = sql.Identifier(awkward)
        admin.execute(sql.SQL('ALTER DATABASE {} SET search_path TO public, "$user"').format(name))
        admin.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only TO on").format(name))
        admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO snapshot_owner").format(name))
        admin.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(name))
    bench.take(awkward, tmp_path / "s-1")
    restored = bench.restore(tmp_path / "s-1")
    with psycopg.connect(bench.servers.conninfo(bench.scratch, restored.database)) as copy:
        shown = copy.execute(
            "SELECT current_setting('search_path'), current_setting('default_transaction_read_only'),"
            " pg_get_userbyid(datdba)::text, has_database_privilege('snapshot_reader', oid, 'TEMP')"
            " FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert shown == ('public, "$user"', "on", "snapshot_owner", True)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "added"])
def test_a_damaged_dump_is_refused(bench: Bench, awkward: str, tmp_path: Path, damage: str):
    directory = tmp_path / "s-9"
    bench.take(awkward, directory)
    victim = max((directory / "dump").iterdir(), key=lambda path: path.stat().st_size)
    content = victim.read_bytes()
    match damage:
        case "truncated":
            victim.write_bytes(content[: len(content) // 2])
        case "flipped":
            victim.write_bytes(content[:99] + bytes([content[99] ^ 1]) + content[100:])
        case "missing":
            victim.unlink()
        case "added":
            victim.with_name("9999.dat").write_bytes(b"")
    with pytest.raises(Refused, match="s-9 differs from its manifest"):
        bench.restore(directory)


def test_a_truncated_dump_cannot_be_read_back(bench: Bench, awkward: str, tmp_path: Path):
    bench.take(awkward, tmp_path / "s-1")
    victim = max((tmp_path / "s-1" / "dump").iterdir(), key=lambda path: path.stat().st_size)
    os.truncate(victim, victim.stat().st_size // 2)
    with pytest.raises(Refused, match="cannot be read back"):
        dump.read_back(tmp_path / "s-1", bench.binaries)


def test_rows_hidden_by_a_policy_are_a_refusal(bench: Bench, awkward: str, limited: str, tmp_path: Path):
    with bench.source.connect(awkward) as admin:
        admin.execute("GRANT pg_read_all_data TO limited_dumper")
        admin.execute("ALTER TABLE plain ENABLE ROW LEVEL SECURITY")
    with pytest.raises(Refused) as refused:
        dump.take_dump(
            bench.source.dsn(awkward, limited), bench.binaries, tmp_path / "s-1", application_name=NAME
        )
    assert refused.value.what == (
        "row-level security hides rows of public.plain from limited_dumper: a dump would silently miss them"
    )
    assert refused.value.next == (
        "ALTER ROLE limited_dumper BYPASSRLS (an administrator); then: backout doctor"
    )
    assert list(tmp_path.iterdir()) == []


def test_unreadable_tables_are_named(bench: Bench, awkward: str, limited: str):
    with open_session(bench.source.dsn(awkward, limited), NAME) as session:
        checks = {check.name: check for check in preflight(session, bench.binaries)}
    assert checks["readable"].state is CheckState.FAIL
    assert "public.big" in checks["readable"].detail


def test_an_old_pg_dump_is_refused_before_it_starts(bench: Bench, awkward: str, tmp_path: Path):
    older = [binaries for binaries in installations() if binaries.major < bench.source.major]
    if not older:
        pytest.skip("no older pg_dump on this machine")
    with pytest.raises(Refused, match="is older than the server"):
        dump.take_dump(bench.source.dsn(awkward), older[0], tmp_path / "s", application_name=NAME)
    assert list(tmp_path.iterdir()) == []


def test_a_locked_table_ends_the_dump_and_leaves_nothing(bench: Bench, awkward: str, tmp_path: Path):
    with bench.source.connect(awkward) as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE big")
        with pytest.raises(LockNotGranted, match=r"stayed locked for 0.5 s: public\.big by pid \d+"):
            dump.take_dump(
                bench.source.dsn(awkward),
                bench.binaries,
                tmp_path / "s-1",
                application_name=NAME,
                limits=dump.Limits(lock_wait_seconds=0.5),
            )
    assert list(tmp_path.iterdir()) == []


def test_a_dump_stops_before_it_takes_the_reserve(bench: Bench, awkward: str, tmp_path: Path):
    limits = dump.Limits(reserve_bytes=1 << 60)
    with bench.source.connect(awkward) as holder:  # a lock keeps it from ending before it is looked at
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE big")
        with pytest.raises(Stopped, match="have to stay free"):
            dump.take_dump(
                bench.source.dsn(awkward),
                bench.binaries,
                tmp_path / "s-1",
                application_name=NAME,
                limits=limits,
            )
    assert list(tmp_path.iterdir()) == []


def test_a_blast_radius_keeps_keys_to_the_outside_unproved(bench: Bench, tmp_path: Path):
    with bench.source.database() as name:
        with bench.source.connect(name) as admin:
            admin.execute('CREATE TABLE "out side" (id int PRIMARY KEY, body text)')
            admin.execute("INSERT INTO \"out side\" SELECT g, 'x' FROM generate_series(1, 50) g")
            admin.execute("CREATE TABLE near (id int PRIMARY KEY)")
            admin.execute("INSERT INTO near VALUES (1)")
            admin.execute(
                'CREATE TABLE inside (id int PRIMARY KEY, o int CONSTRAINT "REFERENCES public.near(" '
                'REFERENCES "out side", n int REFERENCES near)'
            )
            admin.execute("INSERT INTO inside SELECT g, g, 1 FROM generate_series(1, 50) g")
        _, taken = bench.take(name, tmp_path / "s-1", exclude=('public."out side"',))
    assert {table.name for table in taken.contents.tables} == {"inside", "near"}
    restored = bench.restore(tmp_path / "s-1")
    assert len(restored.not_valid) == 1
    assert bench.prove(tmp_path / "s-1", taken, restored.database).holds
    with psycopg.connect(bench.servers.conninfo(bench.scratch, restored.database)) as copy:
        keys = copy.execute(
            "SELECT convalidated FROM pg_constraint WHERE contype = 'f' ORDER BY convalidated"
        ).fetchall()
    assert keys == [(False,), (True,)]


def test_unfinished_dumps_are_found(bench: Bench, awkward: str, tmp_path: Path):
    bench.take(awkward, tmp_path / "s-1")
    (tmp_path / "s-2.part").mkdir()
    (tmp_path / "s-3").mkdir()
    assert [path.name for path in unfinished(tmp_path)] == ["s-2.part", "s-3"]
    for path in unfinished(tmp_path):
        discard(path)
    assert [path.name for path in tmp_path.iterdir()] == ["s-1"]
