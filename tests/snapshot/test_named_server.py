"""A scratch server that the user names: checked, never the production, no power that is not needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from backout.adapters.servers.named import NamedServer
from backout.errors import Refused
from backout.model.check import CheckState
from backout.ports.servers import SourceFacts
from backout.postgres import copies
from backout.postgres.connect import open_session, with_database
from backout.postgres.source_facts import read_source_facts
from tests.snapshot.helpers import NAME, Bench, marker


@pytest.fixture
def named(bench: Bench) -> Iterator[NamedServer]:
    """Our scratch server, entered like a stranger's: by a role that may create databases and roles."""
    with psycopg.connect(bench.dsn, autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS stranger")
        admin.execute("CREATE ROLE stranger LOGIN CREATEDB CREATEROLE")
        admin.execute("DROP ROLE IF EXISTS snapshot_owner, snapshot_reader")
    dsn = bench.dsn.replace("backout_scratch", "stranger")
    server = NamedServer(lambda: dsn)
    yield server
    for scratch in server.running():
        server.destroy(scratch)
    with psycopg.connect(bench.dsn, autocommit=True) as admin:
        admin.execute("REASSIGN OWNED BY stranger TO backout_scratch")
        admin.execute("DROP OWNED BY stranger")
        admin.execute("DROP ROLE IF EXISTS snapshot_owner, snapshot_reader")
        admin.execute("DROP ROLE stranger")


@pytest.fixture
def facts(bench: Bench, awkward: str) -> SourceFacts:
    with open_session(bench.source.dsn(awkward), NAME) as session:
        return read_source_facts(session)


def states(server: NamedServer, facts: SourceFacts) -> dict[str, CheckState]:
    return {check.name: check.state for check in server.fit(facts, 1 << 20)}


def test_a_copy_is_made_there_without_superuser(
    named: NamedServer, bench: Bench, facts: SourceFacts, awkward: str, tmp_path: Path
):
    scratch = named.start(facts)
    assert scratch.data_directory == ""
    _, taken = bench.take(awkward, tmp_path / "s")
    restored = copies.restore_copy(
        tmp_path / "s",
        scratch,
        named.conninfo(scratch, "postgres"),
        "backout_there",
        bench.binaries,
        marker("there"),
        application_name=NAME,
    )
    target = named.conninfo(scratch, "backout_there")
    proof = bench.prove(tmp_path / "s", taken, restored.database)
    assert proof.holds, proof
    assert any("belongs to stranger" in note for note in restored.notes)
    with psycopg.connect(target) as session:
        row = session.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'snapshot_owner'").fetchone()
    assert row == (False,)
    named.destroy(scratch)
    assert copies.list_copies(bench.dsn, "x") == ()


def test_what_that_server_does_not_let_us_grant_is_a_note(
    named: NamedServer, bench: Bench, facts: SourceFacts, awkward: str, tmp_path: Path
):
    """From PostgreSQL 16 on, CREATEROLE alone may not give away PostgreSQL's own roles."""
    with bench.source.connect() as admin:
        admin.execute("GRANT pg_read_all_data TO snapshot_reader")
    scratch = named.start(facts)
    bench.take(awkward, tmp_path / "s")
    restored = copies.restore_copy(
        tmp_path / "s",
        scratch,
        named.conninfo(scratch, "postgres"),
        "backout_there",
        bench.binaries,
        marker("there"),
        application_name=NAME,
    )
    assert any(
        note.startswith("membership of snapshot_reader in pg_read_all_data not carried over")
        for note in restored.notes
    )


def test_the_production_itself_is_refused(bench: Bench, facts: SourceFacts):
    production = NamedServer(lambda: bench.source.dsn("postgres"))
    assert states(production, facts)["identity"] is CheckState.FAIL
    with pytest.raises(Refused, match="this is the source itself"):
        production.start(facts)
    moved = replace(facts, postmaster_started="another")
    with pytest.raises(Refused, match="physical copy of the source"):
        production.start(moved)


def test_what_it_lacks_is_named(named: NamedServer, bench: Bench, facts: SourceFacts):
    assert states(named, facts)["server version"] is CheckState.PASS
    assert states(named, replace(facts, server_version=140001))["server version"] is CheckState.FAIL
    wanting = replace(facts, extensions=(("postgis", "3.4.2"),))
    assert states(named, wanting)["extension postgis"] is CheckState.FAIL
    with psycopg.connect(bench.dsn, autocommit=True) as admin:
        admin.execute("ALTER ROLE stranger NOCREATEDB")
    (rights,) = [check for check in named.fit(facts, 0) if check.name == "rights"]
    assert rights.state is CheckState.FAIL
    assert rights.detail == "stranger lacks CREATEDB"


def test_a_server_that_does_not_answer_is_one_red_check(facts: SourceFacts):
    server = NamedServer(lambda: "host=127.0.0.1 port=1 password=hunter2")
    (check,) = server.fit(facts, 0)
    assert check.state is CheckState.FAIL
    assert "hunter2" not in str(check)
    assert server.running() == ()


def test_an_unmarked_database_there_is_left_alone(named: NamedServer, bench: Bench, facts: SourceFacts):
    scratch = named.start(facts)
    dsn = named.conninfo(scratch, "postgres")
    with psycopg.connect(dsn, autocommit=True) as session:
        session.execute("CREATE DATABASE backout_somebodys")
    with pytest.raises(Refused, match="has no marker"):
        copies.destroy(scratch, dsn, "backout_somebodys")
    named.destroy(scratch)
    with psycopg.connect(with_database(bench.dsn, "backout_somebodys")):
        pass
    copies.destroy(bench.scratch, bench.dsn, "backout_somebodys")
