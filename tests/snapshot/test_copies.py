"""Copies are marked, leased, listed, cloned and destroyed; nothing that is not ours is touched."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from backout.errors import Refused, Stopped
from backout.postgres import copies, dump, marks
from backout.postgres.binaries import client_for
from backout.postgres.connect import open_session, with_database
from tests.snapshot.helpers import NAME, Bench, marker


@pytest.fixture
def restored(bench: Bench, tmp_path: Path) -> Iterator[str]:
    """A restored copy of a small database."""
    with bench.source.database() as name:
        with bench.source.connect(name) as admin:
            admin.execute("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 9)")
        bench.take(name, tmp_path / "s")
    copy = bench.restore(tmp_path / "s").database
    yield copy
    copies.destroy(bench.scratch, bench.dsn, copy)


def test_a_copy_is_marked_and_a_production_is_not(bench: Bench, restored: str):
    with open_session(with_database(bench.dsn, restored), NAME) as session:
        assert marks.require_marker(session) == marker(restored)
        with pytest.raises(Refused, match="is a copy made by backout"):
            marks.refuse_marker(session)
    with open_session(bench.source.dsn("postgres"), NAME) as session:
        marks.refuse_marker(session)
        with pytest.raises(Refused, match="no rehearsal marker"):
            marks.require_marker(session)


def test_any_role_sees_the_marker(bench: Bench, restored: str):
    with psycopg.connect(with_database(bench.dsn, restored), autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS nobody_special")
        admin.execute("CREATE ROLE nobody_special LOGIN")
    nobody = with_database(bench.dsn, restored).replace("backout_scratch", "nobody_special")
    with open_session(nobody, NAME) as session:
        assert marks.require_marker(session).copy_id == restored


def test_a_clone_is_a_copy_of_its_own(bench: Bench, restored: str):
    with psycopg.connect(bench.dsn, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {restored} SET work_mem TO '5MB'".encode())
    clone = f"{restored}_c"
    copies.clone(bench.dsn, restored, clone, marker("clone"), application_name=NAME)
    with open_session(with_database(bench.dsn, clone), NAME) as session:
        assert marks.require_marker(session).copy_id == "clone"
        row = session.execute("SELECT count(*), current_setting('work_mem') FROM public.t").fetchone()
    assert row == (9, "5MB")
    listed = {copy.database: copy for copy in copies.list_copies(bench.dsn, bench.scratch.name)}
    assert listed[clone].marker == marker("clone")
    assert listed[restored].marker == marker(restored)
    copies.destroy(bench.scratch, bench.dsn, clone)
    copies.destroy(bench.scratch, bench.dsn, clone)
    assert clone not in {copy.database for copy in copies.list_copies(bench.dsn, bench.scratch.name)}


def test_a_copy_in_use_is_not_cloned(bench: Bench, restored: str):
    with (
        psycopg.connect(with_database(bench.dsn, restored), application_name="reader"),
        pytest.raises(Stopped, match=r"sessions: pid \d+ \(reader\)"),
    ):
        copies.clone(bench.dsn, restored, "backout_x", marker("x"), application_name=NAME)


def test_a_lease_ends_and_is_extended(bench: Bench, restored: str):
    def seen() -> copies.Copy:
        found = copies.list_copies(bench.dsn, bench.scratch.name)
        return next(copy for copy in found if copy.database == restored)

    assert not seen().expired(datetime(2035, 12, 31, tzinfo=UTC))
    assert seen().expired(datetime(2036, 1, 2, tzinfo=UTC))
    copies.set_lease(bench.dsn, restored, datetime(2040, 1, 1, tzinfo=UTC))
    assert not seen().expired(datetime(2039, 1, 1, tzinfo=UTC))


def test_an_unfinished_copy_is_listed_and_can_be_destroyed(bench: Bench):
    with psycopg.connect(bench.dsn, autocommit=True) as admin:
        admin.execute("CREATE DATABASE backout_half")
    (half,) = [copy for copy in copies.list_copies(bench.dsn, "x") if copy.database == "backout_half"]
    assert half.marker is None
    assert half.expired(datetime.now(UTC))
    copies.destroy(bench.scratch, bench.dsn, "backout_half")


def test_what_is_not_ours_is_never_dropped(bench: Bench):
    with pytest.raises(Refused, match="not a name of ours"):
        copies.destroy(bench.scratch, bench.dsn, "postgres")
    with pytest.raises(Refused, match="not a name of ours"):
        copies.clone(bench.dsn, "backout_a", "app", marker("x"), application_name=NAME)


def test_a_client_that_is_too_new_is_refused_in_words(bench: Bench, tmp_path: Path):
    if bench.source.major >= 17:
        pytest.skip("only servers before 17 do not know what a newer client sets")
    newer = client_for(18)
    with bench.source.database() as name:
        taken = dump.take_dump(bench.source.dsn(name), newer, tmp_path / "s", application_name=NAME)
        dump.finish(taken, dump.read_back(tmp_path / "s", newer), "")
    with pytest.raises(Refused, match="cannot restore to a PostgreSQL 16 server"):
        copies.restore_copy(
            tmp_path / "s", bench.scratch, bench.dsn, "backout_n", newer, marker("n"), application_name=NAME
        )


def test_an_interrupted_restore_leaves_no_copy(bench: Bench, tmp_path: Path):
    with bench.source.database() as name:
        with bench.source.connect(name) as admin:
            admin.execute("CREATE FUNCTION slow() RETURNS int LANGUAGE sql AS 'SELECT 1'")
            admin.execute("CREATE MATERIALIZED VIEW v AS SELECT slow()")
            admin.execute(
                "CREATE OR REPLACE FUNCTION slow() RETURNS int LANGUAGE sql"
                " AS 'SELECT length(pg_catalog.pg_sleep(60)::text)'"
            )
        bench.take(name, tmp_path / "s")

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copies.restore_copy(
            tmp_path / "s",
            bench.scratch,
            bench.dsn,
            "backout_interrupted",
            bench.binaries,
            marker("x"),
            application_name=NAME,
            watch=interrupt,
        )
    assert "backout_interrupted" not in {copy.database for copy in copies.list_copies(bench.dsn, "x")}
