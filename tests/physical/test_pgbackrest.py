"""pgBackRest, really executed: the older set is restored, and nothing of the source is carried along."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backout.adapters.backups import pgbackrest
from backout.errors import NeighbourUnreachable, Refused
from backout.model.check import CheckState
from backout.model.recovery import BadMigration, ForReplay, Lsn, NamedPoint, twin_after, twin_before
from backout.postgres import servers
from backout.postgres.binaries import for_major
from backout.postgres.physical.first_bad import find_first_bad
from backout.postgres.physical.proof import prove
from backout.postgres.physical.wal import segment_of
from backout.testing.servers import available_majors
from tests.physical.world import Production, production

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("pgbackrest") is None, reason="pgbackrest: apt-get install pgbackrest"),
    pytest.mark.skipif(15 not in available_majors(), reason="needs PostgreSQL 15 (Debian's pgBackRest)"),
]


@dataclass(frozen=True)
class Stanza:
    source: Production
    backups: pgbackrest.PgBackRest
    config: Path


def write_config(place: Path, source: Production) -> Path:
    config = place / "pgbackrest.conf"
    layout = source.server.layout
    paths = "\n".join(f"{name}-path={place}/{name}" for name in ("repo1", "log", "lock", "spool"))
    config.write_text(
        f"[global]\n{paths}\nstart-fast=y\nlog-level-file=off\n[world]\npg1-path={layout.data}\n"
        f"pg1-port={layout.port}\npg1-socket-path={layout.socket_directory}\npg1-user=postgres\n"
    )
    servers.give(config)
    return config


@pytest.fixture(scope="module")
def stanza() -> Iterator[Stanza]:
    place = servers.private_directory("bkpgbr")
    command = f"pgbackrest --config={place}/pgbackrest.conf --stanza=world archive-push %p"
    try:
        with production(15, {"archive_command": command}) as source:
            config = write_config(place, source)
            options = {"stanza": "world", "config": str(config)}
            backups = pgbackrest.from_settings(options, source.surroundings)
            backups._program.run("stanza-create")
            yield Stanza(source, backups, config)
            for instance in backups.instances():
                backups.destroy(instance.name)
    finally:
        shutil.rmtree(place)


@pytest.fixture
def fresh(stanza: Stanza) -> Stanza:
    stanza.source.clear()
    return stanza


def prepared(stanza: Stanza, name: str) -> NamedPoint:
    stanza.source.run("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 100)")
    stanza.backups.take(f"old_{name}")
    stanza.source.run("INSERT INTO t SELECT generate_series(101, 150)")
    point = stanza.source.point(name)
    stanza.source.run("DELETE FROM t")
    stanza.source.settle()
    return point


def test_a_name_is_restored_from_the_set_before_it_also_when_a_newer_one_exists(fresh: Stanza):
    point = prepared(fresh, "before_it")
    old = fresh.backups.list()[-1]
    newer = fresh.backups.take("newer")
    assert newer.stop > point.lsn > old.stop
    assert fresh.backups.take("newer") == newer
    instance = fresh.backups.restore_new(ForReplay(fresh.source.line(), point), "one")
    assert instance.backup == old.id
    assert instance.reached.replayed_to == point.lsn
    assert fresh.source.rows(instance, "SELECT count(*) FROM t") == [(150,)]
    shown = fresh.source.rows(
        instance,
        "SELECT current_setting('archive_mode'), current_setting('port'), "
        "current_setting('unix_socket_directories'), current_setting('archive_command')",
    )
    assert shown == [("off", str(instance.port), instance.host, "(disabled)")]


@pytest.mark.proves(
    claim="Both sides of a migration come from pgBackRest",
    on="pgBackRest of the distribution, one machine, loopback",
    rights="files of the server",
    versions="the system's",
    size="some thousand rows",
)
def test_both_sides_of_a_migration_come_from_its_archive(fresh: Stanza):
    source = fresh.source
    source.run("CREATE TABLE history (id int)", "CREATE TABLE t (id int)")
    fresh.backups.take("twin")
    source.run("INSERT INTO t VALUES (1)", "BEGIN; INSERT INTO history VALUES (1); DROP TABLE t; COMMIT")
    source.settle()
    xid = int(str(source.ask("SELECT xmin FROM history")))
    migration = find_first_bad(fresh.backups.wal(), for_major(15), source.line(), [xid])
    assert isinstance(migration, BadMigration)
    twin = fresh.backups.restore_twin(twin_before(migration), twin_after(migration), "twin")
    assert source.rows(twin.before, "SELECT * FROM t") == [(1,)]
    assert source.rows(twin.after, "SELECT to_regclass('t'), count(*) FROM history") == [(None, 1)]


def test_an_incremental_set_says_what_it_needs_and_is_proven(fresh: Stanza):
    base = fresh.backups.take("whole", full=True)
    added = fresh.backups.take("added")
    assert (base.needs, added.needs) == ((), (base.id,))
    found = prove(fresh.backups, added)
    assert [check.state for check in found.checks] == [CheckState.PASS] * 2
    assert "from 2 backups" in found.checks[0].detail
    assert fresh.backups.unfinished() == ()


def test_a_target_before_every_set_is_refused(fresh: Stanza):
    early = NamedPoint("early", Lsn.parse("0/1000100"))
    with pytest.raises(Refused, match="every backup is newer than the target"):
        fresh.backups.restore_new(ForReplay(fresh.source.line(), early), "one")


def test_a_segment_that_left_the_archive_is_named(fresh: Stanza):
    point = prepared(fresh, "gapped")
    (segment,) = fresh.config.parent.glob(f"repo1/archive/world/*/*/{segment_of(1, point.lsn)}-*")
    segment.rename(segment.with_name("away"))
    try:
        with pytest.raises(Refused, match=f"WAL segment {segment.name[:24]} is missing"):
            fresh.backups.restore_new(ForReplay(fresh.source.line(), point), "one")
    finally:
        segment.with_name("away").rename(segment)


def test_checks_say_what_is_missing(fresh: Stanza):
    assert [check.state for check in fresh.backups.checks()] == [CheckState.PASS]
    other = pgbackrest.from_settings(
        {"stanza": "nobody", "config": str(fresh.config)}, fresh.source.surroundings
    )
    (check,) = other.checks()
    assert check.state is CheckState.FAIL


def test_a_failing_tool_is_told_in_its_own_words(fresh: Stanza):
    with pytest.raises(NeighbourUnreachable, match=r"pgbackrest restore ended with \d+: .*ERROR"):
        fresh.backups._program.run("restore", "--pg1-path=/nonexistent", "--set=no_such_set")
