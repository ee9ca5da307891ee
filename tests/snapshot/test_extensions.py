"""Extensions of a source, and what of it must not work in a copy (on a server with contrib)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from backout.adapters.servers.local import LocalServers
from backout.model.check import CheckState
from backout.postgres import extensions
from backout.postgres.binaries import Binaries, installations
from backout.postgres.connect import open_session
from backout.postgres.source_facts import read_source_facts
from backout.testing.servers import RealServer
from tests.conftest import server_of
from tests.snapshot.helpers import NAME, Bench


def with_contrib() -> Binaries:
    for binaries in installations():
        if "citext" in extensions.on_disk(binaries):
            return binaries
    pytest.skip("no server with contrib extensions on this machine")


@pytest.fixture
def source() -> RealServer:
    return server_of(with_contrib().major)


@pytest.fixture
def world(source: RealServer, shared_servers: LocalServers) -> Iterator[tuple[Bench, str]]:
    with source.database() as name:
        with source.connect(name) as admin:
            admin.execute("CREATE SCHEMA ext")
            admin.execute("CREATE EXTENSION citext SCHEMA ext")
            admin.execute("CREATE EXTENSION postgres_fdw")
            admin.execute("CREATE EXTENSION pgcrypto")
            admin.execute("CREATE TABLE people (name ext.citext PRIMARY KEY, mail ext.citext)")
            admin.execute("INSERT INTO people VALUES ('Ann', 'A@x'), ('bob', NULL)")
            admin.execute("CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1')")
            admin.execute("CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (user 'u', password 'hunter2')")
            admin.execute("CREATE FOREIGN TABLE away (id int) SERVER far")
        with open_session(source.dsn(name), NAME) as session:
            facts = read_source_facts(session)
        yield Bench(source, shared_servers, shared_servers.start(facts)), name


def test_extensions_come_back_and_credentials_do_not(world: tuple[Bench, str], tmp_path: Path):
    bench, name = world
    _, taken = bench.take(name, tmp_path / "s")
    restored = bench.restore(tmp_path / "s")
    assert bench.prove(tmp_path / "s", taken, restored.database).holds
    with psycopg.connect(bench.servers.conninfo(bench.scratch, restored.database), autocommit=True) as copy:
        copy.execute("SET search_path TO public, ext")
        assert copy.execute("SELECT mail FROM people WHERE name = 'ANN'").fetchone() == ("A@x",)
        assert copy.execute("SELECT count(*) FROM pg_user_mappings").fetchone() == (0,)
        with pytest.raises(psycopg.errors.UndefinedObject, match="user mapping"):
            copy.execute("SELECT * FROM away")


def test_disk_and_server_agree_on_what_can_be_installed(world: tuple[Bench, str], source: RealServer):
    disk = extensions.on_disk(with_contrib())
    with open_session(source.dsn("postgres"), NAME) as session:
        served = extensions.on_server(session)
    assert disk == served


def test_a_missing_contrib_extension_names_its_package(world: tuple[Bench, str], pg16: RealServer):
    bench, name = world
    with open_session(bench.source.dsn(name), NAME) as session:
        facts = read_source_facts(session)
    assert [name for name, _ in facts.extensions] == ["citext", "pgcrypto", "postgres_fdw"]
    checks = {check.name: check for check in bench.servers.fit(facts, 0)}
    assert checks["extension citext"].state is CheckState.PASS
    assert extensions.install_command("citext", 16) == "apt-get install postgresql-16"
