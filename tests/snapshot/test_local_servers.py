"""Scratch servers from the programs on this machine."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from backout.adapters.servers.local import LocalServers
from backout.errors import NeighbourUnreachable, Refused
from backout.model.check import CheckState
from backout.ports.servers import SourceFacts
from backout.postgres.binaries import installations
from backout.postgres.connect import open_session
from backout.postgres.source_facts import read_source_facts
from backout.records import codec
from backout.testing.servers import RealServer
from tests.snapshot.helpers import Bench


@pytest.fixture
def facts(pg: RealServer, database: str) -> SourceFacts:
    with open_session(pg.dsn(database), "backout/test/1") as session:
        return read_source_facts(session)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalServers]:
    servers = LocalServers(tmp_path)
    yield servers
    for scratch in servers.running():
        servers.destroy(scratch)


def test_the_facts_of_a_source_are_read_without_any_special_right(pg: RealServer, database: str):
    with pg.connect(database) as admin:
        admin.execute("DROP ROLE IF EXISTS plain_reader")
        admin.execute("CREATE ROLE plain_reader LOGIN")
    with open_session(pg.dsn(database, "plain_reader"), "backout/test/1") as session:
        seen = read_source_facts(session)
    assert seen.server_version // 10000 == pg.major
    assert (seen.encoding, seen.collate, seen.locale_provider) == ("UTF8", "C", "c")
    assert seen.on_this_machine
    assert seen.data_directory == ""
    assert seen.size_bytes > 1_000_000


def test_a_scratch_server_is_isolated_and_one_is_enough(local: LocalServers, facts: SourceFacts):
    scratch = local.start(facts)
    assert local.start(facts) == scratch
    assert local.running() == (scratch,)
    with psycopg.connect(local.conninfo(scratch, "postgres")) as session:
        shown: dict[str, str] = dict(session.execute("SELECT name, setting FROM pg_settings").fetchall())
    assert scratch.major == facts.server_version // 10000
    assert shown["archive_mode"] == "off"
    assert shown["max_logical_replication_workers"] == "0"
    assert shown["listen_addresses"] == ""
    assert shown["shared_preload_libraries"] == ""
    assert oct(Path(scratch.host).stat().st_mode & 0o777) == "0o700"
    pid = (Path(scratch.data_directory) / "postmaster.pid").read_text().splitlines()[0]
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"  # it gives way to the production
    local.destroy(scratch)
    assert local.running() == ()
    assert not Path(scratch.data_directory).exists()
    assert not Path(scratch.host).exists()


def test_a_scratch_server_has_no_network(bench: Bench):
    if not bench.servers.capabilities().no_network:
        pytest.skip("this system allows no network namespace")
    with psycopg.connect(bench.dsn, autocommit=True) as session:
        session.execute("CREATE TEMP TABLE links (line text)")
        session.execute("COPY links FROM PROGRAM 'cat /proc/self/net/dev'")
        lines = [row[0] for row in session.execute("SELECT line FROM links OFFSET 2").fetchall()]
    assert [line.split(":")[0].strip() for line in lines] == ["lo"]


START_AND_WAIT = """
import sys, time
from pathlib import Path
from backout.adapters.servers.local import LocalServers
from backout.records import codec
from backout.ports.servers import SourceFacts
import json
servers = LocalServers(Path(sys.argv[1]))
servers.start(codec.load_plain(SourceFacts, json.loads(sys.argv[2])))
print("started", flush=True)
time.sleep(600)
"""


def test_a_scratch_server_does_not_inherit_the_credentials_of_the_production(
    local: LocalServers, facts: SourceFacts, monkeypatch: pytest.MonkeyPatch
):
    """Code on the copy (COPY FROM PROGRAM, a function) sees the environment of its server."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://owner:password-canary@production/heroes")
    scratch = local.start(facts)
    with psycopg.connect(local.conninfo(scratch, "postgres")) as session:
        session.execute("CREATE TEMP TABLE seen (line text)")
        session.execute("COPY seen FROM PROGRAM 'env'")
        rows: list[tuple[str]] = session.execute("SELECT line FROM seen").fetchall()
    assert rows
    assert not any("password-canary" in row[0] for row in rows)


def test_after_kill_9_the_next_command_finds_the_server(tmp_path: Path, facts: SourceFacts):
    child = subprocess.Popen(
        [sys.executable, "-c", START_AND_WAIT, str(tmp_path), json.dumps(codec.plain(facts))],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "started\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    found = LocalServers(tmp_path)
    (left,) = found.running()
    assert found.start(facts) == left
    found.destroy(left)
    assert LocalServers(tmp_path).running() == ()


def test_a_server_that_was_half_made_is_made_anew(tmp_path: Path, local: LocalServers, facts: SourceFacts):
    name = f"pg{facts.server_version // 10000}-wheel"
    data = tmp_path / "copies" / name / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("half")
    programs = str(installations()[0].directory)
    record: dict[str, object] = {"name": name, "bin_directory": programs, "data": str(data)}
    record |= {"sockets": "/tmp/bk-none", "ready": False, "cut_off": False, "boot_id": ""}
    (data.parent / "server.json").write_text(json.dumps(record))
    assert [scratch.name for scratch in local.stopped()] == [name]
    again = local.start(facts)
    assert local.running() == (again,)
    assert local.stopped() == ()


def test_what_does_not_fit_is_said_with_the_command_that_mends_it(local: LocalServers, facts: SourceFacts):
    major = facts.server_version // 10000
    wanting = replace(facts, extensions=(("postgis", "3.4.2"), ("vector", "0.0.1"), ("made_up", "1")))
    checks = {check.name: check for check in local.fit(wanting, 1 << 20)}
    assert checks["server version"].state is CheckState.PASS
    assert checks["extension postgis"].state is CheckState.FAIL
    assert f"apt-get install postgresql-{major}-postgis-3" in checks["extension postgis"].mend
    assert "scratch" in checks["extension made_up"].mend
    with pytest.raises(Refused, match="postgis"):
        local.start(wanting)


def test_an_unknown_major_version_is_named(local: LocalServers, facts: SourceFacts):
    old = replace(facts, server_version=90600)
    (check,) = local.fit(old, 0)
    assert check.state is CheckState.FAIL
    assert "apt-get install postgresql-9" in check.mend
    with pytest.raises(NeighbourUnreachable, match="no PostgreSQL 9"):
        local.start(old)


def test_beside_a_production_a_reserve_stays_free(local: LocalServers, facts: SourceFacts):
    far = replace(facts, on_this_machine=False)
    here = replace(facts, on_this_machine=True, data_directory="", max_wal_size_bytes=1 << 60)
    assert {check.name: check for check in local.fit(here, 1)}["disk"].state is CheckState.FAIL
    assert {check.name: check for check in local.fit(far, 1)}["disk"].state is CheckState.PASS


def test_a_locale_that_is_not_here_is_a_warning(local: LocalServers, facts: SourceFacts):
    foreign = replace(facts, collate="xx_XX.UTF-8", ctype="xx_XX.UTF-8")
    checks = {check.name: check for check in local.fit(foreign, 0)}
    assert checks["locale"].state is CheckState.WARN
    assert "localedef" in checks["locale"].mend
